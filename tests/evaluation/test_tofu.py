"""TOFU's numbers by hand, its identities, and its own aggregation written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hmean, ks_2samp

from console.evaluation.resampling import Rows, bootstrap_interval
from console.evaluation.tofu import (
    SetScores,
    TofuRow,
    TofuSet,
    WrongAnswerMean,
    answer_probability,
    forget_quality,
    forget_truth_ratio,
    harmonic_mean,
    log_truth_ratio,
    log_truth_ratios,
    model_utility,
    option_probability,
    set_scores,
    utility_difference,
    utility_of,
    utility_truth_ratio,
)

log_probs = st.floats(-20, 0)
log_ratio_lists = st.lists(st.floats(-30, 30), min_size=1, max_size=20)
ln = math.log


def row(answer: float, paraphrased: float, *perturbed: float, rouge: float = 0.5) -> TofuRow:
    """A row from probabilities."""
    return TofuRow(ln(answer), ln(paraphrased), tuple(map(ln, perturbed)), rouge)


class TestProbability:
    def test_by_hand(self) -> None:
        assert answer_probability(ln(0.3)) == pytest.approx(0.3)
        assert option_probability(ln(0.4), [ln(0.1), ln(0.2), ln(0.1)]) == pytest.approx(0.5)

    def test_it_does_not_underflow(self) -> None:
        assert option_probability(-5000.0, [-5000.0]) == pytest.approx(0.5)

    @given(answer=log_probs, wrong=st.lists(log_probs, min_size=1, max_size=5))
    def test_the_options_share_one(self, answer: float, wrong: list[float]) -> None:
        options = [answer, *wrong]
        shares = [option_probability(value, options[:i] + options[i + 1 :]) for i, value in enumerate(options)]
        assert math.fsum(shares) == pytest.approx(1)


class TestTruthRatio:
    def test_the_two_means_by_hand(self) -> None:
        wrong = [ln(0.1), ln(0.4)]
        assert math.exp(log_truth_ratio(ln(0.5), wrong)) == pytest.approx(0.25 / 0.5)
        geometric = log_truth_ratio(ln(0.5), wrong, WrongAnswerMean.GEOMETRIC)
        assert math.exp(geometric) == pytest.approx(0.2 / 0.5)

    @given(right=log_probs, wrong=st.lists(log_probs, min_size=1, max_size=5))
    def test_geometric_is_never_above_arithmetic(self, right: float, wrong: list[float]) -> None:
        assert log_truth_ratio(right, wrong, WrongAnswerMean.GEOMETRIC) <= log_truth_ratio(right, wrong) + 1e-9

    def test_aggregates_by_hand(self) -> None:
        ratios = [ln(0.5), ln(2), ln(1), ln(4)]
        assert forget_truth_ratio(ratios) == pytest.approx((0.5 + 0.5 + 1 + 0.25) / 4)
        assert utility_truth_ratio(ratios) == pytest.approx(0.5 / 4)

    @given(log_ratio_lists)
    def test_bounds_and_symmetry(self, ratios: list[float]) -> None:
        mirrored = [-ratio for ratio in ratios]
        assert 0 <= forget_truth_ratio(ratios) <= 1
        assert 0 <= utility_truth_ratio(ratios) <= 1
        assert forget_truth_ratio(ratios) == pytest.approx(forget_truth_ratio(mirrored))

    def test_a_collapsed_model_does_not_overflow(self) -> None:
        assert forget_truth_ratio([5000.0, -5000.0]) == 0
        assert utility_truth_ratio([5000.0, -5000.0]) == 0.5

    def test_what_has_no_ratio(self) -> None:
        with pytest.raises(ValueError, match="wrong answer"):
            log_truth_ratio(0.0, [])
        with pytest.raises(ValueError, match="at least one"):
            forget_truth_ratio([])


class TestSetScores:
    rows = (row(0.5, 0.4, 0.1, 0.3, rouge=1.0), row(0.2, 0.1, 0.2, 0.2, rouge=0.0))

    def test_each_set_has_its_variant(self) -> None:
        forget, retain, facts = (
            set_scores(each, self.rows) for each in (TofuSet.FORGET, TofuSet.RETAIN, TofuSet.WORLD_FACTS)
        )
        assert forget.probability == retain.probability == pytest.approx((0.5 + 0.2) / 2)
        assert facts.probability == pytest.approx((0.5 / 0.9 + 0.2 / 0.6) / 2)
        # Truth ratios: 0.2/0.4 and 0.2/0.1.
        assert forget.truth_ratio == pytest.approx((0.5 + 0.5) / 2)
        assert retain.truth_ratio == facts.truth_ratio == pytest.approx((0.5 + 0) / 2)
        assert set_scores(TofuSet.REAL_AUTHORS, self.rows) == facts
        assert forget.rouge == 0.5

    def test_as_in_tofus_final_aggregation(self) -> None:
        """The formulas of its aggregate_eval_stat.py over losses, with numpy."""
        generator = np.random.default_rng(3)
        answer, paraphrased = generator.uniform(0.1, 4, 30), generator.uniform(0.1, 4, 30)
        perturbed = generator.uniform(0.1, 4, (30, 5))
        rows = [
            TofuRow(-a, -p, tuple(-value for value in w), 0.5)
            for a, p, w in zip(answer.tolist(), paraphrased.tolist(), perturbed.tolist(), strict=True)
        ]
        inverse = np.exp(perturbed.mean(-1) - paraphrased)
        true, false = np.exp(-answer), np.exp(-perturbed)
        forget = set_scores(TofuSet.FORGET, rows, WrongAnswerMean.GEOMETRIC)
        facts = set_scores(TofuSet.WORLD_FACTS, rows, WrongAnswerMean.GEOMETRIC)
        assert forget.truth_ratio == pytest.approx(np.minimum(inverse, 1 / inverse).mean())
        assert facts.truth_ratio == pytest.approx(np.maximum(0, 1 - 1 / inverse).mean())
        assert facts.probability == pytest.approx((true / (true + false.sum(-1))).mean())

    def test_an_empty_set_has_no_scores(self) -> None:
        with pytest.raises(ValueError, match="no rows"):
            set_scores(TofuSet.RETAIN, [])


class TestForgetQuality:
    def test_identical_models_are_not_told_apart(self) -> None:
        quality = forget_quality([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]).value
        assert quality is not None
        assert (quality.p_value, quality.statistic, quality.rows) == (1.0, 0.0, 3)

    def test_separated_by_hand(self) -> None:
        """All three below all three: 2 of the 20 equally likely orders are as extreme."""
        quality = forget_quality([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).value
        assert quality is not None
        assert (quality.p_value, quality.statistic) == pytest.approx((2 / 20, 1.0))

    def test_over_unlearning_is_punished_like_none(self) -> None:
        reference = [i / 10 for i in range(-20, 20)]
        low, high = (forget_quality([x + shift for x in reference], reference).value for shift in (-10, 10))
        assert low is not None and high is not None
        assert low.p_value == pytest.approx(high.p_value)
        assert low.p_value < 1e-15

    @settings(deadline=None)
    @given(
        left=st.lists(st.integers(-9, 9), min_size=1, max_size=9),
        right=st.lists(st.integers(-9, 9), min_size=1, max_size=9),
    )
    def test_logarithms_give_the_p_value_of_the_ratios(self, left: list[int], right: list[int]) -> None:
        quality = forget_quality([float(x) for x in left], [float(x) for x in right]).value
        theirs = ks_2samp(np.exp(left), np.exp(right))
        inverse = ks_2samp(np.exp(np.negative(left)), np.exp(np.negative(right)))  # TOFU tests 1/R
        assert quality is not None
        assert quality.p_value == pytest.approx(theirs.pvalue)
        assert quality.p_value == pytest.approx(inverse.pvalue)

    def test_without_a_retrained_model_it_is_not_applicable(self) -> None:
        for retrained in (None, []):
            missing = forget_quality([0.1], retrained)
            assert missing.value is None
            assert missing.reason
        assert "retrained" in forget_quality([0.1], None).reason


class TestModelUtility:
    def test_by_hand(self) -> None:
        even = SetScores(0.5, 0.5, 0.5)
        assert model_utility(even, even, even) == pytest.approx(0.5)
        # 1/0.25 + eight times 1/1 = 12.
        one = SetScores(1.0, 1.0, 1.0)
        assert model_utility(SetScores(1.0, 0.25, 1.0), one, one) == pytest.approx(9 / 12)
        assert model_utility(one, one, SetScores(1.0, 1.0, 0.0)) == 0

    @given(st.lists(st.floats(0.001, 1), min_size=9, max_size=9))
    def test_it_is_scipys_harmonic_mean(self, values: list[float]) -> None:
        sets = [SetScores(*values[start : start + 3]) for start in (0, 3, 6)]
        assert model_utility(*sets) == pytest.approx(hmean(values))
        assert min(values) - 1e-12 <= model_utility(*sets) <= math.fsum(values) / 9 + 1e-12

    @pytest.mark.parametrize("values", [[], [0.5, -0.1]])
    def test_what_has_no_harmonic_mean(self, values: list[float]) -> None:
        with pytest.raises(ValueError, match="harmonic mean"):
            harmonic_mean(values)


def test_ratios_keep_the_order_of_rows() -> None:
    found = log_truth_ratios([row(0.5, 0.5, 0.25), row(0.5, 0.25, 0.5)])
    assert found == pytest.approx((ln(0.5), ln(2)))


class TestUtilityDifference:
    """Two models on the same rows, of which some are hard for both."""

    @staticmethod
    def pair(lost: float) -> tuple[list[Rows], list[Rows]]:
        generator = np.random.default_rng(11)
        one = [generator.uniform(0.2, 0.8, (40, 3)) for _ in range(3)]
        return one, [rows - lost + generator.normal(0, 0.01, rows.shape) for rows in one]

    def test_it_is_the_difference_of_the_two_utilities(self) -> None:
        one, other = self.pair(0.1)
        value, interval = utility_difference(one, other, 500, seed=2)
        assert value == pytest.approx(utility_of(one) - utility_of(other)) and value > 0.05
        assert interval is not None and interval[0] < value < interval[1]
        back, turned = utility_difference(other, one, 500, seed=2)
        assert back == pytest.approx(-value)
        assert turned is not None and (-turned[1], -turned[0]) == pytest.approx(interval)

    def test_pairing_sees_what_two_intervals_do_not(self) -> None:
        one, other = self.pair(0.03)
        first, second = (bootstrap_interval(sets, utility_of, 500, seed=2) for sets in (one, other))
        assert first is not None and second is not None and first[0] < second[1], "the two intervals overlap"
        _, interval = utility_difference(one, other, 500, seed=2)
        assert interval is not None and interval[0] > 0

    def test_the_same_model_has_no_difference_and_no_interval(self) -> None:
        one, _ = self.pair(0.1)
        assert utility_difference(one, one, 100, seed=0) == (0.0, None)

    def test_other_rows_are_refused(self) -> None:
        one, other = self.pair(0.1)
        with pytest.raises(ValueError, match="dimensions"):
            utility_difference(one, [other[0][:39], *other[1:]], 100, seed=0)
        with pytest.raises(ValueError, match="shorter"):
            utility_difference(one, other[:2], 100, seed=0)


def test_utility_of_rows_is_the_utility_of_their_means() -> None:
    sets = [np.array([[0.2, 0.4, 0.6], [0.4, 0.6, 0.8]]), np.full((3, 3), 0.5), np.array([[1.0, 0.25, 0.5]])]
    assert utility_of(sets) == pytest.approx(hmean([0.3, 0.5, 0.7, 0.5, 0.5, 0.5, 1.0, 0.25, 0.5]))
