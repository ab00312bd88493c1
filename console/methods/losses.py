"""Losses over answer tokens. Pure functions of log-likelihoods and logits; nothing is padded here."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional

from console.engines.packing import PackedRow, TokenSequence


def member_nll(logits: torch.Tensor, row: PackedRow, sequences: list[TokenSequence]) -> torch.Tensor:
    """Summed negative log-likelihood (nats) of each packed member's answer.

    Args:
        logits: (answer tokens of all members, vocab), in the members' order.

    Returns:
        (members,) float32.
    """
    lengths = [len(sequences[member].answer_ids) for member in row.members]
    targets = torch.tensor([token for member in row.members for token in sequences[member].answer_ids])
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    nll = functional.cross_entropy(logits.float(), targets.to(logits.device), reduction="none")
    return torch.zeros(len(lengths), device=nll.device).index_add(0, owner.to(nll.device), nll)


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
