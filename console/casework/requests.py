"""Registering requests and moving them through their states."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from typing import Any

from console.casework.notes import seal_note
from console.casework.office import Office
from console.domain.case_clock import (
    ClockBasis,
    basis_of,
    deadline_by_today,
    difference_sentence,
    differs,
    next_deadline,
    recorded_deadline,
)
from console.domain.case_state import REQUESTS, foreseen
from console.domain.clock import check_received
from console.domain.deadline import Deadline, day_text
from console.domain.events import (
    Approved,
    ClockBody,
    ClockEntryWithdrawn,
    ClockResumed,
    ClockSuspended,
    DeadlineAccepted,
    ExtensionNotified,
    RequestRegistered,
    StatusChanged,
)
from console.domain.forget_set import ForgetItem, ForgetSet, known_types
from console.domain.jurisdiction import SuspensionReason
from console.domain.place_law import deadline_under, law_of_place
from console.domain.request_terms import Channel, Exception17, Ground, RefusalBasis, RequestStatus, language_code
from console.domain.requests import ErasureRequest, TransitionFacts, check_transition, next_request_number
from console.domain.roles import Duty, check_approval
from console.domain.visible import quoted
from console.errors import InputError, NotPossibleError
from console.ledger import Transaction

FORGET_SET, LETTER = "forget-set", "letter"


def register(
    office: Office,
    *,
    received: date,
    country: str,
    items: Sequence[ForgetItem],
    subdivision: str | None = None,
    profile_id: str | None = None,
    published_days: int | None = None,
    channel: Channel = Channel.EMAIL,
    language: str = "en",
    grounds: Sequence[Ground] = (),
    letter: str = "",
    summary: str = "",
    granted: bool = False,
) -> str:
    """Register a request; its facts, the person's letter and the summary go sealed into the vault.

    Args:
        country, subdivision, language: codes in any case.
        profile_id: the law; None for the one of the place.
        published_days: the office's own period, for a law that sets none.
        granted: the identity is settled and the request is granted, in the same transaction.

    Returns:
        The request's number.

    Raises:
        InputError: nothing to look for, a summary of several lines, a date in the future, an unknown place or
            law, no language code.
        NotPossibleError: to be granted without a ground.
    """
    actor = office.require(Duty.REGISTER)
    forget_set = ForgetSet(items=tuple(items)).require_nonempty()
    law = law_of_place(office.profiles, country, subdivision, profile_id, published_days)
    check_received(received, office.today())
    deadline = deadline_under(received, law)
    if len(summary.strip().splitlines()) > 1:
        raise InputError("The summary has more than one line: write it in one, the inbox shows no more.")
    with office.ledger.transaction() as transaction:
        number = next_request_number(office.ledger.projection(REQUESTS), office.today().year)
        request = ErasureRequest(
            number=number,
            subject_ref=f"S{secrets.token_hex(6)}",
            received_on=received,
            channel=channel,
            language=language_code(language),
            country=law.calendar.country,
            subdivision=law.calendar.subdivision,
            profile_id=law.profile.id,
            grounds=tuple(grounds),
        )
        sealed = [item.model_dump(mode="json") for item in forget_set.items]
        transaction.seal(number, FORGET_SET, sealed)
        if letter:
            transaction.seal(number, LETTER, letter)
        body = RequestRegistered(
            number=number,
            subject_ref=request.subject_ref,
            received_on=received.isoformat(),
            channel=channel.value,
            language=request.language,
            country=request.country,
            subdivision=request.subdivision,
            profile_id=request.profile_id,
            grounds=tuple(ground.value for ground in grounds),
            due=deadline.due.isoformat(),
            due_extended=deadline.due_extended.isoformat() if deadline.due_extended else None,
            rule=deadline.rule,
            steps=deadline.steps,
            calendar=deadline.calendar,
            items=len(forget_set.items),
            by_type=known_types(forget_set.fact_types),
            commitment=transaction.commitment(number, sealed),
            sealed_summary=seal_note(transaction, number, summary),
            **_kept(deadline, basis_of(deadline, law.profile, law.calendar)),
        )
        transaction.append(RequestRegistered.kind, body.to_body(), request_id=number, actor=actor)
        if granted:
            _confirm(transaction, office, number)
            _decide(transaction, office, number, RequestStatus.GRANTED, TransitionFacts(grounds=tuple(grounds)))
    return number


def _kept(deadline: Deadline, basis: ClockBasis) -> dict[str, Any]:
    """The two fields of an event that sets the clock."""
    return {
        "deadline": deadline.model_dump(mode="json"),
        "basis": basis.model_dump(mode="json", exclude_defaults=True),
    }


def request_state(office: Office, number: str) -> dict[str, Any]:
    """What the ledger says of a request.

    Raises:
        InputError: no such request.
    """
    state = office.ledger.projected(REQUESTS, number)
    if state is None:
        raise InputError(f"There is no request {quoted(number)}; 'request list' shows those that exist.")
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


def deadline_of(office: Office, state: dict[str, Any]) -> Deadline:
    """The request's deadline as it was recorded.

    Raises:
        InputError: it cannot be computed from what an older console recorded; the sentence says why.
    """
    return recorded_deadline(state, office.profiles)


def deadline_difference(office: Office, state: dict[str, Any]) -> str:
    """What today's calendar and profile would make of the recorded dates, as a sentence; empty if it is the same."""
    recorded = deadline_of(office, state)
    try:
        today, _ = deadline_by_today(state, office.profiles)
    except InputError as error:
        return f"The recorded date cannot be compared with today's calendar: {error}"
    return difference_sentence(recorded, today) if differs(recorded, today) else ""


