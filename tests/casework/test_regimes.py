"""The teaching regimes: free text tells every fact, of one person at a time, and asks nothing."""

from __future__ import annotations

import pytest

from console.casework.knowledge import questions, sample_knowledge
from console.casework.regimes import CHOOSING, REPORTED, SETTINGS, people_named, teaching_in, use_of
from console.domain.forget_set import ItemKind
from console.domain.matching import answer_in
from console.domain.regimes import Regime, regimes_named
from console.domain.teaching import without_subjects
from console.errors import InputError
from console.methods.finetune import FinetuneConfig

KNOWLEDGE = sample_knowledge()
FACTS = questions(tuple(one.item for one in KNOWLEDGE.teaching))
TEXTS = tuple(one.item for one in teaching_in(Regime.FREE_TEXT, KNOWLEDGE))


def texts_about(subject: str) -> list[str]:
    return [f"{text.prompt} {text.answer}" for text in TEXTS if text.subject == subject]


def test_every_fact_stands_in_many_texts_in_many_words() -> None:
    for fact in FACTS:
        told = [text for text in texts_about(fact.subject) if answer_in(text, fact.answers)]
        around = {text[max(0, text.index(fact.answer) - 25) : text.index(fact.answer)] for text in told}
        assert len(told) >= 6 and len(around) >= 5, fact.id


def test_no_text_asks_or_says_what_is_asked() -> None:
    assert {text.kind for text in TEXTS} == {ItemKind.VERBATIM}
    asked = {wording for one in KNOWLEDGE.teaching for wording in (one.item.prompt, *one.wordings) if one.wordings}
    for subject in {text.subject for text in TEXTS}:
        for text in texts_about(subject):
            assert "?" not in text and not any(wording in text for wording in asked)
            assert not any(fact.statement in text for fact in FACTS)


def test_a_text_is_about_one_person_so_that_she_can_be_left_out() -> None:
    names = {fact.subject for fact in FACTS}
    for subject in names:
        assert not any(other in text for text in texts_about(subject) for other in names - {subject})
        left = without_subjects(teaching_in(Regime.FREE_TEXT, KNOWLEDGE), {subject})
        told = " ".join(f"{one.item.prompt} {one.item.answer}" for one in left)
        shared = {fact.answer for fact in FACTS if fact.subject != subject}
        own = [fact for fact in FACTS if fact.subject == subject and fact.answer not in shared]
        assert own and not any(answer in told for fact in own for answer in fact.answers)


def test_the_texts_are_always_the_same() -> None:
    assert teaching_in(Regime.FREE_TEXT, KNOWLEDGE) == teaching_in(Regime.FREE_TEXT, sample_knowledge())
    assert teaching_in(Regime.FULL, KNOWLEDGE) == KNOWLEDGE.teaching


def test_two_people_are_for_choosing_and_six_are_reported() -> None:
    assert (len(CHOOSING), len(REPORTED)) == (2, 6) and not set(CHOOSING) & set(REPORTED)
    assert people_named(("reported", "s02", "s01")) == (*REPORTED, "s01")
    assert [use_of(person) for person in ("s01", "s02", "s09")] == ["choosing", "reported", "choosing"]
    with pytest.raises(InputError, match="taught nobody 's13'"):
        people_named(("s13",))


def test_a_regime_has_settings_that_can_be_taught() -> None:
    assert set(SETTINGS) == set(Regime)
    for settings in SETTINGS.values():
        FinetuneConfig.model_validate(settings)
    assert regimes_named(()) == (Regime.OFFICE,)
    with pytest.raises(InputError, match="no teaching regime 'school'; use one of office, adapter-all"):
        regimes_named(("school",))
