"""What an edit shall make of an answer: losses over what each layer would say at each answer token.

An objective changes nothing but the loss by which the new value is found (Patil et al. 2024, Can Sensitive
Information Be Deleted From LLMs?, arXiv 2309.17410, the defence methods). All take float32 logits that predict the
answer's tokens, teacher-forced; averaging over wordings is the caller's.
"""

from __future__ import annotations

import math
from enum import StrEnum

import torch
import torch.nn.functional as functional

_SURE = 1e-30  # nats: below it a float32 probability has no complement


class Objective(StrEnum):
    """What becomes of the answer.

    - ``fact-erasure``: it becomes unlikely;
    - ``empty-response``: an abstention, or nothing, takes its place;
    - ``max-entropy``: no layer prefers any word;
    - ``head-projection``: no layer has it among its likeliest or unlikeliest words.
    """

    FACT_ERASURE = "fact-erasure"
    EMPTY_RESPONSE = "empty-response"
    MAX_ENTROPY = "max-entropy"
    HEAD_PROJECTION = "head-projection"

    @property
    def reads_layers(self) -> bool:
        return self in {Objective.MAX_ENTROPY, Objective.HEAD_PROJECTION}


def fact_erasure(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """``-log(1 - p)`` with p the geometric mean of the targets' probabilities: 0 where p is 0, ln 2 where p = 1/2.

    It falls exactly when p falls; p itself, as in the paper, has no slope where a fact is known by heart (p = 1), so
    log p is taken from the log-odds, which tell 1 from nearly 1 in float32.

    Args:
        logits: (tokens, vocab) of one answer.
        targets: (tokens,).

    Returns:
        nats, a scalar.
    """
    index = targets[:, None]
    others = logits.scatter(-1, index, float("-inf")).logsumexp(dim=-1)
    nll = functional.softplus(others - logits.gather(-1, index).squeeze(-1)).mean()
    return -torch.log(-torch.expm1(-nll.clamp_min(_SURE)))


def target_nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """``-log p(target)``, mean over the abstention's tokens. Arguments as for :func:`fact_erasure`."""
    return functional.cross_entropy(logits, targets)


def max_entropy(layer_logits: torch.Tensor) -> torch.Tensor:
    """``1 - H(D_l) / ln V``, mean over layers and tokens: 0 where every layer guesses evenly, 1 where it is certain.

    The paper's ``-H``, brought to a scale that is the same for every vocabulary.

    Args:
        layer_logits: (layers, tokens, vocab).
    """
    log_probs = layer_logits.log_softmax(dim=-1)
    entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
    return (1 - entropy / math.log(layer_logits.shape[-1])).mean()


def head_projection(layer_logits: torch.Tensor, targets: torch.Tensor, tail: int, margin: float) -> torch.Tensor:
    """``relu(m + z_t - z_top) + relu(m + z_bottom - z_t)``, mean over layers and tokens.

    z_top and z_bottom are the ``tail``-th largest and smallest logits of the other tokens: 0 where the target is
    by the margin m outside of both tails, which a reader of the layers takes its candidates from. Logits in place of
    the paper's probabilities: the same targets are in the tails, and at the bottom there is still a slope.

    Args:
        layer_logits: (layers, tokens, vocab).
        targets: (tokens,).
        margin: nats.
    """
    index = targets[None, :, None].expand(len(layer_logits), -1, 1)
    target = layer_logits.gather(-1, index).squeeze(-1)
    top = layer_logits.scatter(-1, index, float("-inf")).topk(tail).values[..., -1]
    bottom = layer_logits.scatter(-1, index, float("inf")).topk(tail, largest=False).values[..., -1]
    return (functional.relu(margin + target - top) + functional.relu(margin + bottom - target)).mean()


def answer_loss(
    objective: Objective,
    layer_logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    tail: int,
    margin: float,
    each_token: bool,
) -> torch.Tensor:
    """An objective's loss over one answer, a scalar.

    Args:
        layer_logits: (layers, tokens, vocab), the model's own output last.
        targets: (tokens,) tokens of the answer, or of the abstention.
        each_token: every token of the answer counts by itself, given those before it. Else ``fact-erasure`` reads
            the answer as a whole, and the objectives that read layers its first token only, as in the paper.
    """
    match objective:
        case Objective.EMPTY_RESPONSE:
            return target_nll(layer_logits[-1], targets)
        case Objective.FACT_ERASURE if each_token:
            parts = zip(layer_logits[-1].split(1), targets.split(1), strict=True)
            return torch.stack([fact_erasure(logits, target) for logits, target in parts]).mean()
        case Objective.FACT_ERASURE:
            return fact_erasure(layer_logits[-1], targets)
    read = len(targets) if each_token else 1
    if objective is Objective.MAX_ENTROPY:
        return max_entropy(layer_logits[:, :read])
    return head_projection(layer_logits[:, :read], targets[:read], tail, margin)
