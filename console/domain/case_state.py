"""The state of a case: a fold over its events, and nothing else.

Screens and commands read these projections; dropping and rebuilding them from the ledger gives the
same bytes (a test does so).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

REQUESTS, MODELS, JOBS = "request", "model", "job"

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
            "reason": body.get("reason", ""),
        }
    if body["to"] == "on_hold":
        changed["held_from"] = state["status"]
    return {**state, **changed}


def _suspended(state: State, event: FoldedEvent) -> State:
    opened = {"starts_on": event.body["starts_on"], "ends_on": None, "reason": event.body["reason"], "seq": event.seq}
    return {**state, "suspensions": [*state["suspensions"], opened]}


def _resumed(state: State, event: FoldedEvent) -> State:
    if not state["suspensions"]:
        return state
    *earlier, last = state["suspensions"]
    return {**state, "suspensions": [*earlier, {**last, "ends_on": event.body["ends_on"]}]}


def _extended(state: State, event: FoldedEvent) -> State:
    body = event.body
    return {
        **state,
        "extension": {"notified_on": body["notified_on"], "reason": body["reason"], "seq": event.seq},
    }


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
        "reason": body.get("reason", ""),
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
    return {**state, "outcome": body["outcome"], "reason": body["reason"], "ended_seq": event.seq}


class CaseProjector:
    """The ledger's projector: which tables an event touches, and how (see ``console.ledger``)."""

    version = 1

    def keys(self, event: FoldedEvent) -> Sequence[tuple[str, str]]:
        """(table, key) of every projection that the event changes."""
        if event.kind == "model_registered":
            return ((MODELS, event.body["name"]),)
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
        if event.kind == "request_registered":
            return _registered(event)
        return None if state is None else _REQUEST_FOLDS[event.kind](state, event)
