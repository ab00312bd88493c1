"""Soft noise: shake the weights a little and ask again.

A refusal or a detour that an eraser added rests on few, finely set weights; knowledge that was spread over many
texts survives a small disturbance better, and can come out when the detour breaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch

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


@torch.no_grad()
def shake(matrices: Sequence[torch.Tensor], scale: float, seed: int) -> None:
    """Add Gaussian noise in place, its standard deviation ``scale`` times each matrix's own.

    The normal numbers depend on the seed and the shapes alone, and are drawn on the CPU, so the model before, the
    model after and the reference are shaken in the same direction on every machine.

    Args:
        matrices: (outputs, inputs) each.
    """
    generator = torch.Generator().manual_seed(seed)
    for matrix in matrices:
        drawn = torch.randn(tuple(matrix.shape), generator=generator).to(matrix.device, matrix.dtype)
        matrix.add_(drawn * (scale * matrix.std(correction=0)))


class SoftNoise:
    info = AttackInfo(
        id="soft-noise",
        title="Noise on the weights",
        definition=(
            "Gaussian noise is added to all weight matrices of the decoder blocks; its standard deviation is a share, "
            "fixed by the suite, of each matrix's own. Several independent draws, fixed by the suite's seed and the "
            "same for every model, each start from the original weights; embeddings, output matrix, norms and biases "
            f"stay as they are. {HOW_ASKED}"
        ),
        source="Tice et al. 2024 (arXiv 2412.01784), noise injection reveals hidden capabilities",
        access=ACCESS,
        evidence=EVIDENCE,
        needs=NEEDS,
    )

    def budget(self, settings: AttackSettings) -> int:
        return QUESTIONS * max(1, settings.noise_draws)

    def inapplicable(self, target: AttackTarget) -> str | None:
        settings = target.settings
        return None if settings.noise_draws > 0 and settings.noise_scale > 0 else "The suite allows no noise."

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        network, settings = cast(WhiteBoxModel, model).network, target.settings
        matrices = block_matrices(network)
        for draw in range(settings.noise_draws):
            with restoring(network, matrices):
                shake(matrices, settings.noise_scale, settings.seed + draw)
                rows = list(ask_all(model, questions(self.info.id, target, draw=draw), target.settings, (GREEDY,)))
            yield from rows
