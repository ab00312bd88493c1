"""How much memory a training run needs, estimated before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil
import torch

from console.errors import InputError

_MIB = 2**20
_FLOAT = 4
_LOGIT_COPIES = 4  # the logits, their float32 copy, the log-probabilities, and the gradient
_RUNTIME_MB = 450  # Python, torch and transformers themselves, measured on a model of a few kilobytes


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a run by what takes it, in MiB.

    Attributes:
        trained: values, gradients and the optimizer's two averages of the trained weights.
        activations: what the backward pass of one packed row needs, the logits apart.
        runtime: the process itself; nothing on a device of its own.
    """

    weights: int
    trained: int
    activations: int
    logits: int
    runtime: int

    @property
    def total(self) -> int:
        return self.weights + self.trained + self.activations + self.logits + self.runtime


def estimate(
    network: Any, trained: int, blocks: int, row_tokens: int, answer_tokens: int, recomputed: bool = False
) -> MemoryEstimate:
    """Memory of a step.

    Args:
        trained: trained weights.
        blocks: blocks with a backward pass.
        row_tokens: tokens of the longest packed row.
        answer_tokens: tokens of a row whose prediction is learned.
        recomputed: with gradient checkpointing, only each block's input is kept and one block is computed at a time.
    """
    config = network.config.get_text_config()
    hidden = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    heads = config.num_attention_heads
    # Of a block: two norms, the four attention projections with their adapters' inputs, and the three wide ones; the
    # attention weights and their softmax.
    one_block = row_tokens * (14 * hidden + 6 * inner) + 2 * heads * row_tokens**2
    kept = blocks * row_tokens * hidden + one_block if recomputed else blocks * one_block
    weights = sum(parameter.numel() for parameter in network.parameters())
    on_cpu = network.device.type == "cpu"
    return MemoryEstimate(
        weights=weights * _FLOAT // _MIB,
        trained=trained * 4 * _FLOAT // _MIB,
        activations=kept * _FLOAT // _MIB,
        logits=answer_tokens * config.vocab_size * _LOGIT_COPIES * _FLOAT // _MIB,
        runtime=_RUNTIME_MB if on_cpu else 0,
    )


def available_mb(device: torch.device) -> int:
    """Memory that a run may still take on this device, in MiB, what this process holds already included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int((free + torch.cuda.memory_reserved(device)) // _MIB)
    mine = psutil.Process().memory_info().rss
    return int((psutil.virtual_memory().available + mine) // _MIB)


def require_room(needed: MemoryEstimate, available: int, smaller: MemoryEstimate | None) -> None:
    """Refuse a run that would not fit.

    Args:
        smaller: the same run with its activations recomputed, where that is not what is asked already.

    Raises:
        InputError: naming what would fit.
    """
    if needed.total <= available:
        return
    if smaller is not None and smaller.total <= available:
        advice = f"with 'gradient_checkpointing' it needs about {smaller.total} MB and fits"
    elif needed.weights + needed.runtime > available:
        advice = "the model's weights alone are more than that; choose a smaller model or a machine with more memory"
    else:
        advice = "a smaller rank, a higher 'first_layer' and 'gradient_checkpointing' need less"
    raise InputError(f"The run needs about {needed.total} MB of memory and {available} MB are free: {advice}.")
