"""What the screens and listings show: plain data, already worded, nothing left to decide."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import regex

from console.casework.exporting import export_outlook
from console.casework.models import knowledge_of, model_state
from console.casework.notes import note_text
from console.casework.office import Office
from console.casework.requests import clock_entries, deadline_difference, deadline_of, forget_items, request_state
from console.casework.story import TimelineLine, timeline
from console.domain.case_state import JOBS, MODELS, REQUESTS
from console.domain.deadline import Deadline, Urgency, days_left, urgency
from console.domain.events import BatteryInterrupted, BatteryRecorded, VerdictReached
from console.domain.request_terms import Channel, Ground, RequestStatus
from console.domain.results import AttackRow, Battery, Behaviour, Evidence, Stage, Status
from console.domain.tally import Tally, tally
from console.domain.verdict import located, missing_kinds
from console.domain.visible import visible
from console.errors import ConsoleError, InputError, LedgerDamagedError, NotPossibleError

S = RequestStatus
# What reading a state raises that no event made: somebody else wrote into the file.
_UNREADABLE = (ConsoleError, ValueError, KeyError, TypeError, AttributeError)
_ENDED_UNANSWERED = frozenset({S.WITHDRAWN, S.SUPERSEDED, S.DUPLICATE})
_ANSWERED = _ENDED_UNANSWERED | {S.SUBJECT_INFORMED, S.CLOSED}

_NEXT_STEP = {
    S.RECEIVED: "Confirm identity",
    S.REOPENED: "Confirm identity",
    S.IDENTITY_PENDING: "Wait for proof of identity",
    S.TRIAGE: "Locate the data",
    S.LOCATING: "Locate the data",
    S.DECISION_PENDING: "Decide",
    S.GRANTED: "Locate the data",
    S.PARTIALLY_GRANTED: "Locate the data",
    S.PLANNED: "Erase",
    S.APPROVED_TO_RUN: "Erase",
    S.RUNNING: "Wait for the erasure",
    S.VERIFYING: "Verify",
    S.VERIFIED: "Make the report",
    S.RESIDUAL: "Make the report",
    S.FAILED: "Make the report",
    S.NO_MATCH: "Make the report",
    S.REFUSED: "Answer the person",
    S.REPORT_DRAFT: "Make the report",
    S.REPORT_SIGNED: "Countersign, then answer the person",
    S.ON_HOLD: "Resume",
}


def masked(name: str) -> str:
    """A name as its initials: ``Mirela Tavanyi`` becomes ``M… T…``.

    An initial is what a reader sees as one sign (a grapheme, UAX 29), not its first code point.
    """
    initials = (regex.match(r"\X", part) for part in name.split())
    return " ".join(f"{visible(initial[0])}…" for initial in initials if initial)


_STOPPED = "Search stopped before its end"


@dataclass(frozen=True)
class InboxLine:
    """One request in the inbox.

    Attributes:
        person: masked; "destroyed" where the personal data is gone.
        received: the day of receipt; None where the record cannot be read.
        due: the date that counts, or None where nothing is due any more.
        due_text: date and distance in words, absolute first.
        problem: why the line cannot say more, and what to do; empty where it can.
        verdict: the word that was reached on the erased model, or None.
        is_stopped: a search was stopped before its end, and none runs.
    """

    number: str
    person: str
    status: RequestStatus
    status_text: str
    received: date | None
    due: date | None
    days_left: int | None
    urgency: Urgency
    due_text: str
    next_step: str
    summary: str
    problem: str = ""
    verdict: str | None = None
    is_stopped: bool = False


@dataclass(frozen=True)
class AttackLine:
    """One attack across the three models, for the paired bars; ``reason`` greys it out."""

    attack: str
    title: str
    access: str
    before: AttackRow | None
    after: AttackRow | None
    reference: AttackRow | None
    reason: str


@dataclass(frozen=True)
class SearchResult:
    """What the newest whole search of a case found, judged as a verdict judges it.

    Attributes:
        found: whether the model holds the data, as far as the attacks can tell.
        by: titles and counts of the attacks that bring the data out or see it inside.
        recognised_by: titles of the membership attacks that tell the person's texts from others.
        counts: all attempts, by what they mean.
        missing: kinds of evidence that the word "removed" needs and this suite cannot give.
        is_newer: it was run after the verdict of the case, which says nothing of it.
    """

    model: str
    found: bool
    by: tuple[tuple[str, str], ...]
    recognised_by: tuple[str, ...]
    counts: Tally
    missing: tuple[Evidence, ...]
    is_newer: bool = False


@dataclass(frozen=True)
class CasePage:
    """Everything the page of one request shows.

    Attributes:
        blocked: for each of locate, erase, verify, report: why it cannot be done now, or an empty text.
        model: the model the case works on, where one is known.
        artefact: the latest erased model of the case.
        behaviour: how the model behaved besides, before and after; None where it was not measured.
        other_date: what today's calendar would make of the recorded dates; empty where it is the same.
        search: what the newest whole search found, or None before the first.
        kept_attacks: how many attacks of a search that was stopped are kept for the next one.
    """

    line: InboxLine
    grounds: tuple[str, ...]
    channel: str
    deadline: Deadline
    facts: tuple[tuple[str, int], ...]
    timeline: tuple[TimelineLine, ...]
    attacks: tuple[AttackLine, ...]
    verdict_word: str | None
    verdict_rule: str | None
    verdict_reasons: tuple[str, ...]
    verdict_caps: tuple[str, ...]
    verdict_excluded: tuple[str, ...]
    verdict_compared: str
    models: tuple[str, ...]
    model: str | None
    artefact: str | None
    reports: tuple[tuple[str, str], ...]
    blocked: dict[str, str]
    behaviour: tuple[Behaviour | None, Behaviour | None] = (None, None)
    other_date: str = ""
    search: SearchResult | None = None
    kept_attacks: int = 0


@dataclass(frozen=True)
class ModelLine:
    """One model known to the office. ``verdict`` is the newest word on an erased model, or None."""

    name: str
    format: str
    architecture: str
    quantisation: str
    parameters: int
    tree_hash: str
    snapshot: str | None
    artefact_of: str | None
    taught: int
    verdict: str | None = None


def _due_text(deadline: Deadline, status: RequestStatus, how: Urgency, today: date) -> str:
    day = f"{deadline.binding_due.day} {deadline.binding_due:%b} {deadline.binding_due.year}"
    left = days_left(deadline, today)
    if how is Urgency.ANSWERED:
        return "no longer due" if status in _ENDED_UNANSWERED else "answered"
    if how is Urgency.PAUSED:
        return f"paused · at the earliest {day}"
    if left < 0:
        return f"{day} · {-left} day{'s' if left != -1 else ''} overdue"
    return f"{day} · {'today' if left == 0 else f'{left} day' + ('s' if left != 1 else '') + ' left'}"


def _person(office: Office, number: str) -> str:
    try:
        return masked(forget_items(office, number)[0].subject)
    except (InputError, NotPossibleError):
        return "destroyed"


def next_step(office: Office, state: dict[str, Any]) -> str:
    """What to do next, in a few words."""
    status = S(state["status"])
    if status is S.VERIFYING and export_outlook(office, state["number"]).is_due:
        return "Write it as a file, then verify"
    if is_stopped(office, state):
        return "Search on"
    if status in {S.GRANTED, S.PARTIALLY_GRANTED}:
        search = search_of(office, state)
        if search is not None:
            return "Erase" if search.found else "Search deeper or report" if search.missing else "Make the report"
    if status is S.RESIDUAL and state["verdict"] and lacks_evidence(state["verdict"]["rule"]):
        search = search_of(office, state)
        assert search is not None, "a verdict compares with a search"
        if search.missing or search.is_newer:
            return "Search deeper or report" if search.missing else "Erase again or report"
    return _NEXT_STEP.get(status, "—")


def lacks_evidence(rule: str | None) -> bool:
    """Whether a verdict stopped short of "removed" only because evidence is missing, by its rule's id."""
    return rule is not None and rule.endswith("-evidence-incomplete")


