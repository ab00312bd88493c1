"""What a report is made of: one frozen record of counts, identities, dates and decisions.

Every number that the PDF shows is read from here, and the record itself travels inside the PDF
as ``evidence.json``. It holds no personal data of the requester: subjects, texts and answers are
represented by counts and by a keyed commitment only.

Instants are UTC text (``2026-11-25T09:12:00Z``), dates are civil dates, hashes are lower-case hex
SHA-256, real numbers are decimal strings.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from console.domain.claims import Claim
from console.domain.results import Access, AttackRow, Battery, Behaviour, Rate, Utility
from console.domain.verdict import Thresholds, Verdict, decide

SCHEMA_ID = "erasure-console/evidence/1"
LARGEST_EXACT_INTEGER = 2**53 - 1  # RFC 8785 (JCS) numbers are IEEE doubles


def _real_instant(text: str) -> str:
    datetime.fromisoformat(text.replace("Z", "+00:00"))
    return text


def _real_decimal(text: str) -> str:
    float(text)
    return text


Instant = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$"),
    AfterValidator(_real_instant),
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
DecimalText = Annotated[str, StringConstraints(pattern=r"^-?\d+(\.\d+)?$"), AfterValidator(_real_decimal)]
Filled = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=0, le=LARGEST_EXACT_INTEGER)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ground(_Frozen):
    """A ground of Art. 17(1) on which the request rests, such as ``17(1)(b)``."""

    code: Filled
    text: str


class Request(_Frozen):
    """The request as the law sees it; ``subject_ref`` is a random reference, never a name."""

    number: Filled
    subject_ref: Filled
    received_on: date
    channel: str
    country: Filled
    subdivision: str | None = None
    profile_id: Filled
    profile_title: Filled
    grounds: tuple[Ground, ...]
    status: Filled


class Clock(_Frozen):
    """The due date and how it was reached.

    Attributes:
        due: end of the ordinary period.
        due_extended: end of the extended period, where an extension was told in time.
        binding_due: the date that binds; the one that "met" and "not met" are judged by.
        answered_in_days: days from receipt to the answer; none while the request is open.
        other_date: what the calendar of the report's day would make of the recorded dates; empty where it is the same.
    """

    due: date
    due_extended: date | None = None
    binding_due: date
    rule: Filled
    steps: tuple[str, ...]
    calendar: Filled
    answered_in_days: Count | None = None
    # Left out where nothing differs, so that older records keep the bytes that were signed.
    other_date: str = Field(default="", exclude_if=lambda value: not value)


class TimelineEntry(_Frozen):
    """One ledger entry of the case; ``hash`` is the entry's link in the ledger."""

    seq: Count
    at: Instant
    what: Filled
    actor: Filled
    hash: Sha256


class ForgetSetSummary(_Frozen):
    """How much was to be erased. ``commitment`` is keyed, so that nobody can guess the items from it."""

    items: Annotated[int, Field(ge=1, le=LARGEST_EXACT_INTEGER)]
    by_type: dict[str, Count]
    commitment: Filled


class ModelFile(_Frozen):
    """One file of a model; size in bytes."""

    name: Filled
    size: Count
    sha256: Sha256


class ModelIdentity(_Frozen):
    """A model, identified by the hash over its sorted files."""

    model_id: Filled
    name: Filled
    format: Filled
    architecture: Filled
    quantisation: str
    parameters: Count
    tree_hash: Sha256
    files: tuple[ModelFile, ...]


class ChangedTensor(_Frozen):
    """How far one weight tensor moved, and over how many directions; real numbers are decimal text.

    Attributes:
        relative_norm: norm of the change over norm of the tensor.
        effective_rank: of the change (Roy & Vetterli 2007); none where it was not computed, as for a vector.
    """

    tensor: Filled
    relative_norm: DecimalText
    effective_rank: DecimalText | None = None


class StageRun(_Frozen):
    """One stage of a recipe: the method that ran there, under the stage's name."""

    name: Filled
    method: Filled
    title: Filled
    claim: Filled
    source: str


