"""Membership statistics: Min-K% scores, area under the curve, bootstrap interval.

Orientation: a higher score means "looks more like training data", so an area of 1 says that every
member looks more familiar than every non-member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from console.domain.results import AreaUnderCurve, decimal_text


def min_k_score(log_probs: Sequence[float], share: float) -> float:
    """Mean log-probability (nats) of the least likely ``share`` of tokens, at least one.

    Shi et al. 2024, Detecting Pretraining Data from LLMs, eq. 1. With ``share`` 1 it is minus the loss.

    Raises:
        ValueError: no tokens, or a share outside (0, 1].
    """
    if not log_probs or not 0 < share <= 1:
        raise ValueError("Min-K% needs at least one token and a share in (0, 1]")
    lowest = np.sort(np.asarray(log_probs, dtype=np.float64))[: max(1, int(len(log_probs) * share))]
    return float(lowest.mean())


def area_under_curve(members: Sequence[float], non_members: Sequence[float]) -> float:
    """Probability that a random member scores above a random non-member, ties counting half (Mann-Whitney)."""
    others = np.sort(np.asarray(non_members, dtype=float))
    below, up_to = (np.searchsorted(others, members, side=side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(others)))


@dataclass(frozen=True)
class Bootstrap:
    """Resampling of both groups, by seed."""

    resamples: int = 1000
    seed: int = 0
    confidence: float = 0.95

    def area(self, members: Sequence[float], non_members: Sequence[float]) -> AreaUnderCurve:
        """Area with its percentile interval; the group sizes go with it, because small groups make it wide."""
        generator = np.random.default_rng(self.seed)
        left, right = np.asarray(members), np.asarray(non_members)
        drawn = [
            area_under_curve(
                left[generator.integers(0, len(left), len(left))].tolist(),
                right[generator.integers(0, len(right), len(right))].tolist(),
            )
            for _ in range(self.resamples)
        ]
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail])
        return AreaUnderCurve(
            value=decimal_text(round(area_under_curve(members, non_members), 6)),
            low=decimal_text(round(float(low), 6)),
            high=decimal_text(round(float(high), 6)),
            members=len(members),
            non_members=len(non_members),
        )
