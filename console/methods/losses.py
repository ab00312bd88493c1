"""Losses over answer tokens. Pure functions of log-likelihoods and logits; nothing is padded here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as functional

from console.engines.packing import PackedRow, TokenSequence

CHUNK = 64  # positions whose whole distributions are looked at together; all at once they decide what fits


def by_member(values: torch.Tensor, owner: torch.Tensor, members: int) -> torch.Tensor:
    """(members,) sums of token values.

    Args:
        values: (tokens,).
        owner: (tokens,) which member each token is of.
    """
    return torch.zeros(members, device=values.device, dtype=values.dtype).index_add(0, owner, values)


def answer_tokens(row: PackedRow, sequences: list[TokenSequence]) -> tuple[torch.Tensor, torch.Tensor]:
    """The answer tokens of a row's members and which member each is of; both (tokens,), in the members' order."""
    answers = [sequences[member].answer_ids for member in row.members]
    lengths = torch.tensor([len(answer) for answer in answers])
    targets = torch.tensor([token for answer in answers for token in answer])
    return targets, torch.repeat_interleave(torch.arange(len(answers)), lengths)


def member_nll(logits: torch.Tensor, row: PackedRow, sequences: list[TokenSequence]) -> torch.Tensor:
    """Summed negative log-likelihood (nats) of each packed member's answer.

    Args:
        logits: (answer tokens of all members, vocab), in the members' order.

    Returns:
        (members,) float32.
    """
    targets, owner = (part.to(logits.device) for part in answer_tokens(row, sequences))
    return by_member(functional.cross_entropy(logits.float(), targets, reduction="none"), owner, len(row.members))


def _parts(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same positions of each, some at a time."""
    return zip(*(tensor.split(CHUNK) for tensor in tensors), strict=True)


class _LogOdds(torch.autograd.Function):
    """The log-odds with their own derivative: 1 by the token's own logit, minus the share of the others by theirs."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(logits, targets)
        return torch.cat([_odds_of(*part) for part in _parts(logits, targets)])

    @staticmethod
    def backward(ctx: Any, *weights: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, targets = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for now, own, weight, into in _parts(logits, targets, weights[0], gradient):
            own = own[:, None]
            share = torch.softmax(now.float().scatter(-1, own, float("-inf")), dim=-1)
            into.copy_(share.neg_().scatter_(-1, own, 1.0) * weight[:, None])
        return gradient, None


def _odds_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    own = targets[:, None]
    others = logits.float().scatter(-1, own, float("-inf"))
    return logits.float().gather(-1, own).squeeze(-1) - others.logsumexp(dim=-1)


def log_odds(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Log-odds ``log(p / (1 - p))`` of each answer token.

    Where a model is certain, the log-likelihood's gradient with respect to the answer's logit is ``1 - p`` and
    vanishes, and no method that follows it moves an answer known by heart; that of the log-odds is 1 everywhere.
    Computed from the logits, because ``1 - p`` is 0 in float32 long before the odds are infinite.

    Args:
        logits: (tokens, vocab).
        targets: (tokens,).

    Returns:
        (tokens,) float32.
    """
    found: torch.Tensor = _LogOdds.apply(logits, targets)
    return found


def member_log_odds(logits: torch.Tensor, row: PackedRow, sequences: list[TokenSequence]) -> torch.Tensor:
    """(members,) :func:`log_odds` summed over each packed member's answer tokens; arguments as :func:`member_nll`."""
    targets, owner = (part.to(logits.device) for part in answer_tokens(row, sequences))
    return by_member(log_odds(logits, targets), owner, len(row.members))


def npo_loss(nll: torch.Tensor, reference_nll: torch.Tensor, beta: float) -> torch.Tensor:
    """Negative preference optimisation, per sequence.

    ``-(2/beta) * log sigmoid(beta * (NLL - NLL_ref))`` with sequence log-likelihoods summed over answer
    tokens (Zhang et al. 2024, arXiv 2404.05868, eq. 3). At the reference it is ``(2/beta) * ln 2`` and its
    gradient is that of gradient ascent; its weight ``2 * sigmoid(-beta * (NLL - NLL_ref))`` tends to 0 as the
    answer becomes unlikely. MUSE's code took raw logits in place of log-probabilities; this does not.

    Args:
        nll, reference_nll: (sequences,) summed over answer tokens.
    """
    return -(2.0 / beta) * functional.logsigmoid(beta * (nll - reference_nll))


def npo_at_reference(beta: float) -> float:
    """The value of :func:`npo_loss` before the first step."""
    return 2.0 / beta * math.log(2.0)


class _ForwardKl(torch.autograd.Function):
    """The divergence with its own derivative, which is ``p_now * sum(p_before) - p_before`` by the logits.

    Left to autograd, six arrays of (tokens, vocab) live at once; here one does, the derivative itself.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, reference_log_probs: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(logits, reference_log_probs)
        total = torch.zeros((), device=logits.device)
        for now, before in _parts(logits, reference_log_probs):
            reference = before.float()
            total += (reference.exp() * (reference - torch.log_softmax(now.float(), dim=-1))).sum()
        return total / len(logits)

    @staticmethod
    def backward(ctx: Any, *weights: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, reference_log_probs = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for now, before, into in _parts(logits, reference_log_probs, gradient):
            reference = before.float().exp()
            given = torch.softmax(now.float(), dim=-1) * reference.sum(dim=-1, keepdim=True)
            into.copy_((given - reference) * (weights[0] / len(logits)))
        return gradient, None


def reverse_kl(reference_log_probs: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Mean over tokens of KL(model || reference), in nats: it punishes what the model now says beyond the reference.

    Args:
        reference_log_probs, logits: (tokens, vocab); the reference without a zero.
    """
    now = torch.log_softmax(logits.float(), dim=-1)
    return (now.exp() * (now - reference_log_probs)).sum(dim=-1).mean()


def forward_kl(reference_log_probs: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Mean over tokens of KL(reference || model), in nats; only the logits get a gradient.

    Args:
        reference_log_probs, logits: (tokens, vocab).
    """
    found: torch.Tensor = _ForwardKl.apply(logits, reference_log_probs)
    return found
