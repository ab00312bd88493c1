"""Unlearning by self-distillation on adjusted logits (UNDIAL): the old model teaches, with the answer demoted.

F_i = mean_t CE(softmax(z_before - beta * onehot(y_t)), softmax(z_t)) over answer tokens only, z_before the logits of
the model as it was (Dong et al. 2024, UNDIAL, arXiv 2402.10052). The target is fixed, so the loss comes to rest there.

A token known by heart has a lead over all others that no fixed beta takes away: demoted by less than its log-odds it
stays the answer, and the loss holds it there. An answer known by heart before the run is therefore demoted from even
odds, by beta plus whatever its log-odds exceed 0.
"""

from __future__ import annotations

import torch
from pydantic import Field

from console.engines.protocol import Capability
from console.methods.forgetting import ForgetRow
from console.methods.gradient import GradientMethod
from console.methods.known_by_heart import ByHeartSettings, known_by_heart
from console.methods.losses import log_odds
from console.methods.protocol import Claim, Family, MethodInfo


class UndialConfig(ByHeartSettings):
    """Attributes:
    beta: how far the answer token's logit is demoted; its odds become e^beta times smaller.
    certain_below: mean NLL (nats per token) before the run below which an answer is known by heart, and is demoted
        from even odds; 0 leaves the published loss as it is.
    forget_weight: towards a target without the answer its gradient is at the start the mean of what NPO's push sums;
        answers have about 7 tokens, so 7 pushes as hard against the same retained terms.
    """

    beta: float = Field(default=10.0, ge=0)
    forget_weight: float = Field(default=7.0, ge=0)


def demoted_target(before_log_probs: torch.Tensor, targets: torch.Tensor, demotion: torch.Tensor) -> torch.Tensor:
    """(tokens, vocab) probabilities in which each answer token's logit is lower by its demotion.

    Args:
        before_log_probs: (tokens, vocab); log-probabilities are logits up to a constant.
        targets: (tokens,) answer tokens.
        demotion: (tokens,).
    """
    return before_log_probs.float().scatter_add(-1, targets[:, None], -demotion[:, None]).softmax(dim=-1)


class Undial(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="undial",
        title="Let the model teach itself with the answers demoted (UNDIAL)",
        summary=(
            "Trains the model towards what it said before with the person's answers moved far down its list, while "
            "rehearsing what it must keep; answers known by heart are moved further down than the published method "
            "does, which would leave them on top."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=("Dong et al. 2024, UNDIAL, arXiv 2402.10052; with a demotion of our own for answers known by heart"),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = UndialConfig
    needs_before_log_probs = True

    def forget_loss(self, row: ForgetRow, config: UndialConfig) -> torch.Tensor:
        assert row.before_log_probs is not None, "the loop computes them for this method"
        target = demoted_target(row.before_log_probs, row.targets, _demotion(row, config))
        return -row.mean((target * torch.log_softmax(row.logits.float(), dim=-1)).sum(dim=-1))


def _demotion(row: ForgetRow, config: UndialConfig) -> torch.Tensor:
    """(tokens,) how far each answer token's logit is demoted."""
    by_heart = known_by_heart(row.before_nll, row.lengths, config.certain_below)[row.owner]
    lead = log_odds(row.before_log_probs, row.targets).clamp(min=0)
    return config.beta + torch.where(by_heart, lead, 0.0)
