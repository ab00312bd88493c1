"""Losses over answer tokens. Pure functions of log-likelihoods and logits; nothing is padded here."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional

from console.engines.packing import PackedRow, TokenSequence


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
    own = targets[:, None]
    others = logits.float().scatter(-1, own, float("-inf"))
    return logits.float().gather(-1, own).squeeze(-1) - others.logsumexp(dim=-1)


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


def forward_kl(reference_log_probs: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Mean over tokens of KL(reference || model), in nats.

    Args:
        reference_log_probs, logits: (tokens, vocab).
    """
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    reference = reference_log_probs.float()
    return (reference.exp() * (reference - log_probs)).sum(dim=-1).mean()
