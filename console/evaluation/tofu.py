"""TOFU: probability, truth ratio, forget quality and model utility (Maini et al. 2024, arXiv 2401.06121).

Everything starts from ``mean log-probabilities``: nats per answer token, teacher-forced, so that exp(mean) is the
paper's length-normalised P(a|q)^(1/|a|). Truth ratios are kept as logarithms, because the ratio itself
overflows on a model that has collapsed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import logsumexp
from scipy.stats import ks_2samp

from console.evaluation.measured import Measured, not_measured
from console.evaluation.resampling import Rows, bootstrap_interval


class TofuSet(StrEnum):
    """The four question sets (forget: 40, 200 or 400 rows; retain 300; real authors 100; world facts 117)."""

    FORGET = "forget"
    RETAIN = "retain"
    REAL_AUTHORS = "real-authors"
    WORLD_FACTS = "world-facts"

    @property
    def has_options(self) -> bool:
        """Whether the set is scored as a choice among the true and the wrong answers."""
        return self in (TofuSet.REAL_AUTHORS, TofuSet.WORLD_FACTS)


UTILITY_SETS = (TofuSet.RETAIN, TofuSet.REAL_AUTHORS, TofuSet.WORLD_FACTS)


class WrongAnswerMean(StrEnum):
    """How the wrong answers of a truth ratio are averaged: two numbers go by one name."""

    ARITHMETIC = "arithmetic"  # mean of probabilities: the paper's truth ratio and TOFU's utils.py
    GEOMETRIC = "geometric"  # mean of losses: TOFU's aggregate_eval_stat.py and open-unlearning


@dataclass(frozen=True)
class TofuRow:
    """One question as the model scored it.

    Attributes:
        answer: mean log-probability of the true answer.
        paraphrased: of the paraphrased true answer; the answer itself on real authors and world facts.
        perturbed: (wrong answers,) of every wrong answer, at least one.
        rouge_l_recall: of the greedy answer against the true one, in [0, 1].
    """

    answer: float
    paraphrased: float
    perturbed: tuple[float, ...]
    rouge_l_recall: float


@dataclass(frozen=True)
class SetScores:
    """The three numbers of one set, each in [0, 1]; on the three utility sets higher is better."""

    probability: float
    rouge: float
    truth_ratio: float


@dataclass(frozen=True)
class ForgetQuality:
    """Two-sample Kolmogorov-Smirnov test of the truth ratios of the unlearned and the retrained model.

    A p-value near 1 says that the test sees no difference. It is low for a model that forgot too little *and* for
    one that forgot too much, and depends on the number of rows; show the truth ratios beside it.
    """

    p_value: float
    statistic: float
    rows: int
    retrained_rows: int


def answer_probability(mean_log_prob: float) -> float:
    """P(a|q)^(1/|a|) of one answer (TOFU, probability on the forget and retain sets)."""
    return math.exp(mean_log_prob)


def option_probability(answer: float, perturbed: Sequence[float]) -> float:
    """Share of the true answer among all answers offered (TOFU, real authors and world facts).

    P(a) / (P(a) + sum_j P(a_j)) over length-normalised probabilities, from mean log-probabilities.
    """
    return float(np.exp(answer - logsumexp([answer, *perturbed])))


def log_truth_ratio(
    paraphrased: float, perturbed: Sequence[float], mean: WrongAnswerMean = WrongAnswerMean.ARITHMETIC
) -> float:
    """Natural logarithm of TOFU's truth ratio: wrong answers over the paraphrased true one.

    Above 0 the model prefers the wrong answers.

    Raises:
        ValueError: no wrong answer.
    """
    if not perturbed:
        raise ValueError("a truth ratio needs at least one wrong answer")
    if mean is WrongAnswerMean.GEOMETRIC:
        return float(np.mean(perturbed)) - paraphrased
    return float(logsumexp(perturbed)) - math.log(len(perturbed)) - paraphrased


def log_truth_ratios(rows: Sequence[TofuRow], mean: WrongAnswerMean = WrongAnswerMean.ARITHMETIC) -> tuple[float, ...]:
    """(rows,) logarithms of the truth ratios, one per question."""
    return tuple(log_truth_ratio(row.paraphrased, row.perturbed, mean) for row in rows)


def _array(log_ratios: Sequence[float]) -> np.ndarray:
    if not log_ratios:
        raise ValueError("a mean over truth ratios needs at least one")
    return np.asarray(log_ratios, dtype=np.float64)


def forget_truth_ratio(log_ratios: Sequence[float]) -> float:
    """Mean of min(R, 1/R): 1 when true and wrong answers are equally likely on every row of the forget set."""
    return float(np.exp(-np.abs(_array(log_ratios))).mean())


def utility_truth_ratio(log_ratios: Sequence[float]) -> float:
    """Mean of max(0, 1 - R): 1 when the wrong answers have no probability (TOFU, model utility)."""
    # exp(min(0, x)) - 1 rather than exp(x) - 1: rows with R > 1 count 0 either way, and cannot overflow.
    return float(-np.expm1(np.minimum(0.0, _array(log_ratios))).mean())


def set_scores(
    tofu_set: TofuSet, rows: Sequence[TofuRow], mean: WrongAnswerMean = WrongAnswerMean.ARITHMETIC
) -> SetScores:
    """Probability, ROUGE-L recall and truth ratio of one set, each in the variant that TOFU uses for that set.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError(f"the set {tofu_set} has no rows")
    log_ratios = log_truth_ratios(rows, mean)
    return SetScores(
        probability=math.fsum(
            option_probability(row.answer, row.perturbed) if tofu_set.has_options else answer_probability(row.answer)
            for row in rows
        )
        / len(rows),
        rouge=math.fsum(row.rouge_l_recall for row in rows) / len(rows),
        truth_ratio=(forget_truth_ratio if tofu_set is TofuSet.FORGET else utility_truth_ratio)(log_ratios),
    )