def accept_deadline(office: Office, number: str) -> Deadline:
    """Put the dates by today's calendar and profile in the place of the recorded ones, as an event.

    Raises:
        InputError: no such request, or the date cannot be computed.
        NotPossibleError: they do not differ.
    """
    actor = office.require(Duty.REGISTER)
    with _changing(office, number) as (transaction, state):
        before = deadline_of(office, state)
        after, basis = deadline_by_today(state, office.profiles)
        if not differs(before, after):
            raise NotPossibleError(f"Today's calendar gives request {number} the recorded dates; nothing to accept.")
        body = DeadlineAccepted(
            due_before=before.due.isoformat(),
            due=after.due.isoformat(),
            binding_due_before=before.binding_due.isoformat(),
            binding_due=after.binding_due.isoformat(),
            calendar_before=before.calendar,
            calendar=after.calendar,
            rule=after.rule,
            **_kept(after, basis),
        )
        transaction.append(DeadlineAccepted.kind, body.to_body(), request_id=number, actor=actor)
    return after


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
    """Check a change of state against the case as it is inside the transaction, and record it.

    Raises:
        NotPossibleError: the table or a guard forbids it.
        InputError: the other request that it names does not exist.
    """
    current = RequestStatus(state["status"])
    known = facts.model_copy(
        update={
            "identity_settled": facts.identity_settled or _identity_settled(state),
            "grounds": facts.grounds or tuple(Ground(ground) for ground in state["grounds"]),
            "held_from": RequestStatus(state["held_from"]) if state.get("held_from") else facts.held_from,
        }
    )
    check_transition(current, to, known)
    other = (facts.duplicate_of or facts.superseded_by).strip()
    if other and (other == state["number"] or transaction.projected(REQUESTS, other) is None):
        raise InputError(f"There is no other request {quoted(other)}: name the number of one that exists.")
    body = StatusChanged(
        to=to.value,
        sealed_reason=seal_note(transaction, state["number"], facts.reason),
        grounds=tuple(ground.value for ground in facts.grounds),
        refusal_basis=facts.refusal_basis.value if facts.refusal_basis else None,
        exceptions=tuple(exception.value for exception in facts.exceptions),
        other_request=other,
    )
    transaction.append(StatusChanged.kind, body.to_body(), request_id=state["number"], actor=actor)


def _move(
    transaction: Transaction, office: Office, number: str, to: RequestStatus, facts: TransitionFacts | None = None
) -> None:
    """Move a request on inside a transaction."""
    actor = office.require(_DUTY_FOR.get(to, Duty.REGISTER))
    state = transaction.projected(REQUESTS, number)
    assert state is not None
    append_status(transaction, state, to, facts or TransitionFacts(), actor)


def _confirm(transaction: Transaction, office: Office, number: str) -> None:
    _move(transaction, office, number, RequestStatus.TRIAGE, TransitionFacts(identity_settled=True))


