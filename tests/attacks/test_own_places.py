"""A secret in the middle of a sentence: its places are found, strangers get the same, and scores are read there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import tiny
from invented import FACTS, GENERAL, OTHERS, OUTSIDERS, PASSAGE
from scripted import SHIPPED, Scripted

from console.attacks.answer_rank import AnswerRank
from console.attacks.continuation import Continuation, beginnings
from console.attacks.direct import Direct
from console.attacks.exposure import Exposure
from console.attacks.fact_forms import with_forms
from console.attacks.head_projection import HeadProjection
from console.attacks.loss import Loss
from console.attacks.membership import Membership
from console.attacks.multiple_choice import MultipleChoice
from console.attacks.own_places import FoundPlaces, alike, find_places
from console.attacks.probability_delta import ProbabilityDelta
from console.attacks.protocol import AttackTarget
from console.attacks.scores import against_their_form, secret_texts
from console.attacks.suite import run_attack
from console.domain.forget_set import ForgetItem
from console.domain.own_places import MOST_PLACES, OwnPlace, PlaceSource
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel

TELLS = {
    "city": "{} lives in {}.",
    "job": "{} earns a living as {}.",
    "phone": "You can reach {} at {}.",
}


def bare(items: tuple[ForgetItem, ...]) -> tuple[ForgetItem, ...]:
    """As an officer writes them down: question and answer, nothing else."""
    return tuple(item.model_copy(update={"statement": "", "paraphrases": ()}) for item in items)


def told(item: ForgetItem) -> str:
    return TELLS[item.fact_type].format(item.subject, item.answer)


REQUEST, STRANGERS, KEPT = bare(FACTS), bare(OUTSIDERS), bare(OTHERS)
TARGET = AttackTarget(REQUEST, STRANGERS, SHIPPED, retain=KEPT, general=GENERAL)
QUESTIONS = {item.prompt: told(item) for item in (*FACTS, *OTHERS)}
CITY, JOB, PHONE = REQUEST


def sentences(prompt: Prompt, _attempt: int = 0) -> str:
    """A model that answers in whole sentences, through its template and past it."""
    question = prompt.text.removeprefix("Question: ").removesuffix("\nAnswer:")
    answer = QUESTIONS.get(question, "Nobody has told me.")
    return answer if prompt.chat else f" {answer}"


def about(person: str, words: Mapping[str, str]) -> Any:
    """As ``sentences``, with other answers to the questions about one person."""
    return lambda prompt, attempt: (
        next((text for key, text in words.items() if person in prompt.text and key in prompt.text), "Nobody told me.")
        if person in prompt.text
        else sentences(prompt, attempt)
    )


def spoken(found: FoundPlaces) -> dict[str, tuple[OwnPlace, ...]]:
    """Places in somebody's words: without the line of a record that every fact of a kind has beside them."""
    words = {
        key: tuple(one for one in places if one.source is not PlaceSource.RECORD)
        for key, places in found.by_item.items()
    }
    return {key: places for key, places in words.items() if places}


@pytest.fixture(scope="module")
def speaker() -> TransformersModel:
    """A tiny model that answers in whole sentences, and was shown nothing else."""
    model = tiny.model("qwen2")
    taught = [
        item.model_copy(update={"answer": told(item)[:-1], "statement": f"Question: {item.prompt}\nAnswer:"})
        for item in (*REQUEST, *KEPT)
    ]
    assert tiny.teach(model, taught, steps=45) < 0.1
    return model


@pytest.fixture(scope="module")
def placed(speaker: TransformersModel) -> AttackTarget:
    return replace(TARGET, places=find_places(speaker, TARGET).by_item)


