"""The road of a case: which steps are behind, which comes next, and how the small ones are taken. Qt-free."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from console.casework import requests
from console.casework.office import Office
from console.casework.requests import change_status, request_state
from console.casework.views import CasePage, lacks_evidence
from console.domain.request_terms import RequestStatus
from console.domain.requests import TransitionFacts
from console.gui.proof import kept_words

S = RequestStatus


class StepState(StrEnum):
    """How a step of the road stands."""

    DONE = "done"
    CURRENT = "next"
    BLOCKED = "blocked"
    AHEAD = "ahead"
    SKIPPED = "not needed"
    UNFINISHED = "without a result"


@dataclass(frozen=True)
class Step:
    """One step of the road; ``reason`` says why it is blocked or not needed."""

    title: str
    icon: str
    state: StepState
    reason: str = ""

    @property
    def words(self) -> str:
        return f"{self.title}: {self.state.value}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class NextStep:
    """The one thing to do now.

    Attributes:
        action: id of the action, or empty where nothing is to do.
        title: on the button.
        step: title of the step of the road that it belongs to.
        sentence: why this is next, for the officer.
    """

    action: str
    title: str
    step: str
    sentence: str


_NOTHING_LEFT = NextStep("", "", "", "Nothing is left to do.")
_WRITE = NextStep("request.report", "Make the report…", "Report", "The result is in: write and sign the report.")
_ERASE = NextStep("request.erase", "Erase…", "Erase", "The data was found and the request is granted: erase it.")
_ERASE_RECOGNISED = NextStep(
    "request.erase",
    "Erase…",
    "Erase",
    "No attack brings the data out, but the person's texts are recognised as training texts, and the request is "
    "granted: erase it.",
)
_NOTHING_FOUND = NextStep(
    "request.report",
    "Make the report…",
    "Report",
    "The request is granted, but the search did not find the data: there is nothing to erase that anybody could "
    "prove. Report that.",
)
_SEARCH_DEEPER = NextStep(
    "request.locate",
    "Search deeper…",
    "Locate",
    "The request is granted, but the quick search did not find the data. Search thoroughly before you report that.",
)
_ERASE_AGAIN = NextStep(
    "request.erase",
    "Erase again…",
    "Erase",
    "A thorough search was made after the verdict: erase once more, judged by it, or report the verdict as it is.",
)
_SEARCH_FOR_EVIDENCE = NextStep(
    "request.locate",
    "Search deeper…",
    "Locate",
    "The verdict lacks evidence that the quick search cannot give. Search thoroughly and erase once more, or make the "
    "report of the verdict as it is.",
)
_OPEN_REPORT = NextStep("request.open_report", "Open the report", "Report", "The report is signed.")
_SEARCH_ON = NextStep("request.locate", "Search on…", "Locate", "")
_LOCATE = NextStep(
    "request.locate", "Locate the data", "Locate", "Find out whether the model really holds this person's data."
)
_DECIDE = NextStep("request.decide", "Decide…", "Decide", "The search is done: grant or refuse the request.")
_IDENTITY = NextStep("request.identity", "Confirm identity…", "Identify", "Make sure that the right person is asking.")
_EXPORT = NextStep(
    "request.export",
    "Write as a file…",
    "Verify",
    "The search ran on llama.cpp: the erased model must become a GGUF file before it is attacked.",
)
_BY_STATUS = {
    S.RECEIVED: _IDENTITY,
    S.REOPENED: _IDENTITY,
    S.IDENTITY_PENDING: NextStep(
        "request.identity", "Proof has arrived…", "Identify", "The person was asked to prove who they are."
    ),
    S.TRIAGE: _LOCATE,
    S.DECISION_PENDING: _DECIDE,
    S.RUNNING: NextStep("", "", "Erase", "The erasure is running."),
    S.VERIFYING: NextStep(
        "request.verify", "Verify", "Verify", "The erased model was written: attack it to see whether it held."
    ),
    S.VERIFIED: _WRITE,
    S.RESIDUAL: _WRITE,
    S.FAILED: _WRITE,
    S.NO_MATCH: _WRITE,
    S.REPORT_DRAFT: _WRITE,
    S.REPORT_SIGNED: NextStep(
        "request.open_report", "Open the report", "Report", "The report is signed: have it countersigned and answer."
    ),
    S.REFUSED: NextStep(
        "request.answer", "Answer the person…", "Report", "Tell the person why, and how to complain (Art. 12(4))."
    ),
    S.ON_HOLD: NextStep("request.resume", "Resume", "Identify", "The request is on hold."),
}


def next_step(page: CasePage, *, needs_file: bool = False) -> NextStep:
    """What to do now on this case.

    Args:
        needs_file: the erased model cannot be attacked as the folder that it is.
    """
    status, search = page.line.status, page.search
    if needs_file and status is S.VERIFYING:
        return _EXPORT
    if page.line.is_stopped:
        return replace(_SEARCH_ON, sentence=f"The search was stopped before its end. {kept_words(page)}")
    if status is S.LOCATING:
        return _DECIDE if search is not None else _LOCATE
    if status in {S.GRANTED, S.PARTIALLY_GRANTED, S.PLANNED, S.APPROVED_TO_RUN}:
        return _after_grant(page)
    if status is S.RESIDUAL and search is not None and lacks_evidence(page.verdict_rule):
        if search.missing:
            return _SEARCH_FOR_EVIDENCE
        return _ERASE_AGAIN if search.is_newer else _WRITE
    return _BY_STATUS.get(status, _NOTHING_LEFT)


def _after_grant(page: CasePage) -> NextStep:
    """What a granted request asks for, by what the search has found."""
    search = page.search
    if search is None:
        return _LOCATE
    if search.found:
        return _ERASE if search.by else _ERASE_RECOGNISED
    if page.reports:
        return _OPEN_REPORT
    return _SEARCH_DEEPER if search.missing else _NOTHING_FOUND


_ROAD = (
    ("Register", "register"),
    ("Identify", "identity"),
    ("Decide", "decide"),
    ("Locate", "locate"),
    ("Plan", "plan"),
    ("Erase", "erase"),
    ("Verify", "verify"),
    ("Report", "report"),
)
_GATES = {"Locate": "locate", "Erase": "erase", "Verify": "verify", "Report": "report"}
_MODEL_STEPS = frozenset({"Locate", "Plan", "Erase", "Verify"})
_DECISIONS = frozenset({S.GRANTED, S.PARTIALLY_GRANTED, S.REFUSED})
_ENDS = {
    S.REFUSED: "the request was refused",
    S.WITHDRAWN: "the person withdrew the request",
    S.DUPLICATE: "the request repeats another one",
    S.SUPERSEDED: "another request took its place",
    S.NO_MATCH: "no data was found",
    S.SUBJECT_INFORMED: "the person has been informed",
    S.CLOSED: "the request is closed",
}


def _behind(page: CasePage, state: dict[str, Any]) -> frozenset[str]:
    """Titles of the steps that were taken."""
    visited = [S(status) for status, _ in state["history"]]
    # A reopened request starts again: what was settled before the complaint is settled anew.
    since = visited[len(visited) - visited[::-1].index(S.REOPENED) :] if S.REOPENED in visited else visited
    taken = {
        "Register": True,
        "Identify": S.TRIAGE in since,
        "Decide": bool(_DECISIONS.intersection(since)),
        "Locate": page.search is not None,
        "Plan": state["plan"] is not None,
        "Erase": page.artefact is not None,
        "Verify": page.verdict_word is not None,
        "Report": bool(page.reports),
    }
    return frozenset(title for title, done in taken.items() if done)


def _was_begun(state: dict[str, Any]) -> bool:
    """Whether the request was ever searched for, so that nobody may say that the search was not needed."""
    return bool(state.get("interrupted")) or any(S(status) is S.LOCATING for status, _ in state["history"])


def road(page: CasePage, state: dict[str, Any]) -> tuple[Step, ...]:
    """The steps of a case, in order, each with its state and the reason where it is blocked."""
    behind, following = _behind(page, state), next_step(page)
    current = "Plan" if following.step == "Erase" and state["plan"] is None else following.step
    end = _ENDS.get(page.line.status)
    steps = []
    for title, icon in _ROAD:
        reason = page.blocked.get(_GATES.get(title, ""), "")
        if title in behind and title != current:
            steps.append(Step(title, icon, StepState.DONE))
        elif title == current:
            steps.append(Step(title, icon, StepState.CURRENT))
        elif title == "Locate" and _was_begun(state):
            steps.append(Step(title, icon, StepState.UNFINISHED, "a search was begun, and none was finished"))
        elif end and (title in _MODEL_STEPS or following is _NOTHING_LEFT):
            steps.append(Step(title, icon, StepState.SKIPPED, end))
        elif reason:
            steps.append(Step(title, icon, StepState.BLOCKED, reason.removesuffix(".")))
        else:
            steps.append(Step(title, icon, StepState.AHEAD))
    return tuple(steps)


# -- the small steps ------------------------------------------------------------------------


# Each is one transaction, under the name that the page's commands know it by.
settle_identity, ask_for_proof = requests.confirm_identity, requests.ask_for_proof
grant_request, refuse_request = requests.grant, requests.refuse


def record_answer(office: Office, number: str) -> None:
    """The person was told the decision, the complaint and the remedy."""
    change_status(office, number, S.SUBJECT_INFORMED, TransitionFacts(told_of_remedies=True))


def resume(office: Office, number: str) -> None:
    """Take a request off hold, back to where it was."""
    change_status(office, number, S(request_state(office, number)["held_from"]))
