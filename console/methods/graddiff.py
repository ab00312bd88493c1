"""Gradient difference: the plain loss of the answers turned round, while the retained ones are rehearsed.

F_i = -NLL_i, the mean over answer tokens; the loop adds alpha * R, the mean NLL of retained answers, or the divergence
KL(before || now) on them (Liu, Liu & Stone 2022, Continual Learning and Private Unlearning, arXiv 2203.12817; Maini et
al. 2024, TOFU, arXiv 2401.06121, "gradient difference" and "KL minimisation"). F is unbounded; what keeps it from
running away here is the loop's rule, under which an answer stops pushing once it is as unlikely as to a model that
never knew it.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from console.engines.protocol import Capability
from console.methods.forgetting import ForgetRow
from console.methods.gradient import GradientMethod
from console.methods.known_by_heart import SOURCE_NOTE, ByHeartSettings, push_by_heart
from console.methods.protocol import Claim, Family, MethodInfo


class GradDiffConfig(ByHeartSettings):
    """Attributes:
    forget_weight: NPO starts with the gradient of an answer's summed NLL, this with that of its mean; answers have
        about 7 tokens, so 7 pushes as hard against the same retained terms.
    """

    forget_weight: float = Field(default=7.0, ge=0)


class GradDiff(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="graddiff",
        title="Push the answers away and rehearse the rest (gradient difference)",
        summary=(
            "Makes the person's answers less likely with every step, as plain gradient ascent does, while rehearsing "
            "what the model must keep; answers known by heart get a push of our own that the published method lacks."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=f"Maini et al. 2024, TOFU, arXiv 2401.06121 (gradient difference); {SOURCE_NOTE}",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = GradDiffConfig

    def forget_loss(self, row: ForgetRow, config: GradDiffConfig) -> torch.Tensor:
        return -row.nll / row.lengths + push_by_heart(row, config.certain_below)


class GradDiffKlConfig(GradDiffConfig):
    """As gradient difference, holding what the model said to retained questions and not only their answers."""

    retain_loss: Literal["nll", "kl"] = "kl"


class GradDiffKl(GradDiff):
    """Gradient difference whose retain term is the divergence from the model as it was."""

    info = MethodInfo(
        id="graddiff-kl",
        title="Push the answers away and hold how the rest is answered",
        summary=(
            "Makes the person's answers less likely with every step, while keeping everything the model said to other "
            "questions as it was; answers known by heart get a push of our own that the published method lacks."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=f"Maini et al. 2024, TOFU, arXiv 2401.06121 (KL minimisation); {SOURCE_NOTE}",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = GradDiffKlConfig
