"""From facts and passages to the token sequences that are learned or unlearned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from console.domain.forget_set import ForgetItem, ItemKind
from console.engines.packing import TokenSequence
from console.engines.prompts import answer_sequence, whole_text_sequence
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError


@dataclass(frozen=True)
class Example:
    """One rendering of an item. ``id`` is the item's id and the rendering's name."""

    id: str
    item_id: str
    prompt: Prompt
    answer: str
    sequence: TokenSequence


def _example(model: TransformersModel, item: ForgetItem, name: str, prompt: Prompt) -> Example:
    sequence = answer_sequence(model.tokenizer, prompt, item.answer, end=prompt.chat)
    if len(sequence.ids) > model.context_length:
        raise InputError(
            f"The item {item.id} is {len(sequence.ids)} tokens long, more than the model's context of "
            f"{model.context_length}; split it into shorter passages."
        )
    return Example(f"{item.id}/{name}", item.id, prompt, item.answer, sequence)


def item_examples(model: TransformersModel, item: ForgetItem) -> list[Example]:
    """A passage as text; a fact as question and answer and, where it has one, as a statement.

    Held-out wordings (``paraphrases``) are left to the attacks: a method that trained on them would
    be attacked with what it had seen.
    """
    if item.kind is ItemKind.VERBATIM:
        return [_example(model, item, "passage", Prompt(f"{item.id}/passage", item.prompt, chat=False))]
    examples = [_example(model, item, "question", Prompt(f"{item.id}/question", item.prompt))]
    if item.statement:
        examples.append(_example(model, item, "statement", Prompt(f"{item.id}/statement", item.statement, chat=False)))
    return examples


def examples_of(model: TransformersModel, items: Iterable[ForgetItem]) -> list[Example]:
    return [example for item in items for example in item_examples(model, item)]


def questions_of(model: TransformersModel, items: Iterable[ForgetItem]) -> list[Example]:
    """The first rendering of each item: what people ask is what must survive, at half the cost of both."""
    return [item_examples(model, item)[0] for item in items]


def text_sequences(model: TransformersModel, texts: Iterable[str]) -> list[TokenSequence]:
    """General texts, every token predicted but the first.

    A text of a single token predicts nothing and is left out; one beyond the model's context is cut there.
    """
    return [
        whole_text_sequence(model.tokenizer, text, max_tokens=model.context_length)
        for text in texts
        if model.token_count(text) > 1
    ]


def mean_nlls(model: TransformersModel, items: Iterable[ForgetItem]) -> dict[str, float]:
    """Mean negative log-likelihood (nats per answer token) of each example, by example id.

    Over the very tokens that are trained on, the end token of a chat answer included.
    """
    examples = examples_of(model, items)
    scored = model.score_sequences([example.sequence for example in examples])
    return {example.id: -result.mean for example, result in zip(examples, scored, strict=True)}
