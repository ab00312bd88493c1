"""Preference for "I do not know" (DPO): the answers are dispreferred, an abstention is preferred.

F_i = -(2/beta) log sigmoid(u_i), u_i = beta [(S_i - S_i^before) - (A_i - A_i^before)], where S is the summed negative
log-likelihood of example i's answer and A that of the abstention to the same question (Rafailov et al. 2023, Direct
Preference Optimization, arXiv 2305.18290, eq. 7; as a baseline of unlearning in Zhang et al. 2024, arXiv 2404.05868,
and scaled as NPO is there, eq. 3, where DPO has 1/beta). TOFU's preference optimisation (Maini et al. 2024, arXiv
2401.06121) has such abstentions too, but only trains on them.

dF_i/dS_i = -2 sigmoid(-u_i) and dF_i/dA_i = 2 sigmoid(-u_i): with these weights, found in a first pass without
gradient, a loss that is linear in S and A has the very gradient of F, however the rows are cut and wherever a pair's
two halves lie. What the model said before is a number per sequence, so there is no second model.

The slope fades once the abstention is preferred, whether or not the answer has become unlikely, so an answer may come
to rest half known. A statement or a passage asks nothing, so nothing can be preferred to its answer; without that half
the formula is NPO's. Answers known by heart are moved by their log-odds, as in NPO.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from pydantic import Field

from console.engines.packing import PackedRow, TokenSequence
from console.engines.protocol import Capability
from console.methods.abstention import abstaining, abstentions
from console.methods.forgetting import ForgetRow, Run
from console.methods.gradient import GradientMethod
from console.methods.known_by_heart import SOURCE_NOTE, ByHeartSettings, known_by_heart, push_by_heart
from console.methods.losses import member_log_odds, npo_loss
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo
from console.methods.training import accumulate, accumulate_nll


class DpoIdkConfig(ByHeartSettings):
    """Attributes:
    beta: how soon an example whose abstention is preferred stops pushing. The weight is NPO's, because answers are
        summed as there: the abstentions, unlikely at first, come on top of NPO's gradient (measured 5 times as large
        where they are spelled in 25 tokens; 10 are usual), but their share is gone once they are learned.
    """

    beta: float = Field(default=0.1, gt=0)


@dataclass(frozen=True)
class Alternates:
    """The abstentions that are preferred.

    Attributes:
        of: (alternates,) the example whose question each answers.
        before_nll: (alternates,) summed NLL under the model as it was.
    """

    sequences: list[TokenSequence]
    of: torch.Tensor
    before_nll: torch.Tensor


def margins(
    nll: torch.Tensor, before_nll: torch.Tensor, alternate_nll: torch.Tensor, alternates: Alternates, beta: float
) -> torch.Tensor:
    """(examples,) u: how far the preference for the abstention has moved; 0 under the model as it was.

    Args:
        nll, before_nll: (examples,) summed over answer tokens.
        alternate_nll: (alternates,).
    """
    return beta * (nll - before_nll).index_add(0, alternates.of, alternates.before_nll - alternate_nll)


def preference_loss(margin: torch.Tensor, beta: float) -> torch.Tensor:
    """(examples,) ``-(2/beta) log sigmoid(u)``; (2/beta) ln 2 under the model as it was."""
    return -(2.0 / beta) * functional.logsigmoid(margin)


class DpoIdk(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="dpo-idk",
        title='Make the model prefer "I do not know" to the answers',
        summary=(
            'Trains the model to find a sentence such as "I do not know" likelier than the person\'s answer, while '
            "rehearsing what it must keep; answers known by heart get a push of our own that the published method "
            "lacks."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "Rafailov et al. 2023, Direct Preference Optimization, arXiv 2305.18290, eq. 7, as a baseline of "
            f"unlearning in Zhang et al. 2024, arXiv 2404.05868; {SOURCE_NOTE}"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = DpoIdkConfig

    def notes(self, data: ErasureData, config: DpoIdkConfig) -> tuple[str, ...]:
        fading = "The push ends once not knowing is preferred, which may leave an answer half known."
        if all(item in data.forget.questions and not item.statement for item in data.forget.items):
            return (*super().notes(data, config), fading)
        unasked = "Statements and passages ask nothing, so their answers are made unlikely without a preferred reply."
        return (*super().notes(data, config), fading, unasked)

    def begin(self, run: Run) -> Alternates:
        draw, sentences = random.Random(run.config.seed), abstentions()
        asked = [index for index, example in enumerate(run.examples) if example.prompt.chat]
        sequences = [abstaining(run.model, run.examples[index].prompt, draw.choice(sentences)) for index in asked]
        with torch.no_grad():
            before = accumulate_nll(run.model, sequences, lambda nll, _lengths, _members: nll.sum(), run.trunk)
        return Alternates(sequences, torch.tensor(asked, dtype=torch.long), before)

    def forget_loss(self, row: ForgetRow, config: DpoIdkConfig) -> torch.Tensor:
        """The loss of an example without alternate; under the model as it was, that of every example."""
        loss = npo_loss(row.nll, row.before_nll, config.beta)
        return loss + row.lengths * push_by_heart(row, config.certain_below)

    def forget_step(self, run: Run) -> torch.Tensor:
        aim, own = run.aim, run.own
        together = [*aim.sequences, *own.sequences]
        with torch.no_grad():
            found = accumulate_nll(run.model, together, lambda nll, _lengths, _members: nll.sum(), run.trunk)
        nll, alternate_nll = found.split([len(aim.sequences), len(own.sequences)])
        slope, odds = _slopes(run, nll, alternate_nll)
        chosen = [index for index in range(len(together)) if slope[index] or odds[index]]
        sequences = [together[index] for index in chosen]

        def loss_of(row: PackedRow, logits: torch.Tensor, row_nll: torch.Tensor) -> torch.Tensor:
            members = [chosen[member] for member in row.members]
            loss = (slope[members].to(row_nll.device) * row_nll).sum()
            if not odds[members].any():
                return loss
            return loss + (odds[members].to(row_nll.device) * member_log_odds(logits, row, sequences)).sum()

        accumulate(run.model, sequences, loss_of, run.trunk)
        return nll


def _slopes(run: Run, nll: torch.Tensor, alternate_nll: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives of the forget term, for examples and alternates one behind the other.

    Returns:
        slope: (examples + alternates,) by each sequence's summed NLL.
        odds: (examples + alternates,) by each sequence's summed log-odds.
    """
    aim, own, config = run.aim, run.own, run.config
    weight = config.forget_weight * run.scale.get("forget", 1.0) / len(aim.sequences)
    mean = nll / aim.lengths
    pushing = mean < aim.level if config.bounded else torch.full_like(mean, not run.holding, dtype=torch.bool)
    margin = margins(nll, aim.before_nll, alternate_nll, own, config.beta)
    pull = weight * pushing * 2 * torch.sigmoid(-margin)
    slope = -pull
    if config.bounded:
        slope = slope + config.pull_back_weight * (mean > aim.limit) / aim.lengths / len(aim.sequences)
    by_heart = weight * (pushing & known_by_heart(nll, aim.lengths, config.certain_below))
    return torch.cat([slope, pull[own.of]]), torch.cat([by_heart, torch.zeros(len(own.of))])