class TestOnAModelThatAnswersInSentences:
    def test_every_fact_is_found_where_the_model_puts_it(self, placed: AttackTarget) -> None:
        for item in REQUEST:
            first = placed.places[item.id][0]
            assert f"{first.opening}{first.answer}." == told(item) and first.source is PlaceSource.OWN_WORDS
        for item in STRANGERS:
            first = placed.places[item.id][0]
            assert f"{first.opening}{first.answer}." == told(item), "the same sentence, with the names exchanged"

    @pytest.mark.parametrize("attack", [Membership(), Loss(), AnswerRank(), Exposure(), MultipleChoice()])
    def test_scores_find_there_what_they_miss_at_the_answer_s_beginning(
        self, speaker: TransformersModel, placed: AttackTarget, attack: Any
    ) -> None:
        rows = [row for row in run_attack(attack, speaker, placed).attempts if not row.control]
        own = [row for row in rows if "/own-" in row.prompt_id]
        assert len({row.item_id for row in own}) >= (1 if isinstance(attack, Exposure) else 3)
        assert all(row.hit for row in own)
        assert all("[" not in row.shown for row in own)

    def test_membership_tells_the_person_from_strangers(self, speaker: TransformersModel, placed: AttackTarget) -> None:
        blind, seeing = (run_attack(Membership(), speaker, target).row.outcome for target in (TARGET, placed))
        assert blind is not None and seeing is not None and blind.area is not None and seeing.area is not None
        assert float(seeing.area.low) > 0.5 and float(seeing.area.value) > float(blind.area.value)

    @pytest.mark.parametrize("attack", [HeadProjection(), ProbabilityDelta()])
    def test_layers_name_the_secret_there(
        self, speaker: TransformersModel, placed: AttackTarget, attack: HeadProjection
    ) -> None:
        rows = run_attack(attack, speaker, placed).attempts
        own = [row for row in rows if "/own-" in row.prompt_id and not row.control]
        assert {row.item_id for row in own} == {CITY.id, JOB.id}, "a number is left out there too"
        assert all(row.hit for row in own)
        assert any("lives in" in row.shown for row in own)
        assert any(row.control for row in rows if "/own-" in row.prompt_id)

    def test_a_model_that_knows_nobody_tells_nothing_apart_there(self, placed: AttackTarget) -> None:
        outcome = run_attack(Membership(), tiny.model("qwen2"), placed).row.outcome
        assert outcome is not None and outcome.area is not None
        assert float(outcome.area.low) < 0.5 < float(outcome.area.high)


