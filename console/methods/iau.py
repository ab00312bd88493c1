"""Influence approximation (IAU): one step that undoes what the person's examples once did to the weights.

Removing examples shifts a trained model's weights by about (1/n) H^-1 * sum of their gradients. Taking the Hessian H as
a multiple of the identity leaves a step against the person's learning, corrected by the gradient of what is kept:

    theta <- theta - step * (g_r - g_f) / ||g_f||,    g = gradient of the mean NLL per answer token

over all facts at once (Liu et al. 2025, Efficient Machine Unlearning via Influence Approximation, arXiv 2507.23257,
incremental approximation and gradient correction). The published code takes the step with Adam, whose first step has
the same length for every weight and so loses the gradient's size; this is plain gradient descent, in units of the
person's gradient. Restated from the abstract, the published code and public summaries.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn.attention import SDPBackend, sdpa_kernel

from console.engines.learning import only_these_learn
from console.engines.packing import TokenSequence, pack
from console.engines.protocol import Capability
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.examples import examples_of
from console.methods.importance import Weighting, linear_weights, text_shares
from console.methods.lora import LoraSettings, resolve_modules
from console.methods.losses import member_nll
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.reference_level import example_nlls, mean, reference_levels
from console.methods.training import accumulate_nll


class IauConfig(BaseModel):
    """Attributes:
    step_size: length of the step along the person's gradient (Euclidean, over all touched weights together).
    steps: times the step is taken, with fresh gradients each time; a second one only while the answers are known
        better than to a model that never knew them.
    correction_limit: longest the gradient of what is kept may be, in lengths of the person's; a longer one is
        shortened. Where the person's facts are known by heart and others are not, the step would train the others.
    restriction: weight of the norm of each kept fact's gradient beside its loss, which holds the step where the
        others' answers are least sensitive. 0 leaves it out; it needs the gradient of a gradient, several times the
        time and memory. The paper has it in the training before; its code's example takes 0.005.
    first_layer: share of the depth (0 to 1) below which nothing is changed.
    enough_nll, assumed_reference_nll: highest level, and level where there is no reference model (nats per token).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_size: float = Field(default=0.05, gt=0)
    steps: int = Field(default=1, ge=1, le=5)
    correction_limit: float = Field(default=1.0, ge=0)
    restriction: float = Field(default=0.0, ge=0)
    first_layer: float = Field(default=0.0, ge=0.0, lt=1.0)
    enough_nll: float = Field(default=4.0, gt=0)
    assumed_reference_nll: float = Field(default=3.0, gt=0)


Weights = Mapping[str, torch.nn.Parameter]
Gradients = dict[str, torch.Tensor]


