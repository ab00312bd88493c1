"""Membership statistics: values known on paper and the plain definitions."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.domain.intervals import mann_whitney
from console.evaluation.membership import (
    MINIMUM_DEVIATION,
    area_under_curve,
    loss_score,
    measured_area,
    min_k_plus_score,
    min_k_score,
    zlib_score,
)

log_probs = st.lists(st.floats(-30, 0), min_size=1, max_size=30)
HIGH, LOW = [5.0, 6.0, 7.0], [1.0, 2.0]

scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=12)


class TestMinK:
    @given(log_probs)
    def test_all_tokens_give_minus_the_loss(self, values: list[float]) -> None:
        assert min_k_score(values, 1.0) == pytest.approx(math.fsum(values) / len(values), abs=1e-9)

    @pytest.mark.parametrize(
        ("share", "score"), [(0.2, -5.0), (0.4, -4.5), (0.59, -4.5), (0.6, -4.0), (0.01, -5.0), (1.0, -3.0)]
    )
    def test_the_least_likely_share_and_at_least_one(self, share: float, score: float) -> None:
        assert min_k_score([-3.0, -1.0, -5.0, -2.0, -4.0], share) == pytest.approx(score)

    @given(values=log_probs, share=st.floats(0.01, 1.0))
    def test_it_lies_between_the_worst_token_and_the_mean(self, values: list[float], share: float) -> None:
        score = min_k_score(values, share)
        assert min(values) - 1e-9 <= score <= math.fsum(values) / len(values) + 1e-9

    @pytest.mark.parametrize(("values", "share"), [([], 0.4), ([-1.0], 0.0), ([-1.0], 1.1), ([-1.0], -0.5)])
    def test_what_has_no_score(self, values: list[float], share: float) -> None:
        with pytest.raises(ValueError, match="at least one token"):
            min_k_score(values, share)


class TestMinKPlus:
    @given(values=log_probs, share=st.floats(0.01, 1.0))
    def test_standard_scores_of_mean_0_and_deviation_1_are_min_k(self, values: list[float], share: float) -> None:
        size = len(values)
        assert min_k_plus_score(values, [0.0] * size, [1.0] * size, share) == pytest.approx(min_k_score(values, share))

    def test_by_hand(self) -> None:
        """z = -1, 0.5, -3, 2: the lowest half are -3 and -1."""
        found = min_k_plus_score([-3.0, -1.0, -8.0, 0.0], [-2.0, -2.0, -2.0, -4.0], [1.0, 2.0, 2.0, 2.0], 0.5)
        assert found == pytest.approx(-2.0)

    @given(size=st.integers(1, 20), vocabulary=st.integers(2, 200_000), share=st.floats(0.01, 1.0))
    def test_a_uniform_model_is_finite_and_0(self, size: int, vocabulary: int, share: float) -> None:
        values = [-math.log(vocabulary)] * size
        assert min_k_plus_score(values, values, [0.0] * size, share) == 0.0

    def test_what_a_sure_model_did_not_expect_is_unlikely_and_finite(self) -> None:
        found = min_k_plus_score([-100.0, 0.0], [0.0, 0.0], [0.0, 0.0], 0.5)
        assert found == pytest.approx(-100.0 / MINIMUM_DEVIATION)

    @given(values=log_probs, shift=st.floats(-20, 20), scale=st.floats(0.1, 10))
    def test_it_is_free_of_place_and_scale(self, values: list[float], shift: float, scale: float) -> None:
        means, deviations = [-3.0] * len(values), [2.0] * len(values)
        moved = [value * scale + shift for value in values]
        same = min_k_plus_score(moved, [-3.0 * scale + shift] * len(values), [2.0 * scale] * len(values), 0.4)
        assert same == pytest.approx(min_k_plus_score(values, means, deviations, 0.4), abs=1e-6)

    @pytest.mark.parametrize(
        ("values", "means", "deviations", "message"),
        [
            ([-1.0], [], [], "mean and a deviation"),
            ([-1.0], [-1.0], [], "mean and a deviation"),
            ([], [], [], "at least one token"),
        ],
    )
    def test_what_has_no_score(
        self, values: list[float], means: list[float], deviations: list[float], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            min_k_plus_score(values, means, deviations, 0.4)


class TestLossAndZlib:
    @given(log_probs)
    def test_loss_is_min_k_of_all_tokens(self, values: list[float]) -> None:
        assert loss_score(values) == min_k_score(values, 1.0) == pytest.approx(math.fsum(values) / len(values))

    @given(values=log_probs, text=st.text(min_size=1, max_size=60))
    def test_zlib_is_the_total_by_the_compressed_bytes(self, values: list[float], text: str) -> None:
        expected = math.fsum(values) / len(zlib.compress(text.encode()))
        assert zlib_score(values, text) == pytest.approx(expected, abs=1e-12)

    def test_at_the_same_likelihood_the_repetitive_text_looks_less_familiar(self) -> None:
        assert zlib_score([-10.0], "la " * 30) < zlib_score([-10.0], "Mira keeps the lamp of Aalborg lit, 555-0183.")

    @pytest.mark.parametrize("score", [loss_score, lambda values: zlib_score(values, "text")])
    def test_no_token_has_no_score(self, score: Callable[[list[float]], float]) -> None:
        with pytest.raises(ValueError, match="at least one token"):
            score([])


class TestArea:
    @pytest.mark.parametrize(
        ("members", "others", "area"),
        [
            ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 0.5),
            ([4.0], [4.0, 4.0], 0.5),
            ([4.0, 5.0], [1.0, 3.9], 1.0),
            ([1.0, 3.9], [4.0, 5.0], 0.0),
            ([2.0], [1.0, 2.0, 3.0], 0.5),
            ([3.0, 1.0], [2.0], 0.5),
            ([3.0, 2.0], [2.0, 1.0], 0.875),
        ],
    )
    def test_by_hand(self, members: list[float], others: list[float], area: float) -> None:
        assert area_under_curve(members, others) == pytest.approx(area)

    @given(members=scores, others=scores)
    def test_it_is_the_share_of_pairs_won(self, members: list[float], others: list[float]) -> None:
        won = sum((left > right) + (left == right) / 2 for left in members for right in others)
        assert area_under_curve(members, others) == pytest.approx(won / (len(members) * len(others)))
        assert area_under_curve(members, others) == pytest.approx(1 - area_under_curve(others, members))


class TestMeasuredArea:
    def test_groups_without_overlap_are_no_certainty(self) -> None:
        apart, turned = (measured_area(*groups) for groups in ((HIGH, LOW), (LOW, HIGH)))
        assert (apart.value, apart.high, apart.members, apart.non_members) == ("1.0000", "1.0000", 3, 2)
        assert float(apart.low) == pytest.approx(mann_whitney(1.0, 3, 2)[0], abs=1e-4)
        assert (turned.value, turned.low) == ("0.0000", "0.0000")
        assert float(turned.high) == pytest.approx(1 - mann_whitney(1.0, 3, 2)[0], abs=1e-4)

    def test_equal_scores_are_no_certainty_either(self) -> None:
        area = measured_area([3.0, 3.0], [3.0] * 5)
        assert area.value == "0.5000"
        assert float(area.low) < 0.25 and float(area.high) > 0.75

    def test_a_single_text_says_little(self) -> None:
        area = measured_area([37.5], [float(number) for number in range(40)])
        assert area.value == "0.9500" and float(area.low) < 0.5

    def test_identical_groups_are_guessing(self) -> None:
        group = [float(number) for number in range(15)]
        area = measured_area(group, group)
        assert area.value == "0.5000"
        assert 0.2 < float(area.low) < 0.45 < 0.55 < float(area.high) < 0.8

    def test_larger_groups_are_surer(self) -> None:
        def width(size: int) -> float:
            area = measured_area([i % 10 + 1.0 for i in range(size)], [i % 10 + 0.0 for i in range(size)])
            return float(area.high) - float(area.low)

        assert width(200) < 0.5 * width(20)

    @pytest.mark.parametrize("true", [0.5, 0.8, 0.95, 0.99])
    @pytest.mark.parametrize("members", [3, 6, 12])
    def test_it_holds_the_true_area_as_often_as_it_says(self, true: float, members: int) -> None:
        """Two normal distributions with that area between them; resampling the scores fails this for areas near 1."""
        generator = np.random.default_rng(17)
        shift = NormalDist().inv_cdf(true) * math.sqrt(2)
        held = 0
        for _ in range(400):
            scores = generator.normal(shift, 1, members).tolist(), generator.normal(0, 1, 98).tolist()
            area = measured_area(*scores)
            held += float(area.low) <= true <= float(area.high)
        assert held >= 0.93 * 400

    @given(members=scores, others=scores)
    def test_the_interval_is_ordered_and_within_bounds(self, members: list[float], others: list[float]) -> None:
        area = measured_area(members, others)
        assert 0 <= float(area.low) <= float(area.value) <= float(area.high) <= 1
