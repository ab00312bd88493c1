"""Counts: which can be, what their numbers are, and that they survive being written down."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from console.domain.events import plain
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
    decimal_text,
)

OUTCOME = Outcome(
    attempts=Rate(hits=3, trials=40),
    items=Rate(hits=2, trials=4),
    control=Rate(hits=0, trials=40),
    area=AreaUnderCurve(value="0.7000", low="0.6000", high="0.8000", members=4, non_members=12),
)


def attack_row(**changed: Any) -> AttackRow:
    fields = {
        "attack": "direct",
        "evidence": Evidence.ASKED,
        "access": Access.BLACK_BOX,
        "budget": 5,
        "outcome": OUTCOME,
    }
    return AttackRow(**(fields | changed))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5000"),
        (1, "1.0000"),
        (0.1 + 0.2, "0.3000"),
        (1e-7, "0.0000"),
        (-1e-7, "0.0000"),
        (12345.67891, "12345.6789"),
        (1e22, "10000000000000000000000.0000"),
        (-2.25, "-2.2500"),
        (Decimal("0.12345"), "0.1234"),  # half to even, as decimal does everywhere
        (Decimal("0.12355"), "0.1236"),
    ],
)
def test_a_number_has_one_text(value: float | Decimal, text: str) -> None:
    assert decimal_text(value) == text


class TestRate:
    def test_share_and_interval(self) -> None:
        rate = Rate(hits=3, trials=40)
        assert rate.share == 0.075
        assert (rate.low, rate.high) == pytest.approx((0.015742, 0.203865), abs=1e-6)  # scipy.stats.binomtest(3, 40)

    @pytest.mark.parametrize(("hits", "trials"), [(5, 4), (-1, 4), (0, 0)])
    def test_counts_that_cannot_be(self, hits: int, trials: int) -> None:
        with pytest.raises(ValidationError):
            Rate(hits=hits, trials=trials)


class TestRow:
    def test_what_ran_has_an_outcome(self) -> None:
        with pytest.raises(ValidationError, match="has no outcome"):
            attack_row(outcome=None)

    @pytest.mark.parametrize("status", [Status.NOT_APPLICABLE, Status.NOT_POWERED])
    def test_what_did_not_count_says_why(self, status: Status) -> None:
        with pytest.raises(ValidationError, match="says no reason"):
            attack_row(status=status)
        assert attack_row(status=status, outcome=None, reason="No passage.").reason == "No passage."

    @pytest.mark.parametrize("changed", [{"budget": 0}, {"evidence": "hearsay"}, {"unknown": 1}])
    def test_fields_that_cannot_be(self, changed: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            attack_row(**changed)


class TestBattery:
    BATTERY = Battery(stage=Stage.BEFORE, model_hash="aa", suite_hash="bb", rows=(attack_row(),))

    def test_a_row_is_found_by_its_attack(self) -> None:
        assert self.BATTERY.row("direct") is self.BATTERY.rows[0]
        assert self.BATTERY.row("paraphrase") is None

    def test_it_survives_the_worker_s_stream_and_the_ledger(self) -> None:
        body = plain(self.BATTERY.model_dump(mode="json"))
        assert Battery.model_validate(body) == self.BATTERY
        assert Battery.model_validate_json(self.BATTERY.model_dump_json()) == self.BATTERY

    def test_nothing_can_be_changed_afterwards(self) -> None:
        with pytest.raises(ValidationError):
            self.BATTERY.rows[0].outcome.attempts.hits = 0  # type: ignore[union-attr, misc]


def test_the_perplexity_ratio_is_exact() -> None:
    utility = Utility(
        groups=(UtilityRow(group="others", kept=Rate(hits=9, trials=10)),),
        perplexity_before="10.0000",
        perplexity_after="11.0000",
    )
    assert utility.perplexity_ratio == Decimal("1.1")
