"""Mixtures of experts: which methods reach them, where the tokens of a text are sent, and training one expert alone.

transformers keeps the experts of a block as tensors of three dimensions (expert, outputs, inputs) in which no adapter
and no editor finds a matrix. A method that looks for matrices would leave the knowledge in the experts as it is, and
say that it erased.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from console.domain.advice import SOFTMAX_ROUTERS
from console.engines.experts import expert_stacks
from console.engines.packing import TokenSequence, pack
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import InputError
from console.methods.lora import layer_number
from console.methods.protocol import Family, MethodInfo
from console.methods.registry import available

_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")


def expert_paths(network: Any, lowest: int = 0) -> tuple[str, ...]:
    """Paths of the stacked weights of routed experts in the blocks from ``lowest`` on."""
    return tuple(path for path in expert_stacks(network) if (layer_number(path) or 0) >= lowest)


def require_reach(info: MethodInfo, network: Any) -> None:
    """Refuse a mixture of experts where a method would leave what its experts hold, before anything is planned.

    Raises:
        InputError: names the methods that can.
    """
    if info.reaches_experts or info.family is Family.DECODING:
        return
    config = network.config.get_text_config()
    counted = max((int(getattr(config, name, 0) or 0) for name in _COUNTS), default=0)
    if counted > 1 or expert_stacks(network):
        able = ", ".join(name for name, method in available().items() if method.info.reaches_experts)
        raise InputError(
            f"The architecture '{config.model_type}' is a mixture of experts, and the method '{info.id}' would leave "
            f"what they hold as it is; methods that change experts are {able}."
        )


# -- where tokens are sent -----------------------------------------------------------------------


@dataclass(frozen=True)
class RoutedBlock:
    """One block's experts and the router that chooses among them.

    Attributes:
        path: of the module that holds both as ``experts`` and ``gate``.
    """

    layer: int
    path: str
    module: Any

    @property
    def has_shared_expert(self) -> bool:
        """Whether every token passes one more expert, whatever the router says."""
        return hasattr(self.module, "shared_expert")


def routed_blocks(network: Any) -> tuple[RoutedBlock, ...]:
    """All blocks with experts, lowest first.

    Raises:
        InputError: the network has none, or chooses among them in a way that is not known here.
    """
    kind = network.config.get_text_config().model_type
    if kind not in SOFTMAX_ROUTERS:
        raise InputError(
            f"The architecture '{kind}' is no mixture of experts whose router is known here (those of Mixtral, OLMoE, "
            "Qwen2-MoE and Qwen3-MoE are); choose another method."
        )
    return tuple(
        RoutedBlock(layer_number(path) or 0, path, module)
        for path, module in network.named_modules()
        if hasattr(module, "experts") and hasattr(module, "gate")
    )


def gate_scores(router: Any, states: torch.Tensor) -> torch.Tensor:
    """(tokens, experts) softmax of the router's logits, in float32 and before the highest are taken."""
    flat = states.reshape(-1, states.shape[-1]).float()
    return torch.nn.functional.linear(flat, router.weight.float()).softmax(dim=-1)


@contextmanager
def scores_of(router: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """What the router last made of a row, (tokens, experts), with its gradient."""
    seen = [torch.empty(0)]

    def read(module: Any, inputs: Any, _output: Any) -> None:
        seen[0] = gate_scores(module, inputs[0])

    handle = router.register_forward_hook(read)
    try:
        yield seen
    finally:
        handle.remove()


@dataclass(frozen=True)
class Routing:
    """Where a block sends the tokens of some texts.

    Attributes:
        affinity: (experts,) mean over texts of the mean over their tokens of the gate score.
        chosen: (tokens, k) the experts that each token goes to.
    """

    affinity: torch.Tensor
    chosen: torch.Tensor

    def shares(self) -> torch.Tensor:
        """(experts,) share of all choices that each expert gets."""
        return self.chosen.flatten().bincount(minlength=len(self.affinity)) / self.chosen.numel()

    def share_of_tokens(self, expert: int) -> float:
        return float((self.chosen == expert).any(dim=-1).float().mean())


def overlap(one: Routing, other: Routing) -> float:
    """From 0 to 1: sum over experts of the smaller share of the choices."""
    return float(torch.minimum(one.shares(), other.shares()).sum())


def kept_choices(before: Routing, after: Routing) -> float:
    """Share, 0 to 1, of the choices of the same tokens that are still made."""
    return float((before.chosen[:, :, None] == after.chosen[:, None, :]).any(dim=-1).float().mean())


@torch.no_grad()
def routings(
    model: TransformersModel, sequences: Sequence[TokenSequence], blocks: Sequence[RoutedBlock]
) -> list[Routing]:
    """For each block where it sends the sequences' tokens; a beginning that several share counts in each."""
    texts: list[list[torch.Tensor]] = [[] for _ in blocks]
    with ExitStack() as stack:
        seen = [stack.enter_context(scores_of(block.module.gate)) for block in blocks]
        for row in pack(sequences, ROW_TOKENS, model.device):
            model.row_logits(row)
            for found, scores in zip(texts, seen, strict=True):
                found += [scores[0][positions] for positions in row.token_positions()]
    most = model.network.config.get_text_config().num_experts_per_tok
    return [
        Routing(torch.stack([text.mean(dim=0) for text in found]).mean(dim=0), torch.cat(found).topk(most).indices)
        for found in texts
    ]


# -- one expert ----------------------------------------------------------------------------------


class OneExpert(torch.nn.Module):
    """A block's experts, of which one has weights of its own that are trained; the others stay frozen.

    So gradients and the optimizer's averages are one expert's in size, where a mask on the stacked tensors would keep
    all experts'.
    """

    def __init__(self, experts: Any, index: int) -> None:
        super().__init__()
        self.others, self.index = experts, index
        self.trained = copy.copy(experts)
        self.trained.num_experts = 1
        self.trained._parameters = {
            name: torch.nn.Parameter(stack[index : index + 1].detach().clone())
            for name, stack in experts.named_parameters()
        }

    def forward(self, states: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """(tokens, hidden) of ``states`` (tokens, hidden), ``chosen`` and ``weights`` (tokens, k)."""
        mine = chosen == self.index
        written: torch.Tensor = self.others(states, chosen, weights.masked_fill(mine, 0))
        tokens = mine.any(dim=-1).nonzero().flatten()
        if not len(tokens):
            return written
        weight = (weights * mine).sum(dim=-1, keepdim=True)[tokens]
        own = self.trained(states[tokens], torch.zeros_like(chosen[tokens, :1]), weight)
        return written.index_add(0, tokens, own.to(written.dtype))

    @torch.no_grad()
    def merged(self) -> Any:
        """The block's own experts with the trained one back in its place."""
        for name, stack in self.others.named_parameters():
            stack[self.index] = self.trained.get_parameter(name)[0]
        return self.others
