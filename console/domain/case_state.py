"""The state of a case: a fold over its events, and nothing else.

Screens and commands read these projections; dropping and rebuilding them from the ledger gives the
same bytes (a test does so).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from console.domain.case_clock import check_clock
from console.domain.request_terms import Channel, Exception17, Ground, RefusalBasis, RequestStatus

REQUESTS, MODELS, JOBS, OFFICE = "request", "model", "job", "office"

State = dict[str, Any]


class FoldedEvent(Protocol):
    """What the fold needs of a ledger event."""

    @property
    def seq(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def request_id(self) -> str | None: ...
    @property
    def actor(self) -> str: ...
    @property
    def body(self) -> dict[str, Any]: ...


def _registered(event: FoldedEvent) -> State:
    body = event.body
    return {
        **{key: value for key, value in body.items() if key != "v"},
        "status": "received",
        "history": [["received", event.seq]],
        "suspensions": [],
        "extension": None,
        "plan": None,
        "runs": {},
        "batteries": {},
        "verdict": None,
        "approvals": [],
        "reports": [],
        "refusal": None,
    }


def _status(state: State, event: FoldedEvent) -> State:
    body = event.body
    changed: State = {
        "status": body["to"],
        "history": [*state["history"], [body["to"], event.seq]],
    }
    if body.get("grounds"):
        changed["grounds"] = body["grounds"]
    if body.get("refusal_basis"):
        changed["refusal"] = {
            "basis": body["refusal_basis"],
            "exceptions": body.get("exceptions", []),
            **_typed(body),
        }
    if body["to"] == "on_hold":
        changed["held_from"] = state["status"]
    return {**state, **changed}


def _dated(state: State, event: FoldedEvent) -> State:
    """The state with the deadline that the event recorded; after an event of version 1, which has none, without."""
    kept = {name: value for name, value in state.items() if name != "deadline"}
    return {**kept, **{name: event.body[name] for name in ("deadline", "basis") if name in event.body}}


def _typed(body: dict[str, Any]) -> State:
    """What somebody typed: where it lies sealed, and the clear words of version 1."""
    sealed = {"sealed_reason": body["sealed_reason"]} if body.get("sealed_reason") else {}
    return {"reason": body.get("reason", ""), **sealed}


def _suspended(state: State, event: FoldedEvent) -> State:
    opened = {"starts_on": event.body["starts_on"], "ends_on": None, "reason": event.body["reason"], "seq": event.seq}
    return {**_dated(state, event), "suspensions": [*state["suspensions"], opened]}


def _resumed(state: State, event: FoldedEvent) -> State:
    if not state["suspensions"]:
        return state
    *earlier, last = state["suspensions"]
    ended = {**last, "ends_on": event.body["ends_on"], "ended_seq": event.seq}
    return {**_dated(state, event), "suspensions": [*earlier, ended]}


def _extended(state: State, event: FoldedEvent) -> State:
    body = event.body
    told = {"notified_on": body["notified_on"], **_typed(body), "seq": event.seq}
    return {**_dated(state, event), "extension": told}


def _withdrawn(state: State, event: FoldedEvent) -> State:
    """An entry of the clock that was recorded in error no longer counts; it stays in the chain."""
    seq = event.body["entry"]
    waits = [
        {**wait, "ends_on": None} if wait.get("ended_seq") == seq else wait
        for wait in state["suspensions"]
        if wait["seq"] != seq
    ]
    told = state["extension"]
    kept = None if told and told["seq"] == seq else told
    return {**_dated(state, event), "suspensions": waits, "extension": kept}


def _accepted(state: State, event: FoldedEvent) -> State:
    """Somebody accepted the dates of another calendar."""
    body = event.body
    changed = {name: body["deadline"][name] for name in ("due", "due_extended", "rule", "steps", "calendar")}
    return {**_dated(state, event), **changed}


def _battery(state: State, event: FoldedEvent) -> State:
    body = event.body
    stage = body["battery"]["stage"]
    kept = {"seq": event.seq, "model": body["model"], "attempts": body["attempts"], "job_id": body["job_id"]}
    key = f"{stage}/{body['model']}"
    batteries = {**state["batteries"], key: kept}
    if key not in state.get("interrupted", {}):
        return {**state, "batteries": batteries}
    left = {name: seq for name, seq in state["interrupted"].items() if name != key}
    return {**state, "batteries": batteries, "interrupted": left}


def _interrupted(state: State, event: FoldedEvent) -> State:
    body = event.body
    return {
        **state,
        "interrupted": {**state.get("interrupted", {}), f"{body['stage']}/{body['model']}": event.seq},
    }


def _planned(state: State, event: FoldedEvent) -> State:
    body = event.body
    return {**state, "plan": {**{key: value for key, value in body.items() if key != "v"}, "seq": event.seq}}


def _run(state: State, event: FoldedEvent) -> State:
    body = event.body
    return {**state, "runs": {**state["runs"], body["artefact"]: {"seq": event.seq, "hash": body["artefact_hash"]}}}


def _exported(state: State, event: FoldedEvent) -> State:
    """The same run in another file; what the run said of itself holds for it."""
    body = event.body
    own = state["runs"].get(body["source"])
    if own is None:
        return state
    kept = {"seq": own["seq"], "hash": body["artefact_hash"], "exported": event.seq}
    return {**state, "runs": {**state["runs"], body["artefact"]: kept}}


def _verdict(state: State, event: FoldedEvent) -> State:
    body = event.body
    return {
        **state,
        "verdict": {
            "artefact": body["artefact"],
            "word": body["verdict"]["word"],
            "rule": body["verdict"]["rule"],
            "seq": event.seq,
        },
    }


def _approved(state: State, event: FoldedEvent) -> State:
    body = event.body
    entry = {
        "what": body["what"],
        "mode": body["mode"],
        **_typed(body),
        "actor": event.actor,
        "seq": event.seq,
    }
    return {**state, "approvals": [*state["approvals"], entry]}


def _report(state: State, event: FoldedEvent) -> State:
    body = event.body
    entry = {"report_id": body["report_id"], "sha256": body["sha256"], "size": body["size"], "seq": event.seq}
    return {**state, "reports": [*state["reports"], entry]}


def _rechecked(state: State, event: FoldedEvent) -> State:
    """The request keeps what became of it in each later model."""
    kept = {"seq": event.seq, "standing": event.body["standing"]}
    return {**state, "rechecks": {**state.get("rechecks", {}), event.body["artefact"]: kept}}


def _shredded(state: State, event: FoldedEvent) -> State:
    return {**state, "shredded": event.seq}


_REQUEST_FOLDS: dict[str, Callable[[State, FoldedEvent], State]] = {
    "status_changed": _status,
    "clock_suspended": _suspended,
    "clock_resumed": _resumed,
    "extension_notified": _extended,
    "clock_entry_withdrawn": _withdrawn,
    "deadline_accepted": _accepted,
    "battery_recorded": _battery,
    "battery_interrupted": _interrupted,
    "plan_fixed": _planned,
    "erasure_run": _run,
    "artefact_exported": _exported,
    "verdict_reached": _verdict,
    "approved": _approved,
    "report_signed": _report,
    "earlier_rechecked": _rechecked,
    "vault_shredded": _shredded,
}


def _model(state: State | None, event: FoldedEvent) -> State | None:
    """A model, and what became of each earlier request in it."""
    if event.kind == "model_registered":
        return {**{key: value for key, value in event.body.items() if key != "v"}, "seq": event.seq}
    if state is None:
        return None
    kept = {"seq": event.seq, "standing": event.body["standing"]}
    return {**state, "rechecked": {**state.get("rechecked", {}), event.request_id: kept}}


def _job(state: State | None, event: FoldedEvent) -> State | None:
    body = event.body
    if event.kind == "job_started":
        return {
            "job_id": body["job_id"],
            "job": body["job"],
            "model": body["model"],
            "request": event.request_id,
            "outcome": "running",
            "reason": "",
            "started_seq": event.seq,
        }
    if state is None:
        return None
    return {**state, "outcome": body["outcome"], **_typed(body), "ended_seq": event.seq}


@dataclass(frozen=True)
class _Foreseen:
    """An event that is not recorded yet."""

    kind: str
    body: dict[str, Any]
    request_id: str | None
    seq: int = 0
    actor: str = ""


def foreseen(state: State, kind: str, body: dict[str, Any]) -> State:
    """The request's state as it would be after an event of this kind."""
    return _REQUEST_FOLDS[kind](state, _Foreseen(kind, body, state["number"]))


