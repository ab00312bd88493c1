"""The loop under every gradient method: packed rows, accumulation, clipping, schedule, cancel."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from console.engines.frozen_trunk import FrozenTrunk
from console.engines.packing import PackedRow, TokenSequence, pack
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import JobFailedError
from console.methods.losses import member_nll


def accumulate(
    model: TransformersModel,
    sequences: list[TokenSequence],
    loss_of: Callable[[PackedRow, torch.Tensor, torch.Tensor], torch.Tensor],
    trunk: FrozenTrunk | None = None,
) -> torch.Tensor:
    """Run sequences row by row and add up the gradient of a loss over a row.

    Args:
        loss_of: (row, logits (answer tokens of all members, vocab), summed NLL (members,)) -> scalar to add.
        trunk: the frozen layers under the adapter, where they can be run once.

    Returns:
        (sequences,) summed NLL of each sequence, detached.
    """
    nll = torch.zeros(len(sequences))
    for row in pack(sequences, ROW_TOKENS, model.device):
        logits = model.row_logits(row, sequences, trunk)
        row_nll = member_nll(logits, row, sequences)
        loss = loss_of(row, logits, row_nll)
        if loss.requires_grad:
            loss.backward()
        nll[list(row.members)] = row_nll.detach().cpu()
    return nll


def accumulate_nll(
    model: TransformersModel,
    sequences: list[TokenSequence],
    loss_of: Callable[[torch.Tensor, torch.Tensor, tuple[int, ...]], torch.Tensor],
    trunk: FrozenTrunk | None = None,
) -> torch.Tensor:
    """As :func:`accumulate`, with a loss over the answers' NLL alone.

    The loss is a sum over sequences (the caller divides by their number), so neither its value nor
    its gradient depends on how the batch was cut into rows.

    Args:
        loss_of: (summed NLL (members,), answer lengths (members,), member indices) -> scalar to add.
    """

    def of_row(row: PackedRow, _logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
        lengths = torch.tensor([len(sequences[member].answer_ids) for member in row.members], device=nll.device)
        return loss_of(nll, lengths, row.members)

    return accumulate(model, sequences, of_row, trunk)


@dataclass
class Stepper:
    """Optimizer, warm-up, clipping and the check for numbers gone wrong."""

    optimizer: torch.optim.Optimizer
    parameters: list[torch.nn.Parameter]
    warmup_steps: int
    decay: bool
    clip: float = 1.0
    step_number: int = 0

    @classmethod
    def over(
        cls,
        network: torch.nn.Module,
        learning_rate: float,
        *,
        b_ratio: float = 1.0,
        warmup_steps: int = 2,
        decay: bool = False,
    ) -> Stepper:
        """A stepper over the parameters that ask for a gradient, without weight decay.

        Frozen tensors are not given to the optimizer at all: masking their gradient would still let
        weight decay shrink them (the defect of ConceptVectors' code).

        Args:
            b_ratio: how much faster an adapter's B matrices learn than its A matrices (LoRA+, Hayou et al.
                2024, arXiv 2402.12354): B starts at zero and lags behind at a common rate.
        """
        named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
        fast = [parameter for name, parameter in named if "lora_B" in name.split(".")]
        slow = [parameter for name, parameter in named if "lora_B" not in name.split(".")]
        groups = [
            {"params": params, "lr": rate, "full_rate": rate}
            for params, rate in ((slow, learning_rate), (fast, learning_rate * b_ratio))
            if params
        ]
        # A run is tens to hundreds of steps long: the usual second-moment average over 1000 steps never settles.
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0, betas=(0.9, 0.99))
        return cls(optimizer, slow + fast, warmup_steps, decay)

    def state(self) -> dict[str, Any]:
        """All that the next steps depend on beside the weights themselves."""
        return {"optimizer": self.optimizer.state_dict(), "step_number": self.step_number}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that :meth:`state` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.step_number = int(state["step_number"])

    def _share_of_rate(self, done: float) -> float:
        if self.step_number < self.warmup_steps:
            return (self.step_number + 1) / self.warmup_steps
        return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))) if self.decay else 1.0

    def step(self, done: float = 0.0) -> None:
        """Apply the accumulated gradient.

        Args:
            done: share of the run that lies behind, 0 to 1; with decay, the rate falls along a cosine of it.

        Raises:
            JobFailedError: the gradient is not a finite number.
        """
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if not torch.isfinite(norm):
            raise JobFailedError(
                f"The training became unstable at step {self.step_number + 1} (its numbers are no longer finite); "
                "nothing was written. Start again with a smaller learning rate."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = group["full_rate"] * self._share_of_rate(done)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step_number += 1


def cycled(count: int, size: int, generator: random.Random) -> Iterator[list[int]]:
    """Endless batches of ``size`` indices in which every index comes once before any comes again."""
    waiting: list[int] = []
    while True:
        while len(waiting) < min(size, count):
            fresh = list(range(count))
            generator.shuffle(fresh)
            # What is still waiting comes last in the new round, so that no batch holds it twice.
            waiting = [*waiting, *sorted(fresh, key=waiting.__contains__)]
        yield waiting[:size]
        waiting = waiting[size:]
