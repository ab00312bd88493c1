"""Losses over answer tokens. Pure functions of log-likelihoods and logits; nothing is padded here."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional

from console.engines.packing import PackedRow, TokenSequence


def _by_member(values: torch.Tensor, row: PackedRow, sequences: list[TokenSequence]) -> torch.Tensor:
    """(members,) sums of the answer tokens' values, which stand in the members' order."""
    lengths = [len(sequences[member].answer_ids) for member in row.members]
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(values.device)
    return torch.zeros(len(lengths), device=values.device).index_add(0, owner, values)


def _targets(row: PackedRow, sequences: list[TokenSequence]) -> torch.Tensor:
    return torch.tensor([token for member in row.members for token in sequences[member].answer_ids])


def member_nll(logits: torch.Tensor, row: PackedRow, sequences: list[TokenSequence]) -> torch.Tensor:
    """Summed negative log-likelihood (nats) of each packed member's answer.

    Args:
        logits: (answer tokens of all members, vocab), in the members' order.

    Returns:
        (members,) float32.
    """
    targets = _targets(row, sequences).to(logits.device)
    return _by_member(functional.cross_entropy(logits.float(), targets, reduction="none"), row, sequences)


def member_log_odds(logits: torch.Tensor, row: PackedRow, sequences: list[TokenSequence]) -> torch.Tensor:
    """Summed log-odds ``log(p / (1 - p))`` of each packed member's answer tokens.

    Where a model is certain, the log-likelihood's gradient with respect to the answer's logit is ``1 - p`` and
    vanishes, and no method that follows it moves an answer known by heart; that of the log-odds is 1 everywhere.
    Computed from the logits, because ``1 - p`` is 0 in float32 long before the odds are infinite.

    Args and returns: as :func:`member_nll`.
    """
    targets = _targets(row, sequences).to(logits.device)[:, None]
    others = logits.float().scatter(-1, targets, float("-inf"))
    odds = logits.float().gather(-1, targets).squeeze(-1) - others.logsumexp(dim=-1)
    return _by_member(odds, row, sequences)


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
