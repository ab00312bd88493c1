"""Gradient checkpointing: the blocks' inner activations are computed again on the way back instead of kept.

transformers' own switch works in training mode only, which would also turn dropout on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


@contextmanager
def _checkpointed(block: torch.nn.Module) -> Iterator[None]:
    plain = block.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain(*args, **kwargs)
        return checkpoint(plain, *args, use_reentrant=False, **kwargs)

    block.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del block.forward  # the instance's; the class's shows again


@contextmanager
def activations_recomputed(blocks: list[torch.nn.Module], wanted: bool) -> Iterator[None]:
    """While inside, each block keeps only its input for the backward pass; the gradients are the same."""
    with ExitStack() as stack:
        for block in blocks if wanted else []:
            stack.enter_context(_checkpointed(block))
        yield
