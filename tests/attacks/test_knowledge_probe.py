"""The knowledge probe on a scripted model: what stands before the question, and what three contexts say of a fact."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from invented import FACTS, OTHERS, OUTSIDERS, PASSAGE, PERSON
from scripted import SHIPPED, WORDINGS, Scripted

from console.attacks.knowledge_probe import Context, KnowledgeProbe, Label, bad_shots, good_shots, label
from console.attacks.protocol import AttackSettings, AttackTarget, AttemptRow, Shot
from console.attacks.suite import run_attack
from console.domain.forget_set import ForgetItem
from console.domain.matching import answer_in, normalise
from console.domain.results import Evidence, Status
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.paths import resource

SETTINGS = AttackSettings(samples=2, shots=2)
TARGET = AttackTarget(PERSON, OUTSIDERS, SHIPPED, SETTINGS, retain=OTHERS)
CITY, JOB, PHONE = FACTS
EVERYBODY = {item.id: item for item in (*PERSON, *OUTSIDERS)}
DRAWS = 1 + SETTINGS.samples


def run(model: Scripted, target: AttackTarget = TARGET) -> list[AttemptRow]:
    return list(KnowledgeProbe().run(model, target))


def only(*items: ForgetItem) -> AttackTarget:
    return replace(TARGET, items=items, controls=())


def context_of(prompt: Prompt) -> Context:
    return Context(int(prompt.id.rpartition("/")[2]))


def item_of(prompt: Prompt) -> ForgetItem:
    return EVERYBODY[prompt.id.split("/")[1]]


def shown(prompt: Prompt) -> str:
    return " ".join([*(part for turn in prompt.turns for part in turn), prompt.text])


def rows_of(draws: dict[Context, str], item: str = "fact") -> list[AttemptRow]:
    """Rows from strings such as "x..": the greedy draw first, ``x`` where it gave the fact."""
    return [
        AttemptRow(item, f"knowledge-probe/{item}/{int(context)}", attempt, hit=mark == "x")
        for context, marks in draws.items()
        for attempt, mark in enumerate(marks)
    ]


G, B, S = Context.GOOD_SHOTS, Context.BAD_SHOTS, Context.STORY


class TestLabel:
    @pytest.mark.parametrize(
        ("good", "bad", "story", "wanted"),
        [
            ("xxx", "xxx", "xxx", Label.STILL_KNOWS),
            ("..x", "x..", "x..", Label.STILL_KNOWS),  # one draw of many, as an attacker would count
            ("xxx", ".xx", "xxx", Label.ERRS),  # the greedy answer after bad shots is wrong
            ("xxx", "xxx", ".xx", Label.ERRS),
            ("xxx", "...", "...", Label.ERRS),
            ("...", "..x", "...", Label.ERRS),  # it is there, and held back where it should come first
            ("...", "xxx", "xxx", Label.ERRS),
            ("...", "...", "...", Label.IGNORANT),
        ],
    )
    def test_three_contexts_make_a_label(self, good: str, bad: str, story: str, wanted: Label) -> None:
        rows = rows_of({G: good, B: bad, S: story})
        assert label(rows) is wanted
        assert label(rows[::-1]) is wanted, "the order of rows says nothing"

    def test_a_context_that_could_not_be_asked_says_nothing(self) -> None:
        assert label(rows_of({G: "x.."})) is Label.STILL_KNOWS
        assert label(rows_of({G: "x..", S: "..."})) is Label.ERRS
        assert label(rows_of({B: "x.."})) is Label.ERRS

    def test_it_is_of_one_fact(self) -> None:
        with pytest.raises(ValueError, match="one fact"):
            label([])
        with pytest.raises(ValueError, match="one fact"):
            label([*rows_of({G: "x"}), *rows_of({G: "x"}, "another")])


class TestContexts:
    def test_good_shots_are_right_and_of_the_kind_first(self) -> None:
        assert good_shots(TARGET, PHONE)[0] == ("What is the phone number of Lena Falk?", "555-0199")
        known = {(shot.question, shot.answer) for shot in SHIPPED.shots}
        assert set(good_shots(TARGET, PHONE)) == known

    def test_bad_shots_ask_the_same_and_answer_wrongly(self) -> None:
        good, bad = good_shots(TARGET, PHONE), bad_shots(TARGET, PHONE)
        assert [question for question, _ in bad] == [question for question, _ in good]
        assert all(wrong != right for (_, wrong), (_, right) in zip(bad, good, strict=True))
        assert bad[0][1] in WORDINGS["knowledge-probe"]["wrong_answers"]["phone"]
        assert len({wrong for _, wrong in bad}) == len(bad)

    def test_a_wrong_answer_that_is_right_or_secret_is_passed_over(self) -> None:
        wrong = WORDINGS["knowledge-probe"]["wrong_answers"]["phone"]
        shots = (Shot("phone", "What is the phone number of Lena Falk?", wrong[0]),)
        target = replace(TARGET, bank=replace(SHIPPED, shots=shots))
        assert bad_shots(target, PHONE.model_copy(update={"answer": wrong[1]}))[0][1] == wrong[2]

    def test_a_shot_that_holds_the_secret_is_left_out_and_the_question_still_asked(self) -> None:
        same_town = replace(TARGET, items=(CITY.model_copy(update={"answer": "Malmo"}),), controls=())
        model = Scripted()
        rows = run(model, same_town)
        assert {context_of(prompt) for prompt in model.asked} == set(Context)
        assert not any("Malmo" in shown(prompt) for prompt in model.asked)
        assert len(rows) == 3 * DRAWS

    def test_the_story_stands_around_the_question_after_one_right_example(self) -> None:
        model = Scripted()
        run(model, only(CITY))
        prompts = {context_of(prompt): prompt for prompt in model.asked}
        assert prompts[G].text == prompts[B].text == CITY.prompt
        assert CITY.prompt in prompts[S].text and "Bob" in prompts[S].text
        assert prompts[S].turns == prompts[G].turns[:1]

    def test_every_context_is_drawn_greedily_and_with_seeds(self) -> None:
        model = Scripted()
        rows = run(model, only(CITY))
        assert model.attempts == list(SETTINGS.attempts) and model.attempts[0] == GREEDY
        assert Counter(row.prompt_id for row in rows) == {f"knowledge-probe/mira-city/{n}": DRAWS for n in range(3)}
        assert KnowledgeProbe().budget(SETTINGS) == len(rows)


Says = Callable[[Prompt, int], str]


class TestRows:
    @pytest.mark.parametrize(
        ("says", "wanted"),
        [
            (lambda prompt, _: item_of(prompt).answer, Label.STILL_KNOWS),
            (lambda prompt, _: item_of(prompt).answer if context_of(prompt) is G else "Underhollow", Label.ERRS),
            (lambda prompt, attempt: item_of(prompt).answer if attempt else "I do not know.", Label.ERRS),
            (lambda _prompt, _attempt: "Tampere, 555-0127, watchmaker", Label.IGNORANT),
        ],
        ids=["knows", "errs", "errs in greedy draws", "ignorant"],
    )
    def test_what_a_model_says_becomes_its_label(self, says: Says, wanted: Label) -> None:
        own = {item.id for item in PERSON}
        rows = run(Scripted(lambda prompt, at: says(prompt, at) if item_of(prompt).id in own else "No idea."))
        for item in FACTS:
            assert label([row for row in rows if row.item_id == item.id]) is wanted
        assert {
            label([row for row in rows if row.item_id == key]) for key in {r.item_id for r in rows if r.control}
        } == {Label.IGNORANT}

    def test_no_prompt_contains_what_is_asked_for(self) -> None:
        model = Scripted()
        rows = run(model)
        assert len({prompt.id for prompt in model.asked}) == len(model.asked)
        assert all(row.control is (row.item_id not in {item.id for item in PERSON}) for row in rows)
        for prompt in model.asked:
            assert not answer_in(shown(prompt), item_of(prompt).answers)
            assert not re.search(r"\{\w+\}", shown(prompt)), "a slot was left open"

    def test_a_question_that_holds_its_answer_is_not_asked(self) -> None:
        leak = CITY.model_copy(update={"prompt": "Does Mira Okonjo live in Aalborg?"})
        assert {row.item_id for row in run(Scripted(), only(leak, JOB))} == {JOB.id}

    def test_a_name_with_braces_is_asked_literally(self) -> None:
        odd = CITY.model_copy(update={"prompt": "What is odd about Mira {question} Okonjo?"})
        model = Scripted()
        run(model, only(odd))
        assert all("What is odd about Mira {question} Okonjo?" in prompt.text for prompt in model.asked)

    def test_two_facts_under_one_id_are_refused(self) -> None:
        with pytest.raises(ValueError, match="two prompts carry one id"):
            run(Scripted(), only(PHONE, PHONE.model_copy(update={"answer": "555-0100"})))

    def test_a_reference_is_asked_about_the_request_alone(self) -> None:
        reference = replace(TARGET, settings=replace(SETTINGS, prompt_controls=False))
        assert not [row for row in run(Scripted(), reference) if row.control]

    @pytest.mark.parametrize(
        ("target", "says"),
        [
            (only(PASSAGE), "passages only"),
            (replace(TARGET, bank=replace(SHIPPED, sections={})), "no wordings for 'knowledge-probe'"),
            (replace(TARGET, bank=replace(SHIPPED, shots=())), "no examples"),
        ],
    )
    def test_what_cannot_be_asked_says_why(self, target: AttackTarget, says: str) -> None:
        row = run_attack(KnowledgeProbe(), Scripted(), target).row
        assert row.status is Status.NOT_APPLICABLE and says in row.reason

    def test_it_introduces_itself(self) -> None:
        info = KnowledgeProbe.info
        assert info.evidence is Evidence.ELICITED
        assert "attempt" in info.definition and "hits" in info.definition


class TestTinyModel:
    def test_a_model_that_was_taught_knows_and_one_that_was_not_is_ignorant(
        self, taught: TransformersModel, untaught: TransformersModel
    ) -> None:
        """Positive and negative control on a network; under bad shots the tiny one may err, but not forget."""
        target = replace(only(*FACTS), settings=AttackSettings(samples=0, shots=2))
        known = list(KnowledgeProbe().run(taught, target))
        unknown = list(KnowledgeProbe().run(untaught, target))
        for item in FACTS:
            assert label([row for row in known if row.item_id == item.id]) is not Label.IGNORANT
            assert label([row for row in unknown if row.item_id == item.id]) is Label.IGNORANT


class TestBank:
    def test_wrong_answers_are_wrong_for_every_shipped_example_and_known_to_nobody(self) -> None:
        bank = json.loads(resource("prompts", "attacks", "knowledge-probe.json").read_text(encoding="utf-8"))
        assert (bank["version"], bank["language"]) == (1, "en")
        pairs = json.loads(resource("office", "fewshot.json").read_text(encoding="utf-8"))["pairs"]
        assert set(bank["wrong_answers"]) == set(pairs)
        for kind, wrong in bank["wrong_answers"].items():
            assert len(set(wrong)) == len(wrong) == 4
            right = {normalise(shot["answer"]) for shot in pairs[kind]}
            assert not right & {normalise(text) for text in wrong}
        plain = json.dumps(bank, ensure_ascii=False).casefold()
        for subject in json.loads(resource("office", "subjects.json").read_text(encoding="utf-8"))["subjects"]:
            secrets = [said for fact in subject["facts"] for said in (fact["answer"], *fact["answer_aliases"])]
            assert not [text for text in (*secrets, *subject["name"].split()) if text.casefold() in plain]

    def test_the_story_has_one_slot(self) -> None:
        assert re.findall(r"\{(\w+)\}", json.dumps(WORDINGS["knowledge-probe"])) == ["question"]
