"""Exact intervals: the numbers of ``scipy.stats``, which the product itself may not import here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from console.domain.intervals import clopper_pearson

LARGE = [(0, 200), (1, 200), (100, 200), (199, 200), (200, 200), (3, 1000), (500, 1000), (999, 1000), (17, 5000)]


def reference(hits: int, trials: int, confidence: float) -> tuple[float, float]:
    interval = binomtest(hits, trials).proportion_ci(confidence_level=confidence, method="exact")
    return float(interval.low), float(interval.high)


@pytest.mark.parametrize("trials", [1, 2, 3, 4, 5, 7, 10, 15, 23, 40])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_every_count_of_small_samples(trials: int, confidence: float) -> None:
    for hits in range(trials + 1):
        assert clopper_pearson(hits, trials, confidence) == pytest.approx(reference(hits, trials, confidence), abs=1e-9)


@pytest.mark.parametrize(("hits", "trials"), LARGE)
def test_large_samples(hits: int, trials: int) -> None:
    assert clopper_pearson(hits, trials) == pytest.approx(reference(hits, trials, 0.95), abs=1e-9)


@pytest.mark.parametrize("trials", [3, 40, 100])
def test_no_hit_is_the_rule_of_three(trials: int) -> None:
    low, high = clopper_pearson(0, trials)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / trials), abs=1e-12)


@given(st.integers(1, 60).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_it_holds_the_share_and_mirrors(counts: tuple[int, int]) -> None:
    hits, trials = counts
    low, high = clopper_pearson(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1
    mirrored = clopper_pearson(trials - hits, trials)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (-1, 4), (5, 4), (1, -1)])
def test_counts_that_cannot_be(hits: int, trials: int) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        clopper_pearson(hits, trials)
