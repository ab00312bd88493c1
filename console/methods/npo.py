"""Negative preference optimisation with a retain term (NPO).

F_i = -(2/beta) log sigmoid(beta (S_i - S_i^before)), where S is the summed negative log-likelihood of
example i's answer (Zhang et al. 2024, arXiv 2404.05868, eq. 3; retain term as in TOFU and open-unlearning).

An answer known by heart has no log-likelihood gradient left (1 - p is 0), and such answers were measured to
stay as they were through a whole run; until it moves, the log-odds of its tokens are pushed down beside it.
"""

from __future__ import annotations

import torch
from pydantic import Field

from console.engines.protocol import Capability
from console.methods.forgetting import ForgetRow
from console.methods.gradient import GradientMethod
from console.methods.known_by_heart import ByHeartSettings, known_by_heart
from console.methods.losses import log_odds, npo_loss
from console.methods.protocol import Claim, Family, MethodInfo


class NpoConfig(ByHeartSettings):
    """Attributes:
    beta: how soon an example that has become unlikely stops pushing. The forget term is summed over an answer's
        tokens and the retained ones are means, so equal weights would let it win.
    """

    beta: float = Field(default=0.1, gt=0)


class Npo(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="npo",
        title="Make the model unlearn the answers and keep the rest",
        summary=(
            "Trains a small addition to the weights that makes the person's answers as unlikely as they are to a "
            "model that never knew them, while rehearsing what it must keep; the addition is then merged."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "Zhang et al. 2024, Negative Preference Optimization, arXiv 2404.05868, eq. 3; "
            "with a push of our own for answers known by heart"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = NpoConfig

    def forget_loss(self, row: ForgetRow, config: NpoConfig) -> torch.Tensor:
        loss = npo_loss(row.nll, row.before_nll, config.beta)
        by_heart = known_by_heart(row.nll, row.lengths, config.certain_below)
        if by_heart.any():
            loss = loss + torch.where(by_heart, row.summed(log_odds(row.logits, row.targets)), 0.0)
        return loss
