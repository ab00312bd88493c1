"""Negative preference optimisation with a retain term (NPO).

L = gamma * mean_i NPO_i + alpha * NLL(retain) + general * KL(before || after) on general text, where
NPO_i = -(2/beta) log sigmoid(beta (S_i - S_i^before)) and S is the summed negative log-likelihood of
example i's answer (Zhang et al. 2024, arXiv 2404.05868, eq. 3; retain term as in TOFU and open-unlearning).

Two rules keep it from overshooting, which every unbounded gradient method does and which makes
the person's text conspicuously unlikely instead of unknown:

* an example stops pushing once its mean NLL has reached the level of a model that never knew it
  (measured on the reference model before the run, or assumed from held-out facts);
* the run ends when every example has.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.engines.packing import PackedRow, TokenSequence, pack
from console.engines.protocol import Capability
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import InputError
from console.methods.examples import Example, examples_of, text_sequences
from console.methods.lora import (
    LoraSettings,
    adapter_off,
    merged,
    resolve_modules,
    trainable_parameters,
    with_adapter,
)
from console.methods.losses import forward_kl, member_nll, npo_loss
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.training import Stepper, accumulate_logits, accumulate_nll, cycled


class NpoConfig(BaseModel):
    """Defaults for an adapter on a model of up to about 1.5 billion parameters.

    Attributes:
        beta: how soon an example that has become unlikely stops pushing.
        forget_weight, retain_weight, general_weight: gamma, alpha, and the weight of the general text.
        retain_batch: facts of other people a step; every one comes round before any comes again.
        assumed_reference_nll: stop level (nats per token) where there is no reference model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraSettings = LoraSettings(rank=16, alpha=32)
    beta: float = Field(default=0.1, gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    forget_weight: float = Field(default=1.0, ge=0)
    retain_weight: float = Field(default=1.0, ge=0)
    general_weight: float = Field(default=1.0, ge=0)
    steps: int = Field(default=30, ge=1)
    retain_batch: int = Field(default=10, ge=1)
    general_batch: int = Field(default=3, ge=0)
    assumed_reference_nll: float = Field(default=3.0, gt=0)
    seed: int = 1


@dataclass
class _ForgetState:
    """The examples still pushing, and how far each has come."""

    examples: list[Example]
    before_nll: torch.Tensor  # (examples,) summed, under the model before the run
    bound: torch.Tensor  # (examples,) mean NLL at which an example stops
    active: list[int]

    def settle(self, indices: Sequence[int], nll: torch.Tensor) -> None:
        """Drop the examples among ``indices`` whose mean NLL has reached its bound."""
        reached = {
            index
            for index, value in zip(indices, nll.tolist(), strict=True)
            if value / len(self.examples[index].sequence.answer_ids) >= float(self.bound[index])
        }
        self.active = [index for index in range(len(self.examples)) if index not in reached]


class Npo:
    """See the module's docstring."""

    info = MethodInfo(
        id="npo",
        title="Make the model unlearn the answers and keep the rest",
        summary=(
            "Trains a small addition to the weights that makes the person's answers as unlikely as they are to a "
            "model that never knew them, while rehearsing what it must keep; the addition is then merged."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source="Zhang et al. 2024, Negative Preference Optimization, arXiv 2404.05868, eq. 3",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = NpoConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: NpoConfig) -> Plan:
        """Resolve modules and steps.

        Raises:
            InputError: nothing to forget, or nothing to retain (bare ascent destroys the model).
        """
        data.forget.require_nonempty()
        if not data.retain.items and not data.general_texts:
            raise InputError(
                "The retain set is empty, so the model would forget everything; add facts to keep or general text."
            )
        modules = resolve_modules(model.network, config.lora)
        trained = trainable_parameters(model.network, modules, config.lora.rank)
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        notes = () if data.reference_nll else ("No reference model: the stop level is assumed, not measured.",)
        return Plan(modules, trained, config.steps, (weights * 4 + trained * 16) // 2**20, notes)

    def apply(self, model: TransformersModel, data: ErasureData, config: NpoConfig, control: RunControl) -> Outcome:
        plan = self.prepare(model, data, config)
        for parameter in model.network.parameters():
            parameter.requires_grad_(False)
        model.network = with_adapter(model.network, plan.modules, config.lora, config.seed)
        state = self._forget_state(model, data, config)
        retain = examples_of(model, data.retain.items)
        retain_batches = cycled(len(retain), min(config.retain_batch, len(retain)), random.Random(config.seed))
        general = text_sequences(model, data.general_texts)
        general_rows, general_reference = self._general_reference(model, general, config)
        general_batches = cycled(len(general_rows), 1, random.Random(config.seed + 1)) if general_rows else None

        stepper = Stepper.over(model.network, config.learning_rate, b_ratio=config.lora.b_ratio)
        reason = f"all {config.steps} steps done; some answers had not yet reached the reference's level"
        last: dict[str, float] = {}
        for _ in range(config.steps):
            control.check_cancelled()
            indices = list(range(len(state.examples)))
            nll = self._forget_step(model, state, indices, config)
            state.settle(indices, nll)
            lengths = torch.tensor([len(example.sequence.answer_ids) for example in state.examples])
            last = {"forget_nll": float((nll / lengths).mean()), "still_known": float(len(state.active))}
            if not state.active:
                reason = "every answer has become as unlikely as it is to a model that never knew it"
                stepper.optimizer.zero_grad(set_to_none=True)
                break
            if retain:
                batch = [retain[index].sequence for index in next(retain_batches)]
                tokens = sum(len(sequence.answer_ids) for sequence in batch)
                kept = accumulate_nll(
                    model,
                    batch,
                    lambda nll, _lengths, _members, tokens=tokens: config.retain_weight * nll.sum() / tokens,
                )
                last["retain_nll"] = float(kept.sum()) / tokens
            if general_batches is not None:
                chosen = next(general_batches)
                last["general_kl"] = accumulate_logits(
                    model,
                    [general_rows[index] for index in chosen],
                    lambda logits, place, chosen=chosen: (
                        config.general_weight * forward_kl(general_reference[chosen[place]], logits)
                    ),
                )
            stepper.step()
            control.metric(stepper.step_number, last)
            control.progress(stepper.step_number, config.steps, "Unlearning")
        model.network = merged(model.network)
        return Outcome(stepper.step_number, reason, last)

    def _forget_state(self, model: TransformersModel, data: ErasureData, config: NpoConfig) -> _ForgetState:
        """Log-likelihoods of the model as it is: the adapter is off, so they need no second model."""
        examples = examples_of(model, data.forget.items)
        sequences = [example.sequence for example in examples]
        before = torch.zeros(len(examples))
        with torch.no_grad(), adapter_off(model.network):
            for row in pack(sequences, ROW_TOKENS, model.device):
                before[list(row.members)] = member_nll(model.row_logits(row), row, sequences).cpu()
        bound = torch.tensor([data.reference_nll.get(example.id, config.assumed_reference_nll) for example in examples])
        return _ForgetState(examples, before, bound, list(range(len(examples))))

    def _forget_step(
        self, model: TransformersModel, state: _ForgetState, indices: list[int], config: NpoConfig
    ) -> torch.Tensor:
        """Gradient of the NPO term of the examples still pushing; returns every example's summed NLL."""
        sequences = [state.examples[index].sequence for index in indices]
        count = len(sequences)

        def loss_of(nll: torch.Tensor, lengths: torch.Tensor, members: tuple[int, ...]) -> torch.Tensor:
            rows = list(members)
            pushing = (nll.detach() / lengths < state.bound[rows].to(nll.device)).float()
            losses = npo_loss(nll, state.before_nll[rows].to(nll.device), config.beta)
            return config.forget_weight * (pushing * losses).sum() / count

        return accumulate_nll(model, sequences, loss_of)

    def _general_reference(
        self, model: TransformersModel, general: list[TokenSequence], config: NpoConfig
    ) -> tuple[list[PackedRow], list[torch.Tensor]]:
        """Rows of general text and what the model as it is says to them (half precision, computed once)."""
        if not general or not config.general_batch:
            return [], []
        rows = [
            row
            for start in range(0, len(general), config.general_batch)
            for row in pack(general[start : start + config.general_batch], ROW_TOKENS, model.device)
        ]
        with torch.no_grad(), adapter_off(model.network):
            reference = [torch.log_softmax(model.row_logits(row).float(), dim=-1).half() for row in rows]
        return rows, reference