def _newest_before(state: dict[str, Any]) -> dict[str, Any] | None:
    """What the fold keeps of the newest whole search."""
    kept = [one for key, one in state["batteries"].items() if key.startswith(f"{Stage.BEFORE.value}/")]
    return max(kept, key=lambda one: one["seq"]) if kept else None


def search_of(office: Office, state: dict[str, Any]) -> SearchResult | None:
    """What the newest whole search of a case found; None before the first."""
    newest = _newest_before(state)
    if newest is None:
        return None
    body = BatteryRecorded.model_validate(_body_at(office, newest["seq"]))
    found = located(body.battery, _reference_of(office, state, body.battery))
    titles = {attack["id"]: attack["title"] for attack in body.attacks}
    named = [(titles.get(row.attack, row.attack), row) for row in found]
    return SearchResult(
        model=body.model,
        found=bool(found),
        by=tuple((title, _told(row)) for title, row in named if row.evidence is not Evidence.MEMBERSHIP),
        recognised_by=tuple(title for title, row in named if row.evidence is Evidence.MEMBERSHIP),
        counts=tally(body.battery.rows),
        missing=missing_kinds(body.battery),
        is_newer=bool(state["verdict"]) and newest["seq"] > state["verdict"]["seq"],
    )


def _told(row: AttackRow) -> str:
    assert row.outcome is not None, "an attack that found something has counts"
    return f"{row.outcome.attempts.hits} of {row.outcome.attempts.trials} attempts"


