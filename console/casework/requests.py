"""Registering requests and moving them through their states."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import date
from typing import Any

from console.casework.office import Office
from console.domain.case_state import REQUESTS
from console.domain.clock import check_received, compute_deadline
from console.domain.deadline import Deadline, ExtensionNotice, Suspension
from console.domain.events import (
    Approved,
    ClockResumed,
    ClockSuspended,
    ExtensionNotified,
    RequestRegistered,
    StatusChanged,
)
from console.domain.forget_set import ForgetItem, ForgetSet
from console.domain.holiday_calendar import HolidayCalendar
from console.domain.jurisdiction import SuspensionReason, resolve_profile
from console.domain.request_terms import Channel, Exception17, Ground, RefusalBasis, RequestStatus
from console.domain.requests import ErasureRequest, TransitionFacts, check_transition, next_request_number
from console.domain.roles import Duty, check_approval
from console.errors import InputError
from console.ledger import Transaction

FORGET_SET, LETTER = "forget-set", "letter"


def deadline_for(
    office: Office,
    received: date,
    country: str,
    subdivision: str | None = None,
    profile_id: str = "eu-gdpr",
    suspensions: Sequence[Suspension] = (),
    extension: ExtensionNotice | None = None,
) -> Deadline:
    """The legal clock for a place and law.

    Raises:
        InputError: an unknown country, subdivision or profile, or a date in the future.
    """
    return deadline_on(
        office.today(), office.profiles, received, country, subdivision, profile_id, suspensions, extension
    )


def deadline_on(
    today: date,
    profiles: Any,
    received: date,
    country: str,
    subdivision: str | None = None,
    profile_id: str = "eu-gdpr",
    suspensions: Sequence[Suspension] = (),
    extension: ExtensionNotice | None = None,
) -> Deadline:
    """As :func:`deadline_for`, without an office."""
    check_received(received, today)
    profile = resolve_profile(profiles, profile_id)
    calendar = HolidayCalendar.for_place(country, subdivision)
    return compute_deadline(received, profile, calendar, suspensions, extension)


def _parse(kind: Any, value: str, what: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(str(member.value) for member in kind)
        raise InputError(f"'{value}' is not a {what}; choose one of {known}.") from error


def parse_ground(text: str) -> Ground:
    """A ground from ``17(1)(b)`` or just ``b``.

    Raises:
        InputError: not one of the six.
    """
    return _parse(Ground, f"17(1)({text})" if len(text) == 1 else text, "ground of Art. 17(1)")


def parse_channel(text: str) -> Channel:
    """A channel by its code.

    Raises:
        InputError: unknown.
    """
    return _parse(Channel, text, "channel")


def register(
    office: Office,
    *,
    received: date,
    country: str,
    items: Sequence[ForgetItem],
    subdivision: str | None = None,
    profile_id: str = "eu-gdpr",
    channel: Channel = Channel.EMAIL,
    language: str = "en",
    grounds: Sequence[Ground] = (),
    letter: str = "",
    summary: str = "",
) -> str:
    """Register a request; its facts and the person's letter go sealed into the vault.

    Returns:
        The request's number.

    Raises:
        InputError: nothing to look for, a date in the future, an unknown place or law.
    """
    actor = office.require(Duty.REGISTER)
    ForgetSet(items=tuple(items)).require_nonempty()
    deadline = deadline_for(office, received, country, subdivision, profile_id)
    forget_set = ForgetSet(items=tuple(items))
    with office.ledger.transaction() as transaction:
        number = next_request_number(office.ledger.projection(REQUESTS), office.today().year)
        request = ErasureRequest(
            number=number,
            subject_ref=f"S{secrets.token_hex(6)}",
            received_on=received,
            channel=channel,
            language=language,
            country=country.upper(),
            subdivision=subdivision,
            profile_id=profile_id,
            grounds=tuple(grounds),
        )
        sealed = [item.model_dump(mode="json") for item in forget_set.items]
        transaction.seal(number, FORGET_SET, sealed)
        if letter:
            transaction.seal(number, LETTER, letter)
        by_type: dict[str, int] = {}
        for item in forget_set.items:
            by_type[item.fact_type] = by_type.get(item.fact_type, 0) + 1
        body = RequestRegistered(
            number=number,
            subject_ref=request.subject_ref,
            received_on=received.isoformat(),
            channel=channel.value,
            language=language,
            country=request.country,
            subdivision=subdivision,
            profile_id=profile_id,
            grounds=tuple(ground.value for ground in grounds),
            due=deadline.due.isoformat(),
            due_extended=deadline.due_extended.isoformat() if deadline.due_extended else None,
            rule=deadline.rule,
            steps=deadline.steps,
            calendar=deadline.calendar,
            items=len(forget_set.items),
            by_type=by_type,
            commitment=transaction.commitment(number, sealed),
            summary=summary,
        )
        transaction.append(RequestRegistered.kind, body.to_body(), request_id=number, actor=actor)
    return number


def request_state(office: Office, number: str) -> dict[str, Any]:
    """What the ledger says of a request.

    Raises:
        InputError: no such request.
    """
    state = office.ledger.projected(REQUESTS, number)
    if state is None:
        raise InputError(f"There is no request {number}; 'request list' shows those that exist.")
    return state


def forget_items(office: Office, number: str) -> tuple[ForgetItem, ...]:
    """The request's facts, opened from the vault.

    Raises:
        InputError: no such request.
        NotPossibleError: they have been shredded.
    """
    request_state(office, number)
    sealed = office.ledger.sealed_items(number, FORGET_SET)
    if not sealed:
        raise InputError(f"The facts of request {number} have been destroyed; nothing can be looked for any more.")
    return tuple(ForgetItem.model_validate(item) for item in office.ledger.unseal(sealed[-1].id))


def suspensions_of(state: dict[str, Any]) -> tuple[Suspension, ...]:
    """The request's suspensions in the clock's terms."""
    return tuple(
        Suspension(
            reason=SuspensionReason(entry["reason"]),
            starts_on=date.fromisoformat(entry["starts_on"]),
            ends_on=date.fromisoformat(entry["ends_on"]) if entry["ends_on"] else None,
            note_id=f"event-{entry['seq']}",
        )
        for entry in state["suspensions"]
    )


def deadline_of(office: Office, state: dict[str, Any]) -> Deadline:
    """The request's deadline as it stands, with suspensions and extension."""
    extension = state["extension"]
    notice = (
        ExtensionNotice(notified_on=date.fromisoformat(extension["notified_on"]), note_id=f"event-{extension['seq']}")
        if extension
        else None
    )
    return compute_deadline(
        date.fromisoformat(state["received_on"]),
        resolve_profile(office.profiles, state["profile_id"]),
        HolidayCalendar.for_place(state["country"], state["subdivision"]),
        suspensions_of(state),
        notice,
    )


