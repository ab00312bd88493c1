"""Unlearn one expert of a mixture and hold its router (UOE, published as SEUF).

Zhuang et al. 2025, SEUF: Is Unlearning One Expert Enough for Mixture-of-Experts LLMs?, ACL 2025, arXiv 2411.18797.
With g_t^(l) the gate scores of token t in block l (softmax of the router's logits, before the highest k are taken):

- *attribution*: s_i^(l) is the mean over the person's texts of the mean over their tokens of g_(t,i)^(l); the expert
  (l*, i*) with the highest s of all blocks is taken;
- *loss*: that of NPO with its retain terms (``npo``) + a * MSE(g^(l*), onehot(i*)), the mean taken over the tokens of
  the person's texts and over the experts; a = 1, as in the authors' code (``ga_expert/trainer.py``);
- trained are expert i* and the router's matrix of block l* and nothing else, as in the authors' code.

The second term is the anchor: without it a router learns to send the person's texts to other experts, and the one that
knows is left as it was. What attention and a shared expert hold is out of the method's reach.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import Field

from console.engines.packing import PackedRow
from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.examples import examples_of, questions_of, text_sequences
from console.methods.experts import (
    OneExpert,
    RoutedBlock,
    Routing,
    kept_choices,
    overlap,
    routed_blocks,
    routings,
    scores_of,
)
from console.methods.forgetting import Run
from console.methods.lora import LoraSettings
from console.methods.npo import Npo, NpoConfig
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.training import accumulate


class UoeConfig(NpoConfig):
    """Attributes:
    lora, tensors, ignore_top_share: set by the method itself.
    expert: block and expert, both from 0; the one with the highest affinity where it is left out.
    anchor_weight: a, of the router's anchor.
    learning_rate: that of the authors' code; weights themselves are trained, and no adapter.
    """

    lora: LoraSettings = LoraSettings()
    tensors: tuple[str, ...] = ("experts", "gate")
    ignore_top_share: float = Field(default=0.0, ge=0, le=0)
    expert: tuple[int, int] | None = None
    anchor_weight: float = Field(default=1.0, ge=0)
    learning_rate: float = Field(default=2e-4, gt=0)
    steps: int = Field(default=40, ge=1)


def anchor_loss(scores: torch.Tensor, expert: int) -> torch.Tensor:
    """Mean over tokens and experts of (g - onehot(expert))^2, of ``scores`` (tokens, experts)."""
    wanted = torch.zeros_like(scores)
    wanted[:, expert] = 1.0
    return torch.nn.functional.mse_loss(scores, wanted)


_MEASURED = 100  # texts of what is kept that the overlap is measured on


@dataclass(frozen=True)
class Attribution:
    """The expert that is unlearned.

    Attributes:
        blocks: its own, and those above it.
        before: where each of these sends the person's texts.
        retain: where its own sends what is kept; None where nothing is.
    """

    blocks: tuple[RoutedBlock, ...]
    expert: int
    before: tuple[Routing, ...]
    retain: Routing | None

    @property
    def block(self) -> RoutedBlock:
        return self.blocks[0]

    @property
    def forget(self) -> Routing:
        return self.before[0]

    @property
    def metrics(self) -> dict[str, float]:
        found = {
            "expert_layer": float(self.block.layer),
            "expert_index": float(self.expert),
            "expert_affinity": float(self.forget.affinity[self.expert]),
            "expert_token_share": self.forget.share_of_tokens(self.expert),
        }
        return found if self.retain is None else found | {"selection_overlap": overlap(self.forget, self.retain)}

    @property
    def notes(self) -> tuple[str, ...]:
        found = self.metrics
        notes = [
            f"Trained are expert {self.expert} (counted from 0, of {len(self.forget.affinity)}) in {self.block.path} "
            f"and its router: mean gate score {found['expert_affinity']:.2f} on the person's texts, chosen by "
            f"{found['expert_token_share']:.0%} of their tokens."
        ]
        if self.retain is not None:
            notes.append(
                f"The choices of experts there by the person's texts and by what is kept overlap by "
                f"{found['selection_overlap']:.0%}; {self.retain.share_of_tokens(self.expert):.0%} of the tokens of "
                "what is kept choose this expert too."
            )
        if self.block.has_shared_expert:
            notes.append("Every token passes a shared expert as well; it stays as it is and may hold the data too.")
        return tuple(notes)


def attributed(model: TransformersModel, data: ErasureData, config: UoeConfig) -> Attribution:
    """The expert that the settings name, or the one with the highest affinity to the person's texts.

    Raises:
        InputError: no mixture of experts of a known kind, or no such expert.
    """
    blocks = routed_blocks(model.network)
    forget = routings(model, [example.sequence for example in examples_of(model, data.forget.items)], blocks)
    if config.expert is None:
        place = max(range(len(blocks)), key=lambda index: float(forget[index].affinity.max()))
        expert = int(forget[place].affinity.argmax())
    else:
        layer, expert = config.expert
        places = [index for index, block in enumerate(blocks) if block.layer == layer]
        if not places or not 0 <= expert < len(forget[0].affinity):
            raise InputError(f"There is no expert {expert} in block {layer} of this model; leave 'expert' out.")
        place = places[0]
    retained = questions_of(model, data.retain.items)
    kept = [example.sequence for example in retained] or text_sequences(model, data.general_texts)
    retain = routings(model, kept[:_MEASURED], [blocks[place]])[0] if kept else None
    return Attribution(blocks[place:], expert, tuple(forget[place:]), retain)


@dataclass
class _Anchored:
    """The router that is held, and the anchor's value in this step."""

    router: Any
    expert: int
    value: float = 0.0


