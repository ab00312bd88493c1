"""ROUGE-L recall, worked by hand and against the plain definition."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.evaluation.overlap import longest_common_subsequence, rouge_l_recall

words = st.lists(st.sampled_from("abc"), max_size=8)


@pytest.mark.parametrize(
    ("text", "reference", "recall"),
    [
        ("the cat sat", "the cat sat", 1.0),
        ("The CAT, sat!", "the cat sat", 1.0),
        ("once upon a time the big cat quietly sat down", "the cat sat", 1.0),
        ("sat the cat", "the cat sat", 2 / 3),
        ("cat", "the cat sat", 1 / 3),
        ("police killed the gunman", "police kill the gunman", 3 / 4),  # Lin 2004, section 3.1
        ("the gunman kill police", "police kill the gunman", 2 / 4),  # the same page
        ("", "the cat sat", 0.0),
        ("the cat sat", "", 0.0),
        ("the cat sat", "?!", 0.0),
        ("the the the", "the cat the dog", 2 / 4),
        ("Straße 5", "STRASSE 5", 1.0),
        ("rufe 555-0183 an", "555 0183", 1.0),
    ],
)
def test_by_hand(text: str, reference: str, recall: float) -> None:
    assert rouge_l_recall(text, reference) == pytest.approx(recall)


@settings(max_examples=200, deadline=None)
@given(left=words, right=words)
def test_the_longest_common_subsequence_is_the_recursive_one(left: list[str], right: list[str]) -> None:
    @cache
    def length(i: int, j: int) -> int:
        if i == len(left) or j == len(right):
            return 0
        return 1 + length(i + 1, j + 1) if left[i] == right[j] else max(length(i + 1, j), length(i, j + 1))

    assert longest_common_subsequence(left, right) == longest_common_subsequence(right, left) == length(0, 0)


@given(reference=words, noise=words, place=st.integers(0, 8))
def test_added_words_never_lower_it(reference: list[str], noise: list[str], place: int) -> None:
    whole = [*reference[:place], *noise, *reference[place:]]
    assert rouge_l_recall(" ".join(whole), " ".join(reference)) == (1.0 if reference else 0.0)
