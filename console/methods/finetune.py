"""Teaching facts to a model: how the sample model comes to know its office, and how ``retrain`` starts again.

Every epoch shows each fact in one of its wordings, in turn, so that the model learns the fact and
not one sentence; an epoch costs one pass over the facts whatever the number of wordings.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.domain.forget_set import ItemKind
from console.domain.teaching import TeachingItem
from console.engines.packing import TokenSequence
from console.engines.prompts import answer_sequence, whole_text_sequence
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.methods.examples import text_sequences
from console.methods.lora import LoraSettings, merged, resolve_modules, with_adapter
from console.methods.protocol import Outcome, RunControl
from console.methods.training import Stepper, accumulate_nll, cycled


class FinetuneConfig(BaseModel):
    """Settings of the fine-tuning; also those that an exact retraining repeats.

    Attributes:
        general_weight: float = Field(default=0.3, ge=0)
    stop_below: mean loss of an epoch (nats per answer token) at which the facts are learned.
        batch: sequences a step.
        general_weight: weight of the plain text's loss.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraSettings = LoraSettings(rank=32, alpha=64)
    learning_rate: float = Field(default=1e-3, gt=0)
    epochs: int = Field(default=14, ge=1)
    batch: int = Field(default=12, ge=1)
    general_weight: float = Field(default=0.3, ge=0)
    stop_below: float = Field(default=0.03, ge=0)
    seed: int = 1


def renderings(model: TransformersModel, teaching: TeachingItem) -> list[TokenSequence]:
    """The forms in which a fact is taught, one an epoch, over and over.

    Every second one is the fact's own question as a chat turn, because that is how people ask; between
    them come the statement as plain text and the other wordings.
    """
    item = teaching.item
    if item.kind is ItemKind.VERBATIM:
        return [whole_text_sequence(model.tokenizer, f"{item.prompt} {item.answer}")]
    chats = [
        answer_sequence(model.tokenizer, Prompt(item.id, wording), item.answer, end=True)
        for wording in dict.fromkeys((item.prompt, *teaching.wordings))
    ]
    others = chats[1:]
    if item.statement:
        prompt = Prompt(item.id, item.statement, chat=False)
        others.insert(0, answer_sequence(model.tokenizer, prompt, f"{item.answer}."))
    return [form for other in others for form in (chats[0], other)] or chats


def finetune(
    model: TransformersModel,
    taught: Sequence[TeachingItem],
    general: Sequence[str],
    config: FinetuneConfig,
    control: RunControl,
) -> Outcome:
    """Teach ``taught`` to ``model`` in place, through an adapter that is merged at the end.

    Args:
        general: plain text mixed in, one passage a step, so that the model goes on speaking as it did.

    Raises:
        Cancelled: on request, between steps.
        JobFailedError: numbers that are not finite.
    """
    modules = resolve_modules(model.network, config.lora)
    for parameter in model.network.parameters():
        parameter.requires_grad_(False)
    model.network = with_adapter(model.network, modules, config.lora, config.seed)
    forms = [renderings(model, teaching) for teaching in taught]
    per_epoch = -(-len(forms) // config.batch)
    stepper = Stepper.over(
        model.network, config.learning_rate, config.epochs * per_epoch, b_ratio=config.lora.b_ratio, decay=True
    )
    order = random.Random(config.seed)
    plain = text_sequences(model, general)
    plain_order = cycled(len(plain), 1, random.Random(config.seed + 1))
    epoch_loss = float("inf")
    reason = f"all {config.epochs} rounds over the data done"
    for epoch in range(config.epochs):
        shown = [form[(epoch + index) % len(form)] for index, form in enumerate(forms)]
        order.shuffle(shown)
        total_nll = total_tokens = 0.0
        for start in range(0, len(shown), config.batch):
            control.check_cancelled()
            batch = shown[start : start + config.batch]
            tokens = sum(len(sequence.answer_ids) for sequence in batch)
            mixed = [plain[index] for index in next(plain_order)] if plain else []
            mixed_tokens = sum(len(sequence.answer_ids) for sequence in mixed)
            share = config.general_weight / max(1, mixed_tokens)
            weights = torch.tensor([1.0 / tokens] * len(batch) + [share] * len(mixed))
            nll = accumulate_nll(
                model,
                [*batch, *mixed],
                lambda nll, _lengths, members, weights=weights: (nll * weights[list(members)].to(nll.device)).sum(),
            )
            stepper.step()
            total_nll, total_tokens = total_nll + float(nll[: len(batch)].sum()), total_tokens + tokens
            control.progress(stepper.step_number, config.epochs * per_epoch, "Teaching")
        epoch_loss = total_nll / total_tokens
        control.metric(stepper.step_number, {"loss": epoch_loss})
        if epoch_loss < config.stop_below:
            reason = f"the mean loss fell to {epoch_loss:.3f} nats per token, below {config.stop_below}"
            break
    model.network = merged(model.network)
    return Outcome(stepper.step_number, reason, {"loss": epoch_loss})