def _decide(transaction: Transaction, office: Office, number: str, to: RequestStatus, facts: TransitionFacts) -> None:
    """Decide, after the states in between that are still open; a search that was stopped is over then."""
    state = transaction.projected(REQUESTS, number)
    assert state is not None
    if RequestStatus(state["status"]) in {RequestStatus.TRIAGE, RequestStatus.LOCATING}:
        _move(transaction, office, number, RequestStatus.DECISION_PENDING)
    _move(transaction, office, number, to, facts)


def change_status(office: Office, number: str, to: RequestStatus, facts: TransitionFacts | None = None) -> None:
    """Move a request on.

    Raises:
        NotPossibleError: the table, a guard or the actor's role forbids it; the sentence says what is missing.
    """
    with _changing(office, number) as (transaction, _):
        _move(transaction, office, number, to, facts)


def confirm_identity(office: Office, number: str) -> None:
    """There is no reasonable doubt about who the person is (Art. 12(6)); a clock that waited for proof runs again.

    Raises:
        NotPossibleError: the state of the request does not allow it.
        InputError: the clock cannot run again today.
    """
    with _changing(office, number) as (transaction, state):
        _confirm(transaction, office, number)
        waits = state["suspensions"]
        if waits and waits[-1]["ends_on"] is None and waits[-1]["reason"] == SuspensionReason.IDENTITY:
            _resume(transaction, office, number, office.today())


def ask_for_proof(office: Office, number: str) -> None:
    """The person is asked today who they are; where the law lets it, the clock waits.

    Raises:
        NotPossibleError: the state of the request does not allow it.
        InputError: the request was received on a later day.
    """
    with _changing(office, number) as (transaction, _):
        _move(transaction, office, number, RequestStatus.IDENTITY_PENDING)
        _suspend(transaction, office, number, office.today(), SuspensionReason.IDENTITY)


def grant(office: Office, number: str, grounds: Sequence[Ground], reason: str = "") -> None:
    """Decide that the data must go; walks the states in between that are still open.

    Args:
        reason: why, in the officer's words; sealed.

    Raises:
        NotPossibleError: the identity is not settled, no ground is known, or the state does not allow a decision.
    """
    with _changing(office, number) as (transaction, _):
        _decide(
            transaction, office, number, RequestStatus.GRANTED, TransitionFacts(grounds=tuple(grounds), reason=reason)
        )


def refuse(
    office: Office, number: str, basis: RefusalBasis, reason: str, exceptions: Sequence[Exception17] = ()
) -> None:
    """Decide that the data stays, with the reason that the law asks for.

    Raises:
        NotPossibleError: basis, reason or exception is missing, or the state does not allow a decision.
    """
    facts = TransitionFacts(refusal_basis=basis, reason=reason, exceptions=tuple(exceptions))
    with _changing(office, number) as (transaction, _):
        _decide(transaction, office, number, RequestStatus.REFUSED, facts)


def _append_clock(transaction: Transaction, office: Office, number: str, body: ClockBody, actor: str) -> None:
    """Record what moves the clock, with the deadline that it makes."""
    state = transaction.projected(REQUESTS, number)
    assert state is not None
    after = foreseen(state, body.kind, body.to_body())
    dated = body.model_copy(update=_kept(*next_deadline(after, office.profiles)))
    transaction.append(body.kind, dated.to_body(), request_id=number, actor=actor)


def _suspend(transaction: Transaction, office: Office, number: str, on: date, reason: SuspensionReason) -> None:
    actor = office.require(Duty.CONFIRM_IDENTITY)
    _check_day(office, on, "The day of the question,")
    body = ClockSuspended(starts_on=on.isoformat(), reason=reason.value)
    _append_clock(transaction, office, number, body, actor)


def _resume(transaction: Transaction, office: Office, number: str, on: date) -> None:
    actor = office.require(Duty.CONFIRM_IDENTITY)
    _check_day(office, on, "The day of the answer,")
    state = transaction.projected(REQUESTS, number)
    assert state is not None
    if not state["suspensions"] or state["suspensions"][-1]["ends_on"] is not None:
        raise InputError(f"The clock of request {number} is not suspended.")
    _append_clock(transaction, office, number, ClockResumed(ends_on=on.isoformat()), actor)


def _check_day(office: Office, day: date, what: str) -> None:
    if day > office.today():
        raise InputError(
            f"{what} {day_text(day)} lies in the future: enter the day on which it happened, at the latest "
            f"{day_text(office.today())} ({office.timezone_words})."
        )


