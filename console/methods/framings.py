"""A question in several frames: with words before or behind it, and as plain text instead of a chat turn.

A change that was made in one form holds in that form first. None of the frames rewords the question: other wordings
are the attacks', and a method that had trained on them would be attacked with what it had seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from console.domain.forget_set import ForgetItem, ItemKind
from console.engines.prompts import answer_sequence
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.methods.examples import Example
from console.paths import resource


def _forms(item: ForgetItem) -> Iterable[tuple[str, Prompt]]:
    bank = json.loads(resource("prompts", "methods", "framings.json").read_text(encoding="utf-8"))
    for index, frame in enumerate(bank["question_plain"]):
        yield f"plain-{index}", Prompt("", frame.format(question=item.prompt), chat=False)
    for index, frame in enumerate(bank["question_chat"]):
        yield f"chat-{index}", Prompt("", frame.format(question=item.prompt))
    for index, frame in enumerate(bank["statement_plain"] if item.statement else ()):
        yield f"statement-{index}", Prompt("", frame.format(statement=item.statement), chat=False)


def framed_examples(model: TransformersModel, items: Iterable[ForgetItem]) -> list[list[Example]]:
    """For each fact its framed forms, those that fit into the model's context; passages have none."""
    found = []
    for item in items:
        if item.kind is ItemKind.VERBATIM:
            continue
        framed = []
        for name, prompt in _forms(item):
            sequence = answer_sequence(model.tokenizer, prompt, item.answer, end=prompt.chat)
            if len(sequence.ids) <= model.context_length:
                framed.append(Example(f"{item.id}/{name}", item.id, prompt, item.answer, sequence))
        found.append(framed)
    return found
