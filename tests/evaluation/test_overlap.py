"""ROUGE, BLEU and memorisation, worked by hand, against the plain definitions and the reference packages."""

from __future__ import annotations

import math
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.evaluation.overlap import (
    bleu,
    exact_memorisation,
    extraction_strength,
    longest_common_subsequence,
    n_grams,
    rouge_1,
    rouge_l,
    rouge_l_recall,
)

words = st.lists(st.sampled_from("abc"), max_size=8)


def _split(text: str) -> list[str]:
    return text.split()


TEXT_PAIRS = [
    ("the cat sat on the mat", "the cat sat on a mat"),
    ("Ann Reed lives at 12 Mill Lane, Ashby.", "Ann Reed lived at 12 Mill Lane in Ashby."),
    ("no word of it", "Something else, entirely!"),
    ("the the the the the", "the cat the dog the"),
    ("one two three four five six", "six five four three two one"),
    ("Her number is 555-0183, she said", "her number is 555-0183, she said so"),
    ("short", "a much longer reference than the text is"),
]


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


class TestRouge:
    @pytest.mark.parametrize(
        ("text", "reference", "recall", "precision", "f1"),
        [
            ("the cat sat", "the cat sat", 1, 1, 1),
            ("the cat sat on the mat", "the cat sat", 1, 1 / 2, 2 / 3),
            ("cat", "the cat sat", 1 / 3, 1, 1 / 2),
            ("police kill the gunman", "the gunman kill police", 2 / 4, 2 / 4, 1 / 2),
            ("dog", "the cat sat", 0, 0, 0),
            ("", "the cat sat", 0, 0, 0),
            ("dog", "", 0, 0, 0),
        ],
    )
    def test_rouge_l_by_hand(self, text: str, reference: str, recall: float, precision: float, f1: float) -> None:
        found = rouge_l(text, reference)
        assert (found.recall, found.precision, found.f1) == pytest.approx((recall, precision, f1))

    @pytest.mark.parametrize(
        ("text", "reference", "recall", "precision"),
        [
            ("police kill the gunman", "the gunman kill police", 1, 1),
            ("the the the", "the cat the dog", 2 / 4, 2 / 3),
            ("a b", "b c d", 1 / 3, 1 / 2),
        ],
    )
    def test_rouge_1_by_hand(self, text: str, reference: str, recall: float, precision: float) -> None:
        found = rouge_1(text, reference)
        assert (found.recall, found.precision) == pytest.approx((recall, precision))

    @given(left=words, right=words)
    def test_bounds_and_symmetry(self, left: list[str], right: list[str]) -> None:
        for rouge in (rouge_l, rouge_1):
            there, back = rouge(" ".join(left), " ".join(right)), rouge(" ".join(right), " ".join(left))
            assert (there.recall, there.precision, there.f1) == pytest.approx((back.precision, back.recall, back.f1))
            low, high = sorted((there.recall, there.precision))
            assert low - 1e-12 <= there.f1 <= high + 1e-12
            assert 0 <= low <= high <= 1
        assert rouge_l(" ".join(left), " ".join(right)).recall <= rouge_1(" ".join(left), " ".join(right)).recall

    def test_the_reference_package_agrees(self) -> None:
        scoring = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is not installed")
        scorer = scoring.RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
        for text, reference in TEXT_PAIRS:
            theirs = scorer.score(reference, text)
            for ours, key in ((rouge_1(text, reference), "rouge1"), (rouge_l(text, reference), "rougeL")):
                assert (ours.recall, ours.precision, ours.f1) == pytest.approx(
                    (theirs[key].recall, theirs[key].precision, theirs[key].fmeasure)
                )


class TestBleu:
    def test_by_hand(self) -> None:
        assert bleu(_split("a b c d e"), _split("a b c d e")) == pytest.approx(1)
        # 4-grams: 1 of 2, 3-grams: 2 of 3, 2-grams: 3 of 4, words: 4 of 5.
        assert bleu(_split("a b c d x"), _split("a b c d e")) == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
        assert bleu(_split("a b c d"), _split("a b c d e f")) == pytest.approx(math.exp(1 - 6 / 4))
        assert bleu(_split("the the the"), _split("the cat"), max_n=1) == pytest.approx(1 / 3)

    @pytest.mark.parametrize("text", ["", "a b c", "a x b y c z"])
    def test_without_a_matching_4_gram_it_is_0(self, text: str) -> None:
        assert bleu(text.split(), _split("a b c d e")) == 0

    def test_the_reference_package_agrees(self) -> None:
        sacrebleu = pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
        for text, reference in TEXT_PAIRS:
            theirs = sacrebleu.corpus_bleu([text], [[reference]], smooth_method="none", tokenize="none", force=True)
            assert 100 * bleu(text.split(), reference.split()) == pytest.approx(theirs.score)

    def test_an_n_gram_has_tokens(self) -> None:
        with pytest.raises(ValueError, match="at least one token"):
            n_grams("abc", 0)


class TestMemorisation:
    @pytest.mark.parametrize(
        ("predicted", "exact", "strength"),
        [
            ([1, 2, 3, 4], 1, 1),  # memorised
            ([9, 2, 3, 4], 3 / 4, 3 / 4),
            ([1, 2, 9, 4], 3 / 4, 1 / 4),
            ([1, 2, 3, 9], 3 / 4, 0),  # right but for the last token: nothing can be extracted
            ([9, 9, 9, 9], 0, 0),  # open-unlearning's loop would say 1/4
            ([9, 9, 9, 4], 1 / 4, 1 / 4),
        ],
    )
    def test_by_hand(self, predicted: list[int], exact: float, strength: float) -> None:
        assert exact_memorisation(predicted, [1, 2, 3, 4]) == exact
        assert extraction_strength(predicted, [1, 2, 3, 4]) == strength

    @given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=12))
    def test_strength_is_the_definition_and_never_above_exact(self, pairs: list[tuple[int, int]]) -> None:
        predicted, reference = [list(ids) for ids in zip(*pairs, strict=True)]
        size = len(reference)
        cut = next(k for k in range(size + 1) if predicted[k:] == reference[k:])
        assert extraction_strength(predicted, reference) == pytest.approx(1 - cut / size)
        assert 0 <= extraction_strength(predicted, reference) <= exact_memorisation(predicted, reference) + 1e-12 <= 2

    @pytest.mark.parametrize(("predicted", "reference"), [([], []), ([1], [1, 2]), ([1, 2], [1])])
    def test_what_cannot_be_compared(self, predicted: list[int], reference: list[int]) -> None:
        for measure in (exact_memorisation, extraction_strength):
            with pytest.raises(ValueError, match="at least one"):
                measure(predicted, reference)
