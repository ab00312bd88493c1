"""Bootstrap intervals of means, and of any figure that is made of means over rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from console.domain.intervals import CONFIDENCE

Rows = NDArray[np.float64]
Statistic = Callable[[Sequence[Rows]], float | None]


def bootstrap_interval(
    groups: Sequence[Rows], statistic: Statistic, resamples: int, seed: int
) -> tuple[float, float] | None:
    """Percentile interval of a statistic of independent groups (Efron 1979), each resampled by whole rows.

    Args:
        groups: each (rows, columns); columns of one row stay together.
        statistic: of the resampled groups; None where it is not defined for them.

    Returns:
        low and high at 95 %, or None: a single row has no spread to show, equal rows show none (which is not
        certainty), and a statistic that some resamples do not have has no percentiles.
    """
    if min(len(group) for group in groups) < 2:
        return None
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        value = statistic([group[generator.integers(0, len(group), len(group))] for group in groups])
        if value is None:
            return None
        drawn.append(value)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return None if low == high else (float(low), float(high))


def mean_interval(values: Sequence[float], resamples: int, seed: int) -> tuple[float, float] | None:
    """Bootstrap interval of a plain mean of (rows,) values; None for one row, or equal rows."""
    rows = np.asarray(values, dtype=np.float64)[:, None]
    return bootstrap_interval([rows], lambda groups: float(groups[0].mean()), resamples, seed)
