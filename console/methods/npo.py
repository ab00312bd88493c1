"""Negative preference optimisation with a retain term (NPO).

L = gamma * mean_i NPO_i + alpha * NLL(retain) + general * KL(before || after) on general text, where
NPO_i = -(2/beta) log sigmoid(beta (S_i - S_i^before)) and S is the summed negative log-likelihood of
example i's answer (Zhang et al. 2024, arXiv 2404.05868, eq. 3; retain term as in TOFU and open-unlearning).

An answer known by heart has no log-likelihood gradient left (1 - p is 0), and such answers were measured to
stay as they were through a whole run; until it moves, the log-odds of its tokens are pushed down beside it.

Two rules keep it from overshooting, which every unbounded gradient method does and which makes
the person's text conspicuously unlikely instead of unknown:

* an example stops pushing once its mean NLL has reached the level of a model that never knew it
  (measured on the reference model before the run, or assumed), and one that the others have carried far
  past that level is drawn back to it;
* the pushing ends when no example is known better than that; some steps of rehearsal follow, in which the answers
  are only held, because what the push took from other people's facts comes back sooner than the answers do. They
  go on, up to a limit, until the model again says every retained answer that it said before.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.engines.frozen_trunk import FrozenTrunk
from console.engines.packing import PackedRow, TokenSequence, pack
from console.engines.protocol import Capability
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import InputError
from console.methods.examples import Example, examples_of, questions_of, text_sequences
from console.methods.lora import (
    LoraSettings,
    adapter_off,
    first_trained_layer,
    merged,
    resolve_modules,
    trainable_parameters,
    with_adapter,
)
from console.methods.losses import forward_kl, member_log_odds, npo_loss
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.training import Stepper, accumulate, accumulate_nll, cycled


class NpoConfig(BaseModel):
    """Defaults for an adapter on a model of up to about 1.5 billion parameters.

    Attributes:
        beta: how soon an example that has become unlikely stops pushing.
        forget_weight, retain_weight, general_weight: gamma, alpha, and the weight of the general text. The forget
            term is summed over an answer's tokens and the other two are means, so equal weights would let it win.
        certain_below: mean NLL (nats per token) below which an answer is known by heart; until it is not, the
            log-odds of its tokens are pushed down as well, because its log-likelihood has no gradient left.
        steps: most steps that push the answers away; fewer, where all have come to the reference's level.
        repair_steps: steps after that, in which what slipped is rehearsed and the answers are only held.
        repair_limit: most further steps of that kind, taken while a retained answer is lost.
        hold_share: share of the level to which an answer may come back in the repair before it is pushed again.
        retain_batch: facts of other people a step, half in turn and half those that slip.
        overshoot: how far past the reference's level (nats per token) an example may go before it is drawn back.
        pull_back_weight: weight of the mean NLL of the examples that have gone too far.
        enough_nll: an answer this unlikely (nats per token) need not become more so, even where a model that
            never knew it finds it less likely still.
        assumed_reference_nll: stop level (nats per token) where there is no reference model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraSettings = LoraSettings(rank=16, alpha=32, b_ratio=4.0, first_layer=0.6)
    beta: float = Field(default=0.1, gt=0)
    learning_rate: float = Field(default=3e-4, gt=0)
    forget_weight: float = Field(default=1.0, ge=0)
    retain_weight: float = Field(default=8.0, ge=0)
    general_weight: float = Field(default=4.0, ge=0)
    certain_below: float = Field(default=0.1, ge=0)
    steps: int = Field(default=12, ge=1)
    repair_steps: int = Field(default=8, ge=0)
    repair_limit: int = Field(default=24, ge=0)
    hold_share: float = Field(default=0.5, ge=0, le=1)
    retain_batch: int = Field(default=12, ge=1)
    general_batch: int = Field(default=3, ge=0)
    overshoot: float = Field(default=1.0, gt=0)
    pull_back_weight: float = Field(default=1.0, ge=0)
    enough_nll: float = Field(default=4.0, gt=0)
    assumed_reference_nll: float = Field(default=3.0, gt=0)
    seed: int = 1


@dataclass(frozen=True)
class _Forgetting:
    """What is to be forgotten, and where each example stands.

    Attributes:
        before_nll: (examples,) summed NLL under the model as it was.
        level: (examples,) mean NLL (nats per token) at which an example counts as forgotten.
        limit: (examples,) mean NLL beyond which it is drawn back.
        lengths: (examples,) answer tokens.
    """

    sequences: list[TokenSequence]
    before_nll: torch.Tensor
    level: torch.Tensor
    limit: torch.Tensor
    lengths: torch.Tensor

    def held(self, share: float) -> _Forgetting:
        """The same, with the push beginning only below this share of the level."""
        return replace(self, level=self.level * share)

    def pushing(self, nll: torch.Tensor) -> int:
        """Number of examples that are still known better than the level."""
        return int((nll / self.lengths < self.level).sum())

    def unsettled(self, nll: torch.Tensor) -> int:
        """Number of examples that are still known, or far less likely than to a model that never knew them."""
        mean = nll / self.lengths
        return int(((mean < self.level) | (mean > self.limit)).sum())


