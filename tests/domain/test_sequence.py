"""Chains of requests: who came before, whether they still hold, and when it is enough."""

from __future__ import annotations

from decimal import Decimal

import pytest
from batteries import battery, found
from hypothesis import given
from hypothesis import strategies as st

from console.domain.results import Battery, Outcome, Stage
from console.domain.sequence import (
    OWN_CHANGE,
    WHOLE_CHANGE,
    ChainLimits,
    ChainMeasure,
    Link,
    Standing,
    beyond,
    chain_to,
    earlier_requests,
    own_artefact,
    recheck,
    requests_in,
    whole_change,
)
from console.domain.suites import FULL, QUICK, RECHECK, STANDARD, SUITES

MODELS = {
    "taught": {"parent": None, "artefact_of": None},
    "r1-a1": {"parent": "taught", "artefact_of": "r1"},
    "r1-a2": {"parent": "r1-a1", "artefact_of": "r1"},
    "r2-a1": {"parent": "r1-a2", "artefact_of": "r2"},
    "r3-a1": {"parent": "r2-a1", "artefact_of": "r3"},
    "r1-a3": {"parent": "r3-a1", "artefact_of": "r1"},
    "r9-a1": {"parent": "taught", "artefact_of": "r9"},
}


def now(**outcomes: Outcome | str) -> Battery:
    return battery(Stage.AFTER, "short", **outcomes)


def then(**outcomes: Outcome | str) -> Battery:
    return battery(Stage.AFTER, "long", **outcomes)


NOWHERE = {"direct": found(0), "continuation": found(0), "head": found(0)}


class TestChain:
    def test_from_the_first_model_to_this_one(self) -> None:
        assert chain_to("taught", MODELS) == (Link("taught", None),)
        assert [link.model for link in chain_to("r2-a1", MODELS)] == ["taught", "r1-a1", "r1-a2", "r2-a1"]

    @pytest.mark.parametrize(
        ("model", "earlier"),
        [
            ("taught", ()),
            ("r1-a1", ()),
            ("r1-a2", ()),
            ("r2-a1", ("r1",)),
            ("r3-a1", ("r1", "r2")),
            ("r1-a3", ("r2", "r3")),
            ("r9-a1", ()),
        ],
    )
    def test_earlier_are_those_of_the_way_without_the_own(self, model: str, earlier: tuple[str, ...]) -> None:
        assert earlier_requests(chain_to(model, MODELS)) == earlier

    def test_a_request_s_own_model_is_its_last_on_the_way(self) -> None:
        chain = chain_to("r3-a1", MODELS)
        assert (own_artefact(chain, "r1"), own_artefact(chain, "r2")) == ("r1-a2", "r2-a1")
        assert requests_in(chain) == ("r1", "r2", "r3")


class TestRecheck:
    def test_nothing_then_and_nothing_now_is_still_gone(self) -> None:
        assert recheck(now(**NOWHERE), then(**NOWHERE)) == recheck(now(**NOWHERE), then(**NOWHERE), then(**NOWHERE))
        assert recheck(now(**NOWHERE), then(**NOWHERE)).standing is Standing.STILL_GONE

    @pytest.mark.parametrize("attack", list(NOWHERE))
    def test_one_hit_where_there_was_none_came_back(self, attack: str) -> None:
        checked = recheck(now(**NOWHERE | {attack: found(1)}), then(**NOWHERE))
        assert (checked.standing, checked.by) == (Standing.CAME_BACK, (attack,))

    def test_one_hit_is_luck_where_strangers_facts_are_hit_as_often(self) -> None:
        lucky = now(**NOWHERE | {"head": found(1, control=2)})
        assert recheck(lucky, then(**NOWHERE)).standing is Standing.STILL_GONE

    def test_as_much_as_then_is_not_called_gone(self) -> None:
        leaky = NOWHERE | {"direct": found(10)}
        checked = recheck(now(**leaky), then(**leaky), then(**NOWHERE))
        assert (checked.standing, checked.by) == (Standing.NO_WORSE, ())
        assert recheck(now(**NOWHERE), then(**leaky), then(**NOWHERE)).standing is Standing.NO_WORSE

    def test_far_more_than_then_came_back(self) -> None:
        checked = recheck(now(**NOWHERE | {"direct": found(30)}), then(**NOWHERE | {"direct": found(5)}))
        assert checked.by == ("direct",)

    @given(st.integers(0, 40), st.integers(0, 40))
    def test_less_or_equal_never_came_back(self, hits: int, before: int) -> None:
        checked = recheck(now(direct=found(hits)), then(direct=found(before)))
        assert hits > before or checked.standing is not Standing.CAME_BACK

    @pytest.mark.parametrize(
        ("short", "long"),
        [
            (NOWHERE, None),
            ({"direct": "cannot run"}, then(**NOWHERE)),
            (NOWHERE, then(direct="cannot run", paraphrase=found(0))),
        ],
    )
    def test_what_did_not_run_on_both_says_nothing(self, short: dict[str, Outcome | str], long: Battery | None) -> None:
        assert recheck(now(**short), long).standing is Standing.NOT_KNOWN

    def test_an_attack_that_ran_only_now_does_not_count(self) -> None:
        checked = recheck(now(**NOWHERE | {"head": found(9)}), then(direct=found(0)))
        assert checked.standing is Standing.STILL_GONE


