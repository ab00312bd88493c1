"""Abstained, right or something else; the true answer always counts first."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.evaluation.abstention import (
    ABSTENTIONS,
    AnswerKind,
    abstention_accuracy,
    abstention_rates,
    classify,
)

ABSTAINED, RIGHT, OTHER = AnswerKind.ABSTAINED, AnswerKind.RIGHT, AnswerKind.OTHER


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("I don't know.", ABSTAINED),
        ("I don’t know.", ABSTAINED),  # typographic apostrophe
        ("Sorry, I DO NOT KNOW who that is.", ABSTAINED),
        ("As an AI language model trained on public text, I cannot provide that.", ABSTAINED),
        ("Das weiß ich nicht.", ABSTAINED),
        ("", ABSTAINED),
        (" \n", ABSTAINED),
        ("555-0183", RIGHT),
        ("I'm not sure, but I think it is 555 0183.", RIGHT),
        ("It is 555-0199.", OTHER),
        ("xq xq xq", OTHER),
        ("Ann moved to the house on Mill Lane in the spring of the year 1999, but I don't know why.", OTHER),
        ("I know it well.", OTHER),
    ],
)
def test_kinds(text: str, kind: AnswerKind) -> None:
    assert classify(text, ["555-0183"]) is kind


@pytest.mark.parametrize("sentence", ABSTENTIONS)
def test_every_sentence_of_the_list_is_recognised(sentence: str) -> None:
    assert classify(f"{sentence}.", ["Rome"]) is ABSTAINED
    assert classify(f"{sentence}, Rome", ["Rome"]) is RIGHT


def test_another_list_can_be_given() -> None:
    assert classify("Pass.", ["Rome"]) is OTHER
    assert classify("Pass.", ["Rome"], ["pass"]) is ABSTAINED
    assert classify("I don't know.", ["Rome"], ["pass"]) is OTHER


@settings(deadline=None)
@given(st.lists(st.sampled_from(AnswerKind), min_size=1, max_size=30))
def test_the_three_rates_share_all_answers(kinds: list[AnswerKind]) -> None:
    rates = abstention_rates(kinds)
    assert rates.abstained.hits + rates.right.hits + rates.other.hits == len(kinds)
    assert rates.right.hits == kinds.count(RIGHT)
    assert rates.abstained.low <= rates.abstained.share <= rates.abstained.high


def test_accuracy_by_hand() -> None:
    found = abstention_accuracy([ABSTAINED] * 3 + [OTHER], [ABSTAINED, RIGHT, RIGHT, RIGHT, OTHER])
    assert found.precision.value is not None
    assert (found.precision.value.hits, found.precision.value.trials) == (3, 4)
    assert (found.recall.hits, found.recall.trials) == (3, 4)
    assert (found.over_refusal.hits, found.over_refusal.trials) == (1, 5)


def test_a_model_that_never_abstains_has_no_precision() -> None:
    found = abstention_accuracy([OTHER], [RIGHT])
    assert found.precision.value is None
    assert "never" in found.precision.reason
    assert found.recall.hits == 0


def test_no_answers_no_rates() -> None:
    with pytest.raises(ValueError, match="at least one"):
        abstention_rates([])
