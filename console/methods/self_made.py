"""A forget corpus that the model writes itself, from the person's name alone (RWKU: Jin et al. 2024, arXiv 2406.10890).

Whoever asks for erasure often has no text in hand: only a name. So the model is asked what it says about that person,
with varied openings and seeded draws (T 1.0, top-p 0.9):

- *texts*: it goes on after an opening that names the person, or writes a short biography: passages to be forgotten;
- *counterfactuals*: told that it does not know the person, it makes a life up from the same opening. What it says then
  goes with the passage as a wrong answer of the same form (``perturbed_answers``), for methods that prefer something
  else to the truth;
- *questions*: its own and some from templates, with the answers that it gives today, which a method makes it refuse or
  forget. What it already says it does not know is left out.

Dropped is what does not name the person, is too short or was said before. What is left are items like any others.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.matching import answer_in, find_answer, normalise
from console.engines.prompts import prompt_ids
from console.engines.protocol import GREEDY, Attempt, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.paths import resource

CAVEAT = "What a model makes up about a person is not necessarily the person's data."
_LEAST_ROOM = 8  # tokens; less holds no sentence
_QUESTION = re.compile(r"^[\s>*_#\"'-]*(?:\(?\d{1,3}\s*[.):]|[•·–—])?[\s*_\"'-]*(?P<question>.+\?)")


class SelfMadeConfig(BaseModel):
    """How much is drawn.

    Attributes:
        texts: draws of a text for each person, half of them plain continuations, half biographies.
        questions: most questions for each person, those from templates included.
        asked: draws in which the model writes questions.
        min_words: a text or a continuation shorter than this says too little.
        max_new_tokens: of a draw; fewer where the model's context is short.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: int = Field(default=24, ge=0)
    questions: int = Field(default=16, ge=0)
    asked: int = Field(default=4, ge=0)
    min_words: int = Field(default=4, ge=1)
    max_new_tokens: int = Field(default=96, ge=8)
    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=0.9, gt=0, le=1)
    seed: int = Field(default=40_000, ge=0)


class Dropped(StrEnum):
    """Why something that the model said is not used."""

    UNNAMED = "does not name the person"
    SHORT = "too short"
    REPEATED = "said before"
    UNKNOWN = "the model says that it does not know"


@dataclass(frozen=True)
class SelfMadeCorpus:
    """What a model said about the people of a request, as items to forget.

    Attributes:
        drawn: texts and questions that were drawn.
        counterfactuals: texts that have a made-up counterpart.
        dropped: how many were dropped, by reason.
    """

    items: tuple[ForgetItem, ...]
    drawn: int
    counterfactuals: int
    dropped: dict[str, int]

    @property
    def sentence(self) -> str:
        """The count in words, with what it does not mean."""
        return f"{len(self.items)} of {self.drawn} texts and questions by the model itself were kept. {CAVEAT}"


@dataclass(frozen=True)
class _Person:
    """Whom the model is asked about. ``index`` names them in ids, which must not hold a name."""

    index: int
    subject: str
    aliases: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.subject, *self.aliases)

    def id(self, what: str, number: int) -> str:
        return f"self-made-{self.index}-{what}-{number}"

    def filled(self, template: str, **more: str) -> str:
        values = {"subject": self.subject, **more}
        # One pass, because braces in a name are no slots.
        return re.sub(r"\{(\w+)\}", lambda slot: values[slot[1]], template)


def _people(items: Iterable[ForgetItem]) -> list[_Person]:
    aliases: dict[str, dict[str, None]] = {}
    for item in items:
        aliases.setdefault(item.subject, {}).update(dict.fromkeys(item.aliases))
    return [_Person(index, subject, tuple(found)) for index, (subject, found) in enumerate(aliases.items(), start=1)]


def _bank(*parts: str) -> dict[str, Any]:
    return dict(json.loads(resource("prompts", *parts).read_text(encoding="utf-8")))


