"""Two models' areas under a curve over the same texts: how far apart are they?

Membership inference scores the same texts in the erased model and in the reference. A text that is familiar by itself
is so in both, so the difference of the areas is far better known than either area (DeLong, DeLong and Clarke-Pearson
1988), and several texts about one fact are one piece of evidence, not several (Obuchowski 1997, *Biometrics* 53:
clustered areas). An area is the mean over the person's texts of the share of held-out texts that look less familiar;
the difference is the mean of the differences of these shares, and its variance is that of the sums by fact on one
side and by stranger's fact on the other. Few facts make the variance itself uncertain, hence Student's t with one
degree of freedom less than there are facts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from console.domain.comparing import Difference
from console.domain.intervals import mann_whitney, student_quantile
from console.domain.results import Outcome, TextPlace

MIDDLE = 0.5  # the area of a score that tells nothing
# How alike the texts about one fact are taken to be where only their number is known (design effect, Kish 1965).
_WITHIN_FACT = 0.5


@dataclass(frozen=True)
class Shift:
    """How much larger the area is, in [-1, 1], and how well that is known.

    Attributes:
        facts: clusters that the variance rests on.
    """

    value: float
    deviation: float
    facts: int

    def interval(self, confidence: float) -> tuple[float, float]:
        """Two-sided. Infinitely wide on fewer than two facts."""
        if self.facts < 2:
            return -math.inf, math.inf
        reach = student_quantile((1 + confidence) / 2, self.facts - 1) * self.deviation
        return self.value - reach, self.value + reach


def _side(one: Sequence[TextPlace], other: Sequence[TextPlace]) -> tuple[float, float, int] | None:
    """Mean difference, its variance, and the number of clusters; None where the texts are not the same ones."""
    if other and [text.fact for text in one] != [text.fact for text in other]:
        return None
    differences = [
        float(text.above) - (float(other[index].above) if other else MIDDLE) for index, text in enumerate(one)
    ]
    mean = math.fsum(differences) / len(differences)
    sums: dict[int, float] = {}
    for text, difference in zip(one, differences, strict=True):
        sums[text.fact] = sums.get(text.fact, 0.0) + difference - mean
    clusters = len(sums)
    spread = math.fsum(value * value for value in sums.values()) / len(one) ** 2
    return mean, spread * clusters / max(1, clusters - 1), clusters


def shift(outcome: Outcome, reference: Outcome | None) -> Shift | None:
    """How much larger the area is than the reference's; than 0.5 without a reference.

    None where an outcome holds no texts, or not the same ones as the reference.
    """
    if not outcome.members or not outcome.held_out or (reference is not None and not reference.members):
        return None
    own = _side(outcome.members, reference.members if reference is not None else ())
    held_out = _side(outcome.held_out, reference.held_out if reference is not None else ())
    if own is None or held_out is None:
        return None
    return Shift(own[0], math.sqrt(own[1] + held_out[1]), own[2])


def area_interval(outcome: Outcome, confidence: float) -> tuple[float, float]:
    """Newcombe's interval of an area at this confidence, the texts of one fact counted for what they are worth."""
    assert outcome.area is not None
    texts = outcome.area.members
    facts = len({text.fact for text in outcome.members}) or texts
    worth = max(1, round(texts / (1 + (texts / facts - 1) * _WITHIN_FACT)))
    return mann_whitney(float(outcome.area.value), worth, outcome.area.non_members, confidence)


def area_difference(outcome: Outcome, reference: Outcome, confidence: float) -> Difference:
    """Difference of two areas from their own intervals (MOVER, Zou and Donner 2008), as if they were independent.

    Wide, and it holds where one area is 0 or 1 and every estimate of a spread is 0: for saying that there *is* a
    difference, never for saying that there is none.
    """
    assert outcome.area is not None and reference.area is not None
    one, other = float(outcome.area.value), float(reference.area.value)
    (low, high), (other_low, other_high) = (area_interval(side, confidence) for side in (outcome, reference))
    value = one - other
    return Difference(
        value, value - math.hypot(one - low, other_high - other), value + math.hypot(high - one, other - other_low)
    )
