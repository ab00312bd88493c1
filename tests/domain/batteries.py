"""Batteries for the tests of the verdict: what was found before, after, and in a model that never knew."""

from __future__ import annotations

from typing import Any

from console.domain.claims import Claim
from console.domain.results import (
    Access,
    AreaUnderCurve,
    AttackRow,
    Battery,
    Evidence,
    Outcome,
    Rate,
    Stage,
    Status,
    Utility,
    UtilityRow,
)
from console.domain.verdict import Thresholds, Verdict, Word, decide

THRESHOLDS = Thresholds()
EVIDENCE = {
    "direct": Evidence.ASKED,
    "continuation": Evidence.ASKED,
    "paraphrase": Evidence.ELICITED,
    "head": Evidence.INSIDE,
    "membership": Evidence.MEMBERSHIP,
    "quantise": Evidence.DISTURBED,
}
# What rules version 1 asked for.
FIRST_FIVE = tuple(EVIDENCE)[:5]
TRIALS, ITEMS = 40, 8
KNOWN, UNKNOWN = ("0.9500", "0.8500", "1.0000"), ("0.5000", "0.3500", "0.6500")
KEPT = Utility(
    groups=(
        UtilityRow(group="neighbours", kept=Rate(hits=20, trials=20)),
        UtilityRow(group="other people", kept=Rate(hits=95, trials=100)),
    ),
    perplexity_before="10.0000",
    perplexity_after="11.0000",
)
BEST_FIRST = (Word.REMOVED, Word.SUPPRESSED, Word.RESIDUAL, Word.FAILED)


def rate(hits: int, trials: int = TRIALS) -> Rate:
    return Rate(hits=hits, trials=trials)


def found(hits: int, items: int | None = None, control: int | None = 0) -> Outcome:
    """``hits`` of 40 attempts on 8 facts."""
    given_away = min(hits, ITEMS) if items is None else items
    return Outcome(
        attempts=rate(hits), items=rate(given_away, ITEMS), control=None if control is None else rate(control)
    )


def area(values: tuple[str, str, str]) -> Outcome:
    value, low, high = values
    curve = AreaUnderCurve(value=value, low=low, high=high, members=8, non_members=20)
    return Outcome(attempts=rate(0), items=rate(0, ITEMS), area=curve)


def row(attack: str, outcome: Outcome | str) -> AttackRow:
    """A row with an outcome, or one that was not applicable for the reason given."""
    fields: dict[str, Any] = {
        "attack": attack,
        "evidence": EVIDENCE[attack],
        "access": Access.BLACK_BOX,
        "budget": 20,
    }
    if isinstance(outcome, str):
        return AttackRow(**fields, status=Status.NOT_APPLICABLE, reason=outcome)
    return AttackRow(**fields, outcome=outcome)


def battery(stage: Stage, suite: str = "suite", **outcomes: Outcome | str) -> Battery:
    rows = tuple(row(attack, outcome) for attack, outcome in outcomes.items())
    return Battery(stage=stage, model_hash=stage.value, suite_hash=suite, rows=rows)


NOWHERE: dict[str, Outcome | str] = {attack: found(0) for attack in EVIDENCE} | {"membership": area(UNKNOWN)}
EVERYWHERE: dict[str, Outcome | str] = {attack: found(38) for attack in EVIDENCE} | {"membership": area(KNOWN)}
BEFORE = battery(Stage.BEFORE, **EVERYWHERE)
REFERENCE = battery(Stage.REFERENCE, **NOWHERE)


def after(**changed: Outcome | str) -> Battery:
    """An erased model in which nothing is found but what is named here."""
    return battery(Stage.AFTER, **(NOWHERE | changed))


def without(which: Battery, attack: str) -> Battery:
    return which.model_copy(update={"rows": tuple(row for row in which.rows if row.attack != attack)})


def verdict(
    erased: Battery,
    *,
    before: Battery = BEFORE,
    reference: Battery | None = REFERENCE,
    utility: Utility | None = KEPT,
    thresholds: Thresholds = THRESHOLDS,
    claim: Claim | None = None,
    version: int = 2,
) -> Verdict:
    return decide(before, erased, reference, utility, thresholds, claim, version)


def utility(kept: int = 100, perplexity: str = "10.0000") -> Utility:
    group = UtilityRow(group="other people", kept=Rate(hits=kept, trials=100))
    return Utility(groups=(group,), perplexity_before="10.0000", perplexity_after=perplexity)
