"""Erasure requests: what is registered, how it is numbered, and which state may follow which.

The states join those of the trackers that offices use (fides, Transcend, DataGrail, the Data Rights
Protocol) with what a language model adds: locating, running, verifying. A transition is possible
only if it stands in the table *and* its guard is satisfied; both are checked here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, model_validator

from console.domain.request_terms import Channel, Exception17, Ground, RefusalBasis, RequestStatus
from console.domain.verdict import Word
from console.domain.verdict_words import WORDS
from console.errors import InputError, NotPossibleError

__all__ = [
    "TRANSITIONS",
    "Channel",
    "ErasureRequest",
    "Exception17",
    "Ground",
    "RefusalBasis",
    "RequestStatus",
    "TransitionFacts",
    "check_transition",
    "next_request_number",
    "status_for_verdict",
]

_NUMBER = re.compile(r"ER-(\d{4})-(\d{4,})")
# A civil date is at most a day away from the same moment's date in UTC, whatever the zone.
_ZONE_SLACK = timedelta(days=1)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ErasureRequest(_Frozen):
    """A request as it was registered; who the person is stays in the vault.

    Attributes:
        number: what people call it, such as ``ER-2026-0042``.
        subject_ref: random id of the person in the vault. No blank or ``@`` fits, so no name or address does.
        received_on: local civil date of receipt, from which the law counts.
        received_at: the moment, where it is known.
        language: language of the correspondence, such as ``de`` or ``pt-BR``.
        country: ISO 3166-1 alpha-2 code of the place whose holidays count.
        subdivision: part of that country, or None.
        profile_id: id of the legal profile.
        grounds: what the person relies on; may be empty at intake, because people need not name one.
        is_child: the person is a child, or was one when the data was collected.
    """

    number: Annotated[str, StringConstraints(pattern=rf"^{_NUMBER.pattern}$")]
    subject_ref: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{8,64}$")]
    received_on: date
    received_at: AwareDatetime | None = None
    channel: Channel
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")] = "en"
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    subdivision: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None = None
    profile_id: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    grounds: tuple[Ground, ...] = ()
    is_child: bool = False

    @model_validator(mode="after")
    def _dates_agree(self) -> ErasureRequest:
        if self.received_at is not None and abs(self.received_at.date() - self.received_on) > _ZONE_SLACK:
            raise InputError(
                f"The date of receipt {self.received_on.isoformat()} and the moment of receipt "
                f"{self.received_at.isoformat()} do not agree: correct one of them."
            )
        return self


class TransitionFacts(_Frozen):
    """What is known about a case when its state is to change.

    Attributes:
        identity_settled: the identity was confirmed, or nobody has reasonable doubts (Art. 12(6)).
        reason: why the request is refused, held, reopened or failed, in the officer's words or as a note's id.
        grounds: grounds that were found to apply.
        refusal_basis: on what a full or partial refusal rests.
        exceptions: the exceptions, where the refusal rests on them.
        duplicate_of: number of the request that this one repeats.
        superseded_by: number of the request that takes this one's place.
        held_from: the state in which the request was put on hold.
        second_person_approved: :func:`console.domain.roles.check_approval` let the approval count.
        independently_verified: :func:`console.domain.roles.check_verifiers` let the verification count.
        verdict: the word that the verdict rules gave.
        recipients_settled: every recipient was told (Art. 19), or it is recorded why that was impossible,
            disproportionate or not needed.
        told_of_remedies: the answer names the complaint to an authority and the judicial remedy (Art. 12(4)).
        erased_for_good: the edited model is in service and the old weights are gone.
    """

    identity_settled: bool = False
    reason: str = ""
    grounds: tuple[Ground, ...] = ()
    refusal_basis: RefusalBasis | None = None
    exceptions: tuple[Exception17, ...] = ()
    duplicate_of: str = ""
    superseded_by: str = ""
    held_from: RequestStatus | None = None
    second_person_approved: bool = False
    independently_verified: bool = False
    verdict: Word | None = None
    recipients_settled: bool = False
    told_of_remedies: bool = False
    erased_for_good: bool = False


def next_request_number(existing: Iterable[str], year: int) -> str:
    """The number that follows the highest one of ``year``; other formats and years are passed over.

    A gap is never filled, because a number that was once given out may stand in a letter.
    """
    used = (_NUMBER.fullmatch(number) for number in existing)
    highest = max((int(match[2]) for match in used if match and int(match[1]) == year), default=0)
    return f"ER-{year:04d}-{highest + 1:04d}"


_S = RequestStatus

_FORWARD: dict[RequestStatus, frozenset[RequestStatus]] = {
    _S.RECEIVED: frozenset({_S.IDENTITY_PENDING, _S.TRIAGE}),
    _S.IDENTITY_PENDING: frozenset({_S.TRIAGE, _S.REFUSED}),
    _S.TRIAGE: frozenset({_S.LOCATING, _S.DECISION_PENDING, _S.DUPLICATE}),
    _S.LOCATING: frozenset({_S.DECISION_PENDING, _S.NO_MATCH, _S.DUPLICATE}),
    _S.DECISION_PENDING: frozenset({_S.REFUSED, _S.PARTIALLY_GRANTED, _S.GRANTED, _S.LOCATING, _S.DUPLICATE}),
    _S.REFUSED: frozenset({_S.REPORT_DRAFT, _S.SUBJECT_INFORMED, _S.DECISION_PENDING}),
    _S.NO_MATCH: frozenset({_S.REPORT_DRAFT, _S.SUBJECT_INFORMED, _S.LOCATING}),
    _S.PARTIALLY_GRANTED: frozenset({_S.PLANNED, _S.DECISION_PENDING}),
    _S.GRANTED: frozenset({_S.PLANNED, _S.DECISION_PENDING}),
    _S.PLANNED: frozenset({_S.APPROVED_TO_RUN, _S.DECISION_PENDING}),
    _S.APPROVED_TO_RUN: frozenset({_S.RUNNING, _S.PLANNED}),
    _S.RUNNING: frozenset({_S.VERIFYING, _S.FAILED, _S.PLANNED}),
    _S.VERIFYING: frozenset({_S.VERIFIED, _S.RESIDUAL, _S.FAILED, _S.NO_MATCH, _S.PLANNED}),
    _S.VERIFIED: frozenset({_S.REPORT_DRAFT}),
    # Neither is an end that looks like success: either it is tried again, or the report says so.
    _S.RESIDUAL: frozenset({_S.REPORT_DRAFT, _S.PLANNED}),
    _S.FAILED: frozenset({_S.REPORT_DRAFT, _S.PLANNED}),
    _S.REPORT_DRAFT: frozenset({_S.REPORT_SIGNED}),
    _S.REPORT_SIGNED: frozenset({_S.REPORT_COUNTERSIGNED, _S.REPORT_DRAFT}),
    _S.REPORT_COUNTERSIGNED: frozenset({_S.RECIPIENTS_NOTIFIED, _S.SUBJECT_INFORMED}),
    _S.RECIPIENTS_NOTIFIED: frozenset({_S.SUBJECT_INFORMED}),
    _S.SUBJECT_INFORMED: frozenset({_S.CLOSED}),
    _S.DUPLICATE: frozenset({_S.SUBJECT_INFORMED, _S.TRIAGE, _S.CLOSED}),
    _S.WITHDRAWN: frozenset({_S.CLOSED, _S.REOPENED}),
    _S.SUPERSEDED: frozenset({_S.CLOSED}),
    _S.CLOSED: frozenset({_S.REOPENED}),
    _S.REOPENED: frozenset({_S.IDENTITY_PENDING, _S.TRIAGE}),
}
_SETTLED = frozenset({_S.SUBJECT_INFORMED, _S.CLOSED, _S.DUPLICATE, _S.WITHDRAWN, _S.SUPERSEDED})
_HOLDABLE = frozenset(_FORWARD) - _SETTLED

TRANSITIONS: dict[RequestStatus, frozenset[RequestStatus]] = {
    **{
        status: targets | ({_S.ON_HOLD, _S.WITHDRAWN, _S.SUPERSEDED} if status in _HOLDABLE else frozenset())
        for status, targets in _FORWARD.items()
    },
    _S.ON_HOLD: _HOLDABLE | {_S.WITHDRAWN, _S.SUPERSEDED},
}


def status_for_verdict(word: Word) -> RequestStatus:
    """The state that a verdict leads to: only *removed* is a verified erasure."""
    return WORDS[word].status


def check_transition(status: RequestStatus, to: RequestStatus, facts: TransitionFacts) -> None:
    """Refuse a change of state that the table or the facts of the case do not allow.

    Raises:
        NotPossibleError: with one sentence that names what is missing.
    """
    if to is _S.DUPLICATE and not facts.identity_settled:
        # Trackers that skip the check for repeated requests let anybody learn that the first one exists.
        raise NotPossibleError("Settle the person's identity before setting the request aside as a duplicate.")
    if to not in TRANSITIONS[status]:
        following = ", ".join(f"'{target.label}'" for target in _S if target in TRANSITIONS[status])
        raise NotPossibleError(
            f"A request in the state '{status.label}' cannot become '{to.label}'; it can become {following}."
        )
    if status is _S.ON_HOLD and to not in {_S.WITHDRAWN, _S.SUPERSEDED}:
        _check_resumption(to, facts)
        return
    if to in _GUARDS:
        _GUARDS[to](status, facts)


def _require(satisfied: object, sentence: str) -> None:
    if not satisfied:
        raise NotPossibleError(sentence)


def _check_resumption(to: RequestStatus, facts: TransitionFacts) -> None:
    _require(
        to is facts.held_from,
        f"A request on hold goes back to the state it was held in, which is not '{to.label}': resume it there.",
    )


def _identity(_status: RequestStatus, facts: TransitionFacts) -> None:
    _require(
        facts.identity_settled, "Confirm the person's identity, or record that there is no reasonable doubt, first."
    )


def _duplicate(_status: RequestStatus, facts: TransitionFacts) -> None:
    _require(facts.duplicate_of.strip(), "Name the number of the request that this one repeats.")


def _refusal_reasons(facts: TransitionFacts) -> None:
    _require(facts.refusal_basis, "A refusal needs a legal basis: choose what it rests on.")
    _require(facts.reason.strip(), "A refusal needs a reason: write down why (Art. 12(4)).")
    if facts.refusal_basis is RefusalBasis.EXCEPTION:
        _require(facts.exceptions, "Choose the exception of Art. 17(3) that the refusal rests on.")


def _refused(status: RequestStatus, facts: TransitionFacts) -> None:
    _refusal_reasons(facts)
    if facts.refusal_basis is RefusalBasis.CANNOT_IDENTIFY:
        return
    _require(
        status is not _S.IDENTITY_PENDING,
        "While proof of identity is awaited a request can only be refused because the person cannot be identified.",
    )
    _identity(status, facts)


def _granted(status: RequestStatus, facts: TransitionFacts) -> None:
    _identity(status, facts)
    _require(facts.grounds, "Choose at least one ground of Art. 17(1) on which the request is granted.")


def _partially_granted(status: RequestStatus, facts: TransitionFacts) -> None:
    _granted(status, facts)
    _refusal_reasons(facts)


def _approved_to_run(_status: RequestStatus, facts: TransitionFacts) -> None:
    _require(facts.second_person_approved, "A second person must approve the plan before the erasure runs.")


def _verdict_reached(to: RequestStatus) -> Callable[[RequestStatus, TransitionFacts], None]:
    def guard(status: RequestStatus, facts: TransitionFacts) -> None:
        if status is _S.RUNNING:
            _require(facts.reason.strip(), "Record why the run failed.")
            return
        if status is _S.LOCATING:
            return
        if facts.verdict is None:
            raise NotPossibleError("The verification has no verdict yet: wait until it is finished.")
        _require(
            status_for_verdict(facts.verdict) is to,
            f"The verdict '{facts.verdict.value}' leads to "
            f"'{status_for_verdict(facts.verdict).label}', not to '{to.label}'.",
        )

    return guard


def _countersigned(_status: RequestStatus, facts: TransitionFacts) -> None:
    _require(facts.second_person_approved, "A second person must countersign the report.")
    if facts.verdict is not None:
        _require(
            facts.independently_verified,
            "Somebody other than the person who ran the erasure must verify it before the report is countersigned.",
        )


def _recipients_notified(_status: RequestStatus, facts: TransitionFacts) -> None:
    _require(
        facts.recipients_settled,
        "Tell every recipient about the erasure, or record why that is not possible or not needed (Art. 19).",
    )


def _subject_informed(status: RequestStatus, facts: TransitionFacts) -> None:
    if status in {_S.REPORT_COUNTERSIGNED, _S.RECIPIENTS_NOTIFIED}:
        _recipients_notified(status, facts)
    if status in {_S.REFUSED, _S.NO_MATCH} or facts.refusal_basis is not None:
        _require(
            facts.told_of_remedies,
            "The answer must name the complaint to a supervisory authority and the judicial remedy (Art. 12(4)).",
        )


def _on_hold(_status: RequestStatus, facts: TransitionFacts) -> None:
    _require(facts.reason.strip(), "Write down why the request is put on hold.")


def _withdrawn(_status: RequestStatus, facts: TransitionFacts) -> None:
    _require(
        not facts.erased_for_good,
        "The edited model is in service and the old one is gone, so the erasure can no longer be taken back.",
    )


def _superseded(_status: RequestStatus, facts: TransitionFacts) -> None:
    _require(facts.superseded_by.strip(), "Name the number of the request that takes the place of this one.")


def _reopened(_status: RequestStatus, facts: TransitionFacts) -> None:
    _require(facts.reason.strip(), "Write down why the request is opened again, such as a complaint.")


_GUARDS: dict[RequestStatus, Callable[[RequestStatus, TransitionFacts], None]] = {
    _S.TRIAGE: _identity,
    _S.LOCATING: _identity,
    _S.DUPLICATE: _duplicate,
    _S.REFUSED: _refused,
    _S.GRANTED: _granted,
    _S.PARTIALLY_GRANTED: _partially_granted,
    _S.APPROVED_TO_RUN: _approved_to_run,
    _S.VERIFIED: _verdict_reached(_S.VERIFIED),
    _S.RESIDUAL: _verdict_reached(_S.RESIDUAL),
    _S.FAILED: _verdict_reached(_S.FAILED),
    _S.NO_MATCH: _verdict_reached(_S.NO_MATCH),
    _S.REPORT_COUNTERSIGNED: _countersigned,
    _S.RECIPIENTS_NOTIFIED: _recipients_notified,
    _S.SUBJECT_INFORMED: _subject_informed,
    _S.ON_HOLD: _on_hold,
    _S.WITHDRAWN: _withdrawn,
    _S.SUPERSEDED: _superseded,
    _S.REOPENED: _reopened,
}
