"""Asking again stops where only the same draws would come once more."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, cast

import pytest

from console.casework import asking_again
from console.casework.asking_again import Recorded, settle
from console.domain.events import BatteryRecorded
from console.domain.results import Access, AttackRow, Battery, Evidence, FactCount, Outcome, Rate, Stage
from console.domain.verdict import Thresholds

FACTS = 6


def recorded(stage: Stage, hits: list[int]) -> Recorded:
    """One asking attack with two attempts on each fact."""
    outcome = Outcome(
        attempts=Rate(hits=sum(hits), trials=2 * FACTS),
        items=Rate(hits=sum(hit > 0 for hit in hits), trials=FACTS),
        control=Rate(hits=0, trials=6),
        facts=tuple(FactCount(fact=fact, hits=hit, trials=2) for fact, hit in enumerate(hits)),
    )
    row = AttackRow(
        attack="direct", evidence=Evidence.ASKED, access=Access.BLACK_BOX, budget=2, outcome=outcome, sampled=True
    )
    battery = Battery(stage=stage, model_hash=stage.value, suite_hash="suite", rows=(row,))
    return 1, BatteryRecorded.model_construct(battery=battery)


def test_a_fact_whose_draws_were_all_cut_off_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any, int]] = []

    def cut_off(*arguments: Any) -> Generator[Any, Any, Recorded]:
        found, wanted, draws = arguments[5:]
        if wanted:
            asked.append((found[1].battery.stage.value, dict(wanted), draws))
        return cast(Recorded, found)
        yield  # a generator, as the real one

    monkeypatch.setattr(asking_again, "_asked", cut_off)
    before = recorded(Stage.BEFORE, [2] * FACTS)
    after, reference = recorded(Stage.AFTER, [1, 0, 0, 0, 0, 0]), recorded(Stage.REFERENCE, [0] * FACTS)
    nothing: Any = None
    running = settle(nothing, "1", nothing, nothing, "cpu", after, reference, Thresholds.current(), before)
    with pytest.raises(StopIteration):
        next(running)
    assert asked == [
        ("after", {"direct": (1, 2, 3, 4, 5)}, 10),
        ("after", {"direct": (0,)}, 240),
        ("reference", {"direct": (0,)}, 240),
    ]
