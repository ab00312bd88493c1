"""GS-LoRA: an adapter on the feed-forward layers that confines the change to as few blocks as it can.

F_i = max(0, BND_i - NLL_i), the mean NLL (nats per answer token) up to the level of a model that never knew the
answer, and a group-sparse penalty over blocks, alpha sum_g ||theta_g||_2 (Zhao et al. 2024, Continual Forgetting for
Pre-trained Vision Models, arXiv 2403.11530, there for image classifiers). The constant BND_i has no gradient: the
shared loop leaves out every example that has passed its level, and what remains is -NLL_i. Until an answer known by
heart moves, the log-odds of its tokens are pushed down beside it, because its NLL has no gradient.

The penalty is taken as its proximal step, which gives exact zeros where a gradient only gives small numbers: before
each step every group's norm is made smaller by the same amount, and a group that has none left is out for good. Two
things differ from the paper, because a run here has tens of steps and not thousands: the norm is that of the change a
group makes to its block's weights (scale B A) and not of A and B themselves, whose random start would drown it; and
the amount is ``sparsity`` times the largest group's norm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field

from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.forgetting import ForgetRow, Run
from console.methods.gradient import GradientMethod
from console.methods.known_by_heart import SOURCE_NOTE, ByHeartSettings, push_by_heart
from console.methods.lora import LoraSettings, resolve_modules
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Plan

_FEED_FORWARD = ("mlp", "feed_forward", "ffn")  # what architectures call the part of a block
_BLOCK = re.compile(r"\.(\d+)\.")


class GsLoraConfig(ByHeartSettings):
    """Attributes:
    sparsity: alpha; by which share of the largest group's norm every group is made smaller a step.
    sparsity_after: steps before the first of these; the groups have to differ first.
    sparsity_until: share of the steps after which groups are made smaller no more, so that those that are left can
        finish the work.
    """

    lora: LoraSettings = LoraSettings(rank=8, alpha=16, b_ratio=4.0, first_layer=0.6)
    steps: int = Field(default=24, ge=1)
    sparsity: float = Field(default=0.3, ge=0, lt=1)
    sparsity_after: int = Field(default=4, ge=1)
    sparsity_until: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True)
class Group:
    """The adapters on one block's feed-forward layers."""

    block: int
    layers: tuple[Any, ...]

    def tensors(self) -> list[torch.nn.Parameter]:
        return [layer.lora_A["default"].weight for layer in self.layers] + [
            layer.lora_B["default"].weight for layer in self.layers
        ]

    @torch.no_grad()
    def norm(self) -> float:
        """Frobenius norm of what the group adds to its block's weights, without forming the products."""
        squares = 0.0
        for layer in self.layers:
            a, b = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
            squares += layer.scaling["default"] ** 2 * float(((a @ a.T) * (b.T @ b)).sum())
        return max(0.0, squares) ** 0.5

    @torch.no_grad()
    def shrink(self, share: float, optimizer: torch.optim.Optimizer) -> None:
        """Scale the change; at 0 both factors become zero, which no gradient moves again.

        Nor may what the optimizer remembers.
        """
        if share:
            for layer in self.layers:
                layer.lora_B["default"].weight.mul_(share)
            return
        for tensor in self.tensors():
            tensor.zero_()
            for remembered in optimizer.state.get(tensor, {}).values():
                if torch.is_tensor(remembered) and remembered.shape == tensor.shape:
                    remembered.zero_()


def soft_threshold(norms: list[float], amount: float) -> list[float]:
    """By what each group is multiplied, so that its norm is smaller by ``amount``; 0 where there is no more."""
    return [max(0.0, 1 - amount / norm) if norm else 0.0 for norm in norms]


class GsLora(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="gs-lora",
        title="Unlearn the answers in as few layers as possible",
        summary=(
            "Trains a small addition to some layers that makes the person's answers as unlikely as they are to a "
            "model that never knew them, drops it from every layer that can do without, and merges the rest."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "Zhao et al. 2024, Continual Forgetting for Pre-trained Vision Models, arXiv 2403.11530, carried over to "
            f"language models; {SOURCE_NOTE}"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = GsLoraConfig

    def forget_loss(self, row: ForgetRow, config: GsLoraConfig) -> torch.Tensor:
        return -row.nll / row.lengths + push_by_heart(row, config.certain_below)

    def modules(self, model: TransformersModel, config: GsLoraConfig) -> tuple[str, ...]:
        every = resolve_modules(model.network, config.lora)
        inner = tuple(path for path in every if set(path.split(".")) & set(_FEED_FORWARD))
        if not inner:
            raise InputError(
                f"The architecture '{model.network.config.model_type}' has no feed-forward layers that this method "
                "knows; choose another method."
            )
        return inner

    def prepare(self, model: TransformersModel, data: ErasureData, config: GsLoraConfig) -> Plan:
        """Raises InputError: as every gradient method; tensors in place of an adapter, or no bound."""
        if config.tensors or not config.bounded:
            raise InputError("This method trains an adapter up to a bound; leave 'tensors' empty and 'bounded' on.")
        return super().prepare(model, data, config)

    def begin(self, run: Run) -> list[Group]:
        layers: dict[int, list[Any]] = {}
        by_path = dict(run.model.network.get_base_model().named_modules())
        for path in run.plan.modules:
            found = _BLOCK.search(path)
            assert found is not None, path
            layers.setdefault(int(found[1]), []).append(by_path[path])
        return [Group(block, tuple(parts)) for block, parts in sorted(layers.items())]

    def forget_step(self, run: Run) -> torch.Tensor:
        config, step = run.config, run.stepper.step_number
        if not run.holding and config.sparsity_after <= step < config.sparsity_until * config.steps:
            norms = [group.norm() for group in run.own]
            shares = soft_threshold(norms, config.sparsity * max(norms))
            for group, share in zip(run.own, shares, strict=True):
                group.shrink(share, run.stepper.optimizer)
        return super().forget_step(run)

    def further_step(self, run: Run) -> dict[str, float]:
        """Which blocks the change is in, as norms by block; a block whose norm is 0 is left as it was."""
        kept = sum(any(bool(tensor.any()) for tensor in group.tensors()) for group in run.own)
        norms = {f"change_of_block_{group.block}": group.norm() for group in run.own}
        return {"groups": float(len(run.own)), "groups_kept": float(kept), **norms}
