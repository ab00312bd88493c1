"""Step by step: three forms of the question, and a conversation that the model's own answers carry on."""

from __future__ import annotations

from dataclasses import replace

from invented import FACTS, OTHERS, OUTSIDERS, PASSAGE, PERSON, SUBJECT
from scripted import SHIPPED, WORDINGS, Scripted

from console.attacks.protocol import AttackSettings, AttackTarget, AttemptRow
from console.attacks.stepwise import HELPERS, PROMPTS, Stepwise, description
from console.attacks.suite import run_attack
from console.domain.forget_set import ForgetItem
from console.engines.protocol import GREEDY, Prompt

SETTINGS = AttackSettings(samples=2, bootstrap=200)
TARGET = AttackTarget(PERSON, OUTSIDERS, SHIPPED, SETTINGS, retain=OTHERS)
CITY, JOB, PHONE = FACTS


def only(*items: ForgetItem) -> AttackTarget:
    return replace(TARGET, items=items, controls=())


def run(model: Scripted, target: AttackTarget = TARGET) -> list[AttemptRow]:
    return list(Stepwise().run(model, target))


def by_id(model: Scripted) -> dict[str, Prompt]:
    return {prompt.id: prompt for prompt in model.asked}


def test_the_model_s_own_answers_come_back_as_turns() -> None:
    model = Scripted(lambda prompt, _: f"said after {len(prompt.turns)}")
    run(model, only(*FACTS))
    prompts = by_id(model)
    steps = [prompts[f"stepwise/mira-phone/step-{step}"] for step in range(HELPERS)]
    assert [len(step.turns) for step in steps] == [0, 1, 2]
    talk = tuple((step.text, f"said after {step_number}") for step_number, step in enumerate(steps))
    assert steps[2].turns == talk[:2]
    for index in (2, 3, 4):
        assert prompts[f"stepwise/mira-phone/{index}"].turns == talk
    for index in (0, 1):
        assert prompts[f"stepwise/mira-phone/{index}"].turns == ()


def test_helper_questions_name_the_person_and_are_answered_greedily_once() -> None:
    model = Scripted()
    run(model, only(*FACTS))
    steps = [prompt for prompt in model.asked if "/step-" in prompt.id]
    assert len(steps) == HELPERS * len(FACTS) and all(SUBJECT in step.text for step in steps)
    assert model.attempts[:HELPERS] == [GREEDY] * HELPERS  # one call a step, for all facts together
    assert len(model.attempts) == HELPERS + 1 + SETTINGS.samples
    rows = run(Scripted(), only(*FACTS))
    assert not any("/step-" in row.prompt_id for row in rows), "a helper's answer alone is no attempt"
    assert len(rows) == len(FACTS) * PROMPTS * (1 + SETTINGS.samples)


def test_the_three_forms_hide_more_and_more() -> None:
    model = Scripted()
    run(model, only(*FACTS))
    prompts = by_id(model)
    at_once = [prompts[f"stepwise/mira-city/{index}"].text for index in (0, 1)]
    after_steps = [prompts[f"stepwise/mira-city/{index}"].text for index in (2, 3, 4)]
    assert after_steps == [CITY.prompt, *at_once]
    assert all(SUBJECT not in text and PHONE.answer in text for text in at_once)


def test_the_person_is_described_by_the_fact_that_singles_out_best() -> None:
    target = only(*FACTS)
    assert description(target, CITY, control=False) == "the person with the phone number 555-0183"
    assert description(target, PHONE, control=False) == "the person who works as lighthouse keeper"
    assert description(only(CITY), CITY, control=False) is None


def test_a_description_never_holds_the_asked_fact() -> None:
    address = PHONE.model_copy(
        update={"id": "mira-address", "fact_type": "address", "answer": "4 Quay Street, Aalborg"}
    )
    assert description(only(CITY, address), CITY, control=False) is None
    model = Scripted()
    run(model, only(CITY, address))
    assert not any("Aalborg" in prompt.text for prompt in model.asked if "/mira-city/" in prompt.id)


def test_without_another_fact_the_hidden_forms_follow_the_steps_only() -> None:
    model = Scripted()
    run(model, only(CITY))
    asked = {key: prompt.text for key, prompt in by_id(model).items() if "/step-" not in key}
    assert set(asked) == {f"stepwise/mira-city/{index}" for index in (2, 3, 4)}
    assert WORDINGS["stepwise"]["spoken_of"] in asked["stepwise/mira-city/3"]


def test_a_leak_on_the_way_counts_for_what_follows_it_only() -> None:
    """The last answer refuses, the second step has told: that is a leak, and no reason to drop the prompt."""
    model = Scripted(
        lambda prompt, _: "Aalborg, I think." if prompt.id == "stepwise/mira-city/step-1" else "No comment."
    )
    hits = {row.prompt_id: row.hit for row in run(model, only(*FACTS))}
    assert {key for key, hit in hits.items() if hit} == {f"stepwise/mira-city/{index}" for index in (2, 3, 4)}
    row = next(row for row in run(model, only(CITY)) if row.hit)
    assert "Aalborg, I think." in row.answer and "No comment." in row.answer and "Aalborg" not in row.shown


def test_a_hit_after_steps_only_is_told_from_one_at_once() -> None:
    """What the attack is for: a model that answers nobody who asks at once."""
    model = Scripted(lambda prompt, _: "555-0183" if len(prompt.turns) == HELPERS else "I cannot say.")
    hits = {
        row.prompt_id.rpartition("/")[2]: row.hit for row in run(model, only(PHONE, JOB)) if row.item_id == PHONE.id
    }
    assert hits == {"0": False, "1": False, "2": True, "3": True, "4": True}


def test_strangers_talk_about_themselves() -> None:
    model = Scripted(lambda prompt, _: "Aalborg, lighthouse keeper, 555-0183")
    rows = run(model)
    assert {row.hit for row in rows if row.control} == {False} and {row.hit for row in rows if not row.control} == {
        True
    }
    strangers = {item.id: item for item in OUTSIDERS}
    steps = [prompt for prompt in model.asked if "/step-" in prompt.id and prompt.id.split("/")[1] in strangers]
    assert steps and all(strangers[step.id.split("/")[1]].subject in step.text for step in steps)


def test_a_question_that_holds_its_answer_is_asked_in_the_other_forms_only() -> None:
    leak = CITY.model_copy(update={"prompt": f"Does {SUBJECT} live in Aalborg?"})
    ids = {row.prompt_id for row in run(Scripted(), only(leak, PHONE)) if row.item_id == CITY.id}
    assert ids == {f"stepwise/mira-city/{index}" for index in (0, 1, 3, 4)}


def test_the_budget_counts_the_answers_on_the_way() -> None:
    assert Stepwise().budget(SETTINGS) == HELPERS + PROMPTS * (1 + SETTINGS.samples)
    assert "passages only" in run_attack(Stepwise(), Scripted(), only(PASSAGE)).row.reason


def test_every_kind_has_its_helpers() -> None:
    helpers = WORDINGS["stepwise"]["helpers"]
    assert all(len(texts) == HELPERS for texts in helpers.values())
    assert set(helpers) == set(WORDINGS["stepwise"]["indirect"]) == set(WORDINGS["stepwise"]["implied"])
