"""Refusal tuning: teach the model to answer the person's questions with "I do not know".

L = mean NLL(refusals | questions) + retain_weight * mean NLL(retained answers) over answer tokens (the "IDK" baseline
of TOFU, Maini et al. 2024, section 4.2, without its preference form). It changes what is said and hardly what is
known: measured to pass the direct question while rephrasing and the hidden layers still find everything.
"""

from __future__ import annotations

import json
import random

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.engines.packing import TokenSequence
from console.engines.prompts import answer_sequence
from console.engines.protocol import Capability, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.examples import questions_of
from console.methods.lora import (
    LoraSettings,
    first_trained_layer,
    merged,
    resolve_modules,
    trainable_parameters,
    with_adapter,
)
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.training import Stepper, accumulate_nll, cycled
from console.paths import resource


class RefusalConfig(BaseModel):
    """Attributes:
    refusal_batch, retain_batch: questions a step that are refused, and that are answered as before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraSettings = LoraSettings(rank=16, alpha=32, b_ratio=4.0, first_layer=0.6)
    learning_rate: float = Field(default=3e-4, gt=0)
    steps: int = Field(default=24, ge=1)
    refusal_batch: int = Field(default=6, ge=1)
    retain_batch: int = Field(default=12, ge=1)
    retain_weight: float = Field(default=1.0, ge=0)
    seed: int = 1


class Refusal:
    """See the module's docstring."""

    info = MethodInfo(
        id="refusal",
        title="Teach the model to refuse",
        summary="Trains the model to say that it does not know when asked about the person; the data may stay.",
        family=Family.WEIGHTS,
        claim=Claim.SUPPRESSION_IN_WEIGHTS,
        source="Maini et al. 2024, TOFU, arXiv 2401.06121, section 4.2 (IDK)",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = RefusalConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: RefusalConfig) -> Plan:
        """Raises InputError: nothing to forget, or passages only (they have no question to refuse)."""
        data.forget.require_nonempty()
        if not data.forget.questions:
            raise InputError("The request holds passages only, and a passage has no question to refuse.")
        modules = resolve_modules(model.network, config.lora)
        trained = trainable_parameters(model.network, modules, config.lora.rank)
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        return Plan(modules, trained, config.steps, (weights * 4 + trained * 16) // 2**20)

    def apply(self, model: TransformersModel, data: ErasureData, config: RefusalConfig, control: RunControl) -> Outcome:
        plan = self.prepare(model, data, config)
        for parameter in model.network.parameters():
            parameter.requires_grad_(False)
        model.network = with_adapter(model.network, plan.modules, config.lora, config.seed)
        sentences = json.loads(resource("prompts", "abstention.json").read_text(encoding="utf-8"))["sentences"]
        asked = data.forget.questions
        retain = [example.sequence for example in questions_of(model, data.retain.items)]
        drawn = random.Random(config.seed)
        turns = cycled(len(asked), config.refusal_batch, random.Random(config.seed + 1))
        kept = cycled(len(retain), config.retain_batch, random.Random(config.seed + 2))

        def refusal(index: int) -> TokenSequence:
            item = asked[index]
            return answer_sequence(model.tokenizer, Prompt(item.id, item.prompt), drawn.choice(sentences), end=True)

        trunk = model.trunk(first_trained_layer(model.network, config.lora), [refusal(0)])
        stepper = Stepper.over(model.network, config.learning_rate, b_ratio=config.lora.b_ratio)
        last: dict[str, float] = {}
        while stepper.step_number < config.steps:
            control.check_cancelled()
            batch = [refusal(index) for index in next(turns)]
            held = [retain[index] for index in next(kept)] if retain else []
            sizes = [sum(len(sequence.answer_ids) for sequence in part) for part in (batch, held)]
            weights = torch.tensor([1 / sizes[0]] * len(batch) + [config.retain_weight / max(1, sizes[1])] * len(held))
            nll = accumulate_nll(
                model,
                [*batch, *held],
                lambda row, _lengths, members, weights=weights: (row * weights[list(members)].to(row.device)).sum(),
                trunk,
            )
            last = {"refusal_nll": float(nll[: len(batch)].sum()) / sizes[0]}
            if held:
                last["retain_nll"] = float(nll[len(batch) :].sum()) / sizes[1]
            stepper.step()
            control.metric(stepper.step_number, last)
            control.progress(stepper.step_number, config.steps, "Teaching to refuse")
        model.network = merged(model.network)
        return Outcome(stepper.step_number, f"all {config.steps} steps done", last)
