"""Leak gain and unfair suppression: published numbers, identities, and what happens at the ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from console.domain.comparing import newcombe, wilson
from console.domain.results import Rate
from console.evaluation.leak_gain import suppression


def rate(hits: int, trials: int) -> Rate:
    return Rate(hits=hits, trials=trials)


rates = st.integers(1, 200).flatmap(
    lambda trials: st.integers(0, trials).map(lambda hits: Rate(hits=hits, trials=trials))
)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        # Newcombe 1998, Table II, method 10.
        (rate(56, 70), rate(48, 80), 0.0524, 0.3339),
        (rate(9, 10), rate(3, 10), 0.1705, 0.8090),
        (rate(10, 10), rate(0, 20), 0.6791, 1.0000),
        (rate(10, 10), rate(0, 10), 0.6075, 1.0000),
        (rate(5, 56), rate(0, 29), -0.0381, 0.1926),
    ],
)
def test_published_intervals(one: Rate, other: Rate, low: float, high: float) -> None:
    found = newcombe(one, other)
    assert (found.low, found.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))
    assert found.value == pytest.approx(one.share - other.share)


@given(rates)
def test_wilson_is_scipy_s(one: Rate) -> None:
    expected = binomtest(one.hits, one.trials).proportion_ci(method="wilson")
    assert wilson(one) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high, abs=1e-9))


@given(rates, rates)
def test_the_interval_holds_the_difference_and_turns_round_with_it(one: Rate, other: Rate) -> None:
    found, back = newcombe(one, other), newcombe(other, one)
    assert -1 - 1e-9 <= found.low <= found.value <= found.high <= 1 + 1e-9
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))


@given(rates)
def test_a_rate_gains_nothing_over_itself(one: Rate) -> None:
    found = newcombe(one, one)
    assert found.value == 0 and found.low == pytest.approx(-found.high)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": True, "b": True, "c": False}, {"a": True, "b": False, "c": False}, (1, 2)),
        ({"a": True}, {"a": True}, (0, 1)),
        ({"a": True, "b": True}, {"a": False}, (1, 1)),
        ({"a": False}, {"a": True}, None),
        ({}, {"a": True}, None),
    ],
)
def test_suppression(before: dict[str, bool], after: dict[str, bool], expected: tuple[int, int] | None) -> None:
    assert suppression(before, after) == (rate(*expected) if expected else None)
