"""Task-vector negation: learn the person's answers once more, and subtract what that changed.

theta' = theta - alpha * (theta_f - theta), where theta_f is the model trained further on the person's facts alone
(Ilharco et al. 2023, arXiv 2212.04089, forgetting via negation). There theta is a pre-trained model that has not seen
the task; here it knows the facts already. The difference is the product of a low-rank adapter, so it is subtracted by a
negative scale and no second model is needed.

An answer known by heart has no log-likelihood gradient left (1 - p is 0), and the difference would be noise; the
log-odds of its tokens are pushed up beside it, as their gradient does not vanish.

The right alpha is not known beforehand. Of the values on the list the smallest is taken at which the answers are as
unlikely on average as to a model that never knew them; further only damages the rest.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

import torch
from peft.tuners.lora import LoraLayer
from pydantic import BaseModel, ConfigDict, Field, field_validator

from console.engines.frozen_trunk import FrozenTrunk
from console.engines.packing import PackedRow, TokenSequence
from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import JobFailedError
from console.methods.examples import Example, examples_of
from console.methods.lora import (
    LoraSettings,
    first_trained_layer,
    merged,
    resolve_modules,
    trainable_parameters,
    with_adapter,
)
from console.methods.losses import answer_tokens, by_member, log_odds
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.reference_level import example_nlls, mean, reference_levels
from console.methods.training import Stepper, accumulate

# Subtracting nothing leaves the model as it was, bit for bit, so 0 is no choice.
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TaskVectorConfig(BaseModel):
    """Defaults for an adapter on a model of up to about 1.5 billion parameters.

    Attributes:
        alpha: how much of the difference is subtracted where ``sweep`` is empty.
        sweep: values of alpha tried in rising order until the answers are unlikely enough.
        learning_rate: of the learning once more.
        least_steps, steps: it ends between these, once every answer is known.
        known_below: mean NLL (nats per token) below which an answer is known by heart.
        enough_nll, assumed_reference_nll: highest level, and level where there is no reference model (nats per token).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraSettings = LoraSettings(rank=16, alpha=32)
    alpha: Factor = 1.0
    sweep: tuple[Factor, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
    learning_rate: float = Field(default=3e-4, gt=0)
    least_steps: int = Field(default=10, ge=1)
    steps: int = Field(default=30, ge=1)
    known_below: float = Field(default=0.1, gt=0)
    enough_nll: float = Field(default=4.0, gt=0)
    assumed_reference_nll: float = Field(default=3.0, gt=0)
    seed: int = 1

    @field_validator("sweep")
    @classmethod
    def _rising(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in pairwise(values)):
            raise ValueError("the values of the sweep must rise; put them in order and leave out repeated ones")
        return values

    @property
    def factors(self) -> tuple[float, ...]:
        """The values of alpha to try."""
        return self.sweep or (self.alpha,)


def set_factor(network: Any, factor: float) -> None:
    """Let the adapter's product count ``factor`` times; -alpha subtracts it, 0 leaves the model as it was."""
    for module in network.modules():
        if isinstance(module, LoraLayer):
            module.set_scale("default", factor)


class TaskVector:
    """See the module's docstring."""

    info = MethodInfo(
        id="task-vector",
        title="Learn the person's data once more and subtract it",
        summary=(
            "Trains a small addition to the weights on the person's answers alone, then takes a multiple of it away "
            "from the model; nothing holds the rest of the model."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source="Ilharco et al. 2023, Editing Models with Task Arithmetic, arXiv 2212.04089 (forgetting via negation)",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = TaskVectorConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: TaskVectorConfig) -> Plan:
        """Resolve modules and steps: a step is one of learning, or a value of alpha that is tried.

        Raises:
            InputError: nothing to forget.
        """
        data.forget.require_nonempty()
        modules = resolve_modules(model.network, config.lora)
        trained = trainable_parameters(model.network, modules, config.lora.rank)
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        notes = ["Nothing holds the rest of the model; other people's facts may be lost."]
        if not data.reference_nll:
            notes.append("No reference model: the stop level is assumed, not measured.")
        steps = max(config.least_steps, config.steps) + len(config.factors)
        return Plan(modules, trained, steps, (weights * 4 + trained * 16) // 2**20, tuple(notes))

    def apply(
        self, model: TransformersModel, data: ErasureData, config: TaskVectorConfig, control: RunControl
    ) -> Outcome:
        plan = self.prepare(model, data, config)
        examples = examples_of(model, data.forget.items)
        levels = reference_levels(examples, data.reference_nll, config.assumed_reference_nll, config.enough_nll)
        for parameter in model.network.parameters():
            parameter.requires_grad_(False)
        model.network = with_adapter(model.network, plan.modules, config.lora, config.seed)
        steps = _learn(model, [example.sequence for example in examples], config, plan.steps, control)
        metrics, reason = _subtract(model, examples, levels, config, plan.steps, control)
        model.network = merged(model.network)
        return Outcome(steps, reason, metrics)


def _learn(
    model: TransformersModel,
    sequences: list[TokenSequence],
    config: TaskVectorConfig,
    total: int,
    control: RunControl,
) -> int:
    """Train the adapter on the answers; returns the steps it took."""
    trunk = model.trunk(first_trained_layer(model.network, config.lora), sequences[:1])
    stepper = Stepper.over(model.network, config.learning_rate, b_ratio=config.lora.b_ratio)
    lengths = torch.tensor([len(sequence.answer_ids) for sequence in sequences])
    while stepper.step_number < max(config.least_steps, config.steps):
        control.check_cancelled()
        nll = _learning_gradient(model, sequences, lengths, config.known_below, trunk) / lengths
        if stepper.step_number >= config.least_steps and float(nll.max()) < config.known_below:
            break
        stepper.step()
        control.metric(stepper.step_number, {"learned_nll": float(nll.mean())})
        control.progress(stepper.step_number, total, "Learning once more")
    return stepper.step_number


def _learning_gradient(
    model: TransformersModel,
    sequences: list[TokenSequence],
    lengths: torch.Tensor,
    known_below: float,
    trunk: FrozenTrunk | None,
) -> torch.Tensor:
    """Add the gradient of the mean over answers of their NLL per token; returns every answer's summed NLL."""

    def loss_of(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
        tokens = lengths[list(row.members)].to(nll.device)
        loss = (nll / tokens).sum()
        by_heart = nll.detach() / tokens < known_below
        if by_heart.any():
            targets, owner = (part.to(logits.device) for part in answer_tokens(row, sequences))
            odds = by_member(log_odds(logits, targets), owner, len(row.members))
            loss = loss - (odds / tokens)[by_heart].sum()
        return loss / len(sequences)

    return accumulate(model, sequences, loss_of, trunk)


def _subtract(
    model: TransformersModel,
    examples: list[Example],
    levels: list[float],
    config: TaskVectorConfig,
    total: int,
    control: RunControl,
) -> tuple[dict[str, float], str]:
    """Leave the adapter at the smallest factor that is enough, or the largest there is; measures and reason.

    Raises:
        JobFailedError: the answers' likelihoods are no longer finite numbers.
    """
    metrics: dict[str, float] = {}
    first = total - len(config.factors)
    for step, alpha in enumerate(config.factors, start=first + 1):
        control.check_cancelled()
        set_factor(model.network, -alpha)
        found = example_nlls(model, examples)
        still = sum(nll < level for nll, level in zip(found, levels, strict=True))
        metrics = {"alpha": alpha, "forget_nll": mean(found), "still_known": float(still)}
        if not torch.isfinite(torch.tensor(found)).all():
            raise JobFailedError(
                f"Subtracting {alpha:g} times what was learned destroys the model (its numbers are no longer finite); "
                "nothing was written. Choose smaller values of alpha."
            )
        control.metric(step, metrics)
        control.progress(step, total, "Subtracting")
        if metrics["forget_nll"] >= mean(levels):
            reason = f"at alpha {alpha:g} the answers are on average as unlikely as to a model that never knew them"
            return metrics, reason + (f"; {still} of {len(levels)} are still known better" if still else "")
    return metrics, f"at alpha {config.factors[-1]:g}, the last allowed, the answers are still known too well"
