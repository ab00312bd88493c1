"""The state of a case is a fold over its events: step by step, without side effects, the same every time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.domain.case_state import JOBS, MODELS, REQUESTS, CaseProjector, State

PROJECTOR = CaseProjector()
NUMBER = "ER-2026-0001"


@dataclass(frozen=True)
class Event:
    """What the fold needs of a ledger event."""

    kind: str
    body: dict[str, Any] = field(default_factory=dict)
    seq: int = 1
    request_id: str | None = NUMBER
    actor: str = "p-1"


def numbered(events: Sequence[Event]) -> list[Event]:
    return [Event(event.kind, event.body, seq, event.request_id, event.actor) for seq, event in enumerate(events, 1)]


def fold(*events: Event) -> dict[tuple[str, str], State]:
    """Every table's states after the events, and the check that no event changed a state in place."""
    states: dict[tuple[str, str], State] = {}
    for event in numbered(events):
        for table, key in PROJECTOR.keys(event):
            before = copy.deepcopy(states.get((table, key)))
            state = PROJECTOR.apply(table, states.get((table, key)), event)
            assert states.get((table, key)) == before
            if state is not None:
                states[table, key] = state
    return states


def request(*events: Event) -> State:
    return fold(REGISTERED, *events)[REQUESTS, NUMBER]


REGISTERED = Event("request_registered", {"v": 1, "number": NUMBER, "grounds": [], "items": 3})
TRIAGE = Event("status_changed", {"to": "triage"})
SUSPENDED = Event("clock_suspended", {"starts_on": "2026-03-02", "reason": "identity"})
RESUMED = Event("clock_resumed", {"ends_on": "2026-03-09"})
EXTENDED = Event("extension_notified", {"notified_on": "2026-03-20", "reason": "complex"})
PLANNED = Event("plan_fixed", {"v": 1, "method": "npo", "thresholds": {"power": "0.50"}})
BATTERY = Event(
    "battery_recorded", {"battery": {"stage": "before"}, "model": "m", "attempts": "vault-1", "job_id": "attack-1"}
)
RUN = Event("erasure_run", {"artefact": f"{NUMBER}-a1", "artefact_hash": "ff"})
VERDICT = Event("verdict_reached", {"artefact": f"{NUMBER}-a1", "verdict": {"word": "removed", "rule": "V1.7"}})
APPROVED = Event("approved", {"what": "plan", "mode": "self", "reason": "alone"}, actor="p-2")
SIGNED = Event("report_signed", {"report_id": "R-1", "sha256": "ee", "size": 9})
SHREDDED = Event("vault_shredded")
MODEL = Event("model_registered", {"v": 1, "name": "m", "identity": {"tree_hash": "aa"}}, request_id=None)
STARTED = Event("job_started", {"job_id": "erase-1", "job": "erase", "model": "m"})
ENDED = Event("job_ended", {"job_id": "erase-1", "outcome": "failed", "reason": "It was ended by SIGSEGV."})
ALL = (
    REGISTERED, TRIAGE, SUSPENDED, RESUMED, EXTENDED, PLANNED, BATTERY, RUN, VERDICT, APPROVED, SIGNED, SHREDDED,
    MODEL, STARTED, ENDED,
)  # fmt: skip


