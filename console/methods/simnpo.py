"""Simple negative preference optimisation (SimNPO): NPO without a reference, and normalised by length.

F_i = -(2/beta) log sigmoid(beta (m_i - delta)), where m is the mean negative log-likelihood of example i's answer
(Fan et al. 2024, Simplicity Prevails, arXiv 2410.07163, whose margin gamma is beta delta here). Its slope
2 sigmoid(-beta (m - delta)) fades within about 1/beta of delta: with the published values it pushes an answer to about
one nat a token and hardly beyond.
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


class SimNpoConfig(ByHeartSettings):
    """Attributes:
    beta: how soon an example that has become unlikely stops pushing.
    delta: mean NLL (nats per token) around which it does so; larger forgets more.
    forget_weight: at the start its gradient is that of the mean NLL and NPO's that of the sum; answers have about 7
        tokens, so 7 pushes as hard against the same retained terms.
    """

    beta: float = Field(default=4.5, gt=0)
    delta: float = Field(default=0.0, ge=0)
    forget_weight: float = Field(default=7.0, ge=0)


def simnpo_loss(mean_nll: torch.Tensor, beta: float, delta: float) -> torch.Tensor:
    """(answers,) ``-(2/beta) log sigmoid(beta (mean NLL - delta))``; at delta it is (2/beta) ln 2 with slope -1."""
    return -(2.0 / beta) * functional.logsigmoid(beta * (mean_nll - delta))


class SimNpo(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="simnpo",
        title="Make the answers unlikely, long and short ones alike (SimNPO)",
        summary=(
            "Makes the person's answers less likely until each is unlikely in itself, without comparing it with what "
            "the model said before, while rehearsing what it must keep; answers known by heart get a push of our own "
            "that the published method lacks."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=f"Fan et al. 2024, Simplicity Prevails (SimNPO), arXiv 2410.07163; {SOURCE_NOTE}",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = SimNpoConfig

    def forget_loss(self, row: ForgetRow, config: SimNpoConfig) -> torch.Tensor:
        loss = simnpo_loss(row.nll / row.lengths, config.beta, config.delta)
        return loss + push_by_heart(row, config.certain_below)
