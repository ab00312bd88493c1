"""Selective synaptic dampening (SSD): weaken the weights that matter to the person more than to anybody else.

With I_f and I_r the importance of a weight (see ``importance``) to the person's answers and to what is kept, a weight
is selected where I_f > alpha * I_r, and becomes theta * min((lambda * I_r / I_f)^exponent, 1) (Foster, Schoepf and
Brintrup 2024, arXiv 2308.07707, the selection and the dampening; the exponent is in their code). Nothing is trained,
and every weight that is not selected stays as it is, bit for bit.

The paper compares with the importance to all the training data, the person's included. Where the person holds n_f of n
examples, that is at least n_f / n times I_f, so nothing at all can be selected once alpha >= n / n_f, and a small
company's request reaches that soon. The comparison here is with what is kept alone: facts and general texts.

General texts that the model was never taught are far less likely than facts it knows by heart, so their squared
gradients are larger by orders of magnitude, and in a common mean they would protect every weight. So the two are
measured apart, and the general texts' importance is scaled to the same total as the kept facts' before it is added (to
the person's, where no facts are kept).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from console.engines.packing import TokenSequence
from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.examples import Example, examples_of, text_sequences
from console.methods.experts import expert_paths
from console.methods.importance import importance, linear_weights
from console.methods.lora import LoraSettings, first_trained_layer, resolve_modules
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.reference_level import example_nlls, mean


class SsdConfig(BaseModel):
    """Defaults of alpha, dampening and exponent are those of the authors' code, for image models; the rest is ours.

    Attributes:
        alpha: how many times as important to the person a weight must be to be selected; fewer are for higher values.
        dampening: lambda; at 0 the selected weights become 0.
        exponent: how steeply the dampening grows with the ratio.
        floor: importance below this is rounding noise and counts as this much. A model that knows everything by heart
            has hardly any gradient left, and a ratio of two such numbers says nothing.
        first_layer: share of the depth (0 to 1) below which no weight is looked at.
        general_weight: how much the general texts' importance counts beside the kept facts'; 0 leaves them out.
        reference_texts: most facts, and most general texts, that the importance to the rest is measured on; facts of
            people like the person come first, the others are drawn. Each costs one backward pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=10.0, gt=0)
    dampening: float = Field(default=1.0, ge=0)
    exponent: float = Field(default=1.0, gt=0)
    floor: float = Field(default=1e-12, gt=0)
    first_layer: float = Field(default=0.0, ge=0.0, lt=1.0)
    general_weight: float = Field(default=1.0, ge=0)
    reference_texts: int = Field(default=200, ge=1)
    seed: int = 1

    @model_validator(mode="after")
    def _dampens_what_it_selects(self) -> SsdConfig:
        if self.dampening > self.alpha:
            raise ValueError("dampening is above alpha, so some selected weights would stay as they are; lower it")
        return self


def selection(forget: torch.Tensor, reference: torch.Tensor, alpha: float, floor: float) -> torch.Tensor:
    """Where a weight matters more than ``alpha`` times as much to the person as to the rest.

    Args:
        forget, reference: importance, of one shape; the latter counts as ``floor`` where it is less.
    """
    return forget > alpha * reference.clamp(min=floor)


def dampened(weight: torch.Tensor, forget: torch.Tensor, reference: torch.Tensor, config: SsdConfig) -> torch.Tensor:
    """The weight with what is selected weakened and everything else as it was. Arguments are of one shape."""
    selected = selection(forget, reference, config.alpha, config.floor)
    ratio = config.dampening * reference.clamp(min=config.floor) / forget
    factor = ratio.pow(config.exponent).clamp(max=1.0).to(weight.dtype)
    return torch.where(selected, weight * factor, weight)


