"""The one loop of every gradient method: push the person's answers, hold everything else, stop by rule.

L = gamma * mean_i F_i + alpha * R(retain) + general * KL(before || now) on general text, where F is the method's own
forget loss and R is the mean NLL of retained answers, or the KL from what the model said to them before. A method is a
subclass with a config class and ``forget_loss``; everything else here is the same for all.

Two rules keep a run from overshooting, which every unbounded gradient method does and which makes the
person's text conspicuously unlikely instead of unknown:

* an example stops pushing once its mean NLL has reached the level of a model that never knew it
  (measured on the reference model before the run, or assumed), and one that the others have carried far
  past that level is drawn back to it;
* the pushing ends when no example is known better than that; some steps of rehearsal follow, in which the answers
  are only held, because what the push took from other people's facts comes back sooner than the answers do. They
  go on, up to a limit, until the model again says every retained answer that it said before.

There is never a second model in memory: what the model said before is computed once, before anything is trained.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.engines.frozen_trunk import FrozenTrunk, decoder_of
from console.engines.packing import PackedRow, TokenSequence, pack
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import ConsoleError, InputError
from console.methods import run_state
from console.methods.activation_checkpoints import activations_recomputed
from console.methods.examples import Example, examples_of, questions_of, text_sequences
from console.methods.lora import (
    LoraSettings,
    first_trained_layer,
    merged,
    resolve_modules,
    resolve_tensors,
    trainable_parameters,
    with_adapter,
)
from console.methods.losses import answer_tokens, by_member, forward_kl
from console.methods.memory import MemoryEstimate, available_mb, estimate, require_room
from console.methods.protocol import ErasureData, MethodInfo, Outcome, Plan, RunControl
from console.methods.rehearsal import Rehearsal
from console.methods.training import Stepper, accumulate, accumulate_nll, cycled


class GradientSettings(BaseModel):
    """Settings that every gradient method has.

    Defaults are for an adapter on a model of up to about 1.5 billion parameters.

    Attributes:
        tensors: train these weights themselves instead of an adapter: last segments of module paths
            ("down_proj"), in the blocks from ``lora.first_layer`` on.
        forget_weight, retain_weight, general_weight: gamma, alpha, and the weight of the general text.
        retain_loss: ``nll`` of the retained answers, or ``kl`` from what the model said to them before.
        steps: most steps that push the answers away; fewer, where all have come to the reference's level.
        bounded: an example that has come to the level pushes no more; without, every step pushes every example.
        repair_steps: steps after that, in which what slipped is rehearsed and the answers are only held.
        repair_limit: most further steps of that kind, taken while a retained answer is lost.
        hold_share: share of the level to which an answer may come back in the repair before it is pushed again.
        retain_batch: facts of other people a step, half in turn and half those that slip.
        general_batch: general texts that are laid into one row.
        overshoot: how far past the reference's level (nats per token) an example may go before it is drawn back.
        pull_back_weight: weight of the mean NLL of the examples that have gone too far.
        enough_nll: an answer this unlikely (nats per token) need not become more so, even where a model that
            never knew it finds it less likely still.
        assumed_reference_nll: stop level (nats per token) where there is no reference model.
        general_limit: the governor: a step after one in which the general text moved further than this (KL, nats per
            token) does not push.
        loss_balance: ``initial`` divides each term by its size at the start where that is above 1, so that a large
            forget term cannot drown the others (the principle of LAPTOP-Diff).
        ignore_top_share: share of each changed weight's entries, those that moved furthest, that are put back at the
            end ("ignore-k", Sun et al. 2025, How new data permeates LLM knowledge).
        gradient_checkpointing: compute activations again instead of keeping them: slower, much less memory.
        precision: of the forward pass; ``auto`` is bfloat16 on a GPU that has it. Weights and losses stay float32.
        keep_state_every: steps after which an interrupted run can go on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraSettings = LoraSettings(rank=16, alpha=32, b_ratio=4.0, first_layer=0.6)
    tensors: tuple[str, ...] = ()
    learning_rate: float = Field(default=3e-4, gt=0)
    forget_weight: float = Field(default=1.0, ge=0)
    retain_weight: float = Field(default=8.0, ge=0)
    retain_loss: Literal["nll", "kl"] = "nll"
    general_weight: float = Field(default=4.0, ge=0)
    steps: int = Field(default=12, ge=1)
    bounded: bool = True
    repair_steps: int = Field(default=8, ge=0)
    repair_limit: int = Field(default=24, ge=0)
    hold_share: float = Field(default=0.5, ge=0, le=1)
    retain_batch: int = Field(default=12, ge=1)
    general_batch: int = Field(default=3, ge=0)
    overshoot: float = Field(default=1.0, gt=0)
    pull_back_weight: float = Field(default=1.0, ge=0)
    enough_nll: float = Field(default=4.0, gt=0)
    assumed_reference_nll: float = Field(default=3.0, gt=0)
    general_limit: float = Field(default=0.2, gt=0)
    loss_balance: Literal["none", "initial"] = "none"
    ignore_top_share: float = Field(default=0.0, ge=0, lt=1)
    gradient_checkpointing: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    keep_state_every: int = Field(default=10, ge=1)
    seed: int = 1


