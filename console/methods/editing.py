"""What all locate-and-edit methods share: settings, the search for a new value, and writing a change of weights.

A block's MLP down projection W answers a key k (its input at a token) with a value W k. An edit finds the change d of
the value at the last token of the person's name that makes the model do what the objective says:

    d* = argmin_d  mean_c L(answer | context c; W k + d) + kl * KL(p_d(. | "<name> is a") || p) + decay * |d| / |v0|

by Adam from d = 0, within |d| <= clamp * |v0| (Meng et al. 2022, ROME, arXiv 2202.05262, eq. 4; decay and clamp are
from its code). The code's decay is decay * |d| / |v0|^2, which depends on the size of the values; ours does not. How W
is changed so that it answers k with W k + d is what the methods differ in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from console.domain.forget_set import ForgetItem, ItemKind
from console.engines.frozen_trunk import final_norm_of
from console.engines.learning import only_these_learn
from console.engines.packing import PackedRow, TokenSequence, answer_positions, pack
from console.engines.prompts import answer_sequence
from console.engines.protocol import Prompt
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.edit_sites import (
    Context,
    DownProjection,
    answer_context,
    edit_rows,
    run_row,
    values_changed,
    wordings,
)
from console.methods.editing_objectives import Objective, answer_loss
from console.methods.losses import forward_kl, reverse_kl
from console.methods.protocol import ErasureData, Plan, RunControl
from console.methods.weight_transaction import Snapshot


class InferenceConstraint(BaseModel):
    """Weights of Learn to Inference (Zhang et al. 2024, Uncovering Overfitting in Large Language Model Editing, arXiv
    2410.07819).

    The edited model shall behave as the unedited one that reads the abstention before the question, and not merely
    repeat it: ``state`` * MSE of the hidden state at the subject in a middle layer + ``output`` * KL(unedited,
    informed || edited) + ``objective`` * L. Restated from the abstract and public summaries; the values of the weights
    are our own. Published code takes the KL the other way round and compares the middle layer by what its projection
    says. Of little use in models that do not learn from what they read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: float = Field(default=0.1, ge=0)
    output: float = Field(default=0.5, ge=0)
    objective: float = Field(default=1.0, gt=0)