_DUTY_FOR = {
    RequestStatus.TRIAGE: Duty.CONFIRM_IDENTITY,
    RequestStatus.IDENTITY_PENDING: Duty.CONFIRM_IDENTITY,
    RequestStatus.GRANTED: Duty.DECIDE,
    RequestStatus.PARTIALLY_GRANTED: Duty.DECIDE,
    RequestStatus.REFUSED: Duty.DECIDE,
    RequestStatus.APPROVED_TO_RUN: Duty.APPROVE,
    RequestStatus.RUNNING: Duty.RUN,
    RequestStatus.REPORT_SIGNED: Duty.SIGN_REPORT,
}


def _identity_settled(state: dict[str, Any]) -> bool:
    return any(status == RequestStatus.TRIAGE for status, _ in state["history"])


def append_status(
    transaction: Transaction, state: dict[str, Any], to: RequestStatus, facts: TransitionFacts, actor: str
) -> None:
    """Check a change of state against the case as it is inside the transaction, and record it."""
    current = RequestStatus(state["status"])
    known = facts.model_copy(
        update={
            "identity_settled": facts.identity_settled or _identity_settled(state),
            "grounds": facts.grounds or tuple(Ground(ground) for ground in state["grounds"]),
            "held_from": RequestStatus(state["held_from"]) if state.get("held_from") else facts.held_from,
        }
    )
    check_transition(current, to, known)
    body = StatusChanged(
        to=to.value,
        reason=facts.reason,
        grounds=tuple(ground.value for ground in facts.grounds),
        refusal_basis=facts.refusal_basis.value if facts.refusal_basis else None,
        exceptions=tuple(exception.value for exception in facts.exceptions),
        other_request=facts.duplicate_of or facts.superseded_by,
    )
    transaction.append(StatusChanged.kind, body.to_body(), request_id=state["number"], actor=actor)


