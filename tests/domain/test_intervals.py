"""Intervals against the numbers of ``scipy``, which the product itself may not import here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from console.domain.intervals import clopper_pearson, mann_whitney

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


def standard_error(area: float, members: int, others: int) -> float:
    """Hanley and McNeil 1982, eq. 2, both group sizes in it their mean (Newcombe 2006, method 4)."""
    less_one = (members + others) / 2 - 1
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + less_one * (q1 - area**2) + less_one * (q2 - area**2)
    return float((variance / (members * others)) ** 0.5)


class TestMannWhitney:
    @pytest.mark.parametrize("area", [0.5, 0.62, 0.9, 0.99, 1.0])
    @pytest.mark.parametrize("sizes", [(1, 98), (3, 2), (12, 98), (98, 12), (40, 40)])
    @pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
    def test_the_ends_lie_z_standard_errors_away(self, area: float, sizes: tuple[int, int], confidence: float) -> None:
        reach = norm.ppf((1 + confidence) / 2)
        low, high = mann_whitney(area, *sizes, confidence)
        expected = brentq(lambda end: area - end - reach * standard_error(end, *sizes), 1e-9, area - 1e-9)
        assert low == pytest.approx(expected, abs=1e-8)
        if area < 1:
            expected = brentq(lambda end: end - area - reach * standard_error(end, *sizes), area + 1e-9, 1 - 1e-12)
            assert high == pytest.approx(expected, abs=1e-8)

    def test_perfect_separation_is_no_certainty(self) -> None:
        ends = [mann_whitney(1.0, members, 98) for members in (1, 2, 6, 12, 1000)]
        assert [high for _, high in ends] == [1.0] * 5
        lows = [low for low, _ in ends]
        assert lows == sorted(lows) and lows[0] < 0.5 < lows[1] and lows[3] < 0.93 and lows[4] > 0.95

    @given(st.data(), st.integers(1, 50), st.integers(1, 200))
    def test_it_holds_the_area_and_mirrors(self, data: st.DataObject, members: int, others: int) -> None:
        pairs = 2 * members * others  # a pair counts one or, where it ties, a half
        area = data.draw(st.integers(0, pairs)) / pairs
        low, high = mann_whitney(area, members, others)
        assert 0 <= low <= area <= high <= 1
        below, above = mann_whitney(1 - area, others, members)
        assert (1 - above, 1 - below) == pytest.approx((low, high), abs=1e-6)

    @pytest.mark.parametrize(("area", "members", "others"), [(1.1, 3, 4), (-0.1, 3, 4), (0.5, 0, 4), (0.5, 3, 0)])
    def test_areas_that_cannot_be(self, area: float, members: int, others: int) -> None:
        with pytest.raises(ValueError, match="cannot be"):
            mann_whitney(area, members, others)
