"""RESTOR: forgetting the false is not recovering the true."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from console.domain.results import Rate
from console.evaluation.restor import Restoration, restoration

counts = st.integers(0, 40)


def restored(
    clean: int, corrupted: int, unlearned: int, false_before: int, false_after: int, of: int = 40
) -> Restoration:
    return restoration(
        *(Rate(hits=hits, trials=of) for hits in (clean, corrupted, unlearned, false_before, false_after))
    )


@pytest.mark.parametrize(
    ("counted", "recovery", "unclipped", "forgetting"),
    [
        ((30, 10, 30, 20, 0), 1, 1, 1),
        ((30, 10, 10, 20, 20), 0, 0, 0),
        ((30, 10, 10, 20, 0), 0, 0, 1),  # the finding: all forgotten, nothing recovered
        ((30, 10, 15, 20, 5), 0.25, 0.25, 0.75),
        ((30, 10, 0, 20, 0), 0, -0.5, 1),
        ((30, 10, 40, 20, 30), 1, 1.5, -0.5),
    ],
)
def test_by_hand(counted: tuple[int, ...], recovery: float, unclipped: float, forgetting: float) -> None:
    found = restored(*counted)
    assert (found.recovery.value, found.unclipped.value, found.forgetting.value) == pytest.approx(
        (recovery, unclipped, forgetting)
    )


@pytest.mark.parametrize(
    ("clean", "of", "defined"), [(11, 40, False), (12, 40, True), (17, 140, True), (16, 140, False)]
)
def test_too_small_a_gap_is_undefined_and_the_limit_is_exact(clean: int, of: int, defined: bool) -> None:
    found = restored(clean, 10, 11, 5, 5, of)
    assert (found.recovery.value is not None) == (found.unclipped.value is not None) == defined
    assert defined or "5%" in found.recovery.reason


def test_corruption_that_helped_has_nothing_to_recover() -> None:
    assert restored(10, 30, 20, 5, 5).recovery.value is None


def test_nothing_false_before_is_nothing_to_forget() -> None:
    found = restored(30, 10, 20, 0, 0)
    assert found.forgetting.value is None
    assert found.recovery.value == 0.5


@given(clean=counts, corrupted=counts, unlearned=counts)
def test_bounds(clean: int, corrupted: int, unlearned: int) -> None:
    assume(clean - corrupted >= 2)
    found = restored(clean, corrupted, unlearned, 1, 0)
    assert found.recovery.value is not None and found.unclipped.value is not None
    assert 0 <= found.recovery.value <= 1
    assert (found.unclipped.value >= 1) == (unlearned >= clean)


def test_unequal_questions_are_not_compared() -> None:
    other = Rate(hits=1, trials=9)
    with pytest.raises(ValueError, match="same questions"):
        restoration(other, other, Rate(hits=1, trials=8), other, other)