def forget_quality(unlearned: Sequence[float], retrained: Sequence[float] | None) -> Measured[ForgetQuality]:
    """TOFU's forget quality from the log truth ratios of two models on the forget set.

    The test sees only the order of the values, so logarithms and ratios give the same p-value.
    Both must use the same :class:`WrongAnswerMean`.
    """
    if retrained is None:
        return not_measured("needs a model retrained without the forget set, and there is none")
    if not unlearned or not retrained:
        return not_measured("needs at least one truth ratio of either model")
    test = ks_2samp(unlearned, retrained)
    return Measured(ForgetQuality(float(test.pvalue), float(test.statistic), len(unlearned), len(retrained)))


def harmonic_mean(values: Sequence[float]) -> float:
    """n / sum(1/x): 0 as soon as one value is 0.

    Raises:
        ValueError: no value, or a negative one.
    """
    if not values or min(values) < 0:
        raise ValueError("a harmonic mean needs values, none of them negative")
    return 0.0 if min(values) == 0 else len(values) / math.fsum(1 / value for value in values)


def model_utility(retain: SetScores, real_authors: SetScores, world_facts: SetScores) -> float:
    """Harmonic mean of the nine numbers: three sets by probability, ROUGE-L recall, truth ratio (TOFU)."""
    return harmonic_mean(
        [
            value
            for scores in (retain, real_authors, world_facts)
            for value in (scores.probability, scores.rouge, scores.truth_ratio)
        ]
    )


def utility_of(sets: Sequence[Rows]) -> float:
    """Model utility of the three sets in the order of :func:`model_utility`.

    Args:
        sets: each (rows, 3): probability, ROUGE-L recall, truth ratio of every row.
    """
    return model_utility(*(SetScores(*numbers.mean(axis=0).tolist()) for numbers in sets))


def utility_difference(
    one: Sequence[Rows], other: Sequence[Rows], resamples: int, seed: int
) -> tuple[float, tuple[float, float] | None]:
    """Utility of ``one`` minus that of ``other``, with its paired bootstrap interval.

    Both models answered the same questions, so a resample takes the same rows of both: what makes a question hard for
    either falls out, and the interval is narrower than those of the two utilities suggest.

    Args:
        one, other: as for :func:`utility_of`, row by row the same questions.

    Raises:
        ValueError: sets of unequal size.
    """
    pairs = [np.concatenate(both, axis=1) for both in zip(one, other, strict=True)]

    def difference(drawn: Sequence[Rows]) -> float:
        columns = drawn[0].shape[1] // 2
        return utility_of([rows[:, :columns] for rows in drawn]) - utility_of([rows[:, columns:] for rows in drawn])

    return difference(pairs), bootstrap_interval(pairs, difference, resamples, seed)
