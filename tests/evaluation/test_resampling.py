"""Bootstrap intervals: the plain definition, and where there is none to give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import bootstrap

from console.evaluation.resampling import Rows, bootstrap_interval, mean_interval

VALUES = np.random.default_rng(3).beta(2, 5, 60)


def test_the_mean_of_sixty_rows_is_scipys() -> None:
    expected = bootstrap((VALUES,), np.mean, n_resamples=4000, method="percentile", rng=7).confidence_interval
    assert mean_interval(VALUES.tolist(), 4000, seed=1) == pytest.approx((expected.low, expected.high), abs=0.005)


def test_columns_of_a_row_stay_together() -> None:
    """A column less itself is 0 in every resample, so nothing is left but the second column's constant."""
    rows = np.column_stack([VALUES, VALUES + VALUES])

    def left_over(drawn: Sequence[Rows]) -> float:
        return float(np.abs(2 * drawn[0][:, 0] - drawn[0][:, 1]).max() + drawn[0][:, 0].mean())

    assert bootstrap_interval([rows], left_over, 200, seed=5) == mean_interval(VALUES.tolist(), 200, seed=5)


@pytest.mark.parametrize("values", [[0.4], [0.0] * 40, [1.0] * 40, [0.25, 0.25]])
def test_rows_that_show_no_spread_have_no_interval(values: list[float]) -> None:
    """Forty answers that all score 0 are not known to be 0 with certainty, which a bootstrap of them would say."""
    assert mean_interval(values, 100, seed=0) is None


def test_a_statistic_that_one_group_holds_at_zero_has_no_interval() -> None:
    groups = [VALUES[:, None], np.zeros((40, 1))]

    def harmonic(drawn: Sequence[Rows]) -> float:
        means = [float(group.mean()) for group in drawn]
        return 0.0 if 0.0 in means else 2 / sum(1 / mean for mean in means)

    assert bootstrap_interval(groups, harmonic, 100, seed=0) is None
    assert bootstrap_interval([VALUES[:, None], VALUES[:, None]], harmonic, 100, seed=0) is not None


def test_a_statistic_that_some_resamples_lack_has_no_interval() -> None:
    assert bootstrap_interval([VALUES[:, None]], lambda drawn: None, 100, seed=0) is None