class Uoe(Npo):
    """See the module's docstring."""

    info = MethodInfo(
        id="uoe",
        title="Unlearn the one expert that the person's data goes to",
        summary=(
            "For mixtures of experts: finds the one expert that the person's texts are sent to most, makes their "
            "answers unlikely in that expert alone, and holds its router, so that the texts still go there."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "Zhuang et al. 2025, SEUF (UOE), arXiv 2411.18797, attribution and trained weights; anchor as in the "
            "authors' code; forget loss of Zhang et al. 2024, NPO, arXiv 2404.05868, eq. 3"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
        reaches_experts=True,
    )
    config_class = UoeConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: UoeConfig) -> Plan:
        """As every gradient method; the plan notes the expert, its share and how the choices overlap.

        Raises:
            InputError: also where the model is no mixture of experts of a known kind.
        """
        data.forget.require_nonempty()
        found = attributed(model, data, config)
        plan = super().prepare(model, data, _resolved(model, found, config))
        return replace(plan, notes=(*plan.notes, *found.notes))

    def apply(self, model: TransformersModel, data: ErasureData, config: UoeConfig, control: RunControl) -> Outcome:
        data.forget.require_nonempty()
        found = attributed(model, data, config)
        outcome = super().apply(model, data, _resolved(model, found, config), control)
        forget = [example.sequence for example in examples_of(model, data.forget.items)]
        after = routings(model, forget, found.blocks)
        shares = [kept_choices(old, new) for old, new in zip(found.before, after, strict=True)]
        kept = {"selection_kept": shares[0]}
        if len(shares) > 1:
            kept["selection_kept_above"] = sum(shares[1:]) / (len(shares) - 1)
        return replace(outcome, metrics=outcome.metrics | found.metrics | kept)

    def modules(self, model: TransformersModel, config: UoeConfig) -> tuple[str, ...]:
        path = _block(model, config).path
        return f"{path}.experts", f"{path}.gate"

    def trained(self, model: TransformersModel, modules: tuple[str, ...], config: UoeConfig) -> int:
        experts, router = (model.network.get_submodule(path) for path in modules)
        stacked = sum(stack.numel() // len(stack) for stack in experts.parameters())
        return int(stacked + router.weight.numel())

    def put_on(self, model: TransformersModel, plan: Plan, config: UoeConfig, data: ErasureData) -> None:
        model.network.requires_grad_(False)
        assert config.expert is not None
        module = _block(model, config).module
        module.experts = OneExpert(module.experts, config.expert[1])
        module.gate.weight.requires_grad_(True)

    def _merge(self, model: TransformersModel, config: UoeConfig) -> None:
        module = _block(model, config).module
        module.experts = module.experts.merged()
        super()._merge(model, config)

    def begin(self, run: Run) -> _Anchored:
        return _Anchored(_block(run.model, run.config).module.gate, run.config.expert[1])

    def forget_step(self, run: Run) -> torch.Tensor:
        """NPO's, and the anchor on all tokens of the same texts."""
        own: _Anchored = run.own
        forget_loss, count = self._forget_loss_of(run), len(run.aim.sequences)
        own.value = 0.0
        with scores_of(own.router) as seen:

            def loss_of(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
                anchor = anchor_loss(seen[0], own.expert) * len(row.members) / count
                own.value += float(anchor.detach())
                loss: torch.Tensor = forget_loss(row, logits, nll) + run.config.anchor_weight * anchor
                return loss

            return accumulate(run.model, run.aim.sequences, loss_of, run.trunk)

    def further_step(self, run: Run) -> dict[str, float]:
        return {"anchor": run.own.value}


def _resolved(model: TransformersModel, found: Attribution, config: UoeConfig) -> UoeConfig:
    """The settings with the expert in them, because the loop runs what lies below its block only once."""
    lowest = (found.block.layer + 0.5) / model.layers  # the loop rounds down; the half keeps it from rounding too far
    lora = config.lora.model_copy(update={"first_layer": lowest})
    return config.model_copy(update={"lora": lora, "expert": (found.block.layer, found.expert)})


def _block(model: TransformersModel, config: UoeConfig) -> RoutedBlock:
    assert config.expert is not None, "the settings are resolved before anything is planned"
    return next(block for block in routed_blocks(model.network) if block.layer == config.expert[0])
