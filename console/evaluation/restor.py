"""RESTOR: does the knowledge come back that false documents had displaced (Rezaei et al. 2024, arXiv 2411.00204).

Three models answer the same questions: clean, corrupted by false documents, and unlearned. Forgetting alone says
that the false answers are gone; recovery says that the true ones are back. High forgetting with low
recovery is the benchmark's finding, so both are reported. The ratios are our reading of the paper's comparison
of accuracies, which the paper prints side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

from console.domain.results import Rate
from console.evaluation.measured import Measured, not_measured

SMALLEST_GAP = 0.05


@dataclass(frozen=True)
class Restoration:
    """What unlearning brought back and what it removed.

    Attributes:
        recovery: 0 (as corrupted) to 1 (as clean), clipped to that range.
        unclipped: the same ratio as it is: below 0 worse than corrupted, above 1 better than clean.
        forgetting: share of the false answers that went away; below 0 where there are more than before.
    """

    recovery: Measured[float]
    unclipped: Measured[float]
    forgetting: Measured[float]


def restoration(clean: Rate, corrupted: Rate, unlearned: Rate, false_before: Rate, false_after: Rate) -> Restoration:
    """Recovery and forgetting from five counts over the same questions.

    recovery = (unlearned - corrupted) / (clean - corrupted), undefined where corruption cost less
    than ``SMALLEST_GAP``; forgetting = 1 - false_after / false_before.

    Args:
        clean, corrupted, unlearned: true answers given by each model.
        false_before, false_after: false answers given by the corrupted and by the unlearned model.

    Raises:
        ValueError: counts over unequal numbers of questions.
    """
    if len({rate.trials for rate in (clean, corrupted, unlearned, false_before, false_after)}) > 1:
        raise ValueError("recovery compares models on the same questions")
    raw = _recovery(clean, corrupted, unlearned)
    clipped = raw if raw.value is None else Measured(min(1.0, max(0.0, raw.value)))
    return Restoration(clipped, raw, _forgetting(false_before, false_after))


def _recovery(clean: Rate, corrupted: Rate, unlearned: Rate) -> Measured[float]:
    # Counts, not shares: in binary 12/40 - 10/40 is less than 0.05.
    gap = clean.hits - corrupted.hits
    if gap < SMALLEST_GAP * clean.trials:
        return not_measured(f"corruption cost less than {SMALLEST_GAP:.0%} of the answers: nothing to recover")
    return Measured((unlearned.hits - corrupted.hits) / gap)


def _forgetting(before: Rate, after: Rate) -> Measured[float]:
    if before.hits == 0:
        return not_measured("the corrupted model gave no false answer: nothing to forget")
    return Measured(1 - after.hits / before.hits)
