"""Multiple choice: fair options, a hit only for the likeliest, and the chance that guessing has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from invented import FACTS, OTHERS, OUTSIDERS, PASSAGE, PERSON
from scripted import SHIPPED, Scripted

from console.attacks.multiple_choice import MultipleChoice, distractors, options
from console.attacks.protocol import AttackSettings, AttackTarget
from console.attacks.suite import run_attack
from console.domain.forget_set import ForgetItem
from console.domain.results import Access, Status
from console.engines.protocol import Capability

SETTINGS = AttackSettings()
TARGET = AttackTarget(PERSON, OUTSIDERS, SHIPPED, SETTINGS, retain=OTHERS)
CITY = FACTS[0]
ANSWERS = {item.answer for item in FACTS}


def answer(item: ForgetItem, text: str, **changed: Any) -> ForgetItem:
    return item.model_copy(update={"answer": text, **changed})


def knowing(text: str) -> float:
    return -0.1 if text in ANSWERS else -3.0


def test_a_model_that_knows_finds_the_right_answer_and_no_stranger_s() -> None:
    rows = list(MultipleChoice().run(Scripted(likes=knowing), TARGET))
    own = [row for row in rows if not row.control]
    assert [row.item_id for row in own] == [item.id for item in FACTS]
    assert all(row.hit and row.answer in ANSWERS for row in own)
    # The stranger's right answer is one of four equally unlikely ones.
    strangers = [row for row in rows if row.control]
    assert {row.item_id for row in strangers} <= {item.id for item in OUTSIDERS} and len(strangers) == 3


def test_a_model_that_prefers_another_answer_misses() -> None:
    rows = MultipleChoice().run(Scripted(likes=lambda text: -3.0 if text in ANSWERS else -1.0), TARGET)
    assert not any(row.hit for row in rows if not row.control)


def test_long_options_are_not_punished() -> None:
    """The right answer is longer than each of the others: a sum of log-probabilities would choose a short one."""
    city = answer(CITY, "the old town of Aalborg by the fjord")
    rows = MultipleChoice().run(
        Scripted(likes=lambda t: -0.9 if "fjord" in t else -1.0), replace(TARGET, items=(city,))
    )
    assert next(rows).hit


def test_chance_is_one_in_as_many_as_there_are_options() -> None:
    def chances(choices: int) -> set[float]:
        target = replace(TARGET, settings=replace(SETTINGS, choices=choices))
        return {row.chance for row in MultipleChoice().run(Scripted(), target) if not row.control}

    assert chances(4) == {1 / 4}
    assert chances(6) == {1 / 6}
    assert chances(20) == {1 / 8}  # four strangers and three retained people have such a fact
    assert chances(2) == {1 / 4}  # two options would be a coin
    outcome = run_attack(MultipleChoice(), Scripted(likes=knowing), TARGET).row.outcome
    assert outcome is not None and outcome.chance == "0.2500"
    assert outcome.area is None, "scores of options are no membership scores"


def test_nobody_who_guesses_beats_chance() -> None:
    """A model to which all options are alike takes the first, and the order is drawn: right about once in four."""
    items = tuple(answer(CITY, "Aalborg", id=f"item-{index}") for index in range(400))
    rows = MultipleChoice().run(
        Scripted(), replace(TARGET, items=items, settings=replace(SETTINGS, prompt_controls=False))
    )
    assert 70 <= sum(row.hit for row in rows) <= 130


def test_options_are_of_one_kind_and_only_one_is_right() -> None:
    offered = options(TARGET, CITY)
    strangers = {item.answer for item in OUTSIDERS if item.fact_type == "city"}
    assert len(offered) == 4 and offered.count("Aalborg") == 1
    assert set(offered) - {"Aalborg"} < strangers  # nobody taught them to any model


def test_the_order_depends_on_the_seed_and_the_item_only() -> None:
    assert options(TARGET, CITY) == options(replace(TARGET, controls=OUTSIDERS[::-1]), CITY)
    orders = {
        tuple(options(replace(TARGET, settings=replace(SETTINGS, seed=seed)), CITY)).index("Aalborg")
        for seed in range(30)
    }
    assert orders == {0, 1, 2, 3}


@pytest.mark.parametrize("same", ["Aalborg", "aalborg", "the Aalborg", "Aalborg in Jutland", "Ålborg", "Town"])
def test_what_says_the_same_is_no_wrong_answer(same: str) -> None:
    city = answer(CITY, "Aalborg Town", answer_aliases=("Aalborg", "Ålborg"))
    twin = answer(OUTSIDERS[0], same)
    assert same not in distractors(replace(TARGET, controls=(twin, *OUTSIDERS[1:])), city)


def test_one_answer_of_two_people_is_offered_once() -> None:
    twin = answer(OUTSIDERS[3], OUTSIDERS[0].answer.upper())
    offered = options(replace(TARGET, controls=(*OUTSIDERS[:3], twin), retain=OTHERS), CITY)
    assert len({option.casefold() for option in offered}) == len(offered) == 4


def test_retained_answers_fill_up_where_strangers_are_few() -> None:
    offered = set(options(replace(TARGET, controls=OUTSIDERS[:3]), CITY))
    assert "Leipzig" in offered and len(offered & {"Tampere", "Bilbao", "Utrecht"}) == 2


def test_a_fact_with_too_few_wrong_answers_is_left_out() -> None:
    pet = answer(CITY, "a parrot", id="mira-pet", fact_type="pet")
    rows = list(MultipleChoice().run(Scripted(), replace(TARGET, items=(CITY, pet))))
    assert {row.item_id for row in rows if not row.control} == {CITY.id}
    row = run_attack(MultipleChoice(), Scripted(), replace(TARGET, items=(pet, PASSAGE))).row
    assert row.status is Status.NOT_APPLICABLE and "3 wrong answers" in row.reason


def test_a_question_that_holds_its_answer_is_not_scored() -> None:
    leak = CITY.model_copy(update={"prompt": "Does Mira Okonjo live in Aalborg?"})
    assert "already contained" in run_attack(MultipleChoice(), Scripted(), replace(TARGET, items=(leak,))).row.reason


def test_options_are_recorded_but_not_put_into_the_question() -> None:
    model = Scripted(likes=knowing)
    row = next(iter(MultipleChoice().run(model, TARGET)))
    assert "- Aalborg" in row.shown and row.candidates == 1 == MultipleChoice().budget(SETTINGS)
    assert {prompt.text for prompt in model.asked} >= {item.prompt for item in FACTS}
    assert not any("Aalborg" in prompt.text for prompt in model.asked)


def test_it_needs_probabilities() -> None:
    info = MultipleChoice().info
    assert (info.access, info.needs) == (Access.LOG_PROBABILITIES, frozenset({Capability.SCORE}))