@dataclass(frozen=True)
class ForgetRow:
    """One packed row of forget examples, as a forget loss sees it. ``tokens`` are all members' answer tokens.

    Attributes:
        row: the packed row; ``row.members`` index the run's forget examples.
        logits: (tokens, vocab) that predict them, with gradient.
        targets: (tokens,) the answer tokens themselves.
        owner: (tokens,) which of the row's members each token is of.
        nll: (members,) summed NLL of each answer, with gradient.
        before_nll: (members,) the same under the model as it was.
        before_log_probs: (tokens, vocab) what the model said before; None unless the method asks for it.
        lengths: (members,) answer tokens.
        pushing: (members,) which of them are still known better than the level.
    """

    row: PackedRow
    logits: torch.Tensor
    targets: torch.Tensor
    owner: torch.Tensor
    nll: torch.Tensor
    before_nll: torch.Tensor
    before_log_probs: torch.Tensor | None
    lengths: torch.Tensor
    pushing: torch.Tensor

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """(members,) sums of (tokens,) values."""
        return by_member(values, self.owner, len(self.lengths))

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """(members,) means of (tokens,) values."""
        return self.summed(values) / self.lengths


@dataclass(frozen=True)
class Forgetting:
    """What is to be forgotten, and where each example stands.

    Attributes:
        before_nll: (examples,) summed NLL under the model as it was.
        before_log_probs: for each example (answer tokens, vocab) in half precision; empty unless asked for.
        level: (examples,) mean NLL (nats per token) at which an example counts as forgotten.
        limit: (examples,) mean NLL beyond which it is drawn back.
        lengths: (examples,) answer tokens.
    """

    sequences: list[TokenSequence]
    before_nll: torch.Tensor
    before_log_probs: list[torch.Tensor]
    level: torch.Tensor
    limit: torch.Tensor
    lengths: torch.Tensor

    def held(self, share: float) -> Forgetting:
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
class General:
    """General text and what the model as it was says to it.

    Attributes:
        reference: log-probabilities (tokens, vocab) of each row in half precision, computed once.
    """

    rows: list[PackedRow]
    sequences: list[list[TokenSequence]]
    reference: list[torch.Tensor]


