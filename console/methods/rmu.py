"""RMU: wherever the person's texts are read, an early layer is made to carry noise (successor of CUT).

With h the hidden states behind block l, u one fixed random direction of length 1, and h0 the states of the model as it
was (Li et al. 2024, The WMDP Benchmark, arXiv 2403.03218, the method RMU):

    L = mean ||h(forget) - c u||^2 / d + alpha mean ||h(kept) - h0(kept)||^2 / d,

trained are the down projections of the blocks l-2 to l and nothing else, as in the authors' code. c is there a number
and here a multiple of the median norm of the states, because norms differ a hundredfold between models, and the median
because a few tokens, usually the first of a text, have norms many times as large; the first token is in no term here.

A beginning that a kept text shares with a forgotten one has the same states in both, which cannot be held and pushed at
once; of a forgotten text only what lies behind is pushed. That is ours too.

What is said turns into noise, and the knowledge is still in the layers behind: it comes back with little training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from pydantic import Field

from console.engines.packing import PackedRow, TokenSequence, pack, shared_length
from console.engines.protocol import Capability
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.methods.edit_sites import DownProjection, down_projections
from console.methods.forgetting import Run
from console.methods.gradient import GradientMethod
from console.methods.gradient_settings import GradientSettings
from console.methods.lora import LoraSettings
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.training import accumulate

_BLOCKS = 3


class RmuConfig(GradientSettings):
    """Attributes:
    lora, tensors, retain_loss: set by the method itself.
    layer: l, as share of the depth.
    strength: c, in median norms of the hidden states.
    retain_weight: alpha, of retained answers and general text alike; the terms are squares of numbers as large as the
        model's hidden states.
    general_weight: of the divergence on general text, which is taken beside it.
    """

    lora: LoraSettings = LoraSettings()
    tensors: tuple[str, ...] = ("down_proj",)
    loss_balance: Literal["none"] = "none"
    learning_rate: float = Field(default=1e-3, gt=0)
    steps: int = Field(default=40, ge=1)
    layer: float = Field(default=0.25, ge=0, lt=1)
    strength: float = Field(default=4.0, gt=0)
    retain_weight: float = Field(default=100.0, ge=0)


def direction(size: int, seed: int) -> torch.Tensor:
    """(size,) u: uniform numbers between 0 and 1, made 1 long; drawn on the CPU, the same on every device."""
    drawn = torch.rand(size, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm()


def direction_hash(u: torch.Tensor) -> str:
    """SHA-256 of u as little-endian 32-bit floats."""
    return hashlib.sha256(u.cpu().numpy().astype("<f4").tobytes()).hexdigest()


def mean_square(states: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean over tokens and dimensions of the squared distance; both (tokens, d), or ``wanted`` (d,)."""
    return (states.float() - wanted).square().mean()