_CLOCK_KINDS = frozenset(
    {"request_registered", "clock_suspended", "clock_resumed", "extension_notified", "deadline_accepted"}
)


class CaseProjector:
    """The ledger's projector: which tables an event touches, and how (see ``console.ledger``)."""

    version = 2

    def check(self, table: str, state: State | None, event: FoldedEvent) -> None:
        """Refuse a new event whose readers could not read the state that it makes.

        Raises:
            InputError: the legal clock cannot be computed with it.
            ValueError: a word in it is none that the readers know, which is an error of the program.
        """
        if table != REQUESTS or state is None:
            return
        RequestStatus(state["status"])
        Channel(state["channel"])
        for ground in state["grounds"]:
            Ground(ground)
        if state["refusal"]:
            RefusalBasis(state["refusal"]["basis"])
            for exception in state["refusal"]["exceptions"]:
                Exception17(exception)
        if event.kind in _CLOCK_KINDS:
            check_clock(state)

    def keys(self, event: FoldedEvent) -> Sequence[tuple[str, str]]:
        """(table, key) of every projection that the event changes."""
        if event.kind == "model_registered":
            return ((MODELS, event.body["name"]),)
        if event.kind in {"office_opened", "office_timezone_set"} and event.body.get("timezone"):
            return ((OFFICE, OFFICE),)
        if event.kind in {"job_started", "job_ended"}:
            return ((JOBS, event.body["job_id"]),)
        if event.kind == "earlier_rechecked" and event.request_id is not None:
            return ((REQUESTS, event.request_id), (MODELS, event.body["artefact"]))
        known = event.kind == "request_registered" or event.kind in _REQUEST_FOLDS
        return ((REQUESTS, event.request_id),) if known and event.request_id is not None else ()

    def apply(self, table: str, state: State | None, event: FoldedEvent) -> State | None:
        """The state after the event."""
        if table == MODELS:
            return _model(state, event)
        if table == JOBS:
            return _job(state, event)
        if table == OFFICE:
            return {"timezone": event.body["timezone"], "seq": event.seq}
        if event.kind == "request_registered":
            return _registered(event)
        return None if state is None else _REQUEST_FOLDS[event.kind](state, event)