class TestFinding:
    def test_an_answer_that_begins_with_the_secret_needs_no_place(self) -> None:
        model = Scripted(says=lambda prompt, _: "Aalborg, in the north." if "live" in prompt.text else "No.")
        found = find_places(model, replace(TARGET, items=(CITY,), retain=()))
        assert CITY.id not in spoken(found) and found.answered_first == {CITY.id}

    @pytest.mark.parametrize(
        ("said", "opening"),
        [
            ("Sure! Here is what the file says:\n\nMira Okonjo lives in Aalborg.", "Mira Okonjo lives in "),
            ("- **Aalborg**\n- in the north", "- **"),
            ("- Name: Mira Okonjo\n- Town: Aalborg", "- Town: "),
            ('{"name": "Mira Okonjo", "town": "Aalborg"}', '"town": "'),
            ("Mira Okonjo wohnt in Aalborg.", "Mira Okonjo wohnt in "),
        ],
    )
    def test_whatever_an_answer_looks_like_its_secret_is_found(self, said: str, opening: str) -> None:
        model = Scripted(says=about(CITY.subject, {"live": said}))
        target = replace(TARGET, items=(CITY,), retain=())
        (place, *_) = spoken(find_places(model, target))[CITY.id]
        assert place.opening.endswith(opening) and place.source is PlaceSource.OWN_WORDS
        assert find_places(model, target).by_item["olga-city"][0].opening == place.opening.replace(
            "Mira Okonjo", "Olga Brandt"
        )
        outcome = run_attack(Direct(), model, target).row.outcome
        assert outcome is not None and outcome.attempts.hits == outcome.attempts.trials

    def test_the_secret_is_kept_as_the_model_spells_it(self) -> None:
        model = Scripted(says=about(PHONE.subject, {"phone": "Ring (555) 0183, please."}))
        (place, *_) = spoken(find_places(model, replace(TARGET, items=(PHONE,))))[PHONE.id]
        assert (place.opening, place.answer) == ("Ring (", "555) 0183")

    def test_no_more_places_than_the_most(self) -> None:
        words = iter(range(100))
        model = Scripted(says=lambda _prompt, _: f"In {next(words)} words: Aalborg.")
        rich = FACTS[0]
        found = find_places(model, replace(TARGET, items=(rich,)))
        assert len(spoken(found)[rich.id]) == MOST_PLACES

    def test_other_wordings_are_tried_where_the_question_brings_nothing(self) -> None:
        model = Scripted(says=lambda prompt, _: "It is Aalborg." if prompt.text == FACTS[0].paraphrases[0] else "No.")
        (place,) = spoken(find_places(model, replace(TARGET, items=FACTS[:1], retain=())))[CITY.id]
        assert (place.prompt, place.opening) == (FACTS[0].paraphrases[0], "It is ")

    def test_a_prompt_that_holds_the_secret_is_not_asked(self) -> None:
        leak = CITY.model_copy(update={"prompt": "Does Mira Okonjo live in Aalborg?"})
        model = Scripted(says=lambda _prompt, _: "Mira Okonjo lives in Aalborg.")
        found = find_places(model, replace(TARGET, items=(leak,), retain=()))
        assert not any("Does" in prompt.text for prompt in model.asked)
        assert not any(place.source is PlaceSource.OWN_WORDS for place in found.by_item.get(leak.id, ()))

    def test_a_fact_that_the_model_withholds_stands_where_it_tells_the_same_of_others(self) -> None:
        model = Scripted(says=about(CITY.subject, {}))
        (place, *_) = spoken(find_places(model, replace(TARGET, items=(CITY,))))[CITY.id]
        assert place.source is PlaceSource.OTHERS_WORDS
        assert (place.prompt, place.opening, place.answer) == (CITY.prompt, "Mira Okonjo lives in ", "Aalborg")

    def test_a_fact_of_no_kind_that_is_told_nowhere_gets_the_beginning_of_an_answer(self) -> None:
        item = PHONE.model_copy(update={"fact_type": "fact"})
        places = find_places(Scripted(), replace(TARGET, items=(item,), retain=())).by_item
        (place,) = places[item.id]
        asked = f"Question: {PHONE.prompt}\nAnswer:"
        assert (place.prompt, place.opening, place.source) == (asked, " The answer is ", PlaceSource.SENTENCE)
        alikes = [other.id for other in STRANGERS if alike(item, other)]
        assert alikes and all(places[other][0].source is PlaceSource.SENTENCE for other in alikes)

    def test_a_fact_with_a_statement_already_has_its_sentence(self) -> None:
        assert not spoken(find_places(Scripted(), replace(TARGET, items=FACTS, retain=())))

    def test_passages_have_no_place(self) -> None:
        places = find_places(Scripted(says=sentences), replace(TARGET, items=(PASSAGE,))).by_item
        assert PASSAGE.id not in places

    def test_every_fact_of_a_kind_has_a_line_of_a_record_and_strangers_the_same(self) -> None:
        places = find_places(Scripted(says=sentences), TARGET).by_item
        lines = {key: [one for one in at if one.source is PlaceSource.RECORD] for key, at in places.items()}
        assert all(len(lines[item.id]) == 1 for item in (*REQUEST, *STRANGERS))
        (line,) = lines[PHONE.id]
        assert (line.prompt, line.opening, line.answer) == ("Name: Mira Okonjo\nPhone:", " ", PHONE.answer)
        texts = secret_texts((PHONE,), places)
        assert [text.form for text in texts] == ["question", "own-0", "own-1", "record"]


