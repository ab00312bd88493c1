"""Gradient ascent: the plain loss of the answers, turned round, and nothing to hold the rest of the model.

L = -mean_i NLL_i over answer tokens (Jang et al. 2023, Knowledge Unlearning, eq. 3; TOFU's "grad ascent").
Unbounded: it destroys other knowledge before or as it forgets, which is why it is in the bench of erasers.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.methods.examples import examples_of
from console.methods.lora import LoraSettings, merged, resolve_modules, trainable_parameters, with_adapter
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.training import Stepper, accumulate_nll


class GaConfig(BaseModel):
    """Attributes:
    steps: most steps.
    cap: multiple of ln(vocabulary), the loss of a model that guesses evenly, at which it stops by rule.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraSettings = LoraSettings(rank=16, alpha=32)
    learning_rate: float = Field(default=1e-4, gt=0)
    steps: int = Field(default=20, ge=1)
    cap: float = Field(default=1.5, gt=0)
    seed: int = 1


class GradientAscent:
    """See the module's docstring."""

    info = MethodInfo(
        id="ga",
        title="Push the answers away (plain gradient ascent)",
        summary="Makes the person's answers less likely and holds nothing back; expect damage to the rest.",
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source="Jang et al. 2023, Knowledge Unlearning for Mitigating Privacy Risks, arXiv 2210.01504, eq. 3",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = GaConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: GaConfig) -> Plan:
        """Raises InputError: nothing to forget."""
        data.forget.require_nonempty()
        modules = resolve_modules(model.network, config.lora)
        trained = trainable_parameters(model.network, modules, config.lora.rank)
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        note = "Nothing holds the rest of the model; other people's facts may be lost."
        return Plan(modules, trained, config.steps, (weights * 4 + trained * 16) // 2**20, (note,))

    def apply(self, model: TransformersModel, data: ErasureData, config: GaConfig, control: RunControl) -> Outcome:
        plan = self.prepare(model, data, config)
        for parameter in model.network.parameters():
            parameter.requires_grad_(False)
        model.network = with_adapter(model.network, plan.modules, config.lora, config.seed)
        sequences = [example.sequence for example in examples_of(model, data.forget.items)]
        tokens = sum(len(sequence.answer_ids) for sequence in sequences)
        limit = config.cap * math.log(model.network.config.vocab_size)
        stepper = Stepper.over(model.network, config.learning_rate)
        reason, mean = f"all {config.steps} steps done", 0.0
        while stepper.step_number < config.steps:
            control.check_cancelled()
            nll = accumulate_nll(model, sequences, lambda row, _lengths, _members: -row.sum() / tokens)
            mean = float(nll.sum()) / tokens
            if mean > limit:
                reason = f"the answers are {config.cap} times as unlikely as even guessing makes them"
                break
            stepper.step()
            control.metric(stepper.step_number, {"forget_nll": mean})
            control.progress(stepper.step_number, config.steps, "Unlearning")
        model.network = merged(model.network)
        return Outcome(stepper.step_number, reason, {"forget_nll": mean})
