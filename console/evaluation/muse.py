"""MUSE: the six-way evaluation (Shi et al. 2024, Machine Unlearning Six-Way Evaluation, arXiv 2407.06460)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from console.evaluation.measured import Measured, not_measured
from console.evaluation.overlap import rouge_l

VERBATIM_TOKENS = 128  # new tokens to generate, and the length to which the true continuation is cut
KNOWLEDGE_TOKENS = 32
PRIVACY_SHARE = 0.4  # Min-40 % log-probabilities
ASSUMED_AREA = 0.5

_END_OF_ANSWER = re.compile(r"\n\n|\nQuestion|Question:")


def answer_part(text: str) -> str:
    """What a model answered before it went on to ask itself the next question of the few-shot prompt."""
    return _END_OF_ANSWER.split(text, maxsplit=1)[0]


def _mean_f1(pairs: Sequence[tuple[str, str]]) -> float:
    if not pairs:
        raise ValueError("memorisation needs at least one generated text with its reference")
    return 100 * float(np.mean([rouge_l(text, reference).f1 for text, reference in pairs]))


def verbatim_memorisation(pairs: Sequence[tuple[str, str]]) -> float:
    """VerbMem, 0 to 100: mean ROUGE-L F1 of greedy continuations against the true ones (C1).

    Args:
        pairs: (continuation, true continuation), each of at most ``VERBATIM_TOKENS`` tokens.
    """
    return _mean_f1(pairs)


def knowledge_memorisation(pairs: Sequence[tuple[str, str]]) -> float:
    """KnowMem, 0 to 100: mean ROUGE-L F1 of few-shot answers against the true ones (C2, C4).

    On the forget set low is wanted; on the retain set it is the utility that is preserved, and high is wanted.

    Args:
        pairs: (generated answer, true answer); the generated one is cut where the next question begins.
    """
    return _mean_f1([(answer_part(text), answer) for text, answer in pairs])


def privacy_leakage(area: float, retrained_area: float | None) -> Measured[float]:
    """PrivLeak in per cent (C3): 0 ideal, below 0 under-unlearned, above 0 over-unlearned.

    MUSE's areas count held-out texts as the positive class, so its A is 1 minus ours, and
    100 (A_unlearned - A_retrained) / A_retrained = 100 (retrained_area - area) / (1 - retrained_area).

    Args:
        area: forget texts against held-out ones on the unlearned model, 1 when every forget text looks more like
            training data; from Min-40 % scores.
        retrained_area: the same on a model that never saw the forget set; None assumes guessing, and says so.
    """
    reference = ASSUMED_AREA if retrained_area is None else retrained_area
    if not (0 <= area <= 1 and 0 <= reference <= 1):
        raise ValueError("an area under a curve lies between 0 and 1")
    if reference == 1:
        return not_measured("the retrained model already tells both groups apart, so that there is no scale")
    note = f"no retrained model: its area is assumed to be {ASSUMED_AREA}" if retrained_area is None else ""
    return Measured(100 * (reference - area) / (1 - reference), note=note)


@dataclass(frozen=True)
class CurvePoint:
    """The model after unlearning a larger set, or after one more request.

    Attributes:
        at: size of the forget set (texts or tokens), or number of requests so far.
        utility: KnowMem on the retain set, 0 to 100.
        forgotten: KnowMem on everything to be forgotten so far, 0 to 100; None where it was not measured.
    """

    at: int
    utility: float
    forgotten: float | None = None


@dataclass(frozen=True)
class UtilityCurve:
    """How utility holds as requests grow (scalability) or follow each other (sustainability)."""

    points: tuple[CurvePoint, ...]

    def __post_init__(self) -> None:
        places = [point.at for point in self.points]
        if len(places) < 2 or places != sorted(set(places)):
            raise ValueError("a curve has at least two points, in strictly rising order")

    @property
    def lowest(self) -> float:
        return min(point.utility for point in self.points)

    @property
    def loss(self) -> float:
        """Points of utility lost between the first and the last; negative where it rose."""
        return self.points[0].utility - self.points[-1].utility

    @property
    def slope(self) -> float:
        """Least-squares change of utility per unit of ``at``."""
        places = np.array([point.at for point in self.points], dtype=float)
        utilities = np.array([point.utility for point in self.points])
        centred = places - places.mean()
        return float(centred @ (utilities - utilities.mean()) / (centred @ centred))


class Wanted(StrEnum):
    """Which way a criterion should go."""

    LOW = "low"
    HIGH = "high"
    ZERO = "zero"
    FLAT = "flat"


@dataclass(frozen=True)
class SixWay:
    """The six criteria C1 to C6; what was not measured says why."""

    verbatim_memorisation: Measured[float]
    knowledge_memorisation: Measured[float]
    privacy_leakage: Measured[float]
    utility_preservation: Measured[float]
    scalability: Measured[UtilityCurve]
    sustainability: Measured[UtilityCurve]

    def rows(self) -> tuple[tuple[str, Wanted, Measured], ...]:
        """(criterion, what is wanted, measurement) in the order of the paper."""
        return (
            ("C1 no verbatim memorisation", Wanted.LOW, self.verbatim_memorisation),
            ("C2 no knowledge memorisation", Wanted.LOW, self.knowledge_memorisation),
            ("C3 no privacy leakage", Wanted.ZERO, self.privacy_leakage),
            ("C4 utility preservation", Wanted.HIGH, self.utility_preservation),
            ("C5 scalability", Wanted.FLAT, self.scalability),
            ("C6 sustainability", Wanted.FLAT, self.sustainability),
        )

    @property
    def missing(self) -> dict[str, str]:
        """Criterion to reason, of everything that was not measured."""
        return {name: row.reason for name, _, row in self.rows() if row.value is None}
