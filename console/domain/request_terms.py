"""The closed lists of a request, and the words that an officer reads for each entry."""

from __future__ import annotations

import re
from enum import StrEnum

from console.domain.visible import quoted
from console.errors import InputError

_LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{2}))?", re.ASCII)


def language_code(text: str) -> str:
    """A language as a code in the case in which it is kept: ``DE`` is ``de``, ``pt_br`` is ``pt-BR``.

    Raises:
        InputError: it is no code, such as ``deutsch``, or empty.
    """
    match = _LANGUAGE.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{quoted(text)} is not a language code: write two or three letters, such as de or pt-BR.")
    language, region = match.groups()
    return language.lower() if region is None else f"{language.lower()}-{region.upper()}"


class Ground(StrEnum):
    """Why the person may ask for erasure, GDPR Art. 17(1)."""

    NO_LONGER_NECESSARY = "17(1)(a)"
    CONSENT_WITHDRAWN = "17(1)(b)"
    OBJECTION = "17(1)(c)"
    UNLAWFUL_PROCESSING = "17(1)(d)"
    LEGAL_OBLIGATION = "17(1)(e)"
    CHILD_ONLINE_SERVICE = "17(1)(f)"

    @property
    def label(self) -> str:
        return _GROUND_LABELS[self]


class Exception17(StrEnum):
    """Why erasure may be refused although a ground applies, GDPR Art. 17(3)."""

    EXPRESSION_AND_INFORMATION = "17(3)(a)"
    LEGAL_OBLIGATION_OR_PUBLIC_TASK = "17(3)(b)"
    PUBLIC_HEALTH = "17(3)(c)"
    ARCHIVING_RESEARCH_STATISTICS = "17(3)(d)"
    LEGAL_CLAIMS = "17(3)(e)"

    @property
    def label(self) -> str:
        return _EXCEPTION_LABELS[self]


class RefusalBasis(StrEnum):
    """On what a refusal rests."""

    NO_GROUND = "no_ground"
    EXCEPTION = "exception"
    UNFOUNDED_OR_EXCESSIVE = "unfounded_or_excessive"
    CANNOT_IDENTIFY = "cannot_identify"

    @property
    def label(self) -> str:
        return _REFUSAL_LABELS[self]


class Channel(StrEnum):
    """How the request reached the office."""

    EMAIL = "email"
    LETTER = "letter"
    PHONE = "phone"
    WEB_FORM = "web_form"
    IN_PERSON = "in_person"
    AGENT = "agent"

    @property
    def label(self) -> str:
        return _CHANNEL_LABELS[self]


class RequestStatus(StrEnum):
    """Where a request stands."""

    RECEIVED = "received"
    IDENTITY_PENDING = "identity_pending"
    TRIAGE = "triage"
    LOCATING = "locating"
    DECISION_PENDING = "decision_pending"
    REFUSED = "refused"
    PARTIALLY_GRANTED = "partially_granted"
    GRANTED = "granted"
    PLANNED = "planned"
    APPROVED_TO_RUN = "approved_to_run"
    RUNNING = "running"
    VERIFYING = "verifying"
    VERIFIED = "verified"
    RESIDUAL = "residual"
    FAILED = "failed"
    REPORT_DRAFT = "report_draft"
    REPORT_SIGNED = "report_signed"
    REPORT_COUNTERSIGNED = "report_countersigned"
    RECIPIENTS_NOTIFIED = "recipients_notified"
    SUBJECT_INFORMED = "subject_informed"
    CLOSED = "closed"
    ON_HOLD = "on_hold"
    WITHDRAWN = "withdrawn"
    DUPLICATE = "duplicate"
    NO_MATCH = "no_match"
    REOPENED = "reopened"
    SUPERSEDED = "superseded"

    @property
    def label(self) -> str:
        return _STATUS_LABELS[self]


_GROUND_LABELS = {
    Ground.NO_LONGER_NECESSARY: "The data is no longer needed for its purpose",
    Ground.CONSENT_WITHDRAWN: "The person withdrew their consent",
    Ground.OBJECTION: "The person objects to the processing",
    Ground.UNLAWFUL_PROCESSING: "The data was processed unlawfully",
    Ground.LEGAL_OBLIGATION: "A law requires the erasure",
    Ground.CHILD_ONLINE_SERVICE: "The data was collected from a child by an online service",
}

_EXCEPTION_LABELS = {
    Exception17.EXPRESSION_AND_INFORMATION: "Freedom of expression and information",
    Exception17.LEGAL_OBLIGATION_OR_PUBLIC_TASK: "A legal obligation or a public task",
    Exception17.PUBLIC_HEALTH: "Public health",
    Exception17.ARCHIVING_RESEARCH_STATISTICS: "Archiving, research or statistics that erasure would seriously impair",
    Exception17.LEGAL_CLAIMS: "Legal claims",
}

_REFUSAL_LABELS = {
    RefusalBasis.NO_GROUND: "None of the grounds of Art. 17(1) applies",
    RefusalBasis.EXCEPTION: "An exception of Art. 17(3) applies",
    RefusalBasis.UNFOUNDED_OR_EXCESSIVE: "The request is manifestly unfounded or excessive (Art. 12(5))",
    RefusalBasis.CANNOT_IDENTIFY: "The person cannot be identified (Art. 11(2), 12(2))",
}

_CHANNEL_LABELS = {
    Channel.EMAIL: "E-mail",
    Channel.LETTER: "Letter",
    Channel.PHONE: "Telephone",
    Channel.WEB_FORM: "Web form",
    Channel.IN_PERSON: "In person",
    Channel.AGENT: "Representative",
}

_STATUS_LABELS = {
    RequestStatus.RECEIVED: "Received",
    RequestStatus.IDENTITY_PENDING: "Waiting for proof of identity",
    RequestStatus.TRIAGE: "Checked, not yet searched",
    RequestStatus.LOCATING: "Searching data and models",
    RequestStatus.DECISION_PENDING: "Waiting for a decision",
    RequestStatus.REFUSED: "Refused",
    RequestStatus.PARTIALLY_GRANTED: "Granted in part",
    RequestStatus.GRANTED: "Granted",
    RequestStatus.PLANNED: "Erasure planned",
    RequestStatus.APPROVED_TO_RUN: "Approved to run",
    RequestStatus.RUNNING: "Erasure running",
    RequestStatus.VERIFYING: "Being verified",
    RequestStatus.VERIFIED: "Erasure verified",
    RequestStatus.RESIDUAL: "Not proven removed",
    RequestStatus.FAILED: "Erasure failed",
    RequestStatus.REPORT_DRAFT: "Report in draft",
    RequestStatus.REPORT_SIGNED: "Report signed",
    RequestStatus.REPORT_COUNTERSIGNED: "Report countersigned",
    RequestStatus.RECIPIENTS_NOTIFIED: "Recipients notified",
    RequestStatus.SUBJECT_INFORMED: "Person informed",
    RequestStatus.CLOSED: "Closed",
    RequestStatus.ON_HOLD: "On hold",
    RequestStatus.WITHDRAWN: "Withdrawn by the person",
    RequestStatus.DUPLICATE: "Duplicate of another request",
    RequestStatus.NO_MATCH: "No data found",
    RequestStatus.REOPENED: "Reopened",
    RequestStatus.SUPERSEDED: "Replaced by another request",
}
