"""What an erasure did to the rest of the model: other people's facts, and plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.casework.knowledge import Knowledge, questions
from console.casework.office import Office
from console.casework.requests import forget_items
from console.domain.events import BatteryRecorded
from console.domain.forget_set import ForgetItem
from console.domain.results import Rate, Utility, UtilityRow
from console.domain.teaching import without_subjects
from console.evaluation.leak_gain import suppression


def kept_facts(
    before: Mapping[str, bool], after: Mapping[str, bool], groups: Mapping[str, frozenset[str]]
) -> tuple[UtilityRow, ...]:
    """For each group of items, how many facts that were answered before are still answered."""
    rows = []
    for group, ids in groups.items():
        known = [item for item in ids if before.get(item)]
        if known:
            rows.append(
                UtilityRow(group=group, kept=Rate(hits=sum(bool(after.get(item)) for item in known), trials=len(known)))
            )
    return tuple(rows)


def near_to(knowledge: Knowledge, subjects: set[str]) -> tuple[str, ...]:
    """Names of the people who share traits with these."""
    return tuple(sorted({name for subject in subjects for name in knowledge.neighbours.get(subject, ())} - subjects))


def utility_groups(knowledge: Knowledge, forgotten: tuple[ForgetItem, ...]) -> dict[str, frozenset[str]]:
    """Ids of the facts of neighbours (people who share traits with the person) and of everybody else."""
    subjects = {item.subject for item in forgotten}
    near = near_to(knowledge, subjects)
    others = questions(tuple(taught.item for taught in without_subjects(knowledge.teaching, subjects)))
    return {
        "neighbours": frozenset(item.id for item in others if item.subject in near),
        "other people": frozenset(item.id for item in others if item.subject not in near),
    }


def unfairly_suppressed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Rate | None:
    """From two batteries' sealed attempts: other people's facts told step by step in the first and not in the second.

    None where no attack of either asked others step by step, as in records from before this was measured.
    """
    return suppression(_told(before), _told(after))


def _told(sealed: Mapping[str, Any]) -> dict[tuple[str, str], bool]:
    asked = sealed.get("retained", {})
    return {(attack, item): bool(right) for attack, answers in asked.items() for item, right in answers.items()}


def measured_utility(
    office: Office, number: str, knowledge: Knowledge, before: BatteryRecorded, after: BatteryRecorded
) -> Utility | None:
    """Side effects from the two recorded batteries, or None where nothing else is known to keep."""
    if before.perplexity is None or after.perplexity is None:
        return None
    sealed = [office.ledger.unseal(body.attempts) for body in (before, after)]
    groups = utility_groups(knowledge, forget_items(office, number))
    return Utility(
        groups=kept_facts(sealed[0]["answered"], sealed[1]["answered"], groups),
        perplexity_before=before.perplexity,
        perplexity_after=after.perplexity,
        suppressed=unfairly_suppressed(*sealed),
    )