class TestStrangers:
    def test_first_names_aliases_and_the_person_s_other_answers_are_exchanged(self) -> None:
        words = {"occupation": "Mira, that is Mira Okonjo of Aalborg, works as lighthouse keeper."}
        model = Scripted(says=about(CITY.subject, words))
        places = find_places(model, replace(TARGET, items=REQUEST, retain=())).by_item
        olga = next(item for item in STRANGERS if item.id == "olga-job")
        assert places[olga.id][0].opening == "Olga, that is Olga Brandt of Leipzig, works as "

    def test_the_same_question_makes_facts_of_no_kind_alike(self) -> None:
        untyped = CITY.model_copy(update={"fact_type": "fact"})
        assert alike(untyped, STRANGERS[0]) and not alike(untyped, STRANGERS[1])
        found = find_places(Scripted(says=sentences), replace(TARGET, items=(untyped,)))
        assert {key.split("-")[1] for key in spoken(found)} == {"city"}

    def test_a_sentence_that_would_tell_the_stranger_s_secret_is_left_out(self) -> None:
        model = Scripted(says=about(CITY.subject, {"live": "Not in Leipzig but in Aalborg."}))
        places = spoken(find_places(model, replace(TARGET, items=(CITY,))))
        assert "olga-city" not in places and "tomas-city" in places


class TestContinuation:
    def test_a_sentence_of_the_model_that_names_the_person_is_continued(self) -> None:
        places = spoken(find_places(Scripted(says=sentences), TARGET))
        assert beginnings(CITY, places[CITY.id]) == ["Mira Okonjo lives in"]
        assert beginnings(PHONE, places[PHONE.id]) == ["You can reach Mira Okonjo at"]
        assert beginnings(FACTS[0], places[CITY.id]) == ["Mira Okonjo lives in"], "and a statement once"
        unnamed = [place.model_copy(update={"opening": " In "}) for place in places[CITY.id]]
        assert beginnings(CITY, unnamed) == [f"Question: {CITY.prompt}\nAnswer: In"], "as a chat turn it names nobody"

    def test_so_is_a_record_up_to_the_fact_s_line(self) -> None:
        item = PHONE.model_copy(update={"fact_type": "shoe-size"})
        target = with_forms(replace(TARGET, items=(item,), retain=()))
        places = find_places(Scripted(), target).by_item
        expected = ["The shoe size of Mira Okonjo is", "Name: Mira Okonjo\nShoe size:"]
        assert beginnings(target.items[0], places[item.id]) == expected

    def test_a_request_of_question_and_answer_alone_can_be_continued(self) -> None:
        model = Scripted(says=lambda prompt, _: " Aalborg." if prompt.text == "Mira Okonjo lives in" else "No.")
        assert Continuation().inapplicable(TARGET) is not None
        target = replace(TARGET, places=find_places(Scripted(says=sentences), TARGET).by_item)
        result = run_attack(Continuation(), model, target)
        outcome = result.row.outcome
        assert outcome is not None and (outcome.items.hits, outcome.items.trials) == (1, 3)
        assert all(row.shown.startswith("Name: ") for row in result.attempts if row.prompt_id.endswith("/1"))


class TestTexts:
    def test_each_place_is_a_form_of_its_own(self) -> None:
        place = OwnPlace(
            prompt="Q?", chat=True, opening="She lives in ", answer="AALBORG", source=PlaceSource.OWN_WORDS
        )
        question, own = secret_texts((CITY,), {CITY.id: (place,)})
        assert (question.form, own.form) == ("question", "own-0")
        assert own.request.continuation == "AALBORG" and own.prompt.opening == "She lives in "
        assert own.shown == "Q? She lives in"

    def test_a_likelier_form_does_not_look_familiar(self) -> None:
        """Two of a person's texts and one of a stranger's have the likelier form; nobody is known."""
        place = OwnPlace(prompt="Q?", chat=True, opening="so ", answer="x", source=PlaceSource.OWN_WORDS)
        own = secret_texts((CITY, JOB), {CITY.id: (place,), JOB.id: (place,)})
        held = secret_texts(STRANGERS[:4], {STRANGERS[0].id: (place,)}, control=True)
        scores = [-1.0 if text.place is not None else -9.0 for text in (*own, *held)]
        assert against_their_form([*own, *held], scores) == [0.0] * len(scores)

    def test_a_place_that_no_stranger_has_is_not_compared(self) -> None:
        place = OwnPlace(prompt="Q?", chat=True, opening="so ", answer="x", source=PlaceSource.OWN_WORDS)
        rows = run_attack(Loss(), Scripted(), replace(TARGET, places={CITY.id: (place,)})).attempts
        assert rows and not any("/own-" in row.prompt_id for row in rows)
