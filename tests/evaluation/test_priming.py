"""Priming ratios by hand and with the floor that keeps them finite."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.evaluation.priming import likely_to_prime, priming, probability_ratio

pairs = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20)


def test_by_hand() -> None:
    found = priming([0.001, 0.1], [0.1, 0.1])
    assert found.score == pytest.approx((100 + 1) / 2)
    assert found.log10_score == pytest.approx((2 + 0) / 2)
    assert found.absolute == pytest.approx(0.099 / 2)
    assert found.prefixes == 2


def test_the_mean_of_ratios_is_not_the_ratio_of_means() -> None:
    found = priming([0.1, 0.4], [0.4, 0.1])
    assert found.score == pytest.approx((4 + 0.25) / 2)
    assert (found.log10_score, found.absolute) == pytest.approx((0, 0))


def test_a_vanishing_probability_is_raised_to_the_floor() -> None:
    assert probability_ratio(0.0, 1e-3) == pytest.approx(1e6)
    assert probability_ratio(1e-3, 0.0) == pytest.approx(1e-6)
    assert probability_ratio(0.0, 1e-12) == 1


@given(pairs)
def test_reversing_time_mirrors_and_nothing_changed_is_1(given_pairs: list[tuple[float, float]]) -> None:
    before, after = [list(values) for values in zip(*given_pairs, strict=True)]
    there, back = priming(before, after), priming(after, before)
    assert there.log10_score == pytest.approx(-back.log10_score, abs=1e-9)
    assert there.absolute == pytest.approx(-back.absolute, abs=1e-12)
    assert 10**there.log10_score <= there.score * (1 + 1e-9)
    still = priming(before, before)
    assert (still.score, still.log10_score, still.absolute) == (1, 0, 0)


def test_the_risk_is_low_probability_before() -> None:
    assert likely_to_prime(9e-4)
    assert not likely_to_prime(1e-3)


@pytest.mark.parametrize(("before", "after"), [([], []), ([0.1], [0.1, 0.2]), ([1.1], [0.1]), ([0.1], [-0.1])])
def test_what_has_no_score(before: list[float], after: list[float]) -> None:
    with pytest.raises(ValueError, match=r"at least one|between 0 and 1"):
        priming(before, after)