def _reference_of(office: Office, state: dict[str, Any], before: Battery) -> Battery | None:
    """What the suite of a search found on the model that never knew the data, where it was asked."""
    for key, kept in state["batteries"].items():
        if key.startswith(f"{Stage.REFERENCE.value}/"):
            beside = BatteryRecorded.model_validate(_body_at(office, kept["seq"])).battery
            if beside.suite_hash == before.suite_hash:
                return beside
    return None


def is_stopped(office: Office, state: dict[str, Any]) -> bool:
    """Whether a search of the case was begun and none runs: it was stopped, or could not go on."""
    if S(state["status"]) is not S.LOCATING:
        return False
    jobs = office.ledger.projection(JOBS).values()
    return not any(job["request"] == state["number"] and job["outcome"] == "running" for job in jobs)


def _kept_attacks(office: Office, state: dict[str, Any]) -> int:
    """Attacks of a stopped search that the next one need not run again."""
    seqs = [seq for key, seq in state.get("interrupted", {}).items() if key.startswith(f"{Stage.BEFORE.value}/")]
    if not seqs:
        return 0
    return len(BatteryInterrupted.model_validate(_body_at(office, max(seqs))).finished)


def inbox_line(office: Office, state: dict[str, Any]) -> InboxLine:
    status, today = S(state["status"]), office.today()
    deadline = deadline_of(office, state)
    how = urgency(deadline, today, answered=status in _ANSWERED)
    open_ = how is not Urgency.ANSWERED
    stopped = is_stopped(office, state)
    return InboxLine(
        number=state["number"],
        person=_person(office, state["number"]),
        status=status,
        status_text=_STOPPED if stopped else status.label,
        received=date.fromisoformat(state["received_on"]),
        due=deadline.binding_due if open_ else None,
        days_left=days_left(deadline, today) if open_ else None,
        urgency=how,
        due_text=_due_text(deadline, status, how, today),
        next_step=next_step(office, state),
        summary=note_text(office, state, "summary"),
        verdict=state["verdict"]["word"] if state["verdict"] else None,
        is_stopped=stopped,
    )


def _line_with_problem(number: str, state: dict[str, Any], error: Exception) -> InboxLine:
    """What can be said of a request that cannot be read as a whole."""
    status = S(state["status"]) if state.get("status") in list(S) else S.RECEIVED
    reason = str(error) if isinstance(error, ConsoleError) else f"Its record cannot be read ({type(error).__name__})."
    return InboxLine(
        number=number,
        person="—",
        status=status,
        status_text=status.label,
        received=_day(state.get("received_on")),
        due=None,
        days_left=None,
        urgency=Urgency.UNKNOWN,
        due_text="cannot be computed",
        next_step="See what is wrong",
        summary="",
        problem=reason if not state else f"{reason} {_how_to_go_on(number, state)}",
    )


