"""Where the searched model puts the facts: collected once, sealed, and read on every model of the case."""

from __future__ import annotations

import pytest
from invented import FACTS, PERSON, SUBJECT
from test_walk import granted, run, settings

from console.casework import batteries, cases, requests, sequence
from console.casework.batteries import bound_suites, run_battery, suite_for
from console.casework.knowledge import Knowledge
from console.casework.office import Office
from console.casework.operation import CancelledByUserError, Job, JobResult
from console.casework.own_places import PLACES, places_payload, sealed_places
from console.casework.views import inbox
from console.domain.own_places import OwnPlace, PlaceCounts, PlaceSource
from console.domain.request_terms import RequestStatus
from console.domain.results import Stage
from console.domain.sequence import Standing
from console.domain.suites import QUICK
from console.errors import JobFailedError, NotPossibleError
from console.jobs.spec import JobKind, JobPayload

PLACE = OwnPlace(
    prompt=FACTS[0].prompt, chat=True, opening=f"{SUBJECT} lives in ", answer="Aalborg", source=PlaceSource.OWN_WORDS
)
FOUND = {"places": {FACTS[0].id: [PLACE.model_dump(mode="json")]}, "counts": dict.fromkeys(PlaceCounts.model_fields, 1)}


def result(value: dict[str, object]) -> JobResult:
    return JobResult(value=value, seconds=1.0, peak_rss_mb=1)


def to_the_attack(office: Office, number: str) -> list[Job]:
    """The jobs that ``locate`` asks for up to the first attack, which then fails."""
    walk = cases.locate(office, number, "taught")
    jobs = [next(walk)]
    while jobs[-1].spec.kind is not JobKind.ATTACK:
        jobs.append(walk.send(result(FOUND)))
    with pytest.raises(JobFailedError):
        walk.throw(JobFailedError("the machine went to sleep"))
    return jobs


def test_the_places_are_found_once_and_sealed_and_every_stage_reads_the_same(
    stocked: Office, knowledge: Knowledge
) -> None:
    number = granted(stocked)
    listening, attacking = to_the_attack(stocked, number)
    assert listening.spec.kind is JobKind.OWN_PLACES and listening.payload.forget == PERSON
    assert not {item.subject for item in listening.payload.retain} & {SUBJECT} and listening.payload.controls
    assert attacking.payload.places == {FACTS[0].id: (PLACE,)}
    assert not any(SUBJECT in job.spec.model_dump_json() for job in (listening, attacking)), "a spec lies in the open"
    assert not any("lives in" in str(event.body) for event in stocked.ledger.events()), "so does the ledger"
    (again,) = to_the_attack(stocked, number)
    assert again.spec.kind is JobKind.ATTACK and again.payload.places == attacking.payload.places
    assert again.details["suite"] == attacking.details["suite"]
    (item,) = sealed_places(stocked, number)
    assert len(stocked.ledger.sealed_items(number, PLACES)) == 1
    suite = suite_for(stocked, number, knowledge, QUICK, places=item)
    for stage in Stage:
        job = next(run_battery(stocked, number, stage, "taught", suite, knowledge, "cpu"))
        assert job.payload.places == attacking.payload.places


def test_a_case_is_searched_from_the_first_stage_on_and_stopped_in_it(stocked: Office, knowledge: Knowledge) -> None:
    number = requests.register(stocked, received=stocked.today(), country="DE", items=PERSON)
    requests.confirm_identity(stocked, number)
    walk = cases.locate(stocked, number, "taught")
    assert next(walk).spec.kind is JobKind.OWN_PLACES
    state = requests.request_state(stocked, number)
    assert RequestStatus(state["status"]) is RequestStatus.LOCATING
    with pytest.raises(CancelledByUserError):
        walk.throw(CancelledByUserError("The job was stopped; no model was changed."))
    (line,) = [line for line in inbox(stocked) if line.number == number]
    assert line.is_stopped and line.status_text == "Search stopped before its end"


def test_the_suite_s_identity_covers_the_places_and_the_reading(
    stocked: Office, knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = granted(stocked)
    to_the_attack(stocked, number)
    (item,) = sealed_places(stocked, number)
    without, with_places = (suite_for(stocked, number, knowledge, QUICK, places=one) for one in (None, item))
    assert without.hash != with_places.hash and with_places in bound_suites(stocked, number, knowledge)
    monkeypatch.setattr(batteries, "PLACES_VERSION", 99)
    later = suite_for(stocked, number, knowledge, QUICK, places=item)
    monkeypatch.undo()
    monkeypatch.setattr(batteries, "reading", lambda: {"version": 99})
    otherwise = suite_for(stocked, number, knowledge, QUICK, places=item)
    assert len({with_places.hash, later.hash, otherwise.hash}) == 3
    assert with_places.hash not in {suite.hash for suite in bound_suites(stocked, number, knowledge)}


def test_a_payload_without_places_is_what_it_was() -> None:
    assert "places" not in JobPayload().model_dump(mode="json")
    value = {"places": {"a": [PLACE.model_dump(mode="json")]}}
    assert places_payload(value) == {"a": (PLACE,)}


def test_what_was_read_in_another_way_is_not_compared(stocked: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case that was carried out by an earlier version: neither a verdict nor a recheck mixes the two."""
    office, now = stocked, batteries.reading
    number = granted(office)
    monkeypatch.setattr(batteries, "reading", lambda: {"version": 1})
    run(office, cases.locate(office, number, "taught"))
    erased = run(office, cases.erase(office, number, "taught", "npo", settings()))
    outcome = run(office, cases.attack(office, number, erased.artefact))
    told = outcome.before.settings
    assert office.ledger.unseal(told["own_places"])["counts"] == told["own_places_counts"]
    monkeypatch.setattr(batteries, "reading", now)
    with pytest.raises(NotPossibleError, match="asked and read in another way"):
        run(office, cases.attack(office, number, erased.artefact))
    with pytest.raises(NotPossibleError, match="run locate"):
        run(office, cases.erase(office, number, "taught", "npo", settings()))
    earlier = sequence._recheck_one(office, number, erased.artefact, erased.artefact, "cpu")
    with pytest.raises(StopIteration) as ended:
        next(earlier)
    assert ended.value.value.standing is Standing.NOT_KNOWN and "in another way" in ended.value.value.reason
