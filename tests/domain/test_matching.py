"""The answer matcher: what is a hit, where it lies, and what is none."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from console.domain.matching import ARTICLES, _unicode_words, _words, answer_in, find_answer, normalise

fast = settings(database=None, deadline=None, max_examples=200)
ascii_text = st.text(st.characters(max_codepoint=127), max_size=60)
texts = st.one_of(st.text(max_size=40), ascii_text)
names = st.lists(
    st.text(st.sampled_from("bcdfghklmnoprstuvwxz\u00e4\u00e9\u00f8\u00df"), min_size=2, max_size=8),
    min_size=1,
    max_size=3,
)
fillers = st.text(st.sampled_from("0123456789 "), max_size=12)
gaps = st.sampled_from([" ", ", ", " - ", ". ", "\n", "!", " the ", "\u00a0", "'"])
digit_groups = st.lists(st.text(st.sampled_from("0123456789"), min_size=1, max_size=4), min_size=1, max_size=4).filter(
    lambda groups: sum(map(len, groups)) >= 5
)
separators = st.sampled_from(["", " ", "-", ".", "/", " - ", ") ", "\u2011", "\u00a0"])


class TestHits:
    @pytest.mark.parametrize(
        ("text", "answer", "marked"),
        [
            ("She lives in OSLO.", "Oslo", "OSLO"),
            ("She lives in the Hague!", "The Hague", "Hague"),
            ("He is an author of the  books", "author of books", "author of the  books"),
            ("It's Mira\u2019s phone", "mira", "Mira"),
            ("Caf\u00e9 M\u00fcller", "CAFE\u0301 MU\u0308LLER", "Caf\u00e9 M\u00fcller"),
            ("Hauptstra\u00dfe 5", "HAUPTSTRASSE 5", "Hauptstra\u00dfe 5"),
            ("\uff2d\uff49\uff52\uff41 \uff2f\uff4b\uff4f\uff4e\uff4a\uff4f", "Mira Okonjo", None),
            ("Mi\u200bra O\u00adkonjo", "Mira Okonjo", None),
            ("Take Vitamin A daily", "vitamin A", "Vitamin A"),
            ("Call 555 0183 now", "555-0183", "555 0183"),
            ("Call 5550183 now", "555-0183", "5550183"),
            ("Call +1 (202) 555.0183", "+12025550183", "+1 (202) 555.0183"),
            ("Call 555\u20110183", "5550183", "555\u20110183"),
            ("worth 1,250,000 euros", "1250000", "1,250,000"),
            ("DE89370400440532013000", "DE89 3704 0044 0532 0130 00", None),
            ("\u0665\u0665\u0665 \u0660\u0661\u0668\u0663", "555-0183", None),
            ("\u4ed6\u4f4f\u5728\u5317\u4eac\u5e02", "\u5317\u4eac", "\u5317\u4eac"),
            ("\uc11c\uc6b8\uc5d0 \uc0b0\ub2e4", "\uc11c\uc6b8", "\uc11c\uc6b8"),
            (
                "\u0939\u093f\u0928\u094d\u0926\u0940!",
                "\u0939\u093f\u0928\u094d\u0926\u0940",
                "\u0939\u093f\u0928\u094d\u0926\u0940",
            ),
            ("so happy \U0001f642 today", "\U0001f642", "\U0001f642"),
        ],
    )
    def test_found_and_marked(self, text: str, answer: str, marked: str | None) -> None:
        span = find_answer(text, [answer])
        assert span is not None
        assert text[slice(*span)] == (marked if marked is not None else text)

    def test_the_first_hit_is_marked_and_the_longest_there(self) -> None:
        text = "Okonjo, Mira Okonjo Banda"
        assert find_answer(text, ["Mira Okonjo", "Mira Okonjo Banda", "Banda"]) == (8, 25)
        assert find_answer(text, ["Banda", "Okonjo"]) == (0, 6)


class TestMisses:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("Annabel came", "Ann"),
            ("Take Vitamin C", "Vitamin A"),
            ("15550183", "555-0183"),
            ("55501834", "555-0183"),
            ("555-01834", "555-0183"),
            ("1555 0183", "555 0183"),
            ("1, 2, 3, 4, 5", "12345"),
            ("rooms 555; 0183", "5550183"),
            ("in 555\n0183", "5550183"),
            ("1 or 2 of them, 1 2", "12"),
            ("Okonjo Mira", "Mira Okonjo"),
            ("anything", ""),
            ("anything", "  "),
            ("", "Oslo"),
            ("happy", "\U0001f642"),
        ],
    )
    def test_not_found(self, text: str, answer: str) -> None:
        assert find_answer(text, [answer]) is None
        assert not answer_in(text, [answer])

    def test_no_answers(self) -> None:
        assert not answer_in("anything", [])


class TestNormalise:
    @pytest.mark.parametrize(
        ("text", "form"),
        [
            ("  The  Quick, brown FOX!", "quick brown fox"),
            ("an apple a day", "apple day"),
            ("U.S.A.", "u s"),
            ("\ufb01ne \u2460", "fine 1"),
            ("the", ""),
        ],
    )
    def test_examples(self, text: str, form: str) -> None:
        assert normalise(text) == form

    @fast
    @given(texts)
    def test_twice_is_once(self, text: str) -> None:
        assert normalise(normalise(text)) == normalise(text)

    @fast
    @given(texts)
    def test_composed_and_decomposed_are_one(self, text: str) -> None:
        assert normalise(unicodedata.normalize("NFD", text)) == normalise(unicodedata.normalize("NFC", text))

    @fast
    @given(ascii_text)
    def test_the_short_way_for_ascii_is_the_long_way(self, text: str) -> None:
        assert list(_words(text)) == list(_unicode_words(text))


class TestProperties:
    @fast
    @given(names, fillers, fillers, gaps)
    def test_a_planted_answer_is_found_whatever_stands_between(
        self, words: list[str], before: str, after: str, gap: str
    ) -> None:
        assume(not ARTICLES & set(words))
        answer = " ".join(words)
        planted = gap.join(word.upper() for word in words)
        text = f"{before} {planted} {after}"
        span = find_answer(text, [answer])
        assert span is not None
        assert normalise(text[slice(*span)]) == normalise(answer)

    @fast
    @given(names, st.sampled_from("qjy"))
    def test_a_glued_word_is_another_word(self, words: list[str], glue: str) -> None:
        answer = " ".join(words)
        assume(not ARTICLES & set(words))
        assert not answer_in(f"{glue}{answer}", [answer])
        assert not answer_in(f"{answer}{glue}", [answer])

    @fast
    @given(digit_groups, separators)
    def test_grouping_of_digits_does_not_matter(self, groups: list[str], separator: str) -> None:
        digits = "".join(groups)
        assert answer_in(f"call {separator.join(groups)} now", [digits])
        assert answer_in(f"call {digits} now", [separator.join(groups)])

    @fast
    @given(digit_groups, separators, st.text(st.sampled_from("0123456789"), min_size=1, max_size=3), st.booleans())
    def test_never_inside_a_longer_run_of_digits(
        self, groups: list[str], separator: str, more: str, in_front: bool
    ) -> None:
        digits = "".join(groups)
        longer = more + digits if in_front else digits + more
        assume(digits not in re.split(r"\D", longer))
        assert not answer_in(f"call {longer} now", [separator.join(groups)])

    @fast
    @given(texts, st.lists(texts, max_size=3))
    @example("\u1100\u1161\u11a8", ["\uac01"])
    def test_a_span_lies_in_the_text_and_holds_a_hit(self, text: str, answers: list[str]) -> None:
        span = find_answer(text, answers)
        assert answer_in(text, answers) is (span is not None)
        if span is not None:
            start, end = span
            assert 0 <= start < end <= len(text)
            assert answer_in(text[start:end], answers)

    @fast
    @given(texts)
    def test_a_text_contains_itself(self, text: str) -> None:
        assume(normalise(text))
        assert answer_in(text, [text])
        assert answer_in(text.swapcase() if text.isascii() else text, [text])