class Ssd:
    """See the module's docstring."""

    info = MethodInfo(
        id="ssd",
        title="Weaken the weights that serve the person's data alone",
        summary=(
            "Measures which of the model's numbers matter far more to the person's answers than to anything that is "
            "kept, and makes those smaller; nothing is trained. First described for models that sort images."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source="Foster, Schoepf and Brintrup 2024, Selective Synaptic Dampening, arXiv 2308.07707, and their code",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
        reaches_experts=True,
    )
    config_class = SsdConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: SsdConfig) -> Plan:
        """Resolve modules and steps: a step is a text or a layer.

        Raises:
            InputError: nothing to forget, or nothing to compare with.
        """
        data.forget.require_nonempty()
        if not data.retain.items and not (data.general_texts and config.general_weight):
            raise InputError(
                "There is nothing to keep, so no weight can matter less to the rest than to the person; add facts to "
                "keep, or general texts and a weight above 0."
            )
        reach = LoraSettings(first_layer=config.first_layer)
        modules = resolve_modules(model.network, reach)
        modules += expert_paths(model.network, first_trained_layer(model.network, reach))
        looked_at = sum(weight.numel() for weight in linear_weights(model.network, modules).values())
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        forget, kept = examples_of(model, data.forget.items), kept_texts(model, data, config)
        if not kept.facts and not kept.general:
            raise InputError("The general texts are too short to learn from; add longer ones, or facts to keep.")
        note = "Compared with what is kept only; the person's own data is not in the comparison."
        steps = len(forget) + len(kept.facts) + len(kept.general) + len(modules)
        return Plan(modules, 0, steps, (weights + 2 * looked_at) * 4 // 2**20, (note,))

    def apply(self, model: TransformersModel, data: ErasureData, config: SsdConfig, control: RunControl) -> Outcome:
        plan = self.prepare(model, data, config)
        weights = linear_weights(model.network, plan.modules)
        examples = examples_of(model, data.forget.items)
        step = 0

        def next_step(label: str) -> None:
            nonlocal step
            control.check_cancelled()
            step += 1
            control.progress(step, plan.steps, label)

        before = mean(example_nlls(model, examples))
        kept = kept_texts(model, data, config)
        forget, reference = _importances(model, weights, _sequences(examples), kept, config.general_weight, next_step)
        counts = _selected_counts(forget, reference, config)
        with torch.no_grad():
            for path, weight in weights.items():
                next_step("Dampening")
                weight.copy_(dampened(weight, forget[path], reference[path], config))
                control.metric(step, {"layer_selected_share": counts[path] / weight.numel()})
        total, selected = sum(weight.numel() for weight in weights.values()), sum(counts.values())
        metrics = {
            "selected_share": selected / total,
            "selected_weights": float(selected),
            "largest_layer_share": max(counts[path] / weight.numel() for path, weight in weights.items()),
            "forget_nll_before": before,
            "forget_nll": mean(example_nlls(model, examples)),
        }
        return Outcome(step, f"{selected} of {total} weights were dampened", metrics)


def _sequences(examples: list[Example]) -> list[TokenSequence]:
    return [example.sequence for example in examples]


@dataclass(frozen=True)
class KeptTexts:
    """What the person's importance is compared with."""

    facts: list[TokenSequence]
    general: list[TokenSequence]


def kept_texts(model: TransformersModel, data: ErasureData, config: SsdConfig) -> KeptTexts:
    """Facts, in every rendering in which the person's are measured too, and general texts; both up to the limit."""
    draw = random.Random(config.seed)
    near = [item for item in data.retain.items if item.subject in data.neighbours]
    far = _sequences(examples_of(model, [item for item in data.retain.items if item.subject not in data.neighbours]))
    general = text_sequences(model, data.general_texts) if config.general_weight else []
    draw.shuffle(far)
    draw.shuffle(general)
    facts = [*_sequences(examples_of(model, near)), *far]
    return KeptTexts(facts[: config.reference_texts], general[: config.reference_texts])


Importance = dict[str, torch.Tensor]


def _importances(
    model: TransformersModel,
    weights: Mapping[str, torch.nn.Parameter],
    person: list[TokenSequence],
    kept: KeptTexts,
    general_weight: float,
    next_step: Callable[[str], None],
) -> tuple[Importance, Importance]:
    """Importance to the person and to what is kept. Never more than two copies of the weights are there at once."""

    def measured(texts: list[TokenSequence], label: str) -> Importance:
        return importance(model, weights, texts, lambda: next_step(label))

    reference = measured(kept.general, "Measuring what general texts need")
    general = _total(reference)
    if kept.facts:
        facts = measured(kept.facts, "Measuring what is kept")
        _scale(reference, general_weight * _total(facts) / general if general else 0.0)
        for path, values in reference.items():
            values.add_(facts.pop(path))
    forget = measured(person, "Measuring what the person's data needs")
    if not kept.facts:
        _scale(reference, general_weight * _total(forget) / general if general else 0.0)
    return forget, reference


def _total(found: Importance) -> float:
    return float(torch.stack([values.sum(dtype=torch.float64) for values in found.values()]).sum())


def _scale(found: Importance, factor: float) -> None:
    for values in found.values():
        values.mul_(factor)


def _selected_counts(forget: Importance, reference: Importance, config: SsdConfig) -> dict[str, int]:
    """Number of selected weights in each tensor.

    Raises:
        JobFailedError: none at all.
    """
    counts = {
        path: int(selection(values, reference[path], config.alpha, config.floor).sum())
        for path, values in forget.items()
    }
    if not any(counts.values()):
        raise JobFailedError(
            f"No weight matters more than {config.alpha:g} times as much to the person as to what is kept, so nothing "
            "was changed; lower alpha, or choose another method."
        )
    return counts