class Iau:
    """See the module's docstring."""

    info = MethodInfo(
        id="iau",
        title="Undo what the person's data did, in one step",
        summary=(
            "Estimates in which direction the person's data once moved the model and takes one measured step back, "
            "corrected by what must be kept; quick, but seldom complete. First described for models that tell classes "
            "of things apart."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "Liu et al. 2025, Efficient Machine Unlearning via Influence Approximation (IAU), arXiv 2507.23257, "
            "incremental approximation with gradient correction; re-implementation from the abstract, the published "
            "code and public summaries, with plain gradient steps"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = IauConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: IauConfig) -> Plan:
        """Resolve modules and steps.

        Raises:
            InputError: nothing to forget, or no facts to keep.
        """
        data.forget.require_nonempty()
        if not data.retain.items:
            raise InputError(
                "There are no facts to keep, and this method corrects its step by them; add facts of other people."
            )
        modules = resolve_modules(model.network, LoraSettings(first_layer=config.first_layer))
        changed = sum(weight.numel() for weight in linear_weights(model.network, modules).values())
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        notes = () if data.reference_nll else ("No reference model: the stop level is assumed, not measured.",)
        return Plan(modules, changed, config.steps, (weights + 2 * changed) * 4 // 2**20, notes)

    def apply(self, model: TransformersModel, data: ErasureData, config: IauConfig, control: RunControl) -> Outcome:
        plan = self.prepare(model, data, config)
        weights = linear_weights(model.network, plan.modules)
        examples = examples_of(model, data.forget.items)
        forget = [example.sequence for example in examples]
        retain = [example.sequence for example in examples_of(model, data.retain.items)]
        level = mean(reference_levels(examples, data.reference_nll, config.assumed_reference_nll, config.enough_nll))
        reason = f"{config.steps} of {config.steps} steps taken; the answers are still known too well"
        last: dict[str, float] = {}
        step = 0
        while step < config.steps:
            control.check_cancelled()
            g_f, _ = mean_gradient(model, weights, forget)
            control.check_cancelled()
            g_r, retain_nll = _kept_gradient(model, weights, retain, config.restriction, control)
            corrected = take_step(weights, g_r, g_f, config)
            step += 1
            last = {
                "forget_nll": mean(example_nlls(model, examples)),
                "retain_nll_before_step": retain_nll,
                "correction": corrected,
            }
            control.metric(step, last)
            control.progress(step, config.steps, "Stepping back")
            if last["forget_nll"] >= level:
                reason = "the answers have come to the level of a model that never knew them"
                break
        return Outcome(step, reason, last)


def mean_gradient(
    model: TransformersModel, weights: Weights, sequences: list[TokenSequence]
) -> tuple[Gradients, float]:
    """Gradient of the mean NLL per answer token over all texts, by the weights' names, and that mean."""
    tokens = sum(len(sequence.answer_ids) for sequence in sequences)
    with only_these_learn(model.network, weights.values()):
        nll = accumulate_nll(model, sequences, lambda row, _lengths, _members: row.sum() / tokens)
        gradients = _gradients(weights)
    return gradients, float(nll.sum()) / tokens


def _kept_gradient(
    model: TransformersModel,
    weights: Weights,
    sequences: list[TokenSequence],
    restriction: float,
    control: RunControl,
) -> tuple[Gradients, float]:
    if restriction:
        return restricted_gradient(model, weights, sequences, restriction, control)
    return mean_gradient(model, weights, sequences)


def restricted_gradient(
    model: TransformersModel,
    weights: Weights,
    sequences: list[TokenSequence],
    restriction: float,
    control: RunControl,
) -> tuple[Gradients, float]:
    """As :func:`mean_gradient`, of each text's loss plus ``restriction`` times the norm of its own gradient.

    The norm is of the gradient of the text's mean NLL, and texts weigh by their answer tokens.
    """
    total = 0.0
    # Fused attention has no second derivative; the plain one has.
    with only_these_learn(model.network, weights.values()), sdpa_kernel(SDPBackend.MATH):
        for sequence, share in zip(sequences, text_shares(sequences, Weighting.TOKENS), strict=True):
            control.check_cancelled()
            (row,) = pack([sequence], ROW_TOKENS, model.device)
            loss = member_nll(model.row_logits(row), row, [sequence]).sum() / len(sequence.answer_ids)
            first = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            # A norm has no derivative at 0, where there is nothing to restrict either.
            norm = torch.stack([gradient.square().sum() for gradient in first]).sum().clamp(min=1e-24).sqrt()
            parts = torch.autograd.grad(share * (loss + restriction * norm), list(weights.values()))
            for weight, part in zip(weights.values(), parts, strict=True):
                weight.grad = part if weight.grad is None else weight.grad.add_(part)
            total += share * float(loss.detach())
        gradients = _gradients(weights)
    return gradients, total


def _gradients(weights: Weights) -> Gradients:
    """The gradients as they stand; a weight that no text reached has a zero one."""
    return {
        path: torch.zeros_like(weight) if weight.grad is None else weight.grad.detach()
        for path, weight in weights.items()
    }


def norm_of(gradients: Gradients) -> float:
    """Euclidean length of all gradients together."""
    return float(torch.stack([gradient.float().square().sum() for gradient in gradients.values()]).sum().sqrt())


@torch.no_grad()
def take_step(weights: Weights, g_r: Gradients, g_f: Gradients, config: IauConfig) -> float:
    """Take the step; returns the length of the correction in lengths of the person's gradient.

    Raises:
        JobFailedError: the person's gradient is zero, or a gradient is not a finite number; nothing is changed then.
    """
    length, correction = norm_of(g_f), norm_of(g_r)
    if not length or not torch.isfinite(torch.tensor([length, correction])).all():
        raise JobFailedError(
            "The model's answers give no direction to step back in (their gradient is zero or not a finite number); "
            "nothing was written. Choose another method."
        )
    shorter = min(1.0, config.correction_limit * length / correction) if correction else 0.0
    for path, weight in weights.items():
        weight.sub_((shorter * g_r[path] - g_f[path]).to(weight.dtype), alpha=config.step_size / length)
    return shorter * correction / length