def _day(text: object) -> date | None:
    try:
        return date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _how_to_go_on(number: str, state: dict[str, Any]) -> str:
    try:
        entries = ", ".join(str(seq) for seq in clock_entries(state))
    except _UNREADABLE:
        entries = ""
    if not entries:
        return "Verify the ledger, and restore a backup if it is not whole."
    return (
        f"If an entry of its clock is wrong ({entries}), take it out by 'request withdraw-entry {number} ENTRY "
        "--reason WHY'; else verify the ledger."
    )


def inbox(office: Office) -> list[InboxLine]:
    """All requests: what cannot be read comes first, then what is due first, answered ones last.

    One request that cannot be read never hides the others; its line says what is wrong.
    """
    unreadable: dict[str, LedgerDamagedError] = {}
    lines = []
    for number, state in office.ledger.projection(REQUESTS, unreadable).items():
        try:
            lines.append(inbox_line(office, state))
        except _UNREADABLE as error:
            lines.append(_line_with_problem(number, state, error))
    lines += [_line_with_problem(number, {}, error) for number, error in unreadable.items()]
    return sorted(
        lines,
        key=lambda line: (not line.problem, line.due is None, line.due or line.received or date.min, line.number),
    )


def _body_at(office: Office, seq: int) -> dict[str, Any]:
    return office.ledger.events(after_seq=seq - 1)[0].body


def latest_batteries(office: Office, state: dict[str, Any]) -> dict[str, BatteryRecorded]:
    """The batteries that the case's verdict rests on, or else the latest of each stage."""
    if state["verdict"] is not None:
        verdict = VerdictReached.model_validate(_body_at(office, state["verdict"]["seq"]))
        seqs = {"before": verdict.before_seq, "after": verdict.after_seq, "reference": verdict.reference_seq}
    else:
        seqs = {}
        for key, kept in state["batteries"].items():
            stage = key.split("/", 1)[0]
            seqs[stage] = max(seqs.get(stage, 0), kept["seq"])
    return {
        stage: BatteryRecorded.model_validate(_body_at(office, seq)) for stage, seq in seqs.items() if seq is not None
    }


def _attack_lines(batteries: dict[str, BatteryRecorded]) -> tuple[AttackLine, ...]:
    before = batteries.get("before")
    if before is None:
        return ()
    titles = {attack["id"]: attack for attack in before.attacks}
    lines = []
    for row in before.battery.rows:
        after, reference = (
            batteries[stage].battery.row(row.attack) if stage in batteries else None for stage in ("after", "reference")
        )
        failing = next((part for part in (row, after) if part is not None and part.status is not Status.OK), None)
        lines.append(
            AttackLine(
                attack=row.attack,
                title=titles.get(row.attack, {}).get("title", row.attack),
                access=row.access.value,
                before=row,
                after=after,
                reference=reference,
                reason=failing.reason if failing else "",
            )
        )
    return tuple(lines)


def _blocked(office: Office, state: dict[str, Any], artefact: str | None) -> dict[str, str]:
    status = S(state["status"])
    models = [name for name, model in office.ledger.projection(MODELS).items() if not model["artefact_of"]]
    located = any(key.startswith("before/") for key in state["batteries"])
    blocked = dict.fromkeys(("locate", "erase", "verify", "report"), "")
    if not models:
        blocked["locate"] = "No model is registered yet."
    if status in {S.RECEIVED, S.IDENTITY_PENDING}:
        blocked["locate"] = "Confirm the person's identity first."
    if status in _ANSWERED | {S.REFUSED, S.ON_HOLD}:
        blocked["locate"] = f"The request is in the state '{status.label}'."
    erasable = {S.GRANTED, S.PARTIALLY_GRANTED, S.PLANNED, S.APPROVED_TO_RUN, S.RESIDUAL, S.FAILED, S.VERIFYING}
    if status not in erasable:
        blocked["erase"] = "Only a granted request can be carried out."
    elif not located:
        blocked["erase"] = "Locate the data in the model first."
    if artefact is None:
        blocked["verify"] = "There is no erased model yet."
    if not located:
        blocked["report"] = "Nothing has been measured yet: locate the data first."
    elif state["verdict"] is None and (search := search_of(office, state)) is not None and search.found:
        blocked["report"] = "The search found the data, and no erased model was attacked yet: erase and attack first."
    return blocked