@dataclass
class Run:
    """A run under way: what it works on, and where it stands.

    Attributes:
        aim: the forget examples with the level that holds in this step.
        retain_before: for each retained fact (answer tokens, vocab) log-probabilities before; empty with ``nll``.
        own: whatever the method computed in ``begin``.
        holding: in this step answers are only held: it repairs, or the governor has stopped the push.
        pushed: steps that push; fewer once the rule ends them.
        scale: what each loss term is multiplied with (``loss_balance``).
    """

    model: TransformersModel
    data: ErasureData
    config: Any
    control: RunControl
    plan: Plan
    examples: list[Example]
    forgetting: Forgetting
    aim: Forgetting
    rehearsal: Rehearsal
    retain_before: list[torch.Tensor]
    general: General
    general_order: Iterator[list[int]]
    trunk: FrozenTrunk | None
    stepper: Stepper
    said_before: frozenset[int]
    pushed: int
    own: Any = None
    holding: bool = False
    last: dict[str, float] = field(default_factory=dict)
    scale: dict[str, float] = field(default_factory=dict)
    reason: str = ""

    @property
    def repairing(self) -> bool:
        return self.stepper.step_number >= self.pushed


class GradientMethod:
    """A method whose every step follows the gradient of a forget loss and of what must be kept.

    Attributes:
        holds_the_rest: without retained data or weight the run is refused (bare ascent destroys a model).
        needs_before_log_probs: ``forget_loss`` gets the whole distributions that the model gave before.
    """

    info: ClassVar[MethodInfo]
    config_class: ClassVar[type[GradientSettings]]
    holds_the_rest: ClassVar[bool] = True
    needs_before_log_probs: ClassVar[bool] = False

    # -- what a method says ----------------------------------------------------------------------

    def forget_loss(self, row: ForgetRow, config: Any) -> torch.Tensor:
        """(members,) loss of each example; the loop leaves out those that push no more and takes the mean."""
        raise NotImplementedError(f"{type(self).__name__} has no forget loss")

    def begin(self, run: Run) -> Any:
        """Compute once, before anything is trained, what the method's own terms need; it becomes ``run.own``."""
        return None

    def notes(self, data: ErasureData, config: Any) -> tuple[str, ...]:
        """What a reader of the plan should know."""
        return () if data.reference_nll else ("No reference model: the stop level is assumed, not measured.",)

    def forget_step(self, run: Run) -> torch.Tensor:
        """Add the gradient of the forget term; returns every example's summed NLL before the step."""
        return accumulate(run.model, run.aim.sequences, self._forget_loss_of(run), run.trunk)

    def retain_step(self, run: Run) -> float:
        """Add the gradient of a batch of retained answers; returns their mean NLL (nats per token)."""
        return _retain_step(run)

    def further_step(self, run: Run) -> dict[str, float]:
        """Add the gradient of terms of the method's own; returns them by name."""
        return {}

    def enough(self, run: Run, nll: torch.Tensor) -> str:
        """Why the pushing is over, or "" while it is not.

        Args:
            nll: (examples,) summed NLL before the step.
        """
        if run.config.bounded and not run.forgetting.pushing(nll):
            return "every answer has come to the level of a model that never knew it"
        return ""

    def put_on(self, model: TransformersModel, plan: Plan, config: Any, data: ErasureData) -> None:
        """Make trainable what the plan names, and freeze the rest."""
        for parameter in model.network.parameters():
            parameter.requires_grad_(False)
        if not config.tensors:
            model.network = with_adapter(model.network, plan.modules, config.lora, config.seed)
            return
        by_path = dict(model.network.named_modules())
        for path in plan.modules:
            by_path[path].weight.requires_grad_(True)

    def modules(self, model: TransformersModel, config: Any) -> tuple[str, ...]:
        """Paths of the modules that are trained."""
        if config.tensors:
            return resolve_tensors(model.network, config.tensors, config.lora)
        return resolve_modules(model.network, config.lora)

    # -- the run ---------------------------------------------------------------------------------

    def prepare(self, model: TransformersModel, data: ErasureData, config: Any) -> Plan:
        """Resolve modules and steps, and whether they fit.

        Raises:
            InputError: nothing to forget, nothing to retain, an item beyond the context, too little memory.
        """
        data.forget.require_nonempty()
        if self.holds_the_rest:
            _require_retained(data, config)
        examples = examples_of(model, data.forget.items)
        modules = self.modules(model, config)
        if config.tensors:
            by_path = dict(model.network.named_modules())
            trained = sum(by_path[path].weight.numel() for path in modules)
        else:
            trained = trainable_parameters(model.network, modules, config.lora.rank)
        texts = text_sequences(model, data.general_texts) if config.general_batch else []
        needed = _memory(model, examples, texts, config, trained, config.gradient_checkpointing)
        smaller = None if config.gradient_checkpointing else _memory(model, examples, texts, config, trained, True)
        require_room(needed, available_mb(model.device), smaller)
        return Plan(modules, trained, config.steps + config.repair_steps, needed.total, self.notes(data, config))

    def apply(self, model: TransformersModel, data: ErasureData, config: Any, control: RunControl) -> Outcome:
        """Train, merge, and say how it ended; goes on where an interrupted run of the same stopped."""
        plan = self.prepare(model, data, config)
        self.put_on(model, plan, config, data)
        before = _weights_before(model, plan, config)
        run = self._started(model, data, config, control, plan)
        with (
            _number_format(model.device, config.precision),
            activations_recomputed(trained_blocks(model.network, config), config.gradient_checkpointing),
        ):
            _resume(run)
            while not _over(run):
                with _kept_if_stopped(run):
                    self._step(run)
        self._merge(model, config)
        _put_back_largest(model, before, config.ignore_top_share)
        reason = run.reason
        if run.rehearsal.lost:
            reason += f"; {len(run.rehearsal.lost)} of {len(run.said_before)} retained answers are lost"
        lost = {"retain_lost": float(len(run.rehearsal.lost))} if run.rehearsal.sequences else {}
        return Outcome(run.stepper.step_number, reason, run.last | lost)

    def _started(
        self, model: TransformersModel, data: ErasureData, config: Any, control: RunControl, plan: Plan
    ) -> Run:
        examples = examples_of(model, data.forget.items)
        retain = questions_of(model, data.retain.items)
        trunk = model.trunk(first_trained_layer(model.network, config.lora), [examples[0].sequence])
        near = frozenset(item.id for item in data.retain.items if item.subject in data.neighbours)
        rehearsal = Rehearsal(retain, near, config.retain_batch, config.seed)
        with torch.no_grad(), _number_format(model.device, config.precision):
            forgetting = _forgetting(model, examples, data.reference_nll, config, trunk, self.needs_before_log_probs)
            general = _general(model, text_sequences(model, data.general_texts), config, trunk)
            kl = config.retain_loss == "kl"
            retain_before = log_probs_before(model, rehearsal.sequences, trunk) if kl else []
            said_before = said(model, rehearsal.sequences, trunk)
        run = Run(
            model=model,
            data=data,
            config=config,
            control=control,
            plan=plan,
            examples=examples,
            forgetting=forgetting,
            aim=forgetting,
            rehearsal=rehearsal,
            retain_before=retain_before,
            general=general,
            general_order=cycled(len(general.rows), 1, random.Random(config.seed + 1)),
            trunk=trunk,
            stepper=Stepper.over(model.network, config.learning_rate, b_ratio=config.lora.b_ratio),
            said_before=said_before,
            pushed=config.steps,
        )
        run.reason = f"{config.steps} steps done" + (
            "; not every answer is at the level of a model that never knew it" if config.bounded else ""
        )
        with _number_format(model.device, config.precision):
            run.own = self.begin(run)
            run.scale = self._balance(run)
        return run

    def _balance(self, run: Run) -> dict[str, float]:
        """What each term is multiplied with, from its size under the model as it was."""
        if run.config.loss_balance == "none":
            return {}
        with torch.no_grad():
            forget = 0.0

            def of_row(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
                nonlocal forget
                forget += float(self.forget_loss(_forget_row(run, row, logits, nll), run.config).sum())
                return nll.sum()

            accumulate(run.model, run.aim.sequences, of_row, run.trunk)
        size = run.config.forget_weight * abs(forget) / len(run.aim.sequences)
        return {"forget": 1 / max(1.0, size)}

    def _forget_loss_of(self, run: Run) -> Any:
        config, count = run.config, len(run.aim.sequences)
        weight = config.forget_weight * run.scale.get("forget", 1.0)

        def loss_of(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
            given = _forget_row(run, row, logits, nll)
            mean = nll / given.lengths
            loss = weight * (given.pushing * self.forget_loss(given, config)).sum()
            if config.bounded:
                beyond = mean.detach() > run.aim.limit[list(row.members)].to(nll.device)
                loss = loss + config.pull_back_weight * (beyond * mean).sum()
            return loss / count

        return loss_of

    def _step(self, run: Run) -> None:
        config = run.config
        run.control.check_cancelled()
        was_repairing = run.repairing
        halted = not was_repairing and run.last.get("general_kl", 0.0) > config.general_limit
        run.holding = was_repairing or halted
        share = 0.0 if halted else config.hold_share
        run.aim = run.forgetting.held(share) if run.holding else run.forgetting
        nll = self.forget_step(run)
        run.control.check_cancelled()
        last = {
            "forget_nll": float((nll / run.forgetting.lengths).mean()),
            "unsettled": float(run.forgetting.unsettled(nll)),
        }
        if not was_repairing and (reason := self.enough(run, nll)):
            run.reason, run.pushed = reason, run.stepper.step_number
        if run.rehearsal.sequences and config.retain_weight:
            last["retain_nll"] = self.retain_step(run)
            run.control.check_cancelled()
        if run.general.rows and config.general_weight:
            last["general_kl"] = _general_step(run, next(run.general_order)[0])
        last |= self.further_step(run)
        run.stepper.step()
        run.last = last
        step, total = run.stepper.step_number, config.steps + config.repair_steps
        run.control.metric(step, last)
        run.control.progress(min(step, total), total, "Repairing" if was_repairing else "Unlearning")
        if step % config.keep_state_every == 0:
            _keep(run)

    def _merge(self, model: TransformersModel, config: Any) -> None:
        if not config.tensors:
            model.network = merged(model.network)
            return
        for parameter in model.network.parameters():
            parameter.requires_grad_(True)


# -- before the run ------------------------------------------------------------------------------


def _require_retained(data: ErasureData, config: GradientSettings) -> None:
    keeps_facts = data.retain.items and config.retain_weight
    keeps_text = data.general_texts and config.general_weight and config.general_batch
    if not keeps_facts and not keeps_text:
        raise InputError(
            "The retain set is empty or its weight is 0, so the model would forget everything; add facts to keep "
            "or general text, and leave its weight above 0."
        )


def _memory(
    model: TransformersModel,
    examples: list[Example],
    texts: list[TokenSequence],
    config: GradientSettings,
    trained: int,
    recomputed: bool,
) -> MemoryEstimate:
    longest = [len(example.sequence.ids) for example in examples] + [len(text.ids) for text in texts]
    row_tokens = max(ROW_TOKENS, *longest)
    blocks = len(trained_blocks(model.network, config))
    together = sorted(len(text.ids) for text in texts)[-config.general_batch or len(texts) :]
    answers = max(sum(len(example.sequence.answer_ids) for example in examples), sum(together), 1)
    return estimate(model.network, trained, blocks, row_tokens, min(answers, row_tokens), recomputed)


def blocks_of(network: Any) -> list[torch.nn.Module]:
    """The blocks from the first on; empty where the architecture keeps them where this console does not find them."""
    count = int(network.config.get_text_config().num_hidden_layers)
    stacks = [
        part for part in decoder_of(network).modules() if isinstance(part, torch.nn.ModuleList) and len(part) == count
    ]
    return list(stacks[0]) if stacks else []


def trained_blocks(network: Any, config: GradientSettings) -> list[torch.nn.Module]:
    """The blocks that the run trains."""
    return blocks_of(network)[first_trained_layer(network, config.lora) :]


def _forgetting(
    model: TransformersModel,
    examples: list[Example],
    reference_nll: Mapping[str, float],
    config: GradientSettings,
    trunk: FrozenTrunk | None,
    whole: bool,
) -> Forgetting:
    sequences = [example.sequence for example in examples]
    before = accumulate_nll(model, sequences, lambda nll, _lengths, _members: nll.sum(), trunk)
    unknown = torch.tensor([reference_nll.get(example.id, config.assumed_reference_nll) for example in examples])
    level = unknown.clamp(max=config.enough_nll)
    limit = unknown + config.overshoot
    lengths = torch.tensor([len(sequence.answer_ids) for sequence in sequences])
    return Forgetting(
        sequences, before, log_probs_before(model, sequences, trunk) if whole else [], level, limit, lengths
    )


@torch.no_grad()
def log_probs_before(
    model: TransformersModel, sequences: list[TokenSequence], trunk: FrozenTrunk | None
) -> list[torch.Tensor]:
    """For each sequence (answer tokens, vocab) log-probabilities in half precision."""
    found: list[torch.Tensor] = [torch.empty(0)] * len(sequences)

    def note(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
        log_probs = torch.log_softmax(logits.float(), dim=-1).half()
        parts = log_probs.split([len(sequences[member].answer_ids) for member in row.members])
        for member, part in zip(row.members, parts, strict=True):
            found[member] = part
        return nll.sum()

    accumulate(model, sequences, note, trunk)
    return found


def _general(
    model: TransformersModel, texts: list[TokenSequence], config: GradientSettings, trunk: FrozenTrunk | None
) -> General:
    if not config.general_batch or not config.general_weight:
        return General([], [], [])
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
    return General(rows, sequences, reference)


@torch.no_grad()
def said(model: TransformersModel, sequences: list[TokenSequence], trunk: FrozenTrunk | None) -> frozenset[int]:
    """Indices of the sequences whose every answer token is the most likely one: what greedy decoding would say."""
    found: set[int] = set()

    def note(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
        best = logits.argmax(dim=-1).tolist()
        start = 0
        for member in row.members:
            answer = list(sequences[member].answer_ids)
            if best[start : start + len(answer)] == answer:
                found.add(member)
            start += len(answer)
        return nll.sum()

    accumulate(model, sequences, note, trunk)
    return frozenset(found)


# -- a step --------------------------------------------------------------------------------------


def _forget_row(run: Run, row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> ForgetRow:
    members, aim = list(row.members), run.aim
    lengths = aim.lengths[members].to(nll.device)
    targets, owner = answer_tokens(row, aim.sequences)
    mean = nll.detach() / lengths
    known = mean < aim.level[members].to(nll.device)
    pushing = known if run.config.bounded else torch.full_like(known, not run.holding)
    before = aim.before_log_probs
    return ForgetRow(
        row=row,
        logits=logits,
        targets=targets.to(logits.device),
        owner=owner.to(logits.device),
        nll=nll,
        before_nll=aim.before_nll[members].to(nll.device),
        before_log_probs=torch.cat([before[member] for member in members]) if before else None,
        lengths=lengths,
        pushing=pushing,
    )


def _retain_step(run: Run) -> float:
    chosen = run.rehearsal.next_batch()
    batch = [run.rehearsal.sequences[index] for index in chosen]
    tokens = sum(len(sequence.answer_ids) for sequence in batch)
    weight = run.config.retain_weight

    def loss_of(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
        if not run.retain_before:
            return weight * nll.sum() / tokens
        before = torch.cat([run.retain_before[chosen[member]] for member in row.members])
        return weight * forward_kl(before, logits) * len(before) / tokens

    nll = accumulate(run.model, batch, loss_of, run.trunk)
    means = [float(value) / len(sequence.answer_ids) for value, sequence in zip(nll, batch, strict=True)]
    run.rehearsal.note(chosen, means)
    return float(nll.sum()) / tokens


def _general_step(run: Run, index: int) -> float:
    """Add the gradient of the divergence on one row of general text; returns it (nats per token)."""
    logits = run.model.row_logits(run.general.rows[index], run.general.sequences[index], run.trunk)
    divergence = forward_kl(run.general.reference[index], logits)
    (run.config.general_weight * divergence).backward()
    return float(divergence.detach())


def _over(run: Run) -> bool:
    """Whether the run has come to its end: pushed, repaired, and nothing lost that more repair may bring back."""
    end = run.pushed + run.config.repair_steps
    if run.stepper.step_number < end:
        return False
    run.rehearsal.lost = run.said_before - said(run.model, run.rehearsal.sequences, run.trunk)
    can_repair = bool(run.config.retain_weight) and run.stepper.step_number < end + run.config.repair_limit
    return not run.rehearsal.lost or not can_repair


# -- interruption --------------------------------------------------------------------------------


@contextmanager
def _kept_if_stopped(run: Run) -> Iterator[None]:
    """A step that a request to stop cuts off can be done again from its beginning; a step that failed would fail again.

    Inside a step only gradients have changed, and what is rehearsed next.
    """
    rehearsal = run.rehearsal.state()
    try:
        yield
    except ConsoleError:
        raise
    except Exception:
        _keep(run, rehearsal)
        raise


def _keep(run: Run, rehearsal: dict[str, Any] | None = None) -> None:
    if run.control.state_file is None:
        return
    run_state.keep(
        run.control.state_file,
        run.model.network,
        run.stepper,
        rehearsal=rehearsal or run.rehearsal.state(),
        pushed=run.pushed,
        reason=run.reason,
        last=run.last,
    )


def _resume(run: Run) -> None:
    kept = run_state.resumed(run.control.state_file, run.model.network, run.stepper)
    if kept is None:
        return
    run.rehearsal.restore(kept["rehearsal"])
    run.pushed, run.reason, run.last = int(kept["pushed"]), str(kept["reason"]), dict(kept["last"])
    for _ in range(run.stepper.step_number if run.general.rows else 0):
        next(run.general_order)


# -- the weights ---------------------------------------------------------------------------------


@contextmanager
def _number_format(device: torch.device, precision: str) -> Iterator[None]:
    wants = precision == "bf16" or (
        precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    with torch.autocast(device.type, torch.bfloat16, enabled=wants):
        yield


def _weights_before(model: TransformersModel, plan: Plan, config: GradientSettings) -> dict[str, torch.Tensor]:
    """Copies of the weights that will change; only where some of them may have to be put back."""
    if not config.ignore_top_share:
        return {}
    network = model.network if config.tensors else model.network.get_base_model()
    by_path = dict(network.named_modules())
    weights = {path: getattr(by_path[path], "base_layer", by_path[path]).weight for path in plan.modules}
    return {path: weight.detach().clone() for path, weight in weights.items()}


@torch.no_grad()
def _put_back_largest(model: TransformersModel, before: Mapping[str, torch.Tensor], share: float) -> None:
    """Put the entries of each weight that moved furthest back to what they were, bit for bit."""
    by_path = dict(model.network.named_modules())
    for path, old in before.items():
        weight = by_path[path].weight
        moved = (weight - old).abs().flatten()
        count = int(share * moved.numel())
        if not count:
            continue
        largest = moved.topk(count).indices
        weight.view(-1)[largest] = old.view(-1)[largest]