class _Corpus:
    """A corpus in the making: asks the model, and counts what is kept and what is dropped."""

    def __init__(self, model: TransformersModel, config: SelfMadeConfig) -> None:
        self._model = model
        self._config = config
        self._bank = _bank("methods", "self-made.json")
        self._abstentions = [normalise(sentence) for sentence in _bank("abstention.json")["sentences"]]
        self._said: set[str] = set()
        self.items: list[ForgetItem] = []
        self.dropped: Counter[str] = Counter()
        self.drawn = 0
        self.counterfactuals = 0

    # -- asking ------------------------------------------------------------------------------

    def _draw(self, prompts: Sequence[Prompt], attempt: Attempt) -> dict[str, str]:
        """What the model says after each prompt, by its id; a prompt that leaves no room for it says nothing."""
        fitting, room = [], []
        for prompt in prompts:
            free = self._model.context_length - len(prompt_ids(self._model.tokenizer, prompt))
            if free >= _LEAST_ROOM:
                fitting.append(prompt)
                room.append(min(free, self._config.max_new_tokens))
        found = {prompt.id: "" for prompt in prompts}
        if fitting:
            found |= {said.prompt_id: said.answer for said in self._model.generate(fitting, [attempt], room)}
        return found

    def _sampled(self, prompts: Sequence[Prompt]) -> dict[str, str]:
        config = self._config
        return self._draw(prompts, Attempt(config.seed, config.temperature, config.top_p))

    # -- keeping -----------------------------------------------------------------------------

    def _drop(self, why: Dropped) -> None:
        self.dropped[why.value] += 1

    def _is_new(self, text: str) -> bool:
        said = normalise(text)
        new = said not in self._said
        self._said.add(said)
        if not new:
            self._drop(Dropped.REPEATED)
        return new

    def _long_enough(self, text: str) -> bool:
        return len(text.split()) >= self._config.min_words

    # -- texts -------------------------------------------------------------------------------

    def texts(self, person: _Person) -> None:
        """Passages that the model writes about the person, each with what it makes up instead, if it does."""
        openers = [person.filled(template) for template in self._bank["openers"]]
        known, unknown = [], []
        for number in range(self._config.texts):
            opener = openers[number // 2 % len(openers)]
            asked = self._bank["known"][number // 2 % len(self._bank["known"])]
            made_up = self._bank["unknown"][number // 2 % len(self._bank["unknown"])]
            plain = number % 2 == 0
            text = opener if plain else person.filled(asked, opener=opener)
            known.append(Prompt(person.id("text", number), text, chat=not plain))
            unknown.append(Prompt(person.id("made-up", number), person.filled(made_up, opener=opener)))
        said, invented = self._sampled(known), self._sampled(unknown)
        for prompt, other in zip(known, unknown, strict=True):
            self.drawn += 1
            item = self._text_item(person, prompt, said[prompt.id])
            if item is not None:
                self.items.append(self._with_counterfactual(person, item, invented[other.id]))

    def _text_item(self, person: _Person, prompt: Prompt, said: str) -> ForgetItem | None:
        text = _first_paragraph(said)
        beginning, rest = (prompt.text, text) if not prompt.chat else _after_name(text, person.names)
        if not beginning:
            self._drop(Dropped.UNNAMED)
            return None
        if not self._long_enough(rest):
            self._drop(Dropped.SHORT)
            return None
        if not self._is_new(f"{beginning} {rest}"):
            return None
        return ForgetItem(
            id=prompt.id,
            kind=ItemKind.VERBATIM,
            subject=person.subject,
            aliases=person.aliases,
            fact_type="self-made",
            prompt=beginning,
            answer=rest,
        )

    def _with_counterfactual(self, person: _Person, item: ForgetItem, invented: str) -> ForgetItem:
        text = _first_paragraph(invented)
        rest = _after_name(text, person.names)[1] or text
        if not self._long_enough(rest) or normalise(rest) == normalise(item.answer):
            return item
        self.counterfactuals += 1
        return item.model_copy(update={"perturbed_answers": (rest,)})

    # -- questions ---------------------------------------------------------------------------

    def questions(self, person: _Person) -> None:
        """Questions about the person with the answers that the model gives today."""
        count = str(self._config.questions)
        asking = [
            Prompt(
                person.id("ask", number),
                person.filled(self._bank["ask"][number % len(self._bank["ask"])], count=count),
            )
            for number in range(self._config.asked if self._config.questions else 0)
        ]
        written = self._sampled(asking)
        own = [question for prompt in asking for question in _questions_in(written[prompt.id])]
        prompts: list[Prompt] = []
        for question in (*(person.filled(template) for template in self._bank["questions"]), *own):
            if len(prompts) == self._config.questions:
                break
            self.drawn += 1
            # Literally, because an item must name its subject as it is spelled.
            if not any(name in question for name in person.names):
                self._drop(Dropped.UNNAMED)
            elif self._is_new(question):
                prompts.append(Prompt(person.id("question", len(prompts)), question))
        answers = self._draw(prompts, GREEDY)
        for prompt in prompts:
            self._keep_question(person, prompt, _first_line(answers[prompt.id]))

    def _keep_question(self, person: _Person, prompt: Prompt, answer: str) -> None:
        compared = normalise(answer)
        if any(abstention in compared for abstention in self._abstentions):
            self._drop(Dropped.UNKNOWN)
            return
        if not compared or answer_in(prompt.text, [answer]):
            self._drop(Dropped.SHORT)
            return
        item = ForgetItem(
            id=prompt.id,
            kind=ItemKind.QA,
            subject=person.subject,
            aliases=person.aliases,
            fact_type="self-made",
            prompt=prompt.text,
            answer=answer,
        )
        self.items.append(item)


def _first_paragraph(text: str) -> str:
    """Up to the first empty line: after it a model often goes on about something else."""
    return re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0].strip()


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _after_name(text: str, names: Sequence[str]) -> tuple[str, str]:
    """A text cut behind the first mention of the person; both empty where it names nobody of these."""
    place = find_answer(text, names)
    if place is None:
        return "", ""
    return text[: place[1]], text[place[1] :].strip()


def _questions_in(text: str) -> list[str]:
    """The questions in what a model wrote, without numbers and bullets; lines without a question mark are none."""
    found = (_QUESTION.match(line) for line in text.splitlines())
    return [" ".join(match["question"].split()) for match in found if match is not None]


def self_made_corpus(
    model: TransformersModel,
    about: Sequence[ForgetItem],
    config: SelfMadeConfig | None = None,
    on_stage: Callable[[int], None] = lambda _stage: None,
) -> SelfMadeCorpus:
    """Let the model say what it says about the people of these items; changes nothing, and the same seed says the same.

    Args:
        about: only their subjects and aliases are used.
        on_stage: called before each person's texts and questions; may raise to cancel.

    Raises:
        InputError: nobody is named, or the model says nothing that could be used.
    """
    if not about:
        raise InputError("Nobody is named, so the model cannot be asked about anybody; add the person's name.")
    corpus = _Corpus(model, config or SelfMadeConfig())
    for index, person in enumerate(_people(about)):
        on_stage(2 * index)
        corpus.texts(person)
        on_stage(2 * index + 1)
        corpus.questions(person)
    if not corpus.items:
        raise InputError(
            f"The model says nothing about the person that could be used (0 of {corpus.drawn} texts and questions); "
            "add facts or passages to the request."
        )
    return SelfMadeCorpus(tuple(corpus.items), corpus.drawn, corpus.counterfactuals, dict(corpus.dropped))