class MethodRun(_Frozen):
    """The erasure method, what it was told, and what it did to the weights.

    Attributes:
        stages: of a recipe, in their order; the parameters of each stand under its name.
    """

    id: Filled
    title: Filled
    family: Literal["exact", "weights", "adapter", "decoding"]
    claim: Filled
    source: str
    summary: str
    parameters: dict[str, str]
    modules: tuple[str, ...]
    steps: Count
    seed: Count
    seconds: DecimalText
    device: str
    stop_reason: str
    changed: tuple[ChangedTensor, ...]
    changed_count: Count
    stages: tuple[StageRun, ...] = Field(default=(), exclude_if=lambda value: not value)


class WrittenTensor(_Frozen):
    """One tensor that holds a change in the file that is deployed; real numbers are decimal text.

    Attributes:
        wanted, stored: norm of the change over norm of the tensor, as the erasure left it and as the file holds it.
        missed: norm of what rounding added or took, over norm of the change; 0 when stored exactly.
    """

    tensor: Filled
    type_before: Filled
    type_after: Filled
    wanted: DecimalText
    stored: DecimalText
    missed: DecimalText


class Exported(_Frozen):
    """How the erased model became the file that was attacked.

    Attributes:
        form: what was written, in words.
        source_hash: of the model that the erasure left; ``base_hash`` of the file that the new one was made from.
        rewritten: tensors that hold the change, at most as many as are listed; ``rewritten_count`` are all.
        untouched: tensors of the base that stand as they were, byte for byte.
        vanished: changed tensors whose change rounding took away whole.
        reading, rounding, whole: largest difference of a text's mean log-likelihood, nats per token: the file on
            llama.cpp against its weights in torch, those against the erasure's, and from end to end.
    """

    form: Filled
    source: Filled
    source_hash: Sha256
    base: Filled
    base_hash: Sha256
    rewritten: tuple[WrittenTensor, ...]
    rewritten_count: Count
    untouched: Count
    vanished: Count
    texts: Count
    tokens: Count
    reading: DecimalText
    reading_tolerance: DecimalText
    rounding: DecimalText
    rounding_tolerance: DecimalText
    whole: DecimalText
    seq: Count


class Batteries(_Frozen):
    """The same attacks on the model before, on the model after, and on one that never knew the data."""

    before: Battery
    after: Battery | None = None
    reference: Battery | None = None


class AttackDescription(_Frozen):
    """What an attack is, in words: prompts are described, never quoted."""

    id: Filled
    title: Filled
    access: Access
    budget: Count
    definition: Filled
    sampling: Filled


class EarlierCount(_Frozen):
    """One attack for an earlier request's data: right after its own erasure, and in this report's model."""

    attack: Filled
    then: Rate | None = None
    now: Rate | None = None


class EarlierRequest(_Frozen):
    """A request that was carried out earlier on the way to the model, searched for again in it.

    Attributes:
        standing: what came out, in words; no part of this report's verdict.
        seq: the recheck's entry in the ledger.
    """

    number: Filled
    standing: Filled
    seq: Count
    counts: tuple[EarlierCount, ...]


class Statement(_Frozen):
    """A fixed sentence with its id, so that its wording can be reviewed and referred to."""

    id: Filled
    text: Filled


class Limits(_Frozen):
    """What the evidence shows and what it does not."""

    shows: tuple[Statement, ...]
    does_not_show: Annotated[tuple[Statement, ...], Field(min_length=1)]


class Copy(_Frozen):
    """Another place in which the data may sit (a training set, a store, a backup) and its state."""

    place: Filled
    state: Literal["deleted", "suppressed", "retained", "unknown"]
    note: str = ""


class Approval(_Frozen):
    """Who stood up for what: the role, the person or key that acted, and the sentence agreed to."""

    role: Filled
    actor: Filled
    at: Instant
    statement: Filled


class Inclusion(_Frozen):
    """RFC 9162 inclusion proof of the case's last entry; ``path`` holds hashes from leaf to root."""

    index: Count
    size: Count
    path: tuple[str, ...]


class LedgerAnchor(_Frozen):
    """Where the ledger stood when the report was made; ``checkpoint`` is the signed text, if there is one."""

    origin: Filled
    size: Count
    head: Filled
    checkpoint: str | None = None
    inclusion: Inclusion | None = None


