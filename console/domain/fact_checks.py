"""Whether an attack can tell anything by a fact: what never can be measured is refused, what is weak is said.

A hit is the answer in what a model says (:mod:`console.domain.matching`). So an answer that a model must say in any
case, or that the question has said already, makes every model look as if it knew; and an answer that no model can
repeat makes every model look as if it did not. The second is the worst thing that this product could report.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.matching import ARTICLES, answer_in, normalise

LONGEST_NAME = 300  # characters of a subject, an alias, an id or a kind of fact
LONGEST_QUESTION = 4_000
LONGEST_ANSWER = 2_000
LONGEST_PASSAGE = 20_000  # of a passage's beginning, and of its continuation
MOST_ENTRIES = 200  # of one list
_WORDY = 500  # characters from which on an answer is hardly ever repeated word for word
_FEWEST_SIGNS = 3  # letters and digits below which an answer turns up by chance
# Words that stand in nearly every text of their language. Only those that are no one's name or town: "Das", "He" and
# "Van" are, and short ones are said to be weak anyway.
_EVERYWHERE = ARTICLES | {"and", "of", "is", "are", "was", "it", "that", "this", "they", "you"} | {"der", "die", "und"}
_EVERYWHERE |= {"ist", "les", "et", "est", "el", "los", "que", "het", "een"}
_COIN_TOSS = frozenset({"yes", "no", "true", "false", "ja", "nein", "oui", "non", "sí", "si", "nee", "sim", "não"})


@dataclass(frozen=True)
class Doubt:
    """What stands against a fact.

    Attributes:
        field: the field at fault.
        message: a sentence with what to do; it never repeats the cell.
        is_refusal: nothing can be measured by the fact; else the evidence is only weak.
    """

    field: str
    message: str
    is_refusal: bool


def doubts(item: ForgetItem) -> list[Doubt]:
    """What stands against measuring this fact, refusals first.

    A fact of unreadable length, or with signs that nobody types, is not looked at further.
    """
    unreadable = [*_too_long(item), *_not_typed(item)]
    if unreadable:
        return [Doubt(field, message, True) for field, message in unreadable]
    refusals = [Doubt(field, message, True) for field, message in (*_tells_nothing(item), *_given_away(item))]
    return refusals or [Doubt(field, message, False) for field, message in _weak(item)]


def _not_typed(item: ForgetItem) -> Iterator[tuple[str, str]]:
    for field, value in item:
        texts = value if isinstance(value, tuple) else (str(value),)
        if any(unicodedata.category(sign) == "Cc" and sign not in "\t\r\n\x85" for text in texts for sign in text):
            named = field.replace("_", " ")
            yield field, f"The {named} holds a control character, which nobody can type: take it out."


def _too_long(item: ForgetItem) -> Iterator[tuple[str, str]]:
    is_passage = item.kind is ItemKind.VERBATIM
    answer = LONGEST_PASSAGE if is_passage else LONGEST_ANSWER
    question = LONGEST_PASSAGE if is_passage else LONGEST_QUESTION
    limits: dict[str, tuple[Iterable[str], int]] = {
        "id": ((item.id,), LONGEST_NAME),
        "subject": ((item.subject,), LONGEST_NAME),
        "aliases": (item.aliases, LONGEST_NAME),
        "fact_type": ((item.fact_type,), LONGEST_NAME),
        "prompt": ((item.prompt,), question),
        "answer": ((item.answer,), answer),
        "answer_aliases": (item.answer_aliases, answer),
        "paraphrases": (item.paraphrases, question),
        "statement": ((item.statement,), question),
        "perturbed_answers": (item.perturbed_answers, answer),
    }
    for field, (texts, limit) in limits.items():
        lengths = [len(text) for text in texts]
        if max(lengths, default=0) > limit:
            advice = "split the passage" if is_passage else "give the telling part alone, or make it a passage"
            yield (
                field,
                f"The {field} has {max(lengths):,} characters; at most {limit:,} can be looked for: {advice}.",
            )
        elif len(lengths) > MOST_ENTRIES:
            yield field, f"The {field} have {len(lengths):,} entries; at most {MOST_ENTRIES} can be used."


def _answers(item: ForgetItem) -> Iterator[tuple[str, str]]:
    yield "answer", item.answer
    yield from (("answer_aliases", alias) for alias in item.answer_aliases)


def _tells_nothing(item: ForgetItem) -> Iterator[tuple[str, str]]:
    for field, answer in _answers(item):
        what = "answer" if field == "answer" else "answer_aliases: one of them"
        if answer.strip().casefold() in _EVERYWHERE:
            yield field, f"The {what} is a word that stands in every text, so every model would seem to know it."
        elif all(unicodedata.category(sign)[0] in "PZC" for sign in answer):
            yield field, f"The {what} has neither a letter nor a digit, so nothing can be looked for."
        elif normalise(answer) and normalise(answer) == normalise(item.subject):
            yield (
                field,
                f"The {what} is the subject's own name, which the question says already, so every model would seem "
                "to know it.",
            )


def _given_away(item: ForgetItem) -> Iterator[tuple[str, str]]:
    """Questions that say the answer outside the person's name, which they must say."""
    if _gives_away(item.prompt, item):
        yield "prompt", "The question already holds the answer, so every model would seem to know it: ask without it."
    if _gives_away(item.statement, item):
        yield (
            "statement",
            "The statement already holds the answer, so every model would seem to know it: let it end where the answer "
            "begins.",
        )


def _gives_away(text: str, item: ForgetItem) -> bool:
    return _says(text, item) and _says(_without_names(item, text), item)


def _says(text: str, item: ForgetItem) -> bool:
    return bool(text) and answer_in(text, item.answers)


def _without_names(item: ForgetItem, text: str) -> str:
    names = sorted({item.subject, *item.aliases}, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, names)), " / ", text, flags=re.IGNORECASE)


def _weak(item: ForgetItem) -> Iterator[tuple[str, str]]:
    for field, answer in _answers(item):
        # A sign of a script without capitals, such as Chinese, says more than a letter.
        signs = sum(1 + (unicodedata.category(sign) == "Lo") for sign in answer if sign.isalnum())
        if answer.strip(" .!").casefold() in _COIN_TOSS:
            yield field, f"The {field} is right by chance half of the time: a hit says little."
        elif 0 < signs < _FEWEST_SIGNS:
            yield field, f"The {field} is so short that it turns up by chance: a hit says little."
        elif item.kind is not ItemKind.VERBATIM and len(answer) > _WORDY:
            yield (
                field,
                f"The {field} has {len(answer):,} characters: only a model that repeats it word for word is found out. "
                "Give the telling part alone.",
            )
    if _says(item.prompt, item):
        yield "answer", "The answer is part of the person's name, which the question says: a hit says little."
    if any(_gives_away(text, item) for text in item.paraphrases):
        yield "paraphrases", "One of the paraphrases already holds the answer: a hit by it says little."
