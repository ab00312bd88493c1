"""Sentences: plain, honest, and never a word too good."""

from __future__ import annotations

import re
from datetime import date

import pytest
from sample_evidence import (
    battery,
    method,
    not_located,
    nothing_applicable,
    removed,
    row,
    rows_after,
    rows_before,
    rows_reference,
    sample,
    skipped,
)

from console.domain.results import Rate, Stage, Status
from console.domain.suites import FILE_TYPES, SUITES
from console.domain.verdict import Word
from console.domain.verdict_words import WORDS
from console.reports.limits import FORBIDDEN_PHRASES, RESERVED_FOR_REMOVED, every_statement, limits_for, not_checked
from console.reports.style import VERDICT_LOOKS
from console.reports.wording import (
    counts_in,
    date_text,
    due_date_statement,
    instant_text,
    interval_text,
    percent_text,
    size_text,
    summary_sentence,
    thousands,
    verdict_meaning,
)

FAMILIES = (None, "exact", "weights", "adapter", "decoding")


def fixed_texts(word: Word) -> list[str]:
    """Everything that is said under one verdict, whatever the method."""
    wording = WORDS[word]
    texts = [wording.title, wording.meaning, wording.action, *WORDS[word].in_weights]
    for family in FAMILIES:
        limits = limits_for(word, family)
        texts += [statement.text for statement in limits.shows + limits.does_not_show]
    return texts


@pytest.mark.parametrize("word", Word)
def test_every_verdict_has_wording_look_and_limits(word: Word) -> None:
    assert WORDS[word].title.lower() == word.value
    assert VERDICT_LOOKS[word].icon
    assert all(len(limits_for(word, family).does_not_show) >= 6 for family in FAMILIES)


@pytest.mark.parametrize("word", Word)
def test_no_text_promises(word: Word) -> None:
    for text in fixed_texts(word):
        assert not [phrase for phrase in FORBIDDEN_PHRASES if phrase in text.lower()], text


@pytest.mark.parametrize("word", [word for word in Word if word is not Word.REMOVED])
def test_only_one_verdict_says_removed_or_erased(word: Word) -> None:
    for text in fixed_texts(word):
        assert not [reserved for reserved in RESERVED_FOR_REMOVED if re.search(rf"\b{reserved}\b", text.lower())], text


def test_statements_have_ids_of_their_own() -> None:
    statements = set(every_statement())
    assert len({statement.id for statement in statements}) == len(statements)
    assert len({statement.text for statement in statements}) == len(statements)
    assert all(re.fullmatch(r"[SN](-[A-Z]{3})?-\d", statement.id) for statement in statements)


def test_what_was_tried_is_not_called_unchecked() -> None:
    quick, standard = (frozenset(SUITES[name].attacks) for name in ("quick", "standard"))
    in_files = standard | frozenset(FILE_TYPES)
    assert not_checked(quick)[-1] == (
        "Attacks that are not named in this report, such as languages other than that of the questions, questions "
        "asked in several steps, later training on related text, rounding to fewer bits, the file in other number "
        "formats."
    )
    assert not_checked(standard)[-1].endswith("such as the file in other number formats.")
    assert not_checked(in_files)[-1] == "Attacks that are not named in this report."
    assert not_checked(quick)[:-1] == not_checked(in_files)[:-1]
    texts = " ".join((*not_checked(quick), *not_checked(in_files))).lower()
    assert not [phrase for phrase in (*FORBIDDEN_PHRASES, *RESERVED_FOR_REMOVED) if phrase in texts]


def test_a_filter_says_that_the_weights_are_unchanged() -> None:
    assert any("weights" in s.text for s in limits_for(Word.SUPPRESSED, "decoding").does_not_show if s.id == "N-DEC-1")
    with pytest.raises(KeyError):
        limits_for(Word.SUPPRESSED, "magic")


