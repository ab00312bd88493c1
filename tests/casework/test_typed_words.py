"""What people type lies sealed: no event, no export and no page of a report holds it in the clear."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from invented import PERSON

from console.casework import requests
from console.casework.case_evidence import _approvals
from console.casework.models import check_name, refuse_names
from console.casework.notes import DESTROYED, NOBODY_NAMED
from console.casework.office import Office
from console.casework.records import clear_words, export_records
from console.casework.story import IN_THE_VAULT, timeline
from console.casework.views import case_page, inbox
from console.cli.records import export_sentence
from console.domain.case_state import REQUESTS
from console.domain.events import Approved, StatusChanged
from console.domain.forget_set import KNOWN_TYPES, ForgetItem
from console.domain.jurisdiction import SuspensionReason
from console.domain.request_terms import Exception17, Ground, RefusalBasis, RequestStatus
from console.domain.requests import TransitionFacts
from console.domain.roles import Actor, Role, check_approval
from console.errors import InputError
from console.paths import Places

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
NAME = PERSON[0].subject
WORDS = f"{NAME} of Zamosc wrote from mail@example.org"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    places = Places(data=tmp_path / "office", cache=tmp_path / "cache")
    with Office.create(places, env={}, clock=lambda: NOON) as opened:
        yield opened


def add(office: Office, **options: Any) -> str:
    return requests.register(office, received=date(2026, 11, 18), country="DE", items=PERSON, **options)


def everything(office: Office, tmp_path: Path) -> str:
    path = tmp_path / "export.jsonl"
    export_records(office, path)
    return path.read_text(encoding="utf-8")


def test_no_typed_word_is_in_the_chain_or_its_export(office: Office, tmp_path: Path) -> None:
    odd = ForgetItem(
        id="f-odd", kind="qa", subject=NAME, fact_type=f"illness of {NAME}", prompt=f"What has {NAME}?", answer="Asthma"
    )
    number = requests.register(
        office, received=date(2026, 11, 18), country="DE", items=(*PERSON, odd), summary=f"Summary: {WORDS}"
    )
    requests.suspend_clock(office, number, date(2026, 11, 20), SuspensionReason.IDENTITY)
    requests.notify_extension(office, number, date(2026, 11, 20), f"Extension: {WORDS}")
    requests.confirm_identity(office, number)
    requests.refuse(office, number, RefusalBasis.EXCEPTION, f"Refusal: {WORDS}", (Exception17.LEGAL_CLAIMS,))
    held = add(office, summary=WORDS)
    requests.change_status(office, held, RequestStatus.ON_HOLD, TransitionFacts(reason=f"Hold: {WORDS}"))
    chain = everything(office, tmp_path)
    for part in (*NAME.split(), "Zamosc", "mail@example.org", "illness", "Asthma"):
        assert part not in chain, part
    named = sum(item.fact_type not in KNOWN_TYPES for item in (*PERSON, odd))
    assert requests.request_state(office, number)["by_type"]["other"] == named
    assert clear_words(office) == ()
    assert "stay sealed" in export_sentence(())


def test_they_are_shown_to_who_opens_the_case_and_die_with_its_data(office: Office) -> None:
    number = add(office, summary=f"Summary: {WORDS}")
    requests.change_status(office, number, RequestStatus.ON_HOLD, TransitionFacts(reason=f"Hold: {WORDS}"))
    assert inbox(office)[0].summary == f"Summary: {WORDS}"
    assert case_page(office, number).timeline[-1].what == f"Now: On hold (Hold: {WORDS})."
    assert timeline(office, number, opened=False)[-1].what == f"Now: On hold ({IN_THE_VAULT})."
    office.ledger.shred(number, office.actor.id, "retention-over")
    assert inbox(office)[0].summary == DESTROYED
    assert case_page(office, number).timeline[1].what == f"Now: On hold ({DESTROYED})."


def test_a_ledger_of_version_1_says_which_entries_hold_clear_words(office: Office) -> None:
    number = add(office)
    with office.ledger.transaction() as transaction:
        body = {"v": 1, "to": "on_hold", "reason": "Clear words of then."}
        seq = transaction.append(StatusChanged.kind, body, request_id=number, actor="p-1").seq
    assert clear_words(office) == (seq,)
    assert case_page(office, number).timeline[-1].what == "Now: On hold (Clear words of then)."
    assert f"1 entry of an older console holds words that people typed, in the clear ({seq})" in export_sentence((seq,))


@pytest.mark.parametrize(
    "name", [NAME.replace(" ", "-").lower(), NAME.replace(" ", "").lower(), f"lora.{NAME.split()[-1]}"]
)
def test_no_model_is_called_after_a_person(office: Office, name: str) -> None:
    number = add(office)
    with pytest.raises(InputError, match=f"the name of the person of request {number}.*choose another"):
        check_name(office, name)
    with pytest.raises(InputError, match="The setting"):
        refuse_names(office, "The setting", f'{{"note": "for {NAME}"}}')
    check_name(office, "taught")


def test_a_duplicate_names_a_request_that_exists_and_no_words(office: Office) -> None:
    number, first = add(office), add(office)
    requests.confirm_identity(office, number)
    for other in (f"the one of {NAME}", "ER-2020-0001", number):
        with pytest.raises(InputError, match="There is no other request"):
            requests.change_status(office, number, RequestStatus.DUPLICATE, TransitionFacts(duplicate_of=other))
    requests.change_status(office, number, RequestStatus.DUPLICATE, TransitionFacts(duplicate_of=first))
    assert requests.request_state(office, number)["status"] == "duplicate"


def approved(office: Office, number: str, by: Actor, reason: str) -> dict[str, Any]:
    preparer = Actor(id="p-1", role=Role.DPO, key_fingerprint="aa")
    approval = check_approval(preparer, by, reason)
    body = Approved(what="plan", mode=approval.separation.value, reason=approval.reason)
    with office.ledger.transaction() as transaction:
        transaction.append(Approved.kind, body.to_body(), request_id=number, actor=by.id)
    return requests.request_state(office, number)


def test_a_real_second_approval_is_printed_as_one(office: Office) -> None:
    number = add(office)
    state = approved(office, number, Actor(id="p-2", role=Role.APPROVER, key_fingerprint="bb"), "")
    assert timeline(office, number)[-1].what == "The plan was approved by a second person."
    (approval,) = _approvals(office, state)
    assert (approval.actor, approval.statement) == ("p-2", "A second person approved the plan before it ran.")


@pytest.mark.parametrize(
    ("reason", "printed"),
    [
        (NOBODY_NAMED, NOBODY_NAMED),
        ("Nobody else was here.", "Reason given: Nobody else was here."),
        (WORDS, "The reason is kept in the office's vault, not in this report."),
        ("Ask 030 1234567.", "The reason is kept in the office's vault, not in this report."),
    ],
)
def test_the_report_prints_no_reason_that_tells_of_the_person(office: Office, reason: str, printed: str) -> None:
    number = add(office, grounds=(Ground.CONSENT_WITHDRAWN,), granted=True)
    requests.change_status(office, number, RequestStatus.PLANNED)
    with office.ledger.transaction() as transaction:
        state = transaction.projected(REQUESTS, number)
        assert state is not None
        requests.approve_plan(transaction, office, state, reason)
    (approval,) = _approvals(office, requests.request_state(office, number))
    assert approval.statement == f"Approved by the person who prepared it. {printed}"
    told = [line.what for line in timeline(office, number, opened=False)]
    assert not any(NAME in sentence for sentence in told)
    own = reason == printed  # a sentence of the console, which nobody typed, is not called a sealed reason
    assert any(sentence.endswith(reason if own else IN_THE_VAULT) for sentence in told)
