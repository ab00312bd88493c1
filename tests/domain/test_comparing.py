"""Two rates beside each other, against scipy and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact as scipy_fisher

from console.domain.comparing import fisher_exact, fisher_greater, holm
from console.domain.results import Rate


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_fisher_is_scipy_s(left: int, right: int, data: st.DataObject) -> None:
    first = Rate(hits=data.draw(st.integers(0, left)), trials=left)
    second = Rate(hits=data.draw(st.integers(0, right)), trials=right)
    table = [[first.hits, left - first.hits], [second.hits, right - second.hits]]
    assert fisher_exact(first, second) == pytest.approx(scipy_fisher(table).pvalue, rel=1e-6, abs=1e-12)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_the_one_sided_value_is_scipy_s(left: int, right: int, data: st.DataObject) -> None:
    first = Rate(hits=data.draw(st.integers(0, left)), trials=left)
    second = Rate(hits=data.draw(st.integers(0, right)), trials=right)
    table = [[first.hits, left - first.hits], [second.hits, right - second.hits]]
    expected = scipy_fisher(table, alternative="greater").pvalue
    assert fisher_greater(first, second) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_the_tea_lady() -> None:
    """Fisher 1935: three of four cups right; the two-sided value is 34 of 70."""
    assert fisher_exact(Rate(hits=3, trials=4), Rate(hits=1, trials=4)) == pytest.approx(34 / 70)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
