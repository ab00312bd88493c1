"""Teaching facts to a model: how the sample model comes to know its office, and how ``retrain`` starts again.

Every epoch shows each fact in one of its wordings, in turn, so that the model learns the fact and
not one sentence; an epoch costs one pass over the facts whatever the number of wordings.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.domain.forget_set import ItemKind
from console.domain.teaching import TeachingItem
from console.engines.frozen_trunk import FrozenTrunk
from console.engines.packing import TokenSequence
from console.engines.prompts import answer_sequence, whole_text_sequence
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.examples import text_sequences
from console.methods.lora import LoraSettings, first_trained_layer, merged, resolve_modules, with_adapter
from console.methods.protocol import Outcome, RunControl
from console.methods.training import Stepper, accumulate_nll, cycled

REHEARSE_EVERY = 4


class FinetuneConfig(BaseModel):
    """Settings of the fine-tuning; also those that an exact retraining repeats.

    Attributes:
        trains: an adapter, which is merged at the end, or all weights (``lora`` then says nothing).
        answers: how a question is answered: with the bare answer, or in the whole sentence of the fact's statement.
        epochs: rounds over the facts, at most; a fact that is known is shown in every fourth only.
        batch: sequences a step.
        general_weight: weight of the plain text's loss.
        general_every: steps from one passage of plain text to the next.
        known_below: mean loss (nats per answer token) of a fact at which it counts as known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trains: Literal["adapter", "all"] = "adapter"
    answers: Literal["bare", "sentence"] = "bare"
    lora: LoraSettings = LoraSettings(rank=32, alpha=64, b_ratio=8.0, first_layer=0.6)
    learning_rate: float = Field(default=1e-3, gt=0)
    epochs: int = Field(default=14, ge=1)
    batch: int = Field(default=6, ge=1)
    general_weight: float = Field(default=0.3, ge=0)
    general_every: int = Field(default=4, ge=1)
    known_below: float = Field(default=0.05, ge=0)
    seed: int = 1


def renderings(
    model: TransformersModel, teaching: TeachingItem, answers: Literal["bare", "sentence"] = "bare"
) -> list[TokenSequence]:
    """The forms in which a fact is taught, one an epoch, over and over.

    Every second one is the fact's own question as a chat turn, because that is how people ask; between
    them come the statement as plain text and the other wordings.
    """
    item = teaching.item
    if item.kind is ItemKind.VERBATIM:
        return [whole_text_sequence(model.tokenizer, f"{item.prompt} {item.answer}")]
    said = f"{item.statement} {item.answer}." if answers == "sentence" and item.statement else item.answer
    chats = [
        answer_sequence(model.tokenizer, Prompt(item.id, wording), said, end=True)
        for wording in dict.fromkeys((item.prompt, *teaching.wordings))
    ]
    others = chats[1:]
    if item.statement:
        prompt = Prompt(item.id, item.statement, chat=False)
        others.insert(0, answer_sequence(model.tokenizer, prompt, f"{item.answer}."))
    return [form for other in others for form in (chats[0], other)] or chats


@dataclass
class _Lesson:
    """One fact: its forms, and how well it was known when it was last shown (nats per answer token)."""

    forms: list[TokenSequence]
    last_nll: float = float("inf")

    def due(self, index: int, epoch: int, known_below: float) -> bool:
        """What is known already is only rehearsed, every fourth round; the time goes to what is not."""
        return self.last_nll >= known_below or (index + epoch) % REHEARSE_EVERY == 0

    def form(self, index: int, epoch: int) -> TokenSequence:
        return self.forms[(epoch + index) % len(self.forms)]


def _learn(
    model: TransformersModel,
    batch: Sequence[TokenSequence],
    mixed: Sequence[TokenSequence],
    general_weight: float,
    trunk: FrozenTrunk | None,
) -> list[float]:
    """Add the gradient of the facts' and the plain text's mean losses; returns each fact's mean NLL."""
    tokens = sum(len(sequence.answer_ids) for sequence in batch)
    mixed_tokens = sum(len(sequence.answer_ids) for sequence in mixed)
    weights = torch.tensor([1.0 / tokens] * len(batch) + [general_weight / max(1, mixed_tokens)] * len(mixed))
    nll = accumulate_nll(
        model,
        [*batch, *mixed],
        lambda row_nll, _lengths, members: (row_nll * weights[list(members)].to(row_nll.device)).sum(),
        trunk,
    )
    return [float(value) / len(sequence.answer_ids) for value, sequence in zip(nll, batch, strict=False)]


def finetune(
    model: TransformersModel,
    taught: Sequence[TeachingItem],
    general: Sequence[str],
    config: FinetuneConfig,
    control: RunControl,
) -> Outcome:
    """Teach ``taught`` to ``model`` in place, through an adapter that is merged at the end or in all weights.

    Args:
        general: plain text mixed in, one passage every few steps, so that the model goes on speaking as it did.

    Raises:
        InputError: nothing to teach.
        JobFailedError: numbers that are not finite.
        Whatever ``control`` raises when the person has asked to stop.
    """
    if not taught:
        raise InputError("There is nothing to teach: the list of facts is empty; add at least one fact.")
    whole = config.trains == "all"
    for parameter in model.network.parameters():
        parameter.requires_grad_(whole)
    if not whole:
        modules = resolve_modules(model.network, config.lora)
        model.network = with_adapter(model.network, modules, config.lora, config.seed)
    stepper = Stepper.over(model.network, config.learning_rate, b_ratio=config.lora.b_ratio, decay=True)
    lessons = [_Lesson(renderings(model, teaching, config.answers)) for teaching in taught]
    plain = text_sequences(model, general)
    trunk = None if whole else model.trunk(first_trained_layer(model.network, config.lora), lessons[0].forms)
    order, plain_order = random.Random(config.seed), cycled(len(plain), 1, random.Random(config.seed + 1))
    reason = f"all {config.epochs} rounds over the data done"
    for epoch in range(config.epochs):
        shown = [index for index, lesson in enumerate(lessons) if lesson.due(index, epoch, config.known_below)]
        order.shuffle(shown)
        for start in range(0, len(shown), config.batch):
            control.check_cancelled()
            batch = shown[start : start + config.batch]
            rehearse = bool(plain) and stepper.step_number % config.general_every == 0
            mixed = [plain[index] for index in next(plain_order)] if rehearse else []
            forms = [lessons[index].form(index, epoch) for index in batch]
            for index, nll in zip(batch, _learn(model, forms, mixed, config.general_weight, trunk), strict=True):
                lessons[index].last_nll = nll
            within = min(1.0, (start + config.batch) / len(shown))
            stepper.step((epoch + within) / config.epochs)
            control.progress(round(100 * (epoch + within)), 100 * config.epochs, "Teaching")
        unknown = sum(lesson.last_nll >= config.known_below for lesson in lessons)
        loss = sum(lesson.last_nll for lesson in lessons) / len(lessons)
        control.metric(stepper.step_number, {"loss": loss, "unknown": float(unknown)})
        if not unknown:
            reason = f"every fact was known (below {config.known_below} nats per token) when it was last shown"
            break
    if not whole:
        model.network = merged(model.network)
    return Outcome(stepper.step_number, reason, {"loss": loss, "unknown": float(unknown)})