def test_the_short_suite_is_part_of_every_suite_and_nobody_chooses_it() -> None:
    assert RECHECK.name not in SUITES
    for plan in (QUICK, STANDARD, FULL):
        assert set(RECHECK.attacks) <= set(plan.attacks)


def own(text: str) -> dict[str, str]:
    return {OWN_CHANGE: text, "loss": "1.0000"}


class TestChange:
    @pytest.mark.parametrize(
        ("runs", "change", "bound"),
        [
            ([], "0", False),
            ([own("0.1000")], "0.1", False),
            ([own("0.1000"), own("0.2000") | {WHOLE_CHANGE: "0.2236"}], "0.2236", False),
            ([own("0.1000"), own("0.2000")], "0.32", True),
            ([own("0.1000"), own("0.2000"), own("0.1000") | {WHOLE_CHANGE: "0.3000"}], "0.3", False),
            ([{}, own("0.2000") | {WHOLE_CHANGE: "0.3000"}], "0.3", False),
            ([own("0.1000"), own("0.2000") | {WHOLE_CHANGE: "0.2236"}, own("0.0000")], "0.2236", True),
        ],
    )
    def test_by_hand(self, runs: list[dict[str, str]], change: str, bound: bool) -> None:
        assert whole_change(runs) == (Decimal(change), bound)

    @pytest.mark.parametrize("runs", [[{}], [{}, own("0.1000")], [own("0.1000"), {}]])
    def test_a_gap_is_not_filled_with_a_guess(self, runs: list[dict[str, str]]) -> None:
        assert whole_change(runs) == (None, False)

    @given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=1, max_size=4))
    def test_the_bound_holds(self, steps: list[list[float]]) -> None:
        """Whatever vectors are added to a first one, the single steps bound the whole."""

        def norm(vector: list[float]) -> float:
            return sum(value * value for value in vector) ** 0.5

        first = [3.0, 0.0, 0.0]
        last, runs = first, []
        for step in steps:
            after = [a + b for a, b in zip(last, step, strict=True)]
            runs.append(own(repr(norm(step) / norm(last)) if norm(last) else "0"))
            if not norm(last):
                return
            last = after
        whole = norm([a - b for a, b in zip(last, first, strict=True)]) / norm(first)
        change, _ = whole_change(runs)
        assert change is not None and float(change) >= whole - 1e-9


class TestGovernor:
    def measure(self, change: str | None, ratio: str | None, bound: bool = False) -> ChainMeasure:
        return ChainMeasure(
            "taught",
            "r1-a1",
            None if change is None else Decimal(change),
            bound,
            None if ratio is None else Decimal(ratio),
        )

    @pytest.mark.parametrize(
        ("change", "ratio", "passed"),
        [
            ("0", "1", 0),
            ("0.1500", "1.2500", 0),
            ("0.1501", "1", 1),
            ("0", "1.2501", 1),
            ("0.3", "9", 2),
            (None, None, 0),
            (None, "2", 1),
            ("NaN", "1", 1),
            ("0", "Infinity", 1),
        ],
    )
    def test_limits_are_what_may_still_be(self, change: str | None, ratio: str | None, passed: int) -> None:
        assert len(beyond(self.measure(change, ratio), ChainLimits())) == passed

    def test_it_says_how_far_and_what_is_allowed(self) -> None:
        said = beyond(self.measure("0.3", "1.5"), ChainLimits())
        assert said == (
            "its weights moved by 30.0% (15.0% is allowed)",
            "general text became 50.0% harder to predict (25.0% is allowed)",
        )
        assert "at most 30.0%" in beyond(self.measure("0.3", None, bound=True), ChainLimits())[0]

    @pytest.mark.parametrize("text", ["NaN", "inf"])
    def test_a_limit_that_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="must be a number"):
            ChainLimits(relative_change=text)