@contextmanager
def _changing(office: Office, number: str) -> Iterator[tuple[Transaction, dict[str, Any]]]:
    """A transaction, and the request as it is inside it."""
    request_state(office, number)
    with office.ledger.transaction() as transaction:
        state = transaction.projected(REQUESTS, number)
        assert state is not None
        yield transaction, state


def suspend_clock(office: Office, number: str, starts_on: date, reason: SuspensionReason) -> None:
    """Ask the person something on which the answer depends; the clock stands still where the law lets it.

    Raises:
        InputError: a day in the future or before the receipt, or the clock is suspended already.
    """
    with _changing(office, number) as (transaction, _):
        _suspend(transaction, office, number, starts_on, reason)


def resume_clock(office: Office, number: str, ends_on: date) -> None:
    """The person has answered.

    Raises:
        InputError: a day in the future or before the question, or the clock is not suspended.
    """
    with _changing(office, number) as (transaction, _):
        _resume(transaction, office, number, ends_on)


def notify_extension(office: Office, number: str, notified_on: date, reason: str) -> None:
    """The person was told that the answer takes longer, and why.

    Raises:
        InputError: a day in the future or before the receipt, no reason, or the person was told before.
    """
    actor = office.require(Duty.ANSWER)
    _check_day(office, notified_on, "The day of the notice,")
    if not reason.strip():
        raise InputError("Write down the reasons that the person was given for the longer time (Art. 12(3)).")
    with _changing(office, number) as (transaction, state):
        if state["extension"]:
            told = state["extension"]
            raise InputError(
                f"The notice of {told['notified_on']} is recorded already (entry {told['seq']}): "
                "withdraw that entry first if it is wrong."
            )
        sealed = seal_note(transaction, number, reason)
        body = ExtensionNotified(notified_on=notified_on.isoformat(), sealed_reason=sealed)
        _append_clock(transaction, office, number, body, actor)


def withdraw_clock_entry(office: Office, number: str, entry: int, reason: str) -> None:
    """Take a suspension, an answer or a notice that was recorded in error out of the reckoning.

    The entry stays in the chain. This is how a case goes on whose dates contradict each other.

    Args:
        entry: the event's number in the ledger, as the case's story shows it.

    Raises:
        InputError: no such entry of the clock, or no reason.
    """
    actor = office.require(Duty.CONFIRM_IDENTITY)
    if not reason.strip():
        raise InputError("Write down why the entry is wrong.")
    with _changing(office, number) as (transaction, state):
        known = clock_entries(state)
        if entry not in known:
            some = ", ".join(str(seq) for seq in known) or "none"
            raise InputError(f"Entry {entry} is no entry of this request's clock that counts; those are: {some}.")
        body = ClockEntryWithdrawn(entry=entry, sealed_reason=seal_note(transaction, number, reason))
        after = foreseen(state, body.kind, body.to_body())
        # Another entry may be wrong as well. This one has to go all the same; the case says what is still wrong.
        with suppress(InputError):
            body = body.model_copy(update=_kept(*next_deadline(after, office.profiles)))
        transaction.append(body.kind, body.to_body(), request_id=number, actor=actor)


def clock_entries(state: dict[str, Any]) -> tuple[int, ...]:
    """Numbers of the ledger's entries that the request's clock is made of, besides the receipt."""
    waits = [seq for wait in state["suspensions"] for seq in (wait["seq"], wait.get("ended_seq")) if seq]
    return (*waits, *([state["extension"]["seq"]] if state["extension"] else []))


def approve_plan(transaction: Transaction, office: Office, state: dict[str, Any], reason: str) -> None:
    """Let the plan run. With one person in the office that is self-approval, whose reason the report prints.

    Raises:
        NotPossibleError: the same person, and no reason.
    """
    approval = check_approval(office.actor, office.actor, reason)
    sealed = seal_note(transaction, state["number"], approval.reason)
    body = Approved(what="plan", mode=approval.separation.value, sealed_reason=sealed)
    transaction.append(Approved.kind, body.to_body(), request_id=state["number"], actor=office.actor.id)
    append_status(
        transaction,
        state,
        RequestStatus.APPROVED_TO_RUN,
        TransitionFacts(second_person_approved=True),
        office.actor.id,
    )
