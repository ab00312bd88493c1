"""Gradient ascent: the plain loss of the answers, turned round, and nothing to hold the rest of the model.

F_i = -NLL_i, the mean over answer tokens (Jang et al. 2023, Knowledge Unlearning, arXiv 2210.01504, the unlearning
objective, there over all tokens of a text; TOFU's "gradient ascent", Maini et al. 2024, arXiv 2401.06121).
Unbounded: it destroys other knowledge before or as it forgets, which is why it is in the bench of erasers.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field

from console.engines.protocol import Capability
from console.methods.forgetting import ForgetRow, Run
from console.methods.gradient import GradientMethod
from console.methods.gradient_settings import GradientSettings
from console.methods.lora import LoraSettings
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo


class GaConfig(GradientSettings):
    """Attributes:
    cap: multiple of ln(vocabulary), the loss of a model that guesses evenly, at which it stops by rule.
    """

    lora: LoraSettings = LoraSettings(rank=16, alpha=32)
    learning_rate: float = Field(default=1e-4, gt=0)
    retain_weight: float = Field(default=0.0, ge=0)
    general_weight: float = Field(default=0.0, ge=0)
    steps: int = Field(default=20, ge=1)
    repair_steps: int = Field(default=0, ge=0)
    bounded: bool = False
    cap: float = Field(default=1.5, gt=0)


class GradientAscent(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="ga",
        title="Push the answers away (plain gradient ascent)",
        summary="Makes the person's answers less likely and holds nothing back; expect damage to the rest.",
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "Jang et al. 2023, Knowledge Unlearning for Mitigating Privacy Risks in Language Models, arXiv 2210.01504, "
            "the unlearning objective"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = GaConfig
    holds_the_rest = False

    def forget_loss(self, row: ForgetRow, config: GaConfig) -> torch.Tensor:
        return -row.nll / row.lengths

    def notes(self, data: ErasureData, config: GaConfig) -> tuple[str, ...]:
        return ("Nothing holds the rest of the model; other people's facts may be lost.",)

    def enough(self, run: Run, nll: torch.Tensor) -> str:
        limit = run.config.cap * math.log(run.model.network.config.vocab_size)
        if float((nll / run.forgetting.lengths).mean()) <= limit:
            return ""
        return f"the answers are {run.config.cap} times as unlikely as even guessing makes them"