def change_status(office: Office, number: str, to: RequestStatus, facts: TransitionFacts | None = None) -> None:
    """Move a request on.

    Raises:
        NotPossibleError: the table, a guard or the actor's role forbids it; the sentence says what is missing.
    """
    actor = office.require(_DUTY_FOR.get(to, Duty.REGISTER))
    request_state(office, number)
    with office.ledger.transaction() as transaction:
        state = transaction.projected(REQUESTS, number)
        assert state is not None
        append_status(transaction, state, to, facts or TransitionFacts(), actor)


def confirm_identity(office: Office, number: str) -> None:
    """There is no reasonable doubt about who the person is (Art. 12(6))."""
    change_status(office, number, RequestStatus.TRIAGE, TransitionFacts(identity_settled=True))


def grant(office: Office, number: str, grounds: Sequence[Ground]) -> None:
    """Decide that the data must go; walks the states in between that are still open.

    Raises:
        NotPossibleError: the identity is not settled, or the state does not allow a decision.
        InputError: no ground is named and none was registered.
    """
    state = request_state(office, number)
    if RequestStatus(state["status"]) is RequestStatus.TRIAGE:
        change_status(office, number, RequestStatus.DECISION_PENDING)
    change_status(office, number, RequestStatus.GRANTED, TransitionFacts(grounds=tuple(grounds)))


def refuse(
    office: Office, number: str, basis: RefusalBasis, reason: str, exceptions: Sequence[Exception17] = ()
) -> None:
    """Decide that the data stays, with the reason that the law asks for."""
    state = request_state(office, number)
    if RequestStatus(state["status"]) is RequestStatus.TRIAGE:
        change_status(office, number, RequestStatus.DECISION_PENDING)
    facts = TransitionFacts(refusal_basis=basis, reason=reason, exceptions=tuple(exceptions))
    change_status(office, number, RequestStatus.REFUSED, facts)


def suspend_clock(office: Office, number: str, starts_on: date, reason: SuspensionReason) -> None:
    """Ask the person something on which the answer depends; the clock stands still where the law lets it."""
    actor = office.require(Duty.CONFIRM_IDENTITY)
    request_state(office, number)
    body = ClockSuspended(starts_on=starts_on.isoformat(), reason=reason.value)
    with office.ledger.transaction() as transaction:
        transaction.append(ClockSuspended.kind, body.to_body(), request_id=number, actor=actor)


def resume_clock(office: Office, number: str, ends_on: date) -> None:
    """The person has answered."""
    actor = office.require(Duty.CONFIRM_IDENTITY)
    state = request_state(office, number)
    if not state["suspensions"] or state["suspensions"][-1]["ends_on"] is not None:
        raise InputError(f"The clock of request {number} is not suspended.")
    body = ClockResumed(ends_on=ends_on.isoformat())
    with office.ledger.transaction() as transaction:
        transaction.append(ClockResumed.kind, body.to_body(), request_id=number, actor=actor)


def notify_extension(office: Office, number: str, notified_on: date, reason: str) -> None:
    """The person was told that the answer takes longer, and why."""
    actor = office.require(Duty.ANSWER)
    request_state(office, number)
    body = ExtensionNotified(notified_on=notified_on.isoformat(), reason=reason)
    with office.ledger.transaction() as transaction:
        transaction.append(ExtensionNotified.kind, body.to_body(), request_id=number, actor=actor)


def approve_plan(transaction: Transaction, office: Office, state: dict[str, Any], reason: str) -> None:
    """Let the plan run. With one person in the office that is self-approval, whose reason the report prints.

    Raises:
        NotPossibleError: the same person, and no reason.
    """
    approval = check_approval(office.actor, office.actor, reason)
    body = Approved(what="plan", mode=approval.separation.value, reason=approval.reason)
    transaction.append(Approved.kind, body.to_body(), request_id=state["number"], actor=office.actor.id)
    append_status(
        transaction,
        state,
        RequestStatus.APPROVED_TO_RUN,
        TransitionFacts(second_person_approved=True),
        office.actor.id,
    )
