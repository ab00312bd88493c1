"""What the model says about a person, from the name alone: the taught model tells, nothing unusable is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import tiny
from invented import FACTS, GENERAL, OTHERS, PERSON, SUBJECT

from console.domain.forget_set import ForgetItem, ForgetSet, ItemKind, RetainSet
from console.domain.matching import answer_in
from console.engines.protocol import Attempt, Continuation, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.examples import mean_nlls
from console.methods.npo import Npo, NpoConfig
from console.methods.protocol import ErasureData
from console.methods.self_made import CAVEAT, Dropped, SelfMadeConfig, self_made_corpus

SMALL = SelfMadeConfig(texts=12, questions=6, asked=2, max_new_tokens=24)
NAMED = FACTS[:1]


class Scripted:
    """A model that says what a test wants, and remembers what it was asked."""

    context_length = 256

    def __init__(self, tokenizer: Any, say: Any) -> None:
        self.tokenizer = tokenizer
        self._say = say
        self.asked: list[tuple[Prompt, Attempt, int]] = []

    def generate(
        self, prompts: Sequence[Prompt], attempts: Sequence[Attempt], room: Sequence[int]
    ) -> Iterator[Continuation]:
        (attempt,) = attempts
        for prompt, tokens in zip(prompts, room, strict=True):
            self.asked.append((prompt, attempt, tokens))
            yield Continuation(prompt.id, 0, self._say(prompt))


def scripted(untaught: TransformersModel, say: Any) -> Scripted:
    return Scripted(untaught.tokenizer, say)


def of_kind(items: Sequence[ForgetItem], kind: ItemKind) -> list[ForgetItem]:
    return [item for item in items if item.kind is kind]


class TestTaughtModel:
    def test_it_tells_what_it_knows_and_changes_nothing(self, taught: TransformersModel) -> None:
        """The fixture proves that the shared model stays as it is."""
        corpus = self_made_corpus(taught, NAMED, SMALL)
        texts, questions = of_kind(corpus.items, ItemKind.VERBATIM), of_kind(corpus.items, ItemKind.QA)
        assert texts and questions
        told = " ".join(item.answer for item in corpus.items)
        assert [fact.answer for fact in FACTS if answer_in(told, [fact.answer])], told

    def test_the_same_seed_says_the_same_and_another_does_not(self, taught: TransformersModel) -> None:
        one, two = (self_made_corpus(taught, NAMED, SMALL) for _ in range(2))
        assert one == two
        other = self_made_corpus(taught, NAMED, SMALL.model_copy(update={"seed": 7}))
        assert other.items != one.items

    def test_the_request_s_facts_are_never_used(self, taught: TransformersModel) -> None:
        assert self_made_corpus(taught, PERSON, SMALL) == self_made_corpus(taught, PERSON[1:2], SMALL)

    def test_the_items_can_be_unlearned(self, taught: TransformersModel) -> None:
        corpus = self_made_corpus(taught, NAMED, SMALL)
        copy = tiny.copy_of(taught)
        config = NpoConfig(lora={"rank": 8, "alpha": 16}, learning_rate=5e-3, steps=6, repair_steps=2, repair_limit=0)
        data = ErasureData(ForgetSet(items=corpus.items), RetainSet(items=OTHERS), GENERAL)
        before = mean_nlls(copy, corpus.items)
        Npo().apply(copy, data, config, tiny.Recorder())
        after = mean_nlls(copy, corpus.items)
        known = [name for name, nll in before.items() if nll < 1.0]
        assert known
        assert sum(after[name] for name in known) > 2 * sum(before[name] for name in known)

    def test_counts_add_up(self, taught: TransformersModel) -> None:
        corpus = self_made_corpus(taught, NAMED, SMALL)
        assert corpus.drawn == len(corpus.items) + sum(corpus.dropped.values())
        assert (
            corpus.sentence == f"{len(corpus.items)} of {corpus.drawn} texts and questions by the model itself were "
            f"kept. {CAVEAT}"
        )

    @pytest.mark.parametrize("name", ["{count} {subject}", "Jean \\1 {opener}"])
    def test_braces_in_a_name_are_no_slots(self, untaught: TransformersModel, name: str) -> None:
        item = ForgetItem(id="a", kind=ItemKind.QA, subject=name, prompt=f"Who is {name}?", answer="x")
        model = scripted(untaught, lambda _prompt: "a person who lives by the sea")
        corpus = self_made_corpus(model, [item], SMALL)
        assert all(name in prompt.text for prompt, _, _ in model.asked)
        assert all(name in kept.prompt for kept in corpus.items)


class TestWhatIsKept:
    def test_a_biography_is_cut_behind_the_name_and_after_a_paragraph(self, untaught: TransformersModel) -> None:
        def say(prompt: Prompt) -> str:
            if prompt.chat and "text" in prompt.id:
                return f"Once there was {SUBJECT}, who kept the light of item {prompt.id[-1]}.\n\nAnother story begins."
            return ""

        corpus = self_made_corpus(scripted(untaught, say), NAMED, SelfMadeConfig(texts=4, questions=0))
        assert [(item.prompt, item.answer) for item in corpus.items] == [
            (f"Once there was {SUBJECT}", f", who kept the light of item {number}.") for number in (1, 3)
        ]

    def test_an_opening_is_gone_on_with(self, untaught: TransformersModel) -> None:
        says = {0: "a keeper of the old light", 2: "in the town by the sea"}
        model = scripted(untaught, lambda prompt: says.get(int(prompt.id.rsplit("-", 1)[1]), ""))
        corpus = self_made_corpus(model, NAMED, SelfMadeConfig(texts=4, questions=0))
        plain = [item for item in corpus.items if item.id.startswith("self-made-1-text")]
        assert [(item.prompt, item.answer) for item in plain] == [
            (f"{SUBJECT} is", says[0]),
            (f"{SUBJECT} was born", says[2]),
        ]

    def test_the_unnamed_the_short_and_the_repeated_are_dropped_and_counted(self, untaught: TransformersModel) -> None:
        def say(prompt: Prompt) -> str:
            number = int(prompt.id.rsplit("-", 1)[1])
            chat = {
                1: "A man went to the sea and stayed.",
                3: f"{SUBJECT} lives there alone now.",
                5: f"{SUBJECT.upper()} LIVES THERE ALONE NOW",
                7: f"{SUBJECT} lives there",
            }
            return chat[number] if "text" in prompt.id and number % 2 else ""

        corpus = self_made_corpus(scripted(untaught, say), NAMED, SelfMadeConfig(texts=8, questions=0))
        assert [item.answer for item in corpus.items] == ["lives there alone now."]
        assert corpus.dropped == {Dropped.SHORT.value: 5, Dropped.UNNAMED.value: 1, Dropped.REPEATED.value: 1}
        assert corpus.drawn == 8

    def test_what_is_made_up_goes_with_its_passage(self, untaught: TransformersModel) -> None:
        def say(prompt: Prompt) -> str:
            if "made-up" in prompt.id:
                return f"{SUBJECT} sails around the world in a boat" if prompt.id.endswith("0") else "no"
            return "a keeper of the old light" if not prompt.chat else ""

        corpus = self_made_corpus(scripted(untaught, say), NAMED, SelfMadeConfig(texts=3, questions=0))
        assert corpus.counterfactuals == 1
        assert [item.perturbed_answers for item in corpus.items] == [("sails around the world in a boat",), ()]

    def test_own_questions_name_the_person_and_come_once(self, untaught: TransformersModel) -> None:
        own = f"Sure:\n1. What does {SUBJECT} sing?\n2) Who is {SUBJECT}?\n- What does she like?\nNo question here"

        def say(prompt: Prompt) -> str:
            return own if "ask" in prompt.id else f"Answer to {prompt.id}\nand more"

        corpus = self_made_corpus(scripted(untaught, say), NAMED, SelfMadeConfig(texts=0, questions=50, asked=2))
        asked = [item.prompt for item in corpus.items]
        assert asked.count(f"Who is {SUBJECT}?") == 1 and asked.count(f"What does {SUBJECT} sing?") == 1
        assert "What does she like?" not in asked and all(SUBJECT in question for question in asked)
        assert corpus.dropped == {Dropped.REPEATED.value: 3, Dropped.UNNAMED.value: 2}
        assert all(item.answer == f"Answer to {item.id}" for item in corpus.items)

    def test_questions_that_the_model_cannot_answer_are_left_out(self, untaught: TransformersModel) -> None:
        def say(prompt: Prompt) -> str:
            number = int(prompt.id.rsplit("-", 1)[1])
            return {0: "Sorry, I do not know.", 1: SUBJECT, 2: " "}.get(number, "In Aalborg")

        corpus = self_made_corpus(scripted(untaught, say), NAMED, SelfMadeConfig(texts=0, questions=4, asked=0))
        assert [item.answer for item in corpus.items] == ["In Aalborg"]
        assert corpus.dropped == {Dropped.UNKNOWN.value: 1, Dropped.SHORT.value: 2}

    def test_draws_are_sampled_and_answers_are_greedy(self, untaught: TransformersModel) -> None:
        model = scripted(untaught, lambda _prompt: "a keeper of the old light")
        self_made_corpus(model, NAMED, SMALL)
        for prompt, attempt, room in model.asked:
            drawn = None if "question" in prompt.id else SMALL.seed
            assert attempt.seed == drawn and 0 < room <= SMALL.max_new_tokens
            assert SUBJECT not in prompt.id

    def test_every_person_of_a_request_is_asked_about(self, untaught: TransformersModel) -> None:
        model = scripted(untaught, lambda prompt: f"a keeper of the light {prompt.id}")
        stages: list[int] = []
        corpus = self_made_corpus(model, (*FACTS, OTHERS[0]), SMALL, stages.append)
        assert {item.subject for item in corpus.items} == {SUBJECT, OTHERS[0].subject}
        assert stages == [0, 1, 2, 3]
        ForgetSet(items=(*PERSON, *corpus.items))  # ids stay unique beside the request's


class TestRefusals:
    def test_a_model_that_says_nothing(self, untaught: TransformersModel) -> None:
        with pytest.raises(InputError, match="0 of 18"):
            self_made_corpus(scripted(untaught, lambda _prompt: ""), NAMED, SMALL)

    def test_nobody_named(self, untaught: TransformersModel) -> None:
        with pytest.raises(InputError, match="add the person's name"):
            self_made_corpus(untaught, (), SMALL)

    def test_a_context_too_short_for_a_prompt_says_nothing_there(self, untaught: TransformersModel) -> None:
        model = scripted(untaught, lambda _prompt: "a keeper of the old light")
        model.context_length = 30
        self_made_corpus(model, NAMED, SMALL)
        assert model.asked and max(room for _, _, room in model.asked) <= 24
        assert all("made-up" not in prompt.id for prompt, _, _ in model.asked)
