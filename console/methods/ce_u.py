"""Cross-entropy unlearning (CE-U): learn what the model would say if the answer's token did not exist.

F_i = mean_t CE(softmax(z_t with the answer token at -infinity), softmax(z_t)), the target without gradient (Yang 2025,
CE-U: Cross Entropy Unlearning, arXiv 2503.01224). Its gradient is p times that of the token's log-odds
log(p / (1 - p)), p being the answer token's probability: it is full where an answer is known by heart, where that of
gradient ascent vanishes, and fades as the answer becomes unlikely.
"""

from __future__ import annotations

import torch
from pydantic import Field

from console.engines.protocol import Capability
from console.methods.forgetting import ForgetRow
from console.methods.gradient import GradientMethod
from console.methods.gradient_settings import GradientSettings
from console.methods.protocol import Claim, Family, MethodInfo


class CeUConfig(GradientSettings):
    """Attributes:
    skip_first: tokens at an answer's beginning that are not unlearned. The published value is 1; here it is 0, because
        the first token of a town or a name is most of it. An answer's last token is never skipped.
    forget_weight: of an answer known by heart its gradient is the mean of its tokens' log-odds' and NPO's is their
        sum; answers have about 7 tokens, so 7 pushes as hard against the same retained terms.
    """

    skip_first: int = Field(default=0, ge=0)
    forget_weight: float = Field(default=7.0, ge=0)


def without_answer(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(tokens,) cross-entropy to the model's own distribution without the answer token.

    Args:
        logits: (tokens, vocab).
        targets: (tokens,) answer tokens.
    """
    own = targets[:, None]
    wanted = logits.detach().float().scatter(-1, own, float("-inf")).softmax(dim=-1)
    return -(wanted * torch.log_softmax(logits.float(), dim=-1)).sum(dim=-1)


def unlearned_tokens(owner: torch.Tensor, lengths: torch.Tensor, skip_first: int) -> torch.Tensor:
    """(tokens,) 1 for each token that is unlearned, 0 for those at an answer's beginning that are skipped.

    Args:
        owner: (tokens,) which answer each token is of, answer after answer.
        lengths: (answers,) tokens.
    """
    starts = torch.cumsum(lengths, dim=0) - lengths
    place = torch.arange(len(owner), device=owner.device) - starts[owner]
    return (place >= (lengths - 1).clamp(max=skip_first)[owner]).float()


class CeU(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="ce-u",
        title="Teach the model what it would say without the answer",
        summary=(
            "Trains the model towards its own next-best words wherever it would give the person's answer, while "
            "rehearsing what it must keep."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source="Yang 2025, CE-U: Cross Entropy Unlearning, arXiv 2503.01224",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = CeUConfig

    def forget_loss(self, row: ForgetRow, config: CeUConfig) -> torch.Tensor:
        counted = unlearned_tokens(row.owner, row.lengths, config.skip_first)
        return row.summed(counted * without_answer(row.logits, row.targets)) / row.summed(counted)