def case_model(office: Office, state: dict[str, Any]) -> str | None:
    """The model a case works on: the planned one, else the one last searched, else the only taught one."""
    if state["plan"]:
        return str(state["plan"]["model"])
    searched = [(kept["seq"], kept["model"]) for key, kept in state["batteries"].items() if key.startswith("before/")]
    if searched:
        return str(max(searched)[1])
    candidates = selectable_models(office)
    return candidates[0] if candidates else None


def selectable_models(office: Office) -> tuple[str, ...]:
    """Models that may hold somebody's data: those with a snapshot from before first, then the other originals."""
    models = office.ledger.projection(MODELS)
    originals = [(name, state) for name, state in models.items() if not state["artefact_of"]]
    return tuple(name for name, state in sorted(originals, key=lambda pair: (not pair[1]["snapshot"], pair[0])))


def _behaviour(batteries: dict[str, BatteryRecorded], stage: str) -> Behaviour | None:
    return batteries[stage].behaviour if stage in batteries else None


def case_page(office: Office, number: str) -> CasePage:
    """The page of one request.

    Raises:
        InputError: no such request.
    """
    state = request_state(office, number)
    try:
        deadline = deadline_of(office, state)
    except InputError as error:
        how = _how_to_go_on(number, state)
        raise InputError(f"Request {number} has no date that can be computed. {error} {how}") from error
    artefacts = [(run.get("exported", run["seq"]), name) for name, run in state["runs"].items()]
    artefact = max(artefacts)[1] if artefacts else None
    batteries = latest_batteries(office, state)
    verdict = (
        VerdictReached.model_validate(_body_at(office, state["verdict"]["seq"])).verdict if state["verdict"] else None
    )
    return CasePage(
        line=inbox_line(office, state),
        grounds=tuple(f"{ground}: {Ground(ground).label}" for ground in state["grounds"]),
        channel=Channel(state["channel"]).label,
        deadline=deadline,
        other_date=deadline_difference(office, state),
        facts=tuple(sorted(state["by_type"].items())),
        timeline=timeline(office, number),
        attacks=_attack_lines(batteries),
        verdict_word=verdict.word.value if verdict else None,
        verdict_rule=verdict.rule if verdict else None,
        verdict_reasons=verdict.reasons if verdict else (),
        verdict_caps=(*verdict.caps, *verdict.not_counted) if verdict else (),
        verdict_excluded=verdict.excluded if verdict else (),
        verdict_compared=str(verdict.compared_with or "") if verdict else "",
        models=selectable_models(office),
        model=case_model(office, state),
        artefact=artefact,
        reports=tuple(
            (report["report_id"], office.ledger.setting(f"report:{report['report_id']}") or "")
            for report in state["reports"]
        ),
        blocked=_blocked(office, state, artefact),
        behaviour=(_behaviour(batteries, "before"), _behaviour(batteries, "after")),
        search=search_of(office, state),
        kept_attacks=_kept_attacks(office, state),
    )


def _verdicts(office: Office) -> dict[str, str]:
    """The newest word on every erased model that was attacked; the fold keeps only the newest of a case."""
    cases = {model["artefact_of"] for model in office.ledger.projection(MODELS).values() if model["artefact_of"]}
    events = (event for number in cases for event in office.ledger.events(number))
    reached = [event.body for event in events if event.kind == VerdictReached.kind]
    return {body["artefact"]: str(body["verdict"]["word"]) for body in reached}


def models(office: Office) -> list[ModelLine]:
    """All models, in the order in which they were registered."""
    lines = []
    verdicts = _verdicts(office)
    for name, state in sorted(office.ledger.projection(MODELS).items(), key=lambda pair: pair[1]["seq"]):
        identity = state["identity"]
        lines.append(
            ModelLine(
                name=name,
                format=identity["format"],
                architecture=identity["architecture"],
                quantisation=identity["quantisation"],
                parameters=identity["parameters"],
                tree_hash=identity["tree_hash"],
                snapshot=state["snapshot"],
                artefact_of=state["artefact_of"],
                taught=len(knowledge_of(office, model_state(office, name)).teaching) if state["knowledge"] else 0,
                verdict=verdicts.get(name),
            )
        )
    return lines
