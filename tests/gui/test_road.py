"""The road of a case and its small steps, on a real ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from console.casework.office import Office
from console.casework.requests import change_status, request_state
from console.casework.views import case_page
from console.domain.request_terms import Ground, RefusalBasis, RequestStatus
from console.domain.requests import TransitionFacts
from console.errors import NotPossibleError
from console.gui import road
from console.gui.road import StepState


def steps(office: Office, number: str) -> dict[str, StepState]:
    page = case_page(office, number)
    return {step.title: step.state for step in road.road(page, request_state(office, number))}


def action(office: Office, number: str) -> str:
    return road.next_step(case_page(office, number)).action


def test_new_request_waits_for_the_identity(office: Office, add_request: Callable[..., str]) -> None:
    number = add_request()
    shown = steps(office, number)
    assert shown["Register"] is StepState.DONE
    assert shown["Identify"] is StepState.CURRENT
    assert shown["Locate"] is shown["Erase"] is shown["Verify"] is StepState.BLOCKED
    assert action(office, number) == "request.identity"


def test_blocked_step_gives_its_reason(office: Office, add_request: Callable[..., str]) -> None:
    number = add_request()
    made = road.road(case_page(office, number), request_state(office, number))
    reasons = {step.title: step.reason for step in made}
    assert reasons["Erase"] == "Only a granted request can be carried out"
    assert made[5].words == "Erase: blocked (Only a granted request can be carried out)"


def test_proof_of_identity_stops_and_starts_the_clock(office: Office, add_request: Callable[..., str]) -> None:
    number = add_request()
    road.ask_for_proof(office, number)
    assert request_state(office, number)["suspensions"][-1]["ends_on"] is None
    road.settle_identity(office, number)
    assert request_state(office, number)["suspensions"][-1]["ends_on"] == date(2026, 11, 25).isoformat()
    assert action(office, number) == "request.locate"


def test_search_that_was_stopped_does_not_lock_the_case(office: Office, add_request: Callable[..., str]) -> None:
    number = add_request()
    road.settle_identity(office, number)
    change_status(office, number, RequestStatus.LOCATING)
    assert action(office, number) == "request.locate"
    road.grant_request(office, number, [Ground.CONSENT_WITHDRAWN])
    assert request_state(office, number)["status"] == "granted"


def test_refusal_skips_the_model_steps_until_the_answer(office: Office, add_request: Callable[..., str]) -> None:
    number = add_request()
    road.settle_identity(office, number)
    road.refuse_request(office, number, RefusalBasis.NO_GROUND, "No ground applies.", [])
    shown = steps(office, number)
    assert shown["Decide"] is StepState.DONE
    assert shown["Erase"] is StepState.SKIPPED
    assert action(office, number) == "request.answer"
    road.record_answer(office, number)
    assert action(office, number) == ""


def test_refusal_without_a_reason_is_refused(office: Office, add_request: Callable[..., str]) -> None:
    number = add_request()
    road.settle_identity(office, number)
    with pytest.raises(NotPossibleError, match="needs a reason"):
        road.refuse_request(office, number, RefusalBasis.NO_GROUND, "", [])


def test_hold_goes_back_to_where_it_was(office: Office, add_request: Callable[..., str]) -> None:
    number = add_request()
    road.settle_identity(office, number)
    change_status(office, number, RequestStatus.ON_HOLD, TransitionFacts(reason="waiting for the claims department"))
    assert action(office, number) == "request.resume"
    road.resume(office, number)
    assert request_state(office, number)["status"] == "triage"


def test_reopened_request_settles_the_identity_anew(office: Office, add_request: Callable[..., str]) -> None:
    number = add_request()
    road.settle_identity(office, number)
    change_status(office, number, RequestStatus.WITHDRAWN)
    change_status(office, number, RequestStatus.REOPENED, TransitionFacts(reason="a complaint"))
    assert steps(office, number)["Identify"] is StepState.CURRENT
