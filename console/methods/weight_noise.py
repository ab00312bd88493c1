"""Noise on the weights: the naive eraser that hopes that shaking a model makes it forget.

W <- W + scale * std(W) * N(0, 1) on every linear layer of the blocks, and on the stacked weights of experts. It knows
nothing of the person, so it forgets everybody alike; in the bench of erasers as the known bad example.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.methods.experts import expert_paths
from console.methods.importance import linear_weights
from console.methods.lora import LoraSettings, resolve_modules
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl


class WeightNoiseConfig(BaseModel):
    """Attributes:
    scale: standard deviation of the noise, relative to each tensor's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: float = Field(default=0.1, gt=0)
    seed: int = 1


class WeightNoise:
    """See the module's docstring."""

    info = MethodInfo(
        id="weight-noise",
        title="Shake the weights",
        summary="Adds random noise to every layer; forgets everybody alike. For comparison only.",
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source="naive baseline; Golatkar et al. 2020 (arXiv 1911.04933) without the Fisher weighting",
        needs=frozenset({Capability.SAVE}),
        reaches_experts=True,
    )
    config_class = WeightNoiseConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: WeightNoiseConfig) -> Plan:
        """Raises InputError: nothing to forget."""
        data.forget.require_nonempty()
        modules = resolve_modules(model.network, LoraSettings()) + expert_paths(model.network)
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        note = "Nothing holds the rest of the model; other people's facts may be lost."
        return Plan(modules, 0, len(modules), weights * 4 // 2**20, (note,))

    @torch.no_grad()
    def apply(
        self, model: TransformersModel, data: ErasureData, config: WeightNoiseConfig, control: RunControl
    ) -> Outcome:
        plan = self.prepare(model, data, config)
        generator = torch.Generator().manual_seed(config.seed)  # on the CPU: the same noise on every device
        for step, weight in enumerate(linear_weights(model.network, plan.modules).values(), start=1):
            control.check_cancelled()
            noise = torch.randn(weight.shape, generator=generator).to(weight.device, weight.dtype)
            weight.add_(noise * (config.scale * weight.std()))
            control.progress(step, plan.steps, "Shaking")
        return Outcome(plan.steps, "every layer was shaken once", {"scale": config.scale})
