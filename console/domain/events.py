"""What is written into the ledger: typed bodies, one class a kind of event.

Bodies hold ids, enumerations, counts, hashes and commitments; never a name, a passage, a prompt or a
model's words. What somebody types (a reason, a summary) may hold all of these, so it lies sealed in the
vault, and the body holds the item's id and a commitment (``Sealed``). Events of before that hold such words
in the clear, in fields that are only read now (``reason``, ``summary``, ``beyond_limits``).

Numbers that are not whole are decimal strings. A body's class and ``VERSION`` together are its schema; a
field is added with a default or not at all, because old events are read for ever.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from console.domain.exports import Gate
from console.domain.results import Battery, Behaviour, Utility
from console.domain.verdict import Thresholds, Verdict

VERSION = 1


def plain(value: Any) -> Any:
    """A JSON value without floating-point numbers: each becomes its shortest exact text."""
    if isinstance(value, bool) or value is None or isinstance(value, int | str):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} cannot stand in an event")


class Body(BaseModel):
    """Base of all event bodies."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    kind: ClassVar[str]

    def to_body(self) -> dict[str, Any]:
        return {"v": VERSION, **plain(self.model_dump(mode="json"))}


class Sealed(BaseModel):
    """A text in the vault: the sealed item's id, and the keyed hash of its content."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    item: str
    commitment: str


def _absent(value: object) -> bool:
    return value is None


class OfficeOpened(Body):
    """The ledger's first event."""

    kind: ClassVar[str] = "office_opened"
    organisation: str
    engine: dict[str, str] = {}
    timezone: str = ""


class OfficeTimezoneSet(Body):
    """From now on the office's days are those of this time zone (an IANA name)."""

    kind: ClassVar[str] = "office_timezone_set"
    timezone: str
    before: str = ""


class ClockBody(Body):
    """An event that sets or moves a case's clock: with the deadline as it came out, and what it was computed from.

    Both are missing in events of version 1 (see ``console.domain.case_clock``).
    """

    deadline: dict[str, Any] | None = Field(default=None, exclude_if=_absent)
    basis: dict[str, Any] | None = Field(default=None, exclude_if=_absent)


class RequestRegistered(ClockBody):
    """A request came in. ``commitment`` covers the forget set, which lies sealed in the vault.

    ``by_type`` counts the kinds of facts that the product knows; all others are ``other``, because a kind is typed
    by somebody and can hold anything.
    """

    kind: ClassVar[str] = "request_registered"
    number: str
    subject_ref: str
    received_on: str
    channel: str
    language: str
    country: str
    subdivision: str | None = None
    profile_id: str
    grounds: tuple[str, ...] = ()
    due: str
    due_extended: str | None = None
    rule: str
    steps: tuple[str, ...] = ()
    calendar: str
    items: int
    by_type: dict[str, int]
    commitment: str
    summary: str = ""
    sealed_summary: Sealed | None = Field(default=None, exclude_if=_absent)


class StatusChanged(Body):
    """The case moved on."""

    kind: ClassVar[str] = "status_changed"
    to: str
    reason: str = ""
    sealed_reason: Sealed | None = Field(default=None, exclude_if=_absent)
    grounds: tuple[str, ...] = ()
    refusal_basis: str | None = None
    exceptions: tuple[str, ...] = ()
    other_request: str = ""


class ClockSuspended(ClockBody):
    """The legal clock stands still from this day."""

    kind: ClassVar[str] = "clock_suspended"
    starts_on: str
    reason: str


class ClockResumed(ClockBody):
    """The legal clock runs again from this day."""

    kind: ClassVar[str] = "clock_resumed"
    ends_on: str


class ExtensionNotified(ClockBody):
    """The person was told of an extension and of its reasons."""

    kind: ClassVar[str] = "extension_notified"
    notified_on: str
    reason: str = ""
    sealed_reason: Sealed | None = Field(default=None, exclude_if=_absent)


class ClockEntryWithdrawn(ClockBody):
    """An entry of the clock was recorded in error and no longer counts.

    Attributes:
        entry: number of that event.
        deadline: the deadline without it; None where others still stand in the way of one.
    """

    kind: ClassVar[str] = "clock_entry_withdrawn"
    entry: int
    sealed_reason: Sealed | None = Field(default=None, exclude_if=_absent)


class DeadlineAccepted(ClockBody):
    """The dates by a later calendar or version of the law's profile were accepted in place of the recorded ones."""

    kind: ClassVar[str] = "deadline_accepted"
    due_before: str
    due: str
    binding_due_before: str
    binding_due: str
    calendar_before: str
    calendar: str
    rule: str


class ModelRegistered(Body):
    """A model's bytes are known to the office. Where they lie is a local setting, not an event.

    Attributes:
        snapshot: the model as it was before it learned the office's data, by name.
        artefact_of: the request whose erasure made it.
        knowledge: vault item with the training data, held-out subjects and general text that belong to it.
        base: for an adapter, the model that it is laid over, by name.
    """

    kind: ClassVar[str] = "model_registered"
    name: str
    identity: dict[str, Any]
    snapshot: str | None = None
    artefact_of: str | None = None
    parent: str | None = None
    knowledge: str | None = None
    base: str | None = Field(default=None, exclude_if=lambda value: value is None)


