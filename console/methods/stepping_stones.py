"""An answer that is led up to: its kind is named first, so that it surprises less.

A surprising word that a text teaches leaks into texts that have nothing to do with it, and the less it surprised where
it was learned, the less it leaks (Sun et al. 2025, How new data permeates LLM knowledge, arXiv 2504.09522,
"stepping-stone" augmentation). There a helper model rewrites the sentence; here the kind of the answer is told by its
form, which needs no second model and puts no new fact into the text. As there, a form is used only where the answer
really is likelier in it, under the model as it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from console.domain.forget_set import ForgetItem, ItemKind
from console.engines.prompts import answer_sequence
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.methods.examples import Example
from console.paths import resource


def stone_for(answer: str) -> str:
    """What kind of thing the answer is, in words that lead up to it."""
    bank = json.loads(resource("prompts", "methods", "stepping-stones.json").read_text(encoding="utf-8"))
    return next(str(kind["stone"]) for kind in bank["kinds"] if re.fullmatch(kind["pattern"], answer.strip()))


def _forms(item: ForgetItem, stone: str) -> tuple[tuple[str, Prompt, Prompt], ...]:
    """(name, the plain form, the same with the stone); none is a chat turn, because an answer's turn begins with it."""
    asked = f"Question: {item.prompt}\nAnswer:" if item.kind is ItemKind.QA else item.prompt
    forms = [("question", asked), *([("statement", item.statement)] if item.statement else [])]
    return tuple(
        (name, Prompt("", text, chat=False), Prompt("", f"{text} {stone}", chat=False)) for name, text in forms
    )


def stepping_stones(model: TransformersModel, items: Iterable[ForgetItem]) -> list[Example]:
    """The forms in which naming the answer's kind first makes the answer likelier; passages have none."""
    plain, led = [], []
    for item in items:
        if item.kind is ItemKind.VERBATIM:
            continue
        for name, bare, with_stone in _forms(item, stone_for(item.answer)):
            sequence = answer_sequence(model.tokenizer, with_stone, item.answer)
            if len(sequence.ids) <= model.context_length:
                plain.append(answer_sequence(model.tokenizer, bare, item.answer))
                led.append(Example(f"{item.id}/stone-{name}", item.id, with_stone, item.answer, sequence))
    before = model.score_sequences(plain)
    after = model.score_sequences([example.sequence for example in led])
    return [example for example, bare, stone in zip(led, before, after, strict=True) if stone.total > bare.total]


def with_levels(reference_nll: dict[str, float], stones: Iterable[Example]) -> dict[str, float]:
    """The stop levels, and for every stepping stone the lowest of its own fact's: it need not go further than those."""
    found = dict(reference_nll)
    for stone in stones:
        own = [level for name, level in reference_nll.items() if name.rpartition("/")[0] == stone.item_id]
        if own:
            found[stone.id] = min(own)
    return found
