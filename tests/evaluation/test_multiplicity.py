"""Corrections by hand and against their definitions; the worst attack; runs over seeds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from console.domain.intervals import clopper_pearson
from console.domain.results import Rate
from console.evaluation.multiplicity import (
    Correction,
    adjusted_p_values,
    rejections,
    repeats,
    simultaneous_intervals,
    worst_case,
)

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)
rates = st.integers(1, 30).flatmap(lambda trials: st.builds(Rate, hits=st.integers(0, trials), trials=st.just(trials)))


class TestCorrections:
    def test_by_hand(self) -> None:
        values = [0.01, 0.04, 0.03, 0.005]
        assert adjusted_p_values(values) == pytest.approx((0.03, 0.06, 0.06, 0.02))
        assert adjusted_p_values(values, Correction.BONFERRONI) == pytest.approx((0.04, 0.16, 0.12, 0.02))
        assert rejections(values) == (True, False, False, True)
        assert adjusted_p_values([0.3]) == (0.3,)
        assert adjusted_p_values([0.9, 0.8]) == (1.0, 1.0)

    def test_holm_rejects_where_bonferroni_does_not(self) -> None:
        values = [0.01, 0.02]
        assert rejections([0.02, 0.04], correction=Correction.BONFERRONI) == (True, False)
        assert rejections([0.02, 0.04]) == (True, True)
        assert rejections(values, alpha=0.005) == (False, False)

    @given(p_lists)
    def test_order_and_bounds(self, values: list[float]) -> None:
        holm, bonferroni = (
            adjusted_p_values(values, correction) for correction in (Correction.HOLM, Correction.BONFERRONI)
        )
        for raw, step, plain in zip(values, holm, bonferroni, strict=True):
            assert raw <= step <= plain <= 1
        ranked = sorted(zip(values, holm, strict=True))
        assert [step for _, step in ranked] == sorted(holm)

    @given(values=p_lists, alpha=st.floats(0.001, 0.2))
    def test_holm_is_the_step_down_procedure(self, values: list[float], alpha: float) -> None:
        falling, rejected = sorted(range(len(values)), key=values.__getitem__), set()
        for rank, index in enumerate(falling):
            if (len(values) - rank) * values[index] > alpha:
                break
            rejected.add(index)
        assert rejections(values, alpha) == tuple(index in rejected for index in range(len(values)))

    def test_statsmodels_agrees(self) -> None:
        multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
        values = [0.01, 0.04, 0.03, 0.005, 0.5, 0.04]
        for correction in Correction:
            assert adjusted_p_values(values, correction) == pytest.approx(
                multitest.multipletests(values, method=correction.value)[1]
            )

    @pytest.mark.parametrize("values", [[], [1.2], [-0.1], [math.nan]])
    def test_what_is_no_p_value(self, values: list[float]) -> None:
        with pytest.raises(ValueError, match="p-values"):
            adjusted_p_values(values)


class TestWorstCase:
    def test_it_is_the_attack_that_finds_most(self) -> None:
        worst = worst_case({"direct": Rate(hits=2, trials=40), "prefix": Rate(hits=9, trials=40)})
        assert (worst.attack, worst.rate.hits, worst.attacks) == ("prefix", 9, 2)
        high = binomtest(9, 40).proportion_ci(0.975, method="exact").high
        assert worst.upper == pytest.approx(high)
        assert worst.upper > worst.rate.high  # choosing the worst of two costs certainty

    def test_a_small_attack_bounds_little_although_it_found_nothing(self) -> None:
        worst = worst_case({"large": Rate(hits=5, trials=100), "small": Rate(hits=0, trials=3)})
        assert worst.attack == "large"
        assert worst.upper == pytest.approx(1 - 0.0125 ** (1 / 3))  # of 0 in 3, at 97.5 %

    def test_equals_go_to_the_larger_then_to_the_name(self) -> None:
        same = Rate(hits=0, trials=5)
        assert worst_case({"b": same, "a": same}).attack == "a"
        assert worst_case({"a": same, "b": Rate(hits=0, trials=6)}).attack == "b"

    @settings(deadline=None)
    @given(st.dictionaries(st.sampled_from("abcde"), rates, min_size=1))
    def test_the_bound_covers_every_attack(self, by_attack: dict[str, Rate]) -> None:
        worst = worst_case(by_attack)
        assert worst.rate.share == max(rate.share for rate in by_attack.values())
        assert all(rate.high <= worst.upper + 1e-12 for rate in by_attack.values())

    def test_one_attack_is_the_ordinary_interval(self) -> None:
        assert simultaneous_intervals({"a": Rate(hits=3, trials=9)}) == {"a": pytest.approx(clopper_pearson(3, 9))}

    def test_no_attack_no_worst(self) -> None:
        with pytest.raises(ValueError, match="at least one attack"):
            worst_case({})


class TestRepeats:
    def test_by_hand(self) -> None:
        found = repeats({0: 0.2, 1: 0.5, 2: 0.2})
        assert (found.mean, found.low, found.high, found.runs) == pytest.approx((0.3, 0.2, 0.5, 3))
        assert found.spread == pytest.approx(0.3)
        assert repeats({7: 0.4}).spread == 0

    @given(st.dictionaries(st.integers(), st.floats(-1e6, 1e6), min_size=1))
    def test_the_mean_lies_in_the_range(self, by_seed: dict[int, float]) -> None:
        found = repeats(by_seed)
        assert found.low <= found.mean <= found.high
        assert found.runs == len(by_seed)

    @pytest.mark.parametrize("by_seed", [{}, {0: math.nan}, {0: 0.1, 1: math.inf}])
    def test_what_cannot_be_summarised(self, by_seed: dict[int, float]) -> None:
        with pytest.raises(ValueError, match="at least one run"):
            repeats(by_seed)
