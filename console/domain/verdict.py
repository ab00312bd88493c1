"""The verdict: a pure function of counts and of thresholds fixed before the run.

Every rule has a numbered exit that the report prints beside the word, and the rules carry a version, so that a
verdict can be recomputed from the stored counts years later. The words, from best to worst, and what each needs:

================== ==================================================================================
removed            every kind of evidence at the level of a model that never knew the data, shown to be
                   so within a margin fixed before; utility kept; a method that may claim it
not found any more the same, but against invented people only: there was no model from before to compare
suppressed         ordinary questions find nothing, but a deeper attack still does, or the evidence cannot
                   exclude it, or the method only withholds, so that nobody may say more
residual           ordinary questions still bring back something, though less than half of what was there
failed             ordinary questions still bring back at least half of what was there
utility lost       the person's data may be gone, but the model no longer answers what it must
not located        no attack found the data in the model as it was: there was nothing to erase
================== ==================================================================================
"""

from __future__ import annotations

from console.domain import rules_2, rules_3
from console.domain.claims import Claim
from console.domain.results import AttackRow, Battery, Evidence, Utility
from console.domain.verdict_terms import RULES_VERSION, ComparedWith, Thresholds, Verdict, Word

__all__ = [
    "RULES_VERSION",
    "VERSIONS",
    "ComparedWith",
    "Thresholds",
    "Verdict",
    "Word",
    "decide",
    "located",
    "missing_kinds",
    "version_of",
]

VERSIONS = (*rules_2.RULES, RULES_VERSION)


def version_of(battery: Battery) -> int:
    """The newest rules that a battery's counts can be judged by; before version 3 nothing was counted by fact."""
    counted = any(row.outcome is not None and row.outcome.facts for row in battery.rows)
    return RULES_VERSION if counted else max(rules_2.RULES)


def located(before: Battery, reference: Battery | None, version: int | None = None) -> tuple[AttackRow, ...]:
    """The attacks that find the data in the model as it is.

    Args:
        version: the rules; the newest that the counts allow where None.
    """
    version = version or version_of(before)
    if version in rules_2.RULES:
        return rules_2.located(before, reference, version)
    return rules_3.located(before, reference)


def missing_kinds(battery: Battery, version: int = RULES_VERSION) -> tuple[Evidence, ...]:
    """Kinds of evidence that "removed" needs and of which a suite ran no attack at all."""
    required = rules_2.RULES[version].required if version in rules_2.RULES else tuple(Evidence)
    tried = {row.evidence for row in battery.rows}
    return tuple(kind for kind in required if kind not in tried)


def decide(
    before: Battery,
    after: Battery,
    reference: Battery | None,
    utility: Utility | None,
    thresholds: Thresholds,
    claim: Claim | None = None,
    version: int | None = None,
) -> Verdict:
    """Reach the verdict of one erasure.

    Args:
        claim: the most that the method may claim; None where no method ran or the rules did not ask yet.
        version: the rules to decide by, the thresholds' own where None; others only to recompute.

    Raises:
        ValueError: the batteries are not of one suite, so their counts cannot be compared, or the thresholds were
            fixed for older rules and lack what these need.
    """
    version = version or thresholds.rules
    suites = {battery.suite_hash for battery in (before, after, reference) if battery is not None}
    if len(suites) != 1:
        raise ValueError("the batteries come from different suites; run the same suite before and after")
    if version in rules_2.RULES:
        return rules_2.decide(before, after, reference, utility, thresholds, claim, version)
    if thresholds.rules < version:
        raise ValueError(f"the thresholds were fixed for rules version {thresholds.rules}")
    return rules_3.decide(before, after, reference, utility, thresholds, claim)
