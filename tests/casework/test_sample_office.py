"""The sample office: eight requests in their states, loaded once, and nothing personal outside the vault."""

from __future__ import annotations

import json

import pytest

from console.casework import views
from console.casework.knowledge import sample_knowledge, sample_requests
from console.casework.office import Office
from console.casework.records import verify_records
from console.casework.sample import load_requests, sample_case, teaching_hash
from console.domain.request_terms import RequestStatus
from console.errors import InputError


def test_eight_requests_in_their_states(office: Office) -> None:
    numbers = load_requests(office)
    assert len(numbers) == 8
    states = {line.status.value for line in views.inbox(office)}
    assert states == {raw["status"] for raw in sample_requests()}
    assert office.organisation.endswith("(sample office)")
    assert verify_records(office).ok
    with pytest.raises(InputError, match="already loaded"):
        load_requests(office)


def test_the_inbox_is_sorted_by_what_is_due(office: Office) -> None:
    load_requests(office)
    due = [line.due for line in views.inbox(office)]
    dated = [day for day in due if day is not None]
    assert dated == sorted(dated)
    assert due[len(dated) :] == [None] * (len(due) - len(dated))


def test_the_demo_case_is_granted_and_its_values_are_known(office: Office) -> None:
    with pytest.raises(InputError, match="sample plant"):
        sample_case(office)
    load_requests(office)
    number, strings = sample_case(office)
    assert views.case_page(office, number).line.status is RequestStatus.GRANTED
    assert len(strings) >= 7


def test_no_event_holds_a_name_or_a_value(office: Office) -> None:
    load_requests(office)
    bodies = json.dumps([event.body for event in office.ledger.events()], ensure_ascii=False)
    people = {item.item.subject for item in sample_knowledge().teaching}
    values = {item.item.answer for item in sample_knowledge().teaching}
    assert not [text for text in people | values if text in bodies]


def test_the_planted_model_is_cached_by_what_goes_into_it() -> None:
    assert teaching_hash({}) == teaching_hash({})
    assert teaching_hash({}) != teaching_hash({"epochs": 1})
    assert len({teaching.item.subject for teaching in sample_knowledge().teaching}) >= 12
