"""Concept vectors: find the columns in which a fact is written, prove that they carry it, and take them out.

The output of an MLP is a weighted sum of the columns v_j = D[:, j] of its down projection (Geva et al. 2021, arXiv
2012.14913). Some of them, read through the output matrix E, name one concept (Hong et al. 2024, "Intrinsic Evaluation
of Unlearning Using Parametric Knowledge Traces", arXiv 2406.11614; its code leaves out the g of step 1).

1. Score. With T_j the k tokens with the largest entries of E (g * v_j), g the weight of the final norm, and S tokens
   of words that only the person's data hold:  score_j = |T_j and S| / k - mean_c |T_j and S_c| / k over a few other
   people c. -v_j is scored as well. Columns that are silent at the person's answers are left out.
2. Prove. With the column at 0 the answers must be clearly less likely: large noise on a busy neuron disturbs answers
   that are not written there. Then noise N(0, (s * std(D))^2) on it, s rising until the person's answers suffer
   (ROUGE-L F1 against the model's own before); other people's must suffer clearly less from the same noise.
3. Remove. ``zero``: v_j = 0. ``noise``: such noise stays. ``needle``: noise with s = 1, then NPO (see ``npo``) on the
   person's answers with the column as the only thing that learns.

The Needle of the published code adds noise of the same size, 0.1, to every model's column, and masks the gradient to
that column while weight decay goes on shrinking all others. Here noise goes with the layer's weights, and the change of
the column is a parameter of its own, outside the matrix, and added to it at the end: the rest cannot move.

That no column passes the proof is normal for private persons and small models: a fact that training spread over a whole
layer is in no single column. The run then ends without a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from enum import StrEnum
from typing import Any

import torch
from pydantic import Field

from console.engines.learning import only_these_learn
from console.engines.packing import PackedRow, TokenSequence
from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.evaluation.neuron_projection import MlpBlock, Role, Unembedding, mlp_blocks
from console.methods.concept_location import (
    Column,
    LocationSettings,
    column_noise,
    proven_columns,
    spelling_columns,
    subject_tokens,
    token_probability,
)
from console.methods.examples import examples_of
from console.methods.known_by_heart import known_by_heart
from console.methods.losses import member_log_odds, npo_loss
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.reference_level import reference_levels
from console.methods.training import Stepper, accumulate


class Removal(StrEnum):
    """What is done to a column that carries the data."""

    ZERO = "zero"
    NOISE = "noise"
    NEEDLE = "needle"


class ConceptVectorsConfig(LocationSettings):
    """Attributes:
    removal: what is done to the columns found.
    most_columns: columns changed at most, those first that took most.
    needle_noise: noise with which ``needle`` begins.
    learning_rate: of ``needle``, in standard deviations of the layer's weights a step.
    steps: of ``needle``, at most.
    beta, certain_below, assumed_reference_nll, enough_nll: of ``needle``, as in ``npo``.
    """

    removal: Removal = Removal.ZERO
    most_columns: int = Field(default=8, ge=1)
    needle_noise: float = Field(default=1.0, ge=0)
    learning_rate: float = Field(default=0.5, gt=0)
    steps: int = Field(default=30, ge=1)
    beta: float = Field(default=0.1, gt=0)
    certain_below: float = Field(default=0.1, ge=0)
    assumed_reference_nll: float = Field(default=3.0, gt=0)
    enough_nll: float = Field(default=4.0, gt=0)


class ConceptVectors:
    """See the module's docstring."""

    info = MethodInfo(
        id="concept-vectors",
        title="Find where the data is written in the model, and take it out there",
        summary=(
            "Looks for single columns of weights that spell the person's words, proves by a disturbance that the "
            "answers depend on them, and clears only those; ends without a change where there are none."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "Hong et al. 2024, Intrinsic Evaluation of Unlearning Using Parametric Knowledge Traces (ConceptVectors, "
            "Needle), arXiv 2406.11614"
        ),
        needs=frozenset({Capability.GENERATE, Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = ConceptVectorsConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: ConceptVectorsConfig) -> Plan:
        """Raises InputError: nothing to forget, nobody to compare with, no word to look for, unknown architecture."""
        data.forget.require_nonempty()
        blocks = mlp_blocks(model.network)
        Unembedding.of(model.network)
        if not data.retain.items:
            raise InputError(
                "There are no facts of other people, so nobody can tell whether a column holds the person's data or "
                "everybody's; add facts to keep."
            )
        subject_tokens(model, data)
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        hidden = blocks[0].vectors(Role.DOWN).shape[1]
        trained = config.most_columns * hidden if config.removal is Removal.NEEDLE else 0
        memory = (weights * 4 + model.network.get_output_embeddings().weight.numel() * 4 + 2**28) // 2**20
        note = "Changes nothing where no single column carries the data, which is the rule for private persons."
        return Plan(tuple(block.path for block in blocks), trained, _steps(config), memory, (note,))

    def apply(
        self, model: TransformersModel, data: ErasureData, config: ConceptVectorsConfig, control: RunControl
    ) -> Outcome:
        """Raises JobFailedError: no column carries the data; nothing is changed then."""
        self.prepare(model, data, config)
        blocks, unembedding = mlp_blocks(model.network), Unembedding.of(model.network)
        found = spelling_columns(model, blocks, unembedding, data, config, control)
        proven = proven_columns(model, blocks, found, data, config, control, _steps(config))
        columns = proven[: config.most_columns]
        before = _vectors(blocks, columns)
        known = token_probability(model, data)
        steps = 0
        if config.removal is Removal.NEEDLE:
            steps = _needle(model, blocks, columns, data, config, control)
        else:
            _ablate(blocks, columns, config)
        control.progress(_steps(config), _steps(config), "Clearing the columns found")
        after = _vectors(blocks, columns)
        signs = torch.tensor([[float(column.sign)] for column in columns], device=before.device)
        top = unembedding.spelt_tokens(config.top_tokens, config.top_share)
        change = unembedding.change(before * signs, after * signs, top)
        metrics = {
            "columns": float(len(columns)),
            "candidates": float(len(found)),
            "jaccard": float(change.jaccard.mean()),
            "cosine": float(change.cosine.mean()),
            "l2": float(change.distance.mean()),
            "answer_probability_before": known,
            "answer_probability_after": token_probability(model, data),
            "proof_drop": max(column.drop for column in columns),
            "proof_drop_others": max(column.control_drop for column in columns),
        }
        control.metric(max(1, steps), metrics)
        names = ", ".join(f"{column.layer}.{column.index}" for column in columns)
        return Outcome(steps + len(found), f"{len(columns)} of {len(found)} columns carried the data: {names}", metrics)


def _steps(config: ConceptVectorsConfig) -> int:
    return config.candidates + (config.steps if config.removal is Removal.NEEDLE else 1)


def _vectors(blocks: Sequence[MlpBlock], columns: Sequence[Column]) -> torch.Tensor:
    """(columns, hidden) a copy."""
    return torch.stack([blocks[column.layer].vectors(Role.DOWN)[column.index] for column in columns])


@torch.no_grad()
def _ablate(blocks: Sequence[MlpBlock], columns: Sequence[Column], config: ConceptVectorsConfig) -> None:
    drawn = [column_noise(blocks[column.layer], column, column.noise, config.seed + 1) for column in columns]
    for column, noise in zip(columns, drawn, strict=True):
        vector = blocks[column.layer].vectors(Role.DOWN)[column.index]
        if config.removal is Removal.ZERO:
            vector.zero_()
        else:
            vector.add_(noise)


class _Shift(torch.nn.Module):
    """The change of some columns of one layer, in units of the standard deviation of the layer's weights."""

    def __init__(self, block: MlpBlock, columns: Sequence[Column], config: ConceptVectorsConfig) -> None:
        super().__init__()
        weights = block.vectors(Role.DOWN)
        self.block = block
        self.indices = [column.index for column in columns]
        self.unit = float(weights.std())
        drawn = torch.stack([column_noise(block, column, config.needle_noise, config.seed) for column in columns])
        self.shift = torch.nn.Parameter(drawn / self.unit)

    def hook(self, _module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return output + inputs[0][..., self.indices] @ (self.shift * self.unit)

    @torch.no_grad()
    def merge(self) -> None:
        vectors = self.block.vectors(Role.DOWN)
        for index, change in zip(self.indices, self.shift * self.unit, strict=True):
            vectors[index] += change


def _needle(
    model: TransformersModel,
    blocks: Sequence[MlpBlock],
    columns: Sequence[Column],
    data: ErasureData,
    config: ConceptVectorsConfig,
    control: RunControl,
) -> int:
    """Train the columns away from the answers; returns the steps taken."""
    examples = examples_of(model, data.forget.items)
    sequences = [example.sequence for example in examples]
    lengths = torch.tensor([len(sequence.answer_ids) for sequence in sequences])
    before = torch.tensor([-scored.total for scored in model.score_sequences(sequences)])
    level = torch.tensor(
        reference_levels(examples, data.reference_nll, config.assumed_reference_nll, config.enough_nll)
    )
    by_layer = {column.layer: [one for one in columns if one.layer == column.layer] for column in columns}
    shifts = torch.nn.ModuleList(_Shift(blocks[layer], held, config) for layer, held in by_layer.items())
    with only_these_learn(model.network, ()), ExitStack() as hooks:
        for shift in shifts:
            hooks.callback(shift.block.down.register_forward_hook(shift.hook).remove)
        stepper = Stepper.over(shifts, config.learning_rate, warmup_steps=1)
        while stepper.step_number < config.steps:
            control.check_cancelled()
            nll = accumulate(model, sequences, _push(sequences, before, level, lengths, config))
            control.metric(stepper.step_number + 1, {"forget_nll": float((nll / lengths).mean())})
            if bool((nll / lengths >= level).all()):
                break
            stepper.step()
            control.progress(config.candidates + stepper.step_number, _steps(config), "Unlearning in these columns")
    for shift in shifts:
        shift.merge()
    return stepper.step_number


def _push(
    sequences: list[TokenSequence],
    before: torch.Tensor,
    level: torch.Tensor,
    lengths: torch.Tensor,
    config: ConceptVectorsConfig,
) -> Any:
    """NPO over the examples that are still known better than their level, and log-odds where known by heart."""

    def loss_of(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
        rows = list(row.members)
        tokens = lengths[rows].to(nll.device)
        pushing = nll.detach() / tokens < level[rows].to(nll.device)
        loss = (pushing * npo_loss(nll, before[rows].to(nll.device), config.beta)).sum()
        by_heart = pushing & known_by_heart(nll, tokens, config.certain_below)
        if by_heart.any():
            loss = loss + member_log_odds(logits, row, sequences)[by_heart].sum()
        return loss / len(sequences)

    return loss_of
