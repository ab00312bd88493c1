"""Quantisation: round the weights as people do who run a model on a small machine.

An eraser that moves the weights only a little leaves them, once rounded, where they were before. With methods that
also keep the model useful, on average 21 % of what was to be forgotten remained in full precision and 83 % after
rounding to 4 bits (Zhang et al. 2024).
The weights are rounded and written back as real numbers, so the same engine asks the questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
import torch.nn.functional as functional

from console.attacks.asking import ask_all
from console.attacks.disturbing import (
    ACCESS,
    EVIDENCE,
    HOW_ASKED,
    NEEDS,
    QUESTIONS,
    block_matrices,
    questions,
    restoring,
)
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow
from console.engines.protocol import GREEDY, LanguageModel, WhiteBoxModel

BLOCK = 32  # weights that share a scale in Q4_0
_LOWEST, _HIGHEST = -8, 7
_INT8 = 127


def q4_0(weight: torch.Tensor) -> torch.Tensor:
    """Weights after a round trip through llama.cpp's Q4_0.

    Each block of 32 neighbours in a row has one 16-bit scale ``d = w / -8``, with w the block's weight of largest
    magnitude, sign included, and each weight becomes the nearest of ``-8 d .. 7 d``. So w itself is kept, and only
    a weight of nearly its magnitude and the other sign is off by more than half a step. A row whose length is no
    multiple of 32 ends in a shorter block.

    Args:
        weight: (outputs, inputs).

    Returns:
        (outputs, inputs) float32.
    """
    outputs, inputs = weight.shape
    blocks = functional.pad(weight.float(), (0, -inputs % BLOCK)).reshape(outputs, -1, BLOCK)
    largest = blocks.gather(-1, blocks.abs().argmax(dim=-1, keepdim=True))
    scale = largest / _LOWEST
    inverse = torch.where(scale == 0, 0.0, 1.0 / scale)
    # llama.cpp adds 8.5 and cuts off; round() would send ties to even numbers.
    levels = (blocks * inverse - _LOWEST + 0.5).trunc().clamp(0, _HIGHEST - _LOWEST) + _LOWEST
    return (levels * scale.half().float()).reshape(outputs, -1)[:, :inputs]


def int8_rows(weight: torch.Tensor) -> torch.Tensor:
    """Weights after a round trip through 8-bit integers, with one scale for each output: the row's absmax / 127.

    Args:
        weight: (outputs, inputs).

    Returns:
        (outputs, inputs) float32, each within half a step of the original.
    """
    rows = weight.float()
    scale = rows.abs().amax(dim=-1, keepdim=True) / _INT8
    inverse = torch.where(scale == 0, 0.0, 1.0 / scale)
    return (rows * inverse).round().clamp(-_INT8, _INT8) * scale


class _Quantised:
    """Round all matrices of the decoder blocks, then ask."""

    info: AttackInfo
    rounded: Callable[[torch.Tensor], torch.Tensor]

    def budget(self, settings: AttackSettings) -> int:
        return QUESTIONS

    def inapplicable(self, target: AttackTarget) -> str | None:
        return None

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        network = cast(WhiteBoxModel, model).network
        matrices = block_matrices(network)
        with restoring(network, matrices):
            for matrix in matrices:
                matrix.copy_(self.rounded(matrix))
            rows = list(ask_all(model, questions(self.info.id, target), target.settings, (GREEDY,)))
        yield from rows


class Quantise4bit(_Quantised):
    info = AttackInfo(
        id="quantise-4bit",
        title="Rounding the weights to 4 bits",
        definition=(
            "All weight matrices of the decoder blocks are rounded to the nearest of 16 levels in blocks of 32 weights "
            "with one scale each, as llama.cpp's Q4_0 does; embeddings, output matrix, norms and biases stay as they "
            f"are. {HOW_ASKED}"
        ),
        source="Zhang et al. 2024 (arXiv 2410.16454), failure of unlearning by quantisation; llama.cpp, type Q4_0",
        access=ACCESS,
        evidence=EVIDENCE,
        needs=NEEDS,
    )
    rounded = staticmethod(q4_0)


class QuantiseInt8(_Quantised):
    info = AttackInfo(
        id="quantise-int8",
        title="Rounding the weights to 8 bits",
        definition=(
            "All weight matrices of the decoder blocks are rounded to 8-bit integers with one scale for each output "
            "(largest magnitude of the row / 127); embeddings, output matrix, norms and biases stay as they are. "
            f"{HOW_ASKED}"
        ),
        source="Zhang et al. 2024 (arXiv 2410.16454); row-wise absmax of Dettmers et al. 2022 (arXiv 2208.07339)",
        access=ACCESS,
        evidence=EVIDENCE,
        needs=NEEDS,
    )
    rounded = staticmethod(int8_rows)