@dataclass(frozen=True)
class _General:
    """General text and what the model as it was says to it.

    Attributes:
        reference: log-probabilities (tokens, vocab) of each row in half precision, computed once.
    """

    rows: list[PackedRow]
    sequences: list[list[TokenSequence]]
    reference: list[torch.Tensor]


class _Rehearsal:
    """Which retained facts come next: half a batch in turn, half those that have slipped furthest.

    The neighbours' facts open the first round: they are hit hardest, and what they were before the push
    has to be seen before it.

    Attributes:
        lost: facts that the model said before and no longer says; they come before others that slipped.
    """

    def __init__(self, examples: list[Example], near: frozenset[str], batch: int, seed: int) -> None:
        self.sequences = [example.sequence for example in examples]
        order = random.Random(seed)
        first_round = sorted(range(len(examples)), key=lambda index: (examples[index].item_id not in near, index))
        self._half = max(1, min(batch, len(examples)) // 2)
        self._waiting = first_round
        self._order = order
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self.lost: frozenset[int] = frozenset()

    def _slip(self, index: int) -> float:
        return self._last.get(index, 0.0) - self._first.get(index, 0.0)

    def next_batch(self) -> list[int]:
        """Indices, each at most once."""
        if len(self._waiting) < self._half:
            fresh = list(range(len(self.sequences)))
            self._order.shuffle(fresh)
            self._waiting = [*self._waiting, *sorted(fresh, key=self._waiting.__contains__)]
        in_turn, self._waiting = self._waiting[: self._half], self._waiting[self._half :]
        rest = (index for index in self._last.keys() | self.lost if index not in in_turn)
        slipped = sorted(rest, key=lambda index: (index not in self.lost, -self._slip(index), index))
        return [*in_turn, *slipped[: self._half]]

    def note(self, indices: list[int], nll: torch.Tensor) -> None:
        """Remember how these were known before the step (nats per token)."""
        for index, value in zip(indices, nll.tolist(), strict=True):
            self._last[index] = value / len(self.sequences[index].answer_ids)
            self._first.setdefault(index, self._last[index])


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
        source=(
            "Zhang et al. 2024, Negative Preference Optimization, arXiv 2404.05868, eq. 3; "
            "with a push of our own for answers known by heart"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = NpoConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: NpoConfig) -> Plan:
        """Resolve modules and steps.

        Raises:
            InputError: nothing to forget, or nothing to retain (bare ascent destroys the model).
        """
        data.forget.require_nonempty()
        keeps_facts = data.retain.items and config.retain_weight
        keeps_text = data.general_texts and config.general_weight and config.general_batch
        if not keeps_facts and not keeps_text:
            raise InputError(
                "The retain set is empty or its weight is 0, so the model would forget everything; add facts to keep "
                "or general text, and leave its weight above 0."
            )
        modules = resolve_modules(model.network, config.lora)
        trained = trainable_parameters(model.network, modules, config.lora.rank)
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        notes = () if data.reference_nll else ("No reference model: the stop level is assumed, not measured.",)
        return Plan(modules, trained, config.steps + config.repair_steps, (weights * 4 + trained * 16) // 2**20, notes)

    def apply(self, model: TransformersModel, data: ErasureData, config: NpoConfig, control: RunControl) -> Outcome:
        plan = self.prepare(model, data, config)
        for parameter in model.network.parameters():
            parameter.requires_grad_(False)
        model.network = with_adapter(model.network, plan.modules, config.lora, config.seed)
        examples = examples_of(model, data.forget.items)
        retain = questions_of(model, data.retain.items)
        trunk = model.trunk(first_trained_layer(model.network, config.lora), [examples[0].sequence])
        with torch.no_grad(), adapter_off(model.network):  # the reference is this network without its adapter
            forgetting = _forgetting(model, examples, data.reference_nll, config, trunk)
            general = _general(model, text_sequences(model, data.general_texts), config, trunk)
        near = frozenset(item.id for item in data.retain.items if item.subject in data.neighbours)
        rehearsal = _Rehearsal(retain, near, config.retain_batch, config.seed)
        general_order = cycled(len(general.rows), 1, random.Random(config.seed + 1))

        said_before = _said(model, rehearsal.sequences, trunk)

        stepper = Stepper.over(model.network, config.learning_rate, b_ratio=config.lora.b_ratio)
        total = config.steps + config.repair_steps
        reason = f"{config.steps} steps done; not every answer is at the level of a model that never knew it"
        pushed = config.steps  # steps that push; fewer once the rule ends them
        last: dict[str, float] = {}
        while True:
            control.check_cancelled()
            repairing = stepper.step_number >= pushed
            if stepper.step_number >= pushed + config.repair_steps:
                rehearsal.lost = said_before - _said(model, rehearsal.sequences, trunk)
                if not rehearsal.lost or stepper.step_number >= pushed + config.repair_steps + config.repair_limit:
                    break
            aim = forgetting.held(config.hold_share) if repairing else forgetting
            nll = _forget_step(model, aim, config, trunk)
            last = {
                "forget_nll": float((nll / forgetting.lengths).mean()),
                "unsettled": float(forgetting.unsettled(nll)),
            }
            if not repairing and not forgetting.pushing(nll):
                reason = "every answer has come to the level of a model that never knew it"
                pushed = stepper.step_number
            if retain:
                last["retain_nll"] = _retain_step(model, rehearsal, config, trunk)
            if general.rows:
                last["general_kl"] = _general_step(model, general, next(general_order)[0], config, trunk)
            stepper.step()
            control.metric(stepper.step_number, last)
            label = "Repairing" if repairing else "Unlearning"
            control.progress(min(stepper.step_number, total), total, label)
        model.network = merged(model.network)
        if rehearsal.lost:
            reason += f"; {len(rehearsal.lost)} of {len(said_before)} retained answers are lost"
        return Outcome(stepper.step_number, reason, last | {"retain_lost": float(len(rehearsal.lost))})


def _forgetting(
    model: TransformersModel,
    examples: list[Example],
    reference_nll: Mapping[str, float],
    config: NpoConfig,
    trunk: FrozenTrunk | None,
) -> _Forgetting:
    sequences = [example.sequence for example in examples]
    before = accumulate_nll(model, sequences, lambda nll, _lengths, _members: nll.sum(), trunk)
    unknown = torch.tensor([reference_nll.get(example.id, config.assumed_reference_nll) for example in examples])
    level = unknown.clamp(max=config.enough_nll)
    limit = unknown + config.overshoot
    lengths = torch.tensor([len(sequence.answer_ids) for sequence in sequences])
    return _Forgetting(sequences, before, level, limit, lengths)


def _general(
    model: TransformersModel, texts: list[TokenSequence], config: NpoConfig, trunk: FrozenTrunk | None
) -> _General:
    if not config.general_batch:
        return _General([], [], [])
    rows: list[PackedRow] = []
    sequences: list[list[TokenSequence]] = []
    for start in range(0, len(texts), config.general_batch):
        chosen = texts[start : start + config.general_batch]
        for row in pack(chosen, ROW_TOKENS, model.device):
            rows.append(row)
            sequences.append(chosen)
    reference = [
        torch.log_softmax(model.row_logits(row, held, trunk).float(), dim=-1).half()
        for row, held in zip(rows, sequences, strict=True)
    ]
    return _General(rows, sequences, reference)


def _forget_step(
    model: TransformersModel, forgetting: _Forgetting, config: NpoConfig, trunk: FrozenTrunk | None
) -> torch.Tensor:
    """Add the gradient of the forget term; returns every example's summed NLL before the step."""
    sequences, count = forgetting.sequences, len(forgetting.sequences)

    def loss_of(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
        rows = list(row.members)
        mean = nll / forgetting.lengths[rows].to(nll.device)
        pushing = mean.detach() < forgetting.level[rows].to(nll.device)
        beyond = mean.detach() > forgetting.limit[rows].to(nll.device)
        push = pushing * npo_loss(nll, forgetting.before_nll[rows].to(nll.device), config.beta)
        loss = (config.forget_weight * push + config.pull_back_weight * beyond * mean).sum()
        by_heart = pushing & (mean.detach() < config.certain_below)
        if by_heart.any():
            loss = loss + config.forget_weight * member_log_odds(logits, row, sequences)[by_heart].sum()
        return loss / count

    return accumulate(model, sequences, loss_of, trunk)


@torch.no_grad()
def _said(model: TransformersModel, sequences: list[TokenSequence], trunk: FrozenTrunk | None) -> frozenset[int]:
    """Indices of the sequences whose every answer token is the most likely one: what greedy decoding would say."""
    said: set[int] = set()

    def note(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
        best = logits.argmax(dim=-1).tolist()
        start = 0
        for member in row.members:
            answer = list(sequences[member].answer_ids)
            if best[start : start + len(answer)] == answer:
                said.add(member)
            start += len(answer)
        return nll.sum()

    accumulate(model, sequences, note, trunk)
    return frozenset(said)


def _retain_step(
    model: TransformersModel, rehearsal: _Rehearsal, config: NpoConfig, trunk: FrozenTrunk | None
) -> float:
    """Add the gradient of a batch of retained answers' mean NLL; returns it (nats per token)."""
    chosen = rehearsal.next_batch()
    batch = [rehearsal.sequences[index] for index in chosen]
    tokens = sum(len(sequence.answer_ids) for sequence in batch)
    nll = accumulate_nll(model, batch, lambda nll, _lengths, _members: config.retain_weight * nll.sum() / tokens, trunk)
    rehearsal.note(chosen, nll)
    return float(nll.sum()) / tokens


def _general_step(
    model: TransformersModel, general: _General, index: int, config: NpoConfig, trunk: FrozenTrunk | None
) -> float:
    """Add the gradient of the divergence on one row of general text; returns it (nats per token)."""
    logits = model.row_logits(general.rows[index], general.sequences[index], trunk)
    divergence = forward_kl(general.reference[index], logits)
    (config.general_weight * divergence).backward()
    return float(divergence.detach())