@contextmanager
def states_of(block: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """What the block last wrote, (time, d), with its gradient."""
    seen = [torch.empty(0)]

    def read(_module: Any, _inputs: Any, output: Any) -> None:
        seen[0] = (output[0] if isinstance(output, tuple) else output)[0]

    handle = block.register_forward_hook(read)
    try:
        yield seen
    finally:
        handle.remove()


def pushed_from(forget: TokenSequence, kept: Sequence[TokenSequence]) -> int:
    """Index of the first token whose state is pushed: behind the first, and behind what a kept text shares.

    At least the state that predicts the answer's first token is pushed (of a text of one prompt token, the one behind).
    """
    shared = max((shared_length([forget.ids, other.ids], len(forget.ids)) for other in kept), default=0)
    return max(1, min(shared, forget.answer_start - 1))


@dataclass(frozen=True)
class Steering:
    """What a run works with.

    Attributes:
        block: whose output is steered.
        target: (d,) c u.
        starts: for each forget example, the first token that is pushed.
        retained: for each retained fact (tokens - 1, d) states before, without the first token's.
        general: for each row of general text, the same for each of its texts.
    """

    block: torch.nn.Module
    target: torch.Tensor
    starts: tuple[int, ...]
    retained: list[torch.Tensor]
    general: list[list[torch.Tensor]]


class Rmu(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="rmu",
        title="Drown the person's facts in noise inside the model",
        summary=(
            "Changes three early layers so that texts about the person turn into noise inside the model while other "
            "texts pass as before; the facts stay in the layers behind and can come back."
        ),
        family=Family.WEIGHTS,
        claim=Claim.SUPPRESSION_IN_WEIGHTS,
        source="Li et al. 2024, The WMDP Benchmark, arXiv 2403.03218 (RMU, successor of CUT)",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = RmuConfig

    def modules(self, model: TransformersModel, config: RmuConfig) -> tuple[str, ...]:
        return tuple(site.path for site in _sites(model, config))

    def prepare(self, model: TransformersModel, data: ErasureData, config: RmuConfig) -> Plan:
        """As every gradient method; the plan notes the direction's hash."""
        plan = super().prepare(model, data, _resolved(model, config))
        u = direction(model.network.config.hidden_size, config.seed)
        return replace(plan, notes=(*plan.notes, f"Noise direction: seed {config.seed}, SHA-256 {direction_hash(u)}."))

    def apply(self, model: TransformersModel, data: ErasureData, config: RmuConfig, control: RunControl) -> Outcome:
        outcome = super().apply(model, data, _resolved(model, config), control)
        u = direction(model.network.config.hidden_size, config.seed)
        return replace(outcome, stop_reason=f"{outcome.stop_reason}; noise direction SHA-256 {direction_hash(u)}")

    @torch.no_grad()
    def begin(self, run: Run) -> Steering:
        model, block = run.model, _sites(run.model, run.config)[-1].block
        forget = run.forgetting.sequences
        kept = run.rehearsal.sequences
        norms = torch.cat([states.norm(dim=-1) for states in _states(model, block, forget)])
        u = direction(model.network.config.hidden_size, run.config.seed).to(model.device)
        texts = [_states(model, block, texts) for texts in run.general.sequences]
        return Steering(
            block=block,
            target=run.config.strength * norms.median() * u,
            starts=tuple(pushed_from(one, kept) for one in forget),
            retained=_states(model, block, kept),
            general=texts,
        )

    def forget_step(self, run: Run) -> torch.Tensor:
        """Steer every example that is still known better than its level."""
        own: Steering = run.own
        weight, count = run.config.forget_weight, len(run.aim.sequences)

        with states_of(own.block) as seen:

            def loss_of(row: PackedRow, _logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
                loss = seen[0].new_zeros(())
                for index, (member, positions) in enumerate(zip(row.members, row.token_positions(), strict=True)):
                    mean = float(nll[index].detach()) / float(run.aim.lengths[member])
                    pushing = mean < float(run.aim.level[member]) if run.config.bounded else not run.holding
                    if pushing:
                        loss = loss + mean_square(seen[0][positions[own.starts[member] :]], own.target)
                return weight * loss / count

            return accumulate(run.model, run.aim.sequences, loss_of, run.trunk)

    def retain_step(self, run: Run) -> float:
        chosen = run.rehearsal.next_batch()
        batch = [run.rehearsal.sequences[index] for index in chosen]
        before = [run.own.retained[index] for index in chosen]
        nll = _hold(run, batch, before)
        means = [float(value) / len(sequence.answer_ids) for value, sequence in zip(nll, batch, strict=True)]
        run.rehearsal.note(chosen, means)
        return float(nll.sum()) / sum(len(sequence.answer_ids) for sequence in batch)

    def further_step(self, run: Run) -> dict[str, float]:
        """The same for general text, one of its rows a step."""
        if run.own.general and run.config.retain_weight:
            index = run.stepper.step_number % len(run.own.general)
            _hold(run, run.general.sequences[index], run.own.general[index])
        return {"steering_norm": float(run.own.target.norm())}


def _hold(run: Run, sequences: list[TokenSequence], before: list[torch.Tensor]) -> torch.Tensor:
    """Add the gradient of the states' distance from what they were; returns (sequences,) summed NLL."""
    with states_of(run.own.block) as seen:

        def loss_of(row: PackedRow, _logits: torch.Tensor, _nll: torch.Tensor) -> torch.Tensor:
            loss = seen[0].new_zeros(())
            for member, positions in zip(row.members, row.token_positions(), strict=True):
                loss = loss + mean_square(seen[0][positions[1:]], before[member])
            return run.config.retain_weight * loss / len(sequences)

        return accumulate(run.model, sequences, loss_of, run.trunk)


@torch.no_grad()
def _states(model: TransformersModel, block: torch.nn.Module, sequences: list[TokenSequence]) -> list[torch.Tensor]:
    """For each sequence (tokens - 1, d) float32 states behind the block, without the first token's."""
    found: list[torch.Tensor] = [torch.empty(0)] * len(sequences)
    with states_of(block) as seen:
        for row in pack(sequences, ROW_TOKENS, model.device):
            model.row_logits(row)
            for member, positions in zip(row.members, row.token_positions(), strict=True):
                found[member] = seen[0][positions[1:]].float()
    return found


def _sites(model: TransformersModel, config: RmuConfig) -> tuple[DownProjection, ...]:
    """The down projections that are trained; the last one's block is steered."""
    every = down_projections(model.network)
    steered = int(config.layer * len(every))
    return every[max(0, steered - _BLOCKS + 1) : steered + 1]


def _resolved(model: TransformersModel, config: RmuConfig) -> RmuConfig:
    """The settings with the trained tensors in them, because the loop runs what lies below these only once."""
    sites = _sites(model, config)
    lowest = (sites[0].layer + 0.5) / model.layers  # the loop rounds down; the half keeps it from rounding too far
    lora = config.lora.model_copy(update={"first_layer": lowest})
    return config.model_copy(update={"lora": lora, "tensors": tuple({site.path.rpartition(".")[2] for site in sites})})
