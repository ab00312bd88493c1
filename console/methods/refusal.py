"""Refusal tuning: teach the model to answer the person's questions with "I do not know".

L = mean NLL(refusals | questions) + retain_weight * mean NLL(retained answers) over answer tokens (the "IDK" baseline
of TOFU, Maini et al. 2024, arXiv 2401.06121, whose code takes one mean over a batch of both; the form with a preference
loss is ``dpo_idk``). It changes what is said and hardly what is known: measured to pass the direct question while
rephrasing and the hidden layers still find everything.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from pydantic import Field

from console.engines.packing import TokenSequence
from console.engines.protocol import Capability, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.abstention import abstaining, abstentions
from console.methods.forgetting import Run
from console.methods.gradient import GradientMethod
from console.methods.gradient_settings import GradientSettings
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Plan
from console.methods.training import accumulate_nll, cycled


class RefusalConfig(GradientSettings):
    """Both losses are means over tokens, so both weigh 1. It is a yardstick: nothing bounds, balances or repairs it.

    Attributes:
        refusal_batch: questions a step that are refused.
    """

    retain_weight: float = Field(default=1.0, ge=0)
    general_weight: float = Field(default=0.0, ge=0)
    steps: int = Field(default=24, ge=1)
    refusal_batch: int = Field(default=6, ge=1)
    repair_steps: int = Field(default=0, ge=0)
    repair_limit: int = Field(default=0, ge=0)
    bounded: Literal[False] = False
    loss_balance: Literal["none"] = "none"


@dataclass
class Refusing:
    """What is refused.

    Attributes:
        last_nll: mean NLL of the last step's refusals (nats per token), before it.
    """

    questions: list[Prompt]
    sentences: tuple[str, ...]
    last_nll: float = 0.0


class Refusal(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="refusal",
        title="Teach the model to refuse",
        summary="Trains the model to say that it does not know when asked about the person; the data may stay.",
        family=Family.WEIGHTS,
        claim=Claim.SUPPRESSION_IN_WEIGHTS,
        source="Maini et al. 2024, TOFU, arXiv 2401.06121, the IDK baseline",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = RefusalConfig
    holds_the_rest = False

    def prepare(self, model: TransformersModel, data: ErasureData, config: RefusalConfig) -> Plan:
        """Raises InputError: nothing to forget, or passages only (they have no question to refuse)."""
        data.forget.require_nonempty()
        if not data.forget.questions:
            raise InputError("The request holds passages only, and a passage has no question to refuse.")
        return super().prepare(model, data, config)

    def notes(self, data: ErasureData, config: RefusalConfig) -> tuple[str, ...]:
        return ("The model learns to decline; what it knows may stay in its weights.",)

    def begin(self, run: Run) -> Refusing:
        return Refusing([Prompt(item.id, item.prompt) for item in run.data.forget.questions], abstentions())

    def forget_step(self, run: Run) -> torch.Tensor:
        """The gradient is the refusals'; the answers themselves are only measured."""
        batch = _refusals(run)
        tokens = sum(len(sequence.answer_ids) for sequence in batch)
        # While the others are brought back, or the general text has moved too far, nothing new is taught.
        weight = 0.0 if run.holding else run.config.forget_weight / tokens
        with torch.set_grad_enabled(bool(weight)):
            refused = accumulate_nll(run.model, batch, lambda nll, _lengths, _members: weight * nll.sum(), run.trunk)
        run.own.last_nll = float(refused.sum()) / tokens
        with torch.no_grad():
            return accumulate_nll(run.model, run.aim.sequences, lambda nll, _lengths, _members: nll.sum(), run.trunk)

    def further_step(self, run: Run) -> dict[str, float]:
        return {"refusal_nll": run.own.last_nll}


def _refusals(run: Run) -> list[TokenSequence]:
    """This step's questions, each with a sentence drawn for it.

    Drawn from the step's number and nothing else, so that an interrupted run goes on with the same.
    """
    step, seed, own = run.stepper.step_number, run.config.seed, run.own
    turns = cycled(len(own.questions), run.config.refusal_batch, random.Random(seed + 1))
    draw = random.Random(f"{seed}/{step}")
    return [
        abstaining(run.model, own.questions[index], draw.choice(own.sentences))
        for index in next(islice(turns, step, None))
    ]
