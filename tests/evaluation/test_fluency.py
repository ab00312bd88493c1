"""Distinct n-grams, repetition and generation entropy by hand and against scipy and nltk."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from console.evaluation.fluency import distinct_n, entropy_bits, mean_n_gram_entropy, n_gram_entropy, repetition

token_lists = st.lists(st.sampled_from("abcd"), max_size=30)


def test_distinct_by_hand() -> None:
    assert distinct_n(["a b a b"], 1).value == pytest.approx(2 / 4)
    assert distinct_n(["a b a b"], 2).value == pytest.approx(2 / 3)
    assert distinct_n(["a b", "a c"], 2).value == 1  # no n-gram runs from one text into the next
    assert distinct_n(["a b", "a b"], 2).value == pytest.approx(1 / 2)
    assert distinct_n(["Hi, hi."], 1).value == 1  # case and punctuation count


def test_repetition_by_hand() -> None:
    assert repetition("la la la la la", 1).value == pytest.approx(4 / 5)
    assert repetition("one two three", 1).value == 0


def test_too_short_a_text_is_not_measured() -> None:
    for missing in (distinct_n(["a", ""], 2), repetition("a", 2), distinct_n([], 1)):
        assert missing.value is None
        assert "tokens" in missing.reason
    assert mean_n_gram_entropy([]).value is None


def test_entropy_by_hand() -> None:
    # Bigrams ab, ba, ab, ba; trigrams aba, bab, aba: 1 bit and H(2/3, 1/3).
    third = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert n_gram_entropy("a b a b a") == pytest.approx((2 / 3 * 1 + 4 / 3 * third) / 2)
    assert n_gram_entropy("a b c d e") == pytest.approx((2 / 3 * 2 + 4 / 3 * math.log2(3)) / 2)
    assert mean_n_gram_entropy(["a b c d e", "a a a a"]).value == pytest.approx(n_gram_entropy("a b c d e") / 2)


@pytest.mark.parametrize("text", ["", "word", "two words", "la la la la la la"])
def test_a_loop_and_a_short_text_have_no_entropy(text: str) -> None:
    assert n_gram_entropy(text) == 0


@given(tokens=token_lists, n=st.integers(1, 4))
def test_entropy_is_scipys_and_bounded(tokens: list[str], n: int) -> None:
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    if grams:
        assert entropy_bits(tokens, n) == pytest.approx(entropy(list(Counter(grams).values()), base=2), abs=1e-9)
        assert 0 <= entropy_bits(tokens, n) <= math.log2(len(grams)) + 1e-9
    else:
        assert entropy_bits(tokens, n) == 0


@given(token_lists)
def test_repetition_and_distinct_are_the_two_halves(tokens: list[str]) -> None:
    text = " ".join(tokens)
    distinct, repeated = distinct_n([text], 2).value, repetition(text, 2).value
    if len(tokens) < 2:
        assert distinct is repeated is None
    else:
        assert distinct is not None and repeated is not None
        assert 0 <= repeated < 1
        assert distinct + repeated == pytest.approx(1)


def test_romes_own_counting_agrees_on_plain_words() -> None:
    nltk = pytest.importorskip("nltk", reason="nltk is not installed")
    text = "the cat sat on the mat and the cat sat on the chair"
    tokens = text.split()
    parts = []
    for n, weight in ((2, 2 / 3), (3, 4 / 3)):
        counts = list(nltk.FreqDist(nltk.ngrams(tokens, n)).values())
        parts.append(weight * entropy(counts, base=2))
    assert n_gram_entropy(text) == pytest.approx(sum(parts) / 2)


def test_one_n_gram_has_no_negative_zero() -> None:
    assert math.copysign(1, entropy_bits(["la", "la", "la"], 2)) == 1
