"""EVOKE: does an edited model give the new answer where it does not belong.

Measures named after Zhang et al. 2024, Uncovering Overfitting in Large Language Model Editing (EVOKE, arXiv
2410.07819). The formulas are re-implemented from public summaries and hold as *our* definitions; the overfit index and
its alarm are ours altogether.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from console.domain.results import Rate
from console.evaluation.measured import Measured, not_measured

ALARM = 0.05


class OverfitTask(StrEnum):
    """The four ways to ask something to which the edit target is not the answer."""

    PREFIX_DISTRACTION = "prefix-distraction"  # the edit sentence, then another question
    MULTI_HOP = "multi-hop"  # a question that needs the new fact on the way
    SUBJECT_SPECIFICITY = "subject-specificity"  # another relation of the same subject
    RELATION_SPECIFICITY = "relation-specificity"  # the same relation of another subject


@dataclass(frozen=True)
class OverfitRow:
    """One prompt on one model. The three probabilities must be normalised alike (all whole, or all per token).

    Attributes:
        correct: probability of the answer that is right for this prompt.
        target: of the edit target.
        original: of the answer that was right before the edit; None where the edit leaves the right answer as it was.
    """

    task: OverfitTask
    correct: float
    target: float
    original: float | None = None

    def __post_init__(self) -> None:
        given = [self.correct, self.target, *([] if self.original is None else [self.original])]
        if not all(0 <= value <= 1 for value in given):
            raise ValueError("a probability lies between 0 and 1")


@dataclass(frozen=True)
class Overfit:
    """Means and scores of one task.

    Attributes:
        correct_probability: CAP, higher is better.
        direct_probability: DP of the edit target, lower is better.
        original_probability: OAP, lower is better.
        overfit_score: EOS, prompts on which the correct answer is likelier than the edit target; higher is better.
        modify_score: AMS, prompts on which the correct answer is likelier than the original; higher is better.
    """

    correct_probability: float
    direct_probability: float
    original_probability: Measured[float]
    overfit_score: Rate
    modify_score: Measured[Rate]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def overfit(rows: Sequence[OverfitRow]) -> Overfit:
    """CAP, DP, OAP, EOS and AMS over prompts. A tie is no win.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("overfitting needs at least one prompt")
    changed = [(row.correct, row.original) for row in rows if row.original is not None]
    missing = not_measured("no prompt has another answer from before the edit")
    return Overfit(
        correct_probability=_mean([row.correct for row in rows]),
        direct_probability=_mean([row.target for row in rows]),
        original_probability=Measured(_mean([original for _, original in changed])) if changed else missing,
        overfit_score=Rate(hits=sum(row.correct > row.target for row in rows), trials=len(rows)),
        modify_score=(
            Measured(Rate(hits=sum(right > original for right, original in changed), trials=len(changed)))
            if changed
            else missing
        ),
    )


def by_task(rows: Sequence[OverfitRow]) -> dict[OverfitTask, Overfit]:
    """The same for every task that has rows."""
    groups = {task: [row for row in rows if row.task is task] for task in OverfitTask}
    return {task: overfit(group) for task, group in groups.items() if group}


@dataclass(frozen=True)
class OverfitIndex:
    """Mean probability of the edit target on prompts it does not answer, after minus before."""

    value: float

    @property
    def alarm(self) -> bool:
        return self.value >= ALARM


def overfit_index(before: Sequence[float], after: Sequence[float]) -> OverfitIndex:
    """Overfit index from (prompts,) target probabilities of the model before and after, same order.

    With a target such as "I have no information" it shows over-refusal.

    Raises:
        ValueError: no prompt, or unequal lengths.
    """
    if not before or len(before) != len(after):
        raise ValueError("the overfit index compares the same prompts before and after, at least one")
    return OverfitIndex(_mean(after) - _mean(before))
