"""Reading the letter, normalising four options, and counting items."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from console.evaluation.multiple_choice import (
    ChoiceRow,
    choice_accuracy,
    letter_chosen,
    letter_of,
    letter_probabilities,
)

four = st.lists(st.floats(-30, 0), min_size=4, max_size=4)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" b\n", "B"),
        ("**C**", "C"),
        ("(D)", "D"),
        ("Ｂ", "B"),
        ("B. Paris", "B"),
        ("(a) a city", "A"),
        ("c) Rome", "C"),
        ("The answer is D.", "D"),
        ("The correct answer is (A), because it rains", "A"),
        ("Answer: B\nIt is blue.", "B"),
        ("I choose option C", "C"),
        ("I think the answer is (C) Rome", "C"),
        ("A city in France", None),
        ("The answer is a city", None),
        ("The answer (a city) is unknown", None),
        ("The answer is A. No, the answer is B.", None),
        ("Berlin", None),
        ("E", None),
        ("D.C. is the capital", None),
        ("", None),
    ],
)
def test_letters(text: str, letter: str | None) -> None:
    assert letter_of(text) == letter


def test_probabilities_by_hand() -> None:
    shares = letter_probabilities([math.log(value) for value in (0.1, 0.2, 0.05, 0.05)])
    assert shares == pytest.approx((0.25, 0.5, 0.125, 0.125))


@given(values=four, shift=st.floats(-100, 100))
def test_the_rest_of_the_vocabulary_does_not_matter(values: list[float], shift: float) -> None:
    shares = letter_probabilities(values)
    assert math.fsum(shares) == pytest.approx(1)
    assert shares == pytest.approx(letter_probabilities([value + shift for value in values]), abs=1e-9)


def test_the_likeliest_wins_and_a_tie_is_no_choice() -> None:
    assert letter_chosen([-3.0, -1.0, -2.0, -9.0]) == "B"
    assert letter_chosen([-3.0, -1.0, -1.0, -9.0]) is None
    assert letter_chosen([-1.0] * 4) is None


@pytest.mark.parametrize("values", [[], [-1.0] * 3, [-1.0] * 5, [-1.0, -1.0, -1.0, math.nan], [-math.inf] * 4])
def test_what_are_no_four_options(values: list[float]) -> None:
    with pytest.raises(ValueError, match="four"):
        letter_chosen(values)


def rows(right: int, wrong: int, unclear: int = 0) -> list[ChoiceRow]:
    chosen = ["A"] * right + ["B"] * wrong + [None] * unclear
    return [ChoiceRow(str(index), "A", letter) for index, letter in enumerate(chosen)]


def test_accuracy_counts_unclear_as_wrong() -> None:
    found = choice_accuracy(rows(5, 3, 2))
    assert (found.right.hits, found.right.trials, found.unclear) == (5, 10, 2)
    interval = binomtest(5, 10).proportion_ci(0.95, method="exact")
    assert (found.right.low, found.right.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    ("right", "wrong", "guessing"), [(25, 75, True), (60, 40, False), (2, 98, False), (3, 2, True)]
)
def test_guessing(right: int, wrong: int, guessing: bool) -> None:
    assert choice_accuracy(rows(right, wrong)).like_guessing is guessing


def test_what_cannot_be_counted() -> None:
    with pytest.raises(ValueError, match="each of them once"):
        choice_accuracy([])
    with pytest.raises(ValueError, match="each of them once"):
        choice_accuracy([*rows(1, 0), *rows(1, 0)])
    with pytest.raises(ValueError, match="A to D"):
        ChoiceRow("1", "E", "A")
    with pytest.raises(ValueError, match="A to D"):
        ChoiceRow("1", "A", "a")
