"""What the blocks hand on, caught while the network runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


class BlockStates:
    """The hidden states that some blocks gave in the last forward pass.

    Attributes:
        outputs: for each block (1, time, hidden), with gradient where the pass had one.
    """

    def __init__(self, count: int) -> None:
        self.outputs: list[torch.Tensor] = [torch.empty(0)] * count

    def at(self, positions: Sequence[int]) -> torch.Tensor:
        """(blocks, positions, hidden) float32."""
        return torch.stack([output[0, list(positions)].float() for output in self.outputs])


@contextmanager
def states_of(blocks: Sequence[torch.nn.Module]) -> Iterator[BlockStates]:
    """Catch what the blocks give in every forward pass while inside."""
    caught = BlockStates(len(blocks))

    def note(index: int) -> Any:
        def hook(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
            caught.outputs[index] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [block.register_forward_hook(note(index)) for index, block in enumerate(blocks)]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()