class TestRequest:
    def test_a_new_one_is_received_and_has_nothing_yet(self) -> None:
        state = request()
        assert (state["number"], state["items"], state["status"]) == (NUMBER, 3, "received")
        assert state["history"] == [["received", 1]]
        assert "v" not in state
        empty = {"suspensions": [], "extension": None, "plan": None, "runs": {}, "batteries": {}, "verdict": None}
        assert empty | {"approvals": [], "reports": [], "refusal": None} == {
            name: state[name] for name in (*empty, "approvals", "reports", "refusal")
        }

    @pytest.mark.parametrize(
        ("event", "changed"),
        [
            (TRIAGE, {"status": "triage", "history": [["received", 1], ["triage", 2]]}),
            (
                Event("status_changed", {"to": "granted", "grounds": ["17(1)(b)"]}),
                {"status": "granted", "history": [["received", 1], ["granted", 2]], "grounds": ["17(1)(b)"]},
            ),
            (
                Event(
                    "status_changed",
                    {"to": "refused", "refusal_basis": "exception", "exceptions": ["17(3)(e)"], "reason": "claims"},
                ),
                {
                    "status": "refused",
                    "history": [["received", 1], ["refused", 2]],
                    "refusal": {"basis": "exception", "exceptions": ["17(3)(e)"], "reason": "claims"},
                },
            ),
            (
                Event("status_changed", {"to": "on_hold", "reason": "court"}),
                {"status": "on_hold", "history": [["received", 1], ["on_hold", 2]], "held_from": "received"},
            ),
            (
                SUSPENDED,
                {"suspensions": [{"starts_on": "2026-03-02", "ends_on": None, "reason": "identity", "seq": 2}]},
            ),
            (RESUMED, {}),
            (EXTENDED, {"extension": {"notified_on": "2026-03-20", "reason": "complex", "seq": 2}}),
            (PLANNED, {"plan": {"method": "npo", "thresholds": {"power": "0.50"}, "seq": 2}}),
            (
                BATTERY,
                {"batteries": {"before/m": {"seq": 2, "model": "m", "attempts": "vault-1", "job_id": "attack-1"}}},
            ),
            (RUN, {"runs": {f"{NUMBER}-a1": {"seq": 2, "hash": "ff"}}}),
            (VERDICT, {"verdict": {"artefact": f"{NUMBER}-a1", "word": "removed", "rule": "V1.7", "seq": 2}}),
            (
                APPROVED,
                {"approvals": [{"what": "plan", "mode": "self", "reason": "alone", "actor": "p-2", "seq": 2}]},
            ),
            (SIGNED, {"reports": [{"report_id": "R-1", "sha256": "ee", "size": 9, "seq": 2}]}),
            (SHREDDED, {"shredded": 2}),
        ],
        ids=lambda value: value.kind if isinstance(value, Event) else "",
    )
    def test_every_event_changes_its_own_part(self, event: Event, changed: dict[str, Any]) -> None:
        assert request(event) == request() | changed

    def test_a_second_suspension_leaves_the_first(self) -> None:
        again = Event("clock_suspended", {"starts_on": "2026-04-01", "reason": "scope"})
        spans = [(span["starts_on"], span["ends_on"]) for span in request(SUSPENDED, RESUMED, again)["suspensions"]]
        assert spans == [("2026-03-02", "2026-03-09"), ("2026-04-01", None)]

    def test_a_repeated_battery_takes_the_place_of_the_first_and_stages_stand_apart(self) -> None:
        later = Event("battery_recorded", BATTERY.body | {"attempts": "vault-2"})
        other = Event("battery_recorded", BATTERY.body | {"battery": {"stage": "after"}, "model": "m-a1"})
        batteries = request(BATTERY, later, other)["batteries"]
        assert {key: kept["attempts"] for key, kept in batteries.items()} == {
            "before/m": "vault-2",
            "after/m-a1": "vault-1",
        }

    def test_reports_and_approvals_add_up(self) -> None:
        state = request(APPROVED, SIGNED, APPROVED, SIGNED)
        assert [entry["seq"] for entry in state["approvals"]] == [2, 4]
        assert [entry["seq"] for entry in state["reports"]] == [3, 5]


class TestOtherTables:
    def test_a_model_is_known_by_its_name(self) -> None:
        assert fold(MODEL)[MODELS, "m"] == {"name": "m", "identity": {"tree_hash": "aa"}, "seq": 1}

    def test_a_job_runs_until_it_ends(self) -> None:
        running = fold(STARTED)[JOBS, "erase-1"]
        assert running == {
            "job_id": "erase-1",
            "job": "erase",
            "model": "m",
            "request": NUMBER,
            "outcome": "running",
            "reason": "",
            "started_seq": 1,
        }
        ended = fold(STARTED, ENDED)[JOBS, "erase-1"]
        assert ended == running | {"outcome": "failed", "reason": "It was ended by SIGSEGV.", "ended_seq": 2}

    @pytest.mark.parametrize("event", [ENDED, TRIAGE, SIGNED, BATTERY, VERDICT])
    def test_an_event_about_what_never_began_leaves_no_state(self, event: Event) -> None:
        assert fold(event) == {}


class TestKeys:
    @pytest.mark.parametrize("event", ALL, ids=lambda event: event.kind)
    def test_every_kind_touches_one_state(self, event: Event) -> None:
        ((table, key),) = PROJECTOR.keys(event)
        assert table == {"model_registered": MODELS, "job_started": JOBS, "job_ended": JOBS}.get(event.kind, REQUESTS)
        assert key in {NUMBER, "m", "erase-1"}

    @pytest.mark.parametrize(
        "event", [Event("office_opened", request_id=None), Event("noted"), Event("status_changed", request_id=None)]
    )
    def test_other_events_touch_none(self, event: Event) -> None:
        assert tuple(PROJECTOR.keys(event)) == ()


@given(st.lists(st.sampled_from(ALL), max_size=25))
def test_any_history_folds_the_same_twice(events: list[Event]) -> None:
    """Dropping the tables and folding again gives the same; nothing raises, whatever came first."""
    assert fold(*events) == fold(*events)
    states = fold(*events)
    if (REQUESTS, NUMBER) in states:
        last = max(seq for seq, event in enumerate(events, 1) if event.kind == "request_registered")
        moves = [
            event.body["to"] for seq, event in enumerate(events, 1) if event.kind == "status_changed" and seq > last
        ]
        assert states[REQUESTS, NUMBER]["status"] == (moves or ["received"])[-1]
