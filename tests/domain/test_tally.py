"""Told, picked and recognised are three things: their counts are never added up."""

from __future__ import annotations

from console.domain.results import Access, AreaUnderCurve, AttackRow, Evidence, Outcome, Rate, Status
from console.domain.tally import tally


def row(attack: str, evidence: Evidence, hits: int, trials: int, **more: object) -> AttackRow:
    rate = Rate(hits=hits, trials=trials)
    outcome = Outcome(attempts=rate, items=Rate(hits=min(hits, 1), trials=1), **more)  # type: ignore[arg-type]
    return AttackRow(attack=attack, evidence=evidence, access=Access.BLACK_BOX, budget=1, outcome=outcome)


ROWS = (
    row("direct", Evidence.ASKED, 0, 18),
    row("head-projection", Evidence.INSIDE, 2, 12),
    row("multiple-choice", Evidence.ELICITED, 3, 10, chance="0.2500"),
    row(
        "membership",
        Evidence.MEMBERSHIP,
        12,
        18,
        area=AreaUnderCurve(value="0.9000", low="0.8000", high="0.9500", members=18, non_members=40),
    ),
    AttackRow(
        attack="exposure",
        evidence=Evidence.INSIDE,
        access=Access.WHITE_BOX,
        budget=1,
        status=Status.NOT_APPLICABLE,
        reason="no probabilities",
    ),
)


def test_each_kind_is_counted_by_itself() -> None:
    found = tally(ROWS)
    assert (found.told, found.picked, found.recognised) == (
        Rate(hits=2, trials=30),
        Rate(hits=3, trials=10),
        Rate(hits=12, trials=18),
    )


def test_words_add_nothing_up() -> None:
    assert tally(ROWS).words == (
        "2 of 30 attempts gave the data; among offered answers it was picked in 3 of 10 (guessing picks some); "
        "membership attacks take 12 of 18 texts for training texts"
    )
    assert tally(ROWS[:1]).words == "0 of 18 attempts gave the data"


def test_nothing_counted_is_said() -> None:
    assert tally(ROWS[-1:]).words == "no attack could be counted"