class Evidence(_Frozen):
    """The whole record of one report."""

    schema_id: Literal["erasure-console/evidence/1"] = SCHEMA_ID
    report_id: Filled
    created_at: Instant
    organisation: Filled
    request: Request
    clock: Clock
    timeline: tuple[TimelineEntry, ...]
    forget_set: ForgetSetSummary
    model_before: ModelIdentity
    model_after: ModelIdentity | None = None
    model_reference: ModelIdentity | None = None
    method: MethodRun | None = None
    # Left out where nothing was written in another form, so that older records keep the bytes that were signed.
    exported: Exported | None = Field(default=None, exclude_if=lambda value: value is None)
    batteries: Batteries
    attacks: tuple[AttackDescription, ...]
    utility: Utility | None = None
    behaviour_before: Behaviour | None = None
    behaviour_after: Behaviour | None = None
    earlier_requests: tuple[EarlierRequest, ...] = ()
    thresholds: Thresholds
    thresholds_hash: Sha256
    thresholds_seq: Count | None = None
    verdict: Verdict
    sentence: Filled
    limits: Limits
    not_checked: Annotated[tuple[Filled, ...], Field(min_length=1)]
    copies: tuple[Copy, ...] = ()
    approvals: tuple[Approval, ...]
    ledger: LedgerAnchor
    environment: dict[str, str]

    @model_validator(mode="after")
    def _batteries_ran_on_the_named_models(self) -> Evidence:
        """A battery says the hash of the model it attacked; the report must name the same model."""
        pairs = (
            ("before", self.batteries.before, self.model_before),
            ("after", self.batteries.after, self.model_after),
            ("reference", self.batteries.reference, self.model_reference),
        )
        for stage, battery, model in pairs:
            if battery is None:
                continue
            if battery.stage != stage:
                raise ValueError(f"the battery given as '{stage}' says it is '{battery.stage}'")
            if model is None or model.tree_hash != battery.model_hash:
                raise ValueError(f"the attacks '{stage}' ran on another model than the report names")
            if len({row.attack for row in battery.rows}) != len(battery.rows):
                raise ValueError(f"the battery '{stage}' names an attack twice")
        return self

    @model_validator(mode="after")
    def _behaviour_stands_beside_attacks(self) -> Evidence:
        """Behaviour is measured with a battery, on the same model; without one nobody could say on which."""
        if self.behaviour_after is not None and self.batteries.after is None:
            raise ValueError("the behaviour after the erasure stands in the report without attacks on that model")
        return self

    def attack_rows(self) -> tuple[AttackRow, ...]:
        """One row for each attack that any of the batteries names, taken from the first battery that has it."""
        batteries = (self.batteries.before, self.batteries.after, self.batteries.reference)
        rows: dict[str, AttackRow] = {}
        for battery in batteries:
            for row in battery.rows if battery is not None else ():
                rows.setdefault(row.attack, row)
        return tuple(rows.values())

    def attack_title(self, attack: str) -> str:
        """The title of an attack, or its id where no description came along."""
        return next((description.title for description in self.attacks if description.id == attack), attack)


def recomputed_verdict(evidence: Evidence) -> Verdict:
    """The verdict that the rules give for the counts in the record.

    Where nothing was erased there is no battery after; then the model before stands in for it, and
    only "not located" can come out as a true verdict.

    Raises:
        ValueError: the batteries come from different suites.
    """
    batteries = evidence.batteries
    after = batteries.after if batteries.after is not None else batteries.before
    named = evidence.method.claim if evidence.method is not None else ""
    claim = next((claim for claim in Claim if claim.value == named), None)
    return decide(
        batteries.before,
        after,
        batteries.reference,
        evidence.utility,
        evidence.thresholds,
        claim,
        evidence.verdict.rules_version,
    )


def counts(evidence: Evidence) -> frozenset[tuple[int, int]]:
    """Every ``(hits, trials)`` in the record."""
    found: set[tuple[int, int]] = set()

    def add(rate: Rate | None) -> None:
        if rate is not None:
            found.add((rate.hits, rate.trials))

    batteries = evidence.batteries
    for battery in (batteries.before, batteries.after, batteries.reference):
        for row in battery.rows if battery is not None else ():
            if row.outcome is not None:
                add(row.outcome.attempts)
                add(row.outcome.items)
                add(row.outcome.control)
    for group in evidence.utility.groups if evidence.utility is not None else ():
        add(group.kept)
    for behaviour in (evidence.behaviour_before, evidence.behaviour_after):
        for rate in behaviour.rates if behaviour is not None else ():
            add(rate)
    return frozenset(found)
