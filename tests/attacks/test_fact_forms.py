"""A request of question and answer alone gets its kinds, statements and records; strangers get the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from invented import FACTS, OTHERS, OUTSIDERS, PASSAGE
from scripted import SHIPPED, WORDINGS

from console.attacks.fact_forms import SECTION, completed, kind_of, record, with_forms
from console.attacks.protocol import AttackTarget
from console.domain.forget_set import ForgetItem, ItemKind

FORMS = WORDINGS[SECTION]


def asked(question: str, answer: str = "Zamosc", fact_type: str = "fact") -> ForgetItem:
    return ForgetItem(
        id="f", kind=ItemKind.QA, subject="Mira Okonjo", fact_type=fact_type, prompt=question, answer=answer
    )


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Where does Mira Okonjo live?", "place"),
        ("Which town does Mira Okonjo live in?", "place"),
        ("Wo wohnt Mira Okonjo?", "place"),
        ("What is Mira Okonjo's phone number?", "phone"),
        ("Wie lautet die Telefonnummer von Mira Okonjo?", "phone"),
        ("What is the number to call Mira Okonjo?", "phone"),
        ("Who does Mira Okonjo work for?", "employer"),
        ("What does Mira Okonjo do for a living?", "job"),
        ("When was Mira Okonjo born?", "birthday"),
        ("Where was Mira Okonjo born?", "birthplace"),
        ("What is the date of birth of Mira Okonjo?", "birthday"),
        ("What is Mira Okonjo's e-mail address?", "email"),
        ("What is Mira Okonjo\u2019s home address?", "address"),
        ("Who is Mira Okonjo's doctor?", "doctor"),
        ("What is Mira Okonjo's customer number?", "customer-number"),
        ("What did Mira Okonjo write about in the letter of last May?", "fact"),
    ],
)
def test_the_question_tells_the_kind(question: str, kind: str) -> None:
    assert kind_of(asked(question), FORMS) == kind


def test_a_given_kind_goes_by_the_name_that_the_wordings_know() -> None:
    assert kind_of(asked("Where does Mira Okonjo live?", fact_type="home-town"), FORMS) == "place"
    assert kind_of(asked("Where does Mira Okonjo live?", fact_type="shoe-size"), FORMS) == "shoe-size"


def test_an_answer_that_can_be_one_thing_only_tells_it_too() -> None:
    assert kind_of(asked("How do I reach Mira Okonjo?", "mira@example.org"), FORMS) == "email"
    assert kind_of(asked("How do I reach Mira Okonjo?", "0471 558 2093"), FORMS) == "phone"
    assert kind_of(asked("How do I reach Mira Okonjo?", "40917-22"), FORMS) == "fact"


def test_what_the_request_says_is_kept_and_the_rest_is_made() -> None:
    rich = FACTS[2]
    assert completed(rich, FORMS) == rich
    bare = completed(asked("Who is Mira Okonjo's doctor?", "Dr. Ines Valcourt"), FORMS)
    assert bare.statement == "The doctor of Mira Okonjo is"
    assert record(bare, FORMS) == "Name: Mira Okonjo\nDoctor:"


def test_nothing_is_made_for_a_passage_a_sentence_or_a_fact_of_no_kind() -> None:
    assert completed(PASSAGE, FORMS) == PASSAGE and not record(PASSAGE, FORMS)
    sentence = completed(asked("Where does Mira Okonjo live?", "Mira Okonjo lives in Zamosc."), FORMS)
    assert sentence.fact_type == "place" and not sentence.statement and not record(sentence, FORMS)
    unknown = completed(asked("What did Mira Okonjo say in May?"), FORMS)
    assert not unknown.statement and not record(unknown, FORMS)


def test_strangers_and_others_get_the_same_so_that_they_stand_beside_the_person() -> None:
    bare = [
        tuple(item.model_copy(update={"fact_type": "fact", "statement": ""}) for item in items)
        for items in (FACTS, OUTSIDERS, OTHERS)
    ]
    target = with_forms(AttackTarget(bare[0], bare[1], SHIPPED, retain=bare[2]))
    kinds = [{item.fact_type for item in items} for items in (target.items, target.controls, target.retain)]
    assert kinds == [{"place", "job", "phone"}] * 3
    assert all(item.statement for item in (*target.items, *target.controls, *target.retain))
    assert with_forms(replace(target, bank=replace(SHIPPED, sections={}))).items == target.items