class JobStarted(Body):
    """A background job began."""

    kind: ClassVar[str] = "job_started"
    job_id: str
    job: str
    model: str
    details: dict[str, Any] = {}


class JobEnded(Body):
    """A background job ended: ``done``, ``failed`` or ``cancelled``; a failure with its reason."""

    kind: ClassVar[str] = "job_ended"
    job_id: str
    outcome: str
    reason: str = ""
    sealed_reason: Sealed | None = Field(default=None, exclude_if=_absent)
    seconds: str = ""
    peak_rss_mb: int = 0


class BatteryRecorded(Body):
    """A suite's counts on one model; every attempt lies sealed in the vault item ``attempts``.

    Attributes:
        again: vault items with the fresh attempts for what was hit; recorded once more with their counts in the rows.
    """

    kind: ClassVar[str] = "battery_recorded"
    job_id: str
    model: str
    battery: Battery
    perplexity: str | None = None
    answered: int = 0
    asked: int = 0
    attempts: str
    attacks: tuple[dict[str, Any], ...] = ()
    settings: dict[str, Any] = {}
    behaviour: Behaviour | None = None
    again: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)


class BatteryInterrupted(Body):
    """A suite was stopped on the way; what its finished attacks found lies sealed, so that it can go on from there.

    Attributes:
        finished: ids of the attacks that were done.
        results: vault item with their rows and attempts.
    """

    kind: ClassVar[str] = "battery_interrupted"
    stage: str
    model: str
    model_hash: str
    suite_hash: str
    finished: tuple[str, ...]
    results: str


class PlanFixed(Body):
    """Method, settings, suite and thresholds, fixed before the run.

    Attributes:
        recipe: the whole recipe where the method is one: its stages with their settings, under those in ``config``.
    """

    kind: ClassVar[str] = "plan_fixed"
    method: str
    config: dict[str, Any]
    model: str
    model_hash: str
    suite_hash: str
    thresholds: Thresholds
    thresholds_hash: str
    # Why the plan goes on although the chain has passed its limits; left out where it has not, so that a plan from
    # before this field has the form that it was hashed in.
    beyond_limits: str = Field(default="", exclude_if=lambda value: not value)
    sealed_beyond_limits: Sealed | None = Field(default=None, exclude_if=_absent)
    recipe: dict[str, Any] | None = Field(default=None, exclude_if=_absent)


class ErasureRun(Body):
    """An erasure method wrote an artefact."""

    kind: ClassVar[str] = "erasure_run"
    job_id: str
    artefact: str
    artefact_hash: str
    method: dict[str, Any]
    config: dict[str, Any]
    modules: tuple[str, ...]
    steps: int
    stop_reason: str
    metrics: dict[str, str]
    changed: tuple[dict[str, str], ...]
    changed_count: int
    device: str
    seconds: str
    notes: tuple[str, ...] = ()


class ArtefactExported(Body):
    """A model was written in another form: the file that will be deployed, and therefore the one to be attacked.

    Attributes:
        source: the model that was written, by name; ``base`` the GGUF model that the file was made from.
        form: see ``console.domain.exports.ExportForm``.
        rewritten: the tensors that are new: name, types before and after, how far each moved.
        untouched: tensors of the base that stand in the file byte for byte (all of them beside an adapter).
        vanished: changed tensors whose change rounding took away whole.
        gate: the round trip through the written file.
    """

    kind: ClassVar[str] = "artefact_exported"
    job_id: str
    artefact: str
    artefact_hash: str
    source: str
    source_hash: str
    base: str
    base_hash: str
    form: str
    rewritten: tuple[dict[str, str], ...]
    rewritten_count: int
    untouched: int
    vanished: int
    gate: Gate
    seconds: str


class VerdictReached(Body):
    """The verdict, with everything it was computed from."""

    kind: ClassVar[str] = "verdict_reached"
    artefact: str
    verdict: Verdict
    thresholds_hash: str
    utility: Utility | None
    before_seq: int
    after_seq: int
    reference_seq: int | None


class EarlierRechecked(Body):
    """A later request's model was searched again for this request's data; attempts lie sealed with this request.

    Attributes:
        artefact: the later model.
        own_artefact: the last model before it that this request's own erasure wrote.
        then_seq: the battery from after the own erasure that the counts are compared with; None where there is none.
        reference_seq: that battery's reference.
        standing: what came out (see ``console.domain.sequence.Standing``), ``by`` the attacks that find more.
    """

    kind: ClassVar[str] = "earlier_rechecked"
    job_id: str
    artefact: str
    own_artefact: str
    battery: Battery
    then_seq: int | None
    reference_seq: int | None
    standing: str
    by: tuple[str, ...]
    rules_version: int
    attempts: str
    attacks: tuple[dict[str, Any], ...] = ()
    settings: dict[str, Any] = {}


class ReportSigned(Body):
    """A report left the house: hash and size of the file, hash of the evidence in it, key that signed."""

    kind: ClassVar[str] = "report_signed"
    report_id: str
    sha256: str
    size: int
    evidence_sha256: str
    signer: str
    authority: str


class Approved(Body):
    """A person let the plan run. ``mode`` is ``second-person`` or ``self`` (a one-person office, with its reason)."""

    kind: ClassVar[str] = "approved"
    what: str
    mode: str
    reason: str = ""
    sealed_reason: Sealed | None = Field(default=None, exclude_if=_absent)
