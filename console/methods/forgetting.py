"""What a run works on and where it stands: the forget examples, the general text, and what the model said before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from console.engines.frozen_trunk import FrozenTrunk
from console.engines.packing import PackedRow, TokenSequence, pack
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.methods.examples import Example
from console.methods.gradient_settings import GradientSettings
from console.methods.losses import answer_tokens, by_member
from console.methods.protocol import ErasureData, Plan, RunControl
from console.methods.rehearsal import Rehearsal
from console.methods.training import Stepper, accumulate, accumulate_nll


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


def forgetting_of(
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


def general_text(
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


def forget_row(run: Run, row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> ForgetRow:
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
