"""Weighted gradient ascent (WGA), and importance by saturation (SatImp) as a setting of it.

F_i = -mean_t w_t NLL_t with w = p^beta1 (1 - p)^beta2, p the probability of the answer token and w without gradient.
beta2 = 0 is WGA (Wang et al. 2025, Rethinking LLM Unlearning Objectives, arXiv 2502.19301): what is unlikely already
pushes less. beta1 = 5, beta2 = 1 is SatImp (Yang et al. 2025, Exploring Criteria of Loss Reweighting, arXiv
2505.11953), which spares certain tokens as well. beta1 = beta2 = 0 is gradient ascent.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from pydantic import Field

from console.engines.protocol import Capability
from console.methods.forgetting import ForgetRow
from console.methods.gradient import GradientMethod
from console.methods.known_by_heart import SOURCE_NOTE, ByHeartSettings, push_by_heart
from console.methods.protocol import Claim, Family, MethodInfo


class WgaConfig(ByHeartSettings):
    """Attributes:
    beta1: how much less an unlikely token pushes.
    beta2: how much less a certain token pushes; above 0 the loss alone cannot move an answer known by heart.
    forget_weight: at the start its gradient is at most that of the mean NLL and NPO's is that of the sum; answers
        have about 7 tokens, so 7 pushes as hard. SatImp's weight is 0.067 at most, so it needs about ten times that.
    """

    beta1: float = Field(default=1.0, ge=0)
    beta2: float = Field(default=0.0, ge=0)
    forget_weight: float = Field(default=7.0, ge=0)


def weighted_nll(logits: torch.Tensor, targets: torch.Tensor, beta1: float, beta2: float) -> torch.Tensor:
    """(tokens,) NLL of each answer token times its weight, through which no gradient flows.

    Args:
        logits: (tokens, vocab).
        targets: (tokens,).
    """
    nll = functional.cross_entropy(logits.float(), targets, reduction="none")
    likely = torch.exp(-nll.detach())
    return likely**beta1 * (1 - likely).clamp(min=0) ** beta2 * nll


class Wga(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="wga",
        title="Push the answers away, their likely words most",
        summary=(
            "Makes the person's answers less likely, word by word, and leaves alone what has become unlikely, while "
            "rehearsing what the model must keep; answers known by heart get a push of our own that the published "
            "method lacks."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "Wang et al. 2025, arXiv 2502.19301 (WGA), and Yang et al. 2025, arXiv 2505.11953 (SatImp, with beta2); "
            f"{SOURCE_NOTE}"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = WgaConfig

    def forget_loss(self, row: ForgetRow, config: WgaConfig) -> torch.Tensor:
        ascent = -row.mean(weighted_nll(row.logits, row.targets, config.beta1, config.beta2))
        return ascent + push_by_heart(row, config.certain_below)
