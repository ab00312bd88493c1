"""What verification of a report can say: lights, the headline that never says more than the weakest of them.

Facts and words only; nothing here reads a file, so that the command line and the window load no PDF reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from console.reports.evidence import Evidence

PREPARED, APPROVED = "Prepared", "Approved"  # the signature fields of a report, in the order of signing


class LightState(StrEnum):
    """Green, amber, red, and grey for what could not be looked at."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_JUDGED = "not judged"


class LightName(StrEnum):
    """The questions, in the order in which they are shown."""

    INTEGRITY = "integrity"
    SIGNER = "signer"
    TIME = "time"
    CONTENT = "content"
    FIELDS = "fields"
    RECORD = "evidence"
    LEDGER = "ledger"


@dataclass(frozen=True)
class Light:
    """The answer to one question, with its sentence."""

    state: LightState
    sentence: str


@dataclass(frozen=True)
class Check:
    """One question about the evidence: its name, the answer, and a sentence."""

    name: str
    ok: bool
    sentence: str


@dataclass(frozen=True)
class Trust:
    """The authorities that whoever verifies knows.

    Attributes:
        authorities: SHA-256 of an authority's certificate, lower-case hex, and how it is known ("this office's own").
        organisation: name of the office that verifies; a stranger who bears it is said to be one.
    """

    authorities: Mapping[str, str]
    organisation: str = ""


@dataclass(frozen=True)
class ReportSignature:
    """One signature, as the file states it; names are foreign text.

    Attributes:
        signed_at: by the signer's own clock; None where the file states no instant.
        fingerprint: SHA-256 of the signer's certificate; ``ca_fingerprint`` of its issuer's, empty where the file
            does not hold it.
        valid_from: begin of the time in which certificate and issuer are both valid; ``valid_until`` its end.
        revision_sha256: of the file up to and with this signature.
        doubt: why it is not the signature of a console; empty where it is one.
    """

    field: str
    signer: str
    organisation: str
    reason: str
    signed_at: datetime | None
    fingerprint: str
    ca_fingerprint: str
    valid_from: datetime
    valid_until: datetime
    revision_sha256: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class RecordedReport:
    """A report of one case as the office's ledger recorded it: entry ``seq``, hash of the file."""

    report_id: str
    sha256: str
    seq: int
    at: datetime


class Headline(StrEnum):
    """The answer in one line: the first that applies, red before amber before green."""

    NOT_SIGNED = "not-signed"
    NOT_INTACT = "not-intact"
    ACTIVE_CONTENT = "active-content"
    SIGNER_REFUSED = "signer-refused"
    NOT_RECORDED = "not-recorded"
    FIELDS_REFUSED = "fields-refused"
    EVIDENCE_REFUSED = "evidence-refused"
    TIME_REFUSED = "time-refused"
    SIGNER_NOT_CONFIRMED = "signer-not-confirmed"
    LEDGER_RESERVED = "ledger-reserved"
    FIELDS_OPEN = "fields-open"
    TIME_NOT_CONFIRMED = "time-not-confirmed"
    VERIFIED = "verified"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]

    @property
    def accepted(self) -> bool:
        """Nothing is red; the command line ends with 0."""
        return self in _ACCEPTED


_SENTENCES = {
    Headline.NOT_SIGNED: "NOT verified: the file carries no signature",
    Headline.NOT_INTACT: "NOT verified: the file is not intact",
    Headline.ACTIVE_CONTENT: "NOT verified: the file holds active content",
    Headline.SIGNER_REFUSED: "NOT verified: the signer is not accepted",
    Headline.NOT_RECORDED: "NOT verified: not as this office's ledger recorded it",
    Headline.FIELDS_REFUSED: "NOT verified: its fields are not those of a report",
    Headline.EVIDENCE_REFUSED: "NOT verified: the evidence does not agree with itself or the pages",
    Headline.TIME_REFUSED: "NOT verified: the stated time of signing cannot be right",
    Headline.SIGNER_NOT_CONFIRMED: "Intact; the signer is not confirmed on this machine",
    Headline.LEDGER_RESERVED: "Intact and signed by a known key; read what the ledger says of it",
    Headline.FIELDS_OPEN: "Intact and signed by a known key; a signature is still open",
    Headline.TIME_NOT_CONFIRMED: "Intact and signed by a known key; the time is the signer's own statement",
    Headline.VERIFIED: "Verified: every light is green",
}
_ACCEPTED = frozenset(
    {
        Headline.SIGNER_NOT_CONFIRMED,
        Headline.LEDGER_RESERVED,
        Headline.FIELDS_OPEN,
        Headline.TIME_NOT_CONFIRMED,
        Headline.VERIFIED,
    }
)
_BY_LIGHT = (
    (LightName.INTEGRITY, LightState.FAILED, Headline.NOT_INTACT),
    (LightName.CONTENT, LightState.FAILED, Headline.ACTIVE_CONTENT),
    (LightName.SIGNER, LightState.FAILED, Headline.SIGNER_REFUSED),
    (LightName.LEDGER, LightState.FAILED, Headline.NOT_RECORDED),
    (LightName.FIELDS, LightState.FAILED, Headline.FIELDS_REFUSED),
    (LightName.RECORD, LightState.FAILED, Headline.EVIDENCE_REFUSED),
    (LightName.TIME, LightState.FAILED, Headline.TIME_REFUSED),
    (LightName.SIGNER, LightState.WARNING, Headline.SIGNER_NOT_CONFIRMED),
    (LightName.LEDGER, LightState.WARNING, Headline.LEDGER_RESERVED),
    (LightName.FIELDS, LightState.WARNING, Headline.FIELDS_OPEN),
    (LightName.TIME, LightState.WARNING, Headline.TIME_NOT_CONFIRMED),
)


@dataclass(frozen=True)
class ReportVerification:
    """What verification found.

    Attributes:
        integrity: is the file exactly what was signed?
        signer: who signed, and is the key known?
        time: is the stated time of signing possible, and who confirms it?
        content: does the file hold nothing that acts?
        fields: is every field of the form signed?
        record: does the evidence agree with itself and with the pages?
        ledger: does the office's ledger know the file? None where no office was asked.
        checks: the single checks behind ``record``.
        unsigned_fields: fields that still wait for a signature.
        evidence: the attached record, where it could be read.
    """

    integrity: Light
    signer: Light
    time: Light
    content: Light
    fields: Light
    record: Light
    ledger: Light | None = None
    checks: tuple[Check, ...] = ()
    signatures: tuple[ReportSignature, ...] = ()
    unsigned_fields: tuple[str, ...] = ()
    sha256: str = ""
    size: int = 0
    evidence: Evidence | None = field(default=None)
    evidence_sha256: str = ""
    is_signed: bool = True

    @property
    def lights(self) -> dict[LightName, Light]:
        """Every light that was lit, in order."""
        lit = {
            LightName.INTEGRITY: self.integrity,
            LightName.SIGNER: self.signer,
            LightName.TIME: self.time,
            LightName.CONTENT: self.content,
            LightName.FIELDS: self.fields,
            LightName.RECORD: self.record,
        }
        return lit if self.ledger is None else lit | {LightName.LEDGER: self.ledger}

    @property
    def headline(self) -> Headline:
        """The one line that stands over the lights."""
        if not self.is_signed:
            return Headline.NOT_SIGNED
        lit = self.lights
        found = (headline for name, state, headline in _BY_LIGHT if name in lit and lit[name].state is state)
        return next(found, Headline.VERIFIED)

    @property
    def ok(self) -> bool:
        """No light is red. Amber lights do not take it away."""
        return self.headline.accepted
