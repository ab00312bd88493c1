"""Answers known by heart: where a loss that follows the likelihood has no gradient left, the log-odds still have one.

The gradient of an answer token's log-likelihood with respect to its logit is ``1 - p``. Of an answer that a small model
has learned by heart it is 0 in float32, and such answers were measured to stay as they were through a whole run of
every method whose slope goes through it. The log-odds ``log(p / (1 - p))`` have slope 1 there (see
``losses.log_odds``), so until the answer moves they are pushed down beside the method's own loss.
"""

from __future__ import annotations

import torch
from pydantic import Field

from console.methods.forgetting import ForgetRow
from console.methods.gradient_settings import GradientSettings
from console.methods.losses import log_odds

SOURCE_NOTE = "with a push of our own for answers known by heart"


class ByHeartSettings(GradientSettings):
    """Attributes:
    certain_below: mean NLL (nats per token) below which an answer is known by heart, and is moved by its log-odds;
        0 leaves the published loss as it is.
    """

    certain_below: float = Field(default=0.1, ge=0)


def known_by_heart(nll: torch.Tensor, lengths: torch.Tensor, certain_below: float) -> torch.Tensor:
    """(answers,) True where the mean NLL is below ``certain_below``.

    Args:
        nll: (answers,) summed over tokens.
        lengths: (answers,) tokens.
    """
    return nll.detach() / lengths < certain_below


def push_by_heart(row: ForgetRow, certain_below: float) -> torch.Tensor:
    """(members,) mean log-odds of the tokens of each answer that is known by heart, and 0 for the others."""
    known = known_by_heart(row.nll, row.lengths, certain_below)
    if not known.any():
        return torch.zeros_like(row.nll)
    # Chosen and not multiplied with: log-odds can be as large as the logits, and 0 times infinity is no number.
    return torch.where(known, row.mean(log_odds(row.logits, row.targets)), 0.0)