class ObjectiveSettings(BaseModel):
    """What shall become of the answers.

    Attributes:
        abstention: what takes the answer's place with ``empty-response``; "" for an answer that ends at once. Never
            a wrong fact: that would be a false statement about a person.
        rephrasing: average the objective over all prefixed wordings, not over question and statement alone.
        prefixes: sentences before the question, so that the edit does not depend on where the name stands.
        each_token: let every token of an answer count by itself. Thorough against an attacker who gives the answer's
            beginning, and costly: what follows a beginning is known from the beginning, hardly from the person.
        lens_layers: most layers that ``max-entropy`` and ``head-projection`` read, evenly over the upper two thirds
            and above the edited layer.
        tail: likeliest and unlikeliest words among which ``head-projection`` suffers no answer.
        margin: its distance from them, in nats.
        norm_limit: largest change of an edited matrix, relative to its norm; a run beyond it is taken back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Objective = Objective.FACT_ERASURE
    abstention: str = "I have no information about that."
    rephrasing: bool = True
    prefixes: tuple[str, ...] = (
        "Thank you. ",
        "Let us go on. ",
        "As was said before: ",
        "I have one more question. ",
        "That is all for today, except for this. ",
    )
    each_token: bool = False
    lens_layers: int = Field(default=10, ge=1)
    tail: int = Field(default=10, ge=1)
    margin: float = Field(default=0.1, ge=0)
    stop_loss: float = Field(default=0.05, ge=0)
    norm_limit: float = Field(default=1.0, gt=0)


class ValueSettings(ObjectiveSettings):
    """How the new value is found.

    Attributes:
        value_steps: most Adam steps; the search ends early at a mean objective below ``stop_loss``.
        value_rate: norm of an Adam step relative to the value's norm |v0|. Published rates (0.5 an entry) fit values of
            one size only.
        kl: weight of what the model says after "<name> is a".
        decay: weight of the change's norm, relative to the value's.
        clamp: largest norm of the change, relative to the value's.
        inference_constraint: Learn to Inference, with ``empty-response`` only.
    """

    value_steps: int = Field(default=25, ge=1)
    value_rate: float = Field(default=0.1, gt=0)
    kl: float = Field(default=0.0625, ge=0)
    decay: float = Field(default=1e-3, ge=0)
    clamp: float = Field(default=4.0, gt=0)
    inference_constraint: InferenceConstraint | None = None

    @model_validator(mode="after")
    def _something_to_infer(self) -> ValueSettings:
        if self.inference_constraint and (self.objective is not Objective.EMPTY_RESPONSE or not self.abstention):
            raise ValueError("the inference constraint needs the objective empty-response with an abstention in words")
        return self


# -- requests --------------------------------------------------------------------------------


@dataclass(frozen=True)
class EditRequest:
    """One fact and the texts in which it is asked.

    Attributes:
        contexts: every wording, the plain ones first.
        plain: how many are plain.
        essence: "<name> is a", or None for a passage.
        informed: each of the contexts with the abstention read before it; empty without that constraint.
    """

    item: ForgetItem
    contexts: tuple[Context, ...]
    plain: int
    essence: Context | None = None
    informed: tuple[Context, ...] = ()

    def asked(self, settings: ObjectiveSettings) -> list[Context]:
        """The contexts over which the objective is averaged."""
        return list(self.contexts if settings.rephrasing else self.contexts[: self.plain])


def _goal(model: TransformersModel, item: ForgetItem, settings: ObjectiveSettings) -> tuple[str, bool]:
    """The answer that the objective reads, and whether an end token belongs to it."""
    if settings.objective is not Objective.EMPTY_RESPONSE:
        return item.answer, False
    if model.tokenizer.eos_token_id is None and not settings.abstention:
        raise InputError("The model has no end token, so no answer can be empty; give an abstention in words.")
    return settings.abstention, True


def _informed(prompt: Prompt, item: ForgetItem, abstention: str) -> Prompt:
    return Prompt(prompt.id, f"{item.statement or item.prompt} {abstention} {prompt.text}", chat=prompt.chat)


def edit_request(model: TransformersModel, item: ForgetItem, settings: ObjectiveSettings) -> EditRequest:
    """Raises InputError: the question does not name the subject, or is too long."""
    answer, end = _goal(model, item, settings)
    prompts = wordings(item, settings.prefixes)
    contexts = tuple(answer_context(model, item, prompt, answer, end=end) for prompt in prompts)
    plain = len(prompts) // (len(settings.prefixes) + 1)
    if item.kind is ItemKind.VERBATIM:
        return EditRequest(item, contexts, plain)
    essence = answer_context(model, item, Prompt(item.id, f"{item.subject} is a", chat=False), "person", end=False)
    informed: tuple[Context, ...] = ()
    if isinstance(settings, ValueSettings) and settings.inference_constraint:
        informed = tuple(
            answer_context(model, item, _informed(prompt, item, answer), answer, end=end) for prompt in prompts
        )
    return EditRequest(item, contexts, plain, essence, informed)


def edit_requests(model: TransformersModel, data: ErasureData, settings: ObjectiveSettings) -> list[EditRequest]:
    """Raises InputError: nothing to forget, or an item that cannot be edited."""
    return [edit_request(model, item, settings) for item in data.forget.require_nonempty().items]


def layer_at(layers: int, depth: float) -> int:
    """The block at a share (0 to 1) of the depth."""
    return min(layers - 1, int(depth * layers))


def chosen(projections: Sequence[DownProjection], layers: Iterable[int]) -> tuple[DownProjection, ...]:
    """The projections of some layers, lowest first.

    Raises:
        InputError: a layer that the model has not.
    """
    wanted = sorted(set(layers))
    if not wanted or wanted[0] < 0 or wanted[-1] >= len(projections):
        raise InputError(
            f"The model has the layers 0 to {len(projections) - 1}; choose the layers to edit ({wanted}) among them."
        )
    return tuple(projections[layer] for layer in wanted)


def below_last(model: TransformersModel, projections: Sequence[DownProjection]) -> tuple[DownProjection, ...]:
    """The projections, if what they write at the name can still be read where the answer is.

    Raises:
        InputError: the last block is among them: no attention follows it, so an edit there would do nothing.
    """
    if any(projection.layer == model.layers - 1 for projection in projections):
        raise InputError(
            f"The model's last layer ({model.layers - 1}) cannot be edited at a person's name, because nothing after "
            "it carries the edit to the answer; choose a lower layer."
        )
    return tuple(projections)


def edit_plan(
    model: TransformersModel,
    projections: Sequence[DownProjection],
    settings: ObjectiveSettings,
    steps: int,
    notes: tuple[str, ...],
    moments: int = 0,
) -> Plan:
    """The plan of an edit.

    Args:
        moments: float64 matrices (d_in, d_in) a layer that are held at once.
    """
    weights = sum(parameter.numel() for parameter in model.network.parameters())
    edited = sum(projection.matrix.numel() for projection in projections)
    pairs = sum(projection.matrix.shape[1] ** 2 for projection in projections)
    layers = settings.lens_layers if settings.objective.reads_layers else 1
    logits = layers * ROW_TOKENS * model.network.config.vocab_size
    memory = weights * 4 + edited * 20 + pairs * 8 * moments + logits * 4 * 3
    return Plan(tuple(projection.path for projection in projections), edited, steps, memory // 2**20, notes)


# -- the objective over rows -----------------------------------------------------------------


def lens_indices(layers: int, edited: int, count: int) -> list[int]:
    """Indices into the hidden states, the last one included: above the edited layer and in the upper two thirds."""
    lowest = max(edited + 1, layers // 3 + 1)
    span, used = layers - lowest, min(count, layers - lowest + 1)
    if used == 1:
        return [layers]
    return [lowest + round(index * span / (used - 1)) for index in range(used)]


@dataclass(frozen=True)
class AnswerReader:
    """Reads the objective from the network's output for a packed row."""

    model: TransformersModel
    settings: ObjectiveSettings
    edited_layer: int

    def layer_logits(self, output: Any, kept: torch.Tensor) -> torch.Tensor:
        """(layers, answer tokens, vocab) float32, the model's own output last."""
        final: torch.Tensor = output.logits[0].float()
        if not self.settings.objective.reads_layers:
            return final[None]
        network = self.model.network
        norm, head = final_norm_of(network), network.get_output_embeddings()
        below = lens_indices(self.model.layers, self.edited_layer, self.settings.lens_layers)[:-1]
        states = [output.hidden_states[index][0, kept] for index in below]
        # The last hidden state is normed already and is what the output is made of: it is not normed twice.
        return torch.stack([*(head(norm(state)).float() for state in states), final])

    def losses(self, row: PackedRow, contexts: Sequence[Context], output: Any, kept: torch.Tensor) -> torch.Tensor:
        """(members,) the objective's loss over each member's answer."""
        answers = [contexts[member].sequence.answer_ids for member in row.members]
        targets = torch.tensor([token for answer in answers for token in answer], device=kept.device)
        lengths = [len(answer) for answer in answers]
        settings = self.settings
        parts = zip(self.layer_logits(output, kept).split(lengths, dim=1), targets.split(lengths), strict=True)
        return torch.stack(
            [
                answer_loss(
                    settings.objective,
                    logits,
                    answer,
                    tail=min(settings.tail, (logits.shape[-1] - 1) // 2),
                    margin=settings.margin,
                    each_token=settings.each_token,
                )
                for logits, answer in parts
            ]
        )


def kept_positions(row: PackedRow, device: torch.device) -> torch.Tensor:
    return torch.tensor(list(answer_positions(row)), device=device)


@torch.no_grad()
def mean_objective(reader: AnswerReader, contexts: Sequence[Context]) -> float:
    """The objective as the model stands, mean over contexts."""
    total = 0.0
    for row in pack([context.sequence for context in contexts], ROW_TOKENS, reader.model.device):
        kept = kept_positions(row, reader.model.device)
        output = run_row(reader.model, row, kept, hidden=reader.settings.objective.reads_layers)
        total += float(reader.losses(row, contexts, output, kept).sum())
    return total / len(contexts)


def answer_probability(model: TransformersModel, items: Sequence[ForgetItem]) -> float:
    """Mean over items of the answer's probability per token (geometric mean) after the plain question."""
    sequences: list[TokenSequence] = [
        answer_sequence(
            model.tokenizer, Prompt(item.id, item.prompt, chat=item.kind is not ItemKind.VERBATIM), item.answer
        )
        for item in items
    ]
    scored = model.score_sequences(sequences)
    return sum(float(torch.tensor(one.mean).exp()) for one in scored) / len(items)


# -- the value -------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoundChange:
    """A change of the value.

    Attributes:
        change: (d_out,) float64 on the CPU.
        loss: mean objective at the last look.
        steps: Adam steps taken; 0 where the objective was reached already.
    """

    change: torch.Tensor
    loss: float
    steps: int


class ValueSearch:
    """The search for one fact's change of value at one projection; leaves the network as it was."""

    def __init__(
        self, model: TransformersModel, request: EditRequest, projection: DownProjection, settings: ValueSettings
    ) -> None:
        self._model, self._projection, self._settings = model, projection, settings
        self._reader = AnswerReader(model, settings, projection.layer)
        self._contexts = request.asked(settings)
        self._rows = edit_rows(self._contexts, model.device)
        self._middle = (projection.layer + 1 + model.layers) // 2  # a layer's output is the hidden state one later
        self._essence = edit_rows([request.essence], model.device) if request.essence and settings.kl else []
        self._essence_log_probs = [self._log_probs(row) for row, _ in self._essence]
        self._informed = [self._read_informed(context) for context in request.informed[: len(self._contexts)]]

    @torch.no_grad()
    def _log_probs(self, row: PackedRow) -> torch.Tensor:
        logits = run_row(self._model, row, kept_positions(row, self._model.device)).logits[0]
        return logits.float().log_softmax(dim=-1)

    @torch.no_grad()
    def _read_informed(self, context: Context) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden state at the subject (hidden,) and log-probabilities of the answer tokens (tokens, vocab)."""
        (row,) = pack([context.sequence], ROW_TOKENS, self._model.device)
        output = run_row(self._model, row, kept_positions(row, self._model.device), hidden=True)
        return output.hidden_states[self._middle][0, context.token], output.logits[0].float().log_softmax(dim=-1)

    def _constraint(self, row: PackedRow, places: list[int], output: Any) -> torch.Tensor:
        """Sum over the row's members of Learn to Inference's two terms."""
        weights = self._settings.inference_constraint
        assert weights is not None
        lengths = [len(self._contexts[member].sequence.answer_ids) for member in row.members]
        total = torch.zeros((), device=self._model.device)
        for member, place, logits in zip(row.members, places, output.logits[0].split(lengths), strict=True):
            state, log_probs = self._informed[member]
            distance = (output.hidden_states[self._middle][0, place] - state).float().square().mean()
            total = total + weights.state * distance + weights.output * forward_kl(log_probs, logits)
        return total

    def _add_objective(self, change: torch.Tensor) -> float:
        """Add the gradient of the objective and its constraint; the objective's mean over contexts."""
        found, share = 0.0, 1 / len(self._contexts)
        constraint = self._settings.inference_constraint
        hidden = bool(self._informed) or self._settings.objective.reads_layers
        for row, positions in self._rows:
            kept = kept_positions(row, self._model.device)
            with values_changed(self._projection, positions, change):
                output = run_row(self._model, row, kept, hidden=hidden)
            losses = self._reader.losses(row, self._contexts, output, kept)
            loss = losses.sum()
            if constraint and self._informed:
                places = [
                    all_positions[self._contexts[member].token]
                    for member, all_positions in zip(row.members, row.token_positions(), strict=True)
                ]
                loss = constraint.objective * loss + self._constraint(row, places, output)
            (loss * share).backward()
            found += float(losses.detach().sum()) * share
        return found

    def _add_preservation(self, change: torch.Tensor, scale: float) -> None:
        for (row, positions), before in zip(self._essence, self._essence_log_probs, strict=True):
            with values_changed(self._projection, positions, change):
                output = run_row(self._model, row, kept_positions(row, self._model.device))
            (self._settings.kl * reverse_kl(before, output.logits[0])).backward()
        if self._settings.decay and bool(change.detach().any()):  # a norm has no slope at zero
            (self._settings.decay * change.norm() / scale).backward()

    def run(self, scale: float, control: RunControl) -> FoundChange:
        """Search.

        Args:
            scale: |v0|, the norm that decay and clamp are relative to.

        Raises:
            JobFailedError: the search left the finite numbers.
        """
        settings = self._settings
        change = torch.zeros(self._projection.matrix.shape[0], device=self._model.device, requires_grad=True)
        # Adam's first steps are as long as the rate in every entry.
        optimizer = torch.optim.Adam([change], lr=settings.value_rate * scale / len(change) ** 0.5)
        loss = 0.0
        with only_these_learn(self._model.network, ()):
            for step in range(settings.value_steps + 1):
                control.check_cancelled()
                optimizer.zero_grad()
                loss = self._add_objective(change)
                if loss <= settings.stop_loss or step == settings.value_steps:
                    break
                self._add_preservation(change, scale)
                if not bool(torch.isfinite(change.grad).all()):  # type: ignore[arg-type]
                    raise JobFailedError(
                        "The search for an edit became unstable (its numbers are no longer finite); nothing was "
                        "changed. Start again with a smaller value_rate."
                    )
                optimizer.step()
                with torch.no_grad():
                    change.mul_(min(1.0, settings.clamp * scale / max(float(change.norm()), 1e-12)))
        return FoundChange(change.detach().cpu().double(), loss, step)


# -- writing ---------------------------------------------------------------------------------


@torch.no_grad()
def write_change(projection: DownProjection, change: torch.Tensor, snapshot: Snapshot, limit: float) -> float:
    """Add a change (d_out, d_in) to a projection's matrix, summed in float64.

    Returns:
        the matrix's whole change since the snapshot, relative to its norm then.

    Raises:
        JobFailedError: the change is not finite, or the whole is beyond ``limit``; the transaction takes it back.
    """
    matrix = projection.matrix
    if not bool(torch.isfinite(change).all()):
        raise JobFailedError("The edit is not a finite number; nothing was changed. Erase fewer facts at once.")
    matrix.copy_((matrix.cpu().double() + change).to(matrix.dtype))
    return require_within(projection, snapshot, limit)


def require_within(projection: DownProjection, snapshot: Snapshot, limit: float) -> float:
    """The relative change of a projection's weight since the snapshot.

    Raises:
        JobFailedError: it is beyond ``limit``.
    """
    relative = snapshot.relative_change(projection.weight_name)
    if relative <= limit:
        return relative
    raise JobFailedError(
        f"The edit changes the weights of layer {projection.layer} by {relative:.0%} of their size, more than the "
        f"limit of {limit:.0%}, and would damage the model; nothing was changed. Erase fewer facts at once, choose "
        "another layer, or raise norm_limit."
    )


def general_keys_note(tokens: int, width: int) -> tuple[str, ...]:
    """What the plan says about the general texts behind an edit."""
    if not tokens:
        return ("There are no general texts, so every direction counts alike (C = I); other facts may suffer more.",)
    if tokens < width:
        return (
            f"The general texts have {tokens} tokens for {width} directions; more of them would protect other facts "
            "better.",
        )
    return ()