def test_the_sentence_of_the_first_page() -> None:
    assert removed().sentence == (
        "After the erasure the model gave the person's data in 0 of 240 attempts; before, in 231 of 240."
    )
    assert sample().sentence.endswith("A deeper attack still finds it in 57 of 240 attempts.")
    assert not_located().sentence == "The model gave the person's data in 0 of 240 attempts."
    assert nothing_applicable().sentence == "No attack could be counted on this model."


def test_the_sentence_takes_the_worst_ordinary_question() -> None:
    after = (row("direct", 1, 240, (1, 20)), row("continuation", 6, 120, (2, 20)), *rows_after()[2:])
    assert "in 6 of 120 attempts; before, in 88 of 120." in sample(after=after).sentence


def test_the_sentence_names_no_deeper_attack_at_the_references_level() -> None:
    after = (*rows_reference()[:4], skipped("head-projection", Status.NOT_APPLICABLE, "no access"))
    before = battery(Stage.BEFORE, "before", rows_before())
    sentence = summary_sentence(
        Word.SUPPRESSED,
        before,
        battery(Stage.AFTER, "after", after),
        battery(Stage.REFERENCE, "reference", rows_reference()),
    )
    assert "deeper" not in sentence


def test_the_sentence_without_ordinary_questions_takes_the_strongest_attack() -> None:
    before, after = rows_before()[2:4], rows_after()[2:4]
    sentence = summary_sentence(
        Word.RESIDUAL, battery(Stage.BEFORE, "before", before), battery(Stage.AFTER, "after", after), None
    )
    assert "in 11 of 240 attempts; before, in 190 of 240" in sentence


def test_the_sentence_does_not_compare_what_was_not_counted_before() -> None:
    sentence = summary_sentence(
        Word.SUPPRESSED,
        battery(Stage.BEFORE, "before", (skipped("direct", Status.NOT_APPLICABLE, "no access"),)),
        battery(Stage.AFTER, "after", rows_after()[:1]),
        None,
    )
    assert sentence == "No attack could be counted on the model both before and after the erasure."


def test_nothing_counted_is_a_gap_and_not_a_finding() -> None:
    assert "gap in the evidence" in verdict_meaning(nothing_applicable())
    assert verdict_meaning(not_located()) == WORDS[Word.NOT_LOCATED].meaning


@pytest.mark.parametrize(
    ("days", "met", "sentence"),
    [
        (30, True, "Answered in 30 days; due on 3 December 2026."),
        (31, False, "Answered in 31 days; due on 3 December 2026."),
        (1, True, "Answered in 1 day; due on 3 December 2026."),
        (None, None, "Not yet answered; due on 3 December 2026."),
    ],
)
def test_due_date(days: int | None, met: bool | None, sentence: str) -> None:
    evidence = sample()
    clock = evidence.clock.model_copy(update={"answered_in_days": days})
    statement = due_date_statement(evidence.model_copy(update={"clock": clock}))
    assert (statement.met, statement.sentence) == (met, sentence)


def test_numbers_as_text() -> None:
    assert counts_in("0 of 240, 12 of\n13; 1.5 of 7, 3 of 2400") == {(0, 240), (12, 13), (3, 2400)}
    assert percent_text(0.96254) == "96.3 %"
    assert percent_text(1.0) == "100.0 %"
    assert interval_text(Rate(hits=0, trials=240)) == "0.0 to 1.5 %"
    assert date_text(date(2026, 3, 1)) == "1 March 2026"
    assert instant_text("2026-11-25T09:12:31.5Z") == "25 November 2026, 09:12 UTC"
    assert thousands(46_187_520) == "46\u00a0187\u00a0520"
    assert [size_text(size) for size in (0, 999, 1000, 93_400_000, 10**14)] == [
        "0 bytes", "999 bytes", "1.0 kB", "93.4 MB", "100.0 TB",
    ]  # fmt: skip


def test_the_sample_method_is_one_the_limits_know() -> None:
    assert method().family in FAMILIES
