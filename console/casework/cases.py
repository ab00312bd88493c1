"""The walk of a case through the models: locate, plan, erase, attack, verdict."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.casework.asking_again import settle
from console.casework.batteries import (
    Suite,
    bound_suites,
    case_payload,
    digest,
    recorded,
    reference_battery,
    repeated,
    run_battery,
    snapshot_of,
    suite_for,
    suite_named,
    with_room,
)
from console.casework.engine_choice import chosen_engine, require_runnable
from console.casework.helper_questions import prepared_questions
from console.casework.models import model_state, new_job_id, record_model, reference_to, refuse_names
from console.casework.notes import NOBODY_NAMED, seal_note
from console.casework.office import Office
from console.casework.operation import CancelledByUserError, Job, JobResult, UseCase
from console.casework.own_places import collected_places
from console.casework.recipes import method_and_recipe, runnable_recipes
from console.casework.requests import append_status, approve_plan, forget_items, request_state
from console.casework.self_made import required_corpus, with_corpus
from console.casework.sequence import EarlierRequest, check_limits, origin_of, recheck_earlier, remaining_knowledge
from console.casework.side_effects import measured_utility
from console.domain.case_state import MODELS, REQUESTS
from console.domain.claims import Claim
from console.domain.engine_names import EngineName
from console.domain.events import BatteryRecorded, ErasureRun, PlanFixed, VerdictReached, plain
from console.domain.reading import ANSWER_TOKENS
from console.domain.recipes import Recipe
from console.domain.request_terms import RequestStatus
from console.domain.requests import TransitionFacts, status_for_verdict
from console.domain.results import Stage, Utility
from console.domain.roles import Duty
from console.domain.rules_3 import within_reach
from console.domain.suites import QUICK
from console.domain.values import only_as_written
from console.domain.verdict import RULES_VERSION, Thresholds, Verdict, Word, decide, located
from console.errors import ConsoleError, DiskFullError, InputError, ModelFileError, NotPossibleError
from console.jobs.spec import JobKind, JobSpec
from console.ledger import Transaction

_CHANGED_SHOWN = 40
S = RequestStatus


@dataclass(frozen=True)
class LocateResult:
    """Whether a model holds the data, and what showed it."""

    model: str
    found: bool
    by: tuple[str, ...]
    unanswered: tuple[str, ...]
    as_written: tuple[str, ...]
    before: BatteryRecorded
    reference: BatteryRecorded | None
    seq: int


def locate(
    office: Office,
    number: str,
    model: str,
    device: str = "auto",
    suite_name: str = QUICK.name,
    helper: Path | None = None,
    repeats: int = 1,
    engine: EngineName | None = None,
    answer_tokens: int = ANSWER_TOKENS,
) -> UseCase:
    """Find out whether the model holds the request's data; returns a :class:`LocateResult`.

    The suite that searches is the one that later attacks the erased model.

    Args:
        helper: a local model that writes questions for the attacks, once for the case.
        repeats: seeds that the sampled attacks are run with; the counts are those of all seeds together.
        engine: what runs the models; None for what fits the model.
        answer_tokens: room for every answer; what is longer is cut off.

    Raises:
        InputError: no such suite, it cannot be repeated so often or give that room, or an engine that cannot run the
            model.
        ModelFileError: the helper cannot be read.
    """
    office.require(Duty.VERIFY)
    state = model_state(office, model)
    request = request_state(office, number)
    knowledge = remaining_knowledge(office, state)
    plan = with_room(repeated(suite_named(suite_name), repeats), answer_tokens)
    engine = chosen_engine(office, state, engine)
    questions = None
    if helper is not None:
        questions = yield from prepared_questions(office, number, helper, knowledge, device)
    searching = RequestStatus(request["status"]) in {S.TRIAGE, S.LOCATING}
    if RequestStatus(request["status"]) is S.TRIAGE:
        _move(office, number, S.LOCATING)
    places = yield from collected_places(office, number, state["name"], knowledge, engine, device)
    suite = suite_for(office, number, knowledge, plan, questions, engine, places)
    seq, before = yield from run_battery(office, number, Stage.BEFORE, state["name"], suite, knowledge, device)
    reference = yield from reference_battery(office, number, state, suite, knowledge, device)
    (seq, before), reference = yield from settle(
        office, number, suite, knowledge, device, (seq, before), reference, Thresholds.current()
    )
    found = located(before.battery, reference[1].battery if reference else None)
    if searching:
        _move(office, number, S.DECISION_PENDING)
    return LocateResult(
        model=state["name"],
        found=bool(found),
        by=tuple(row.attack for row in found),
        unanswered=before.battery.unanswered,
        as_written=_as_written(office, number),
        before=before,
        reference=reference[1] if reference else None,
        seq=seq,
    )


def _as_written(office: Office, number: str) -> tuple[str, ...]:
    """Facts whose answer looks like a value and could not be read as one, by their kind; the answer is personal."""
    return tuple(
        f"The answer of {item.id} ({item.fact_type}) {why}; it was compared only as it is written."
        for item in forget_items(office, number)
        if (why := only_as_written(item.answer)) is not None
    )


def best_word(office: Office, facts: int, model: str, suite_name: str) -> tuple[Word, str]:
    """The best word that a search of this model can lead to, and why; told before anything runs.

    Args:
        facts: facts and passages of the request.

    Raises:
        InputError: no such model or suite.
    """
    state = model_state(office, model)
    return within_reach(suite_named(suite_name).may_remove, facts, snapshot_of(office, state) is not None)


# -- erasing ---------------------------------------------------------------------------------


def _move(office: Office, number: str, to: RequestStatus, facts: TransitionFacts | None = None) -> None:
    with office.ledger.transaction() as transaction:
        state = transaction.projected(REQUESTS, number)
        assert state is not None
        append_status(transaction, state, to, facts or TransitionFacts(), office.actor.id)


def _check_ready(number: str, state: dict[str, Any]) -> None:
    status = RequestStatus(state["status"])
    if status in {S.GRANTED, S.PARTIALLY_GRANTED, S.PLANNED, S.APPROVED_TO_RUN, S.RESIDUAL, S.FAILED, S.VERIFYING}:
        return
    raise NotPossibleError(
        f"Request {number} is in the state '{status.label}', and only a granted request can be carried out: "
        f"confirm the identity and record the decision first (request decide {number} --grant)."
    )


def _settle_plan(
    office: Office,
    number: str,
    model: str,
    suite: Suite,
    method: str,
    config: dict[str, Any],
    reason: str,
    beyond_limits: str,
    recipe: Recipe | None,
) -> dict[str, Any]:
    """Fix method, suite and thresholds in the ledger, approve, and start: all before anything runs."""
    thresholds = Thresholds.current()
    state = model_state(office, model)
    body = PlanFixed(
        method=method,
        config=plain(config),
        model=state["name"],
        model_hash=state["identity"]["tree_hash"],
        suite_hash=suite.hash,
        thresholds=thresholds,
        thresholds_hash=digest(thresholds.model_dump(mode="json")),
        recipe=None if recipe is None else plain(recipe.body),
    )
    with office.ledger.transaction() as transaction:
        request = transaction.projected(REQUESTS, number)
        assert request is not None
        body = body.model_copy(update={"sealed_beyond_limits": seal_note(transaction, number, beyond_limits)})
        if RequestStatus(request["status"]) is not S.PLANNED:
            append_status(transaction, request, S.PLANNED, TransitionFacts(), office.actor.id)
        transaction.append(PlanFixed.kind, body.to_body(), request_id=number, actor=office.require(Duty.PLAN))
        planned = transaction.projected(REQUESTS, number)
        assert planned is not None
        approve_plan(transaction, office, planned, reason)
        approved = transaction.projected(REQUESTS, number)
        assert approved is not None
        append_status(transaction, approved, S.RUNNING, TransitionFacts(), office.require(Duty.RUN))
    return body.to_body()


def _artefact_name(office: Office, number: str) -> str:
    taken = office.ledger.projection(MODELS)
    index = 1
    # A worker killed after the renaming leaves a folder that no event names; its name is not used again.
    while f"{number}-a{index}" in taken or (office.places.models / f"{number}-a{index}").exists():
        index += 1
    return f"{number}-a{index}"


@dataclass(frozen=True)
class EraseResult:
    """What an erasure wrote."""

    artefact: str
    path: Path
    hash_before: str
    hash_after: str
    method: str
    steps: int
    stop_reason: str
    changed: int
    seconds: float


def erase(
    office: Office,
    number: str,
    model: str,
    method: str,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    approval_reason: str = NOBODY_NAMED,
    beyond_limits: str = "",
    self_made: bool = False,
    recipe: Recipe | None = None,
) -> UseCase:
    """Carry out a granted request on a model; returns an :class:`EraseResult`.

    Args:
        method: its id or a recipe's, or ``auto`` for the default.
        recipe: an office's own recipe, in place of a method.
        approval_reason: why the person who prepares the plan also approves it; the report prints it.
        beyond_limits: why to erase from a model that earlier erasures have changed more than the limits allow.
        self_made: erase, besides the request's facts, what the model itself wrote about the person (``write_corpus``).

    Raises:
        NotPossibleError: the request is not granted, the data has not been located in the model, the model has
            written nothing about the person (``self_made``), or earlier erasures have changed the model too much and
            no reason to go on is given.
    """
    office.require(Duty.RUN)
    _check_ready(number, request_state(office, number))
    state = model_state(office, model)
    snapshot = snapshot_of(office, state)
    architecture = state["identity"]["architecture"]
    method, recipe = method_and_recipe(method, recipe, has_snapshot=snapshot is not None, architecture=architecture)
    knowledge = remaining_knowledge(office, state)
    suites = bound_suites(office, number, knowledge)
    suite = next((one for one in suites if recorded(office, number, Stage.BEFORE, state["name"], one.hash)), None)
    if suite is None:
        raise NotPossibleError(
            f"It is not known yet whether the model '{state['name']}' holds the data; run locate on it first."
        )
    refuse_names(office, "The setting", json.dumps(plain(dict(settings or {})), ensure_ascii=False))
    if recipe is not None and runnable_recipes().get(method) != recipe:
        refuse_names(office, "The recipe", *recipe.texts)
    reason_beyond = check_limits(office, state["name"], beyond_limits)
    corpus = required_corpus(office, number, state["name"]) if self_made else None
    artefact = _artefact_name(office, number)
    output = office.places.models / artefact
    spec = JobSpec(
        job_id=new_job_id(JobKind.ERASE),
        kind=JobKind.ERASE,
        model=reference_to(office, state["name"]),
        reference=reference_to(office, snapshot) if snapshot else None,
        cache=str(office.places.cache),
        output=str(output),
        method=method,
        recipe=recipe,
        settings=dict(settings or {}),
        device=device,
        origin=origin_of(office, state["name"]),
    )
    check_room(output, state)
    _settle_plan(office, number, model, suite, method, dict(settings or {}), approval_reason, reason_beyond, recipe)
    try:
        payload, told = with_corpus(case_payload(office, number, knowledge), corpus)
        result = yield Job(spec, payload, "Erasing", state["name"], number, details={"method": method, **told})
    except (CancelledByUserError, InputError, ModelFileError):
        _move(office, number, S.PLANNED)  # nothing ran, or nothing was wrong with it
        raise
    except ConsoleError as error:
        _move(office, number, S.FAILED, TransitionFacts(reason=str(error)))
        raise
    further = () if corpus is None else (corpus.note,)
    return _record_erasure(office, number, state, artefact, output, result, spec, further)


def check_room(output: Path, state: dict[str, Any]) -> None:
    """Refuse before the run what would fail after it.

    Raises:
        DiskFullError: the artefact would not fit.
    """
    needed = int(state["identity"]["parameters"]) * 4
    output.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(output.parent).free
    if free < needed * 1.05:
        raise DiskFullError(
            f"The erased model needs about {needed // 2**20} MiB and {free // 2**20} MiB are free at {output.parent}; "
            "free some or choose another folder."
        )


def _record_erasure(
    office: Office,
    number: str,
    state: dict[str, Any],
    artefact: str,
    output: Path,
    result: JobResult,
    spec: JobSpec,
    further_notes: tuple[str, ...],
) -> EraseResult:
    value = result.value
    identity = value["identity"]
    record_model(office, artefact, output, identity, artefact_of=number, parent=state["name"])
    body = ErasureRun(
        job_id=spec.job_id,
        artefact=artefact,
        artefact_hash=identity["tree_hash"],
        method=value["method"],
        config=plain(value["config"]),
        modules=tuple(value["modules"]),
        steps=value["steps"],
        stop_reason=value["stop_reason"],
        metrics=value["metrics"],
        changed=tuple(value["changed"][:_CHANGED_SHOWN]),
        changed_count=len(value["changed"]),
        device=value["device"],
        seconds=f"{result.seconds:.1f}",
        notes=(*value["notes"], *further_notes),
    )
    with office.ledger.transaction() as transaction:
        transaction.append(ErasureRun.kind, body.to_body(), request_id=number, actor=office.require(Duty.RUN))
        running = transaction.projected(REQUESTS, number)
        assert running is not None
        append_status(transaction, running, S.VERIFYING, TransitionFacts(), office.actor.id)
    return EraseResult(
        artefact=artefact,
        path=output,
        hash_before=state["identity"]["tree_hash"],
        hash_after=identity["tree_hash"],
        method=value["method"]["id"],
        steps=value["steps"],
        stop_reason=value["stop_reason"],
        changed=len(value["changed"]),
        seconds=result.seconds,
    )


# -- the verdict -----------------------------------------------------------------------------


@dataclass(frozen=True)
class AttackOutcome:
    """The erased model's battery beside the others, and the verdict.

    Attributes:
        earlier: what became of the requests that were carried out before this one on the way to the model.
    """

    artefact: str
    verdict: Verdict
    utility: Utility | None
    before: BatteryRecorded
    after: BatteryRecorded
    reference: BatteryRecorded | None
    earlier: tuple[EarlierRequest, ...] = ()


def attack(office: Office, number: str, artefact: str, device: str = "auto") -> UseCase:
    """Attack an erased model as it will be deployed, and reach the verdict; returns an :class:`AttackOutcome`.

    Requests that were carried out earlier on the way to the model are then searched for again.

    Raises:
        InputError: not an artefact of this request.
        NotPossibleError: no plan, no battery from before to compare with, or one that was read in another way.
    """
    office.require(Duty.VERIFY)
    state = model_state(office, artefact)
    request = request_state(office, number)
    if state["artefact_of"] != number:
        raise InputError(f"The model '{state['name']}' is not an artefact of request {number}.")
    plan = request["plan"]
    knowledge = remaining_knowledge(office, state)
    suites = bound_suites(office, number, knowledge)
    suite = next((one for one in suites if plan is not None and one.hash == plan["suite_hash"]), None)
    if suite is not None:
        require_runnable(office, state, suite.engine)
    before = recorded(office, number, Stage.BEFORE, state["parent"], suite.hash) if suite is not None else None
    if plan is None or suite is None or before is None:
        raise NotPossibleError(_nothing_before(number, planned=plan is not None, bound=suite is not None))
    thresholds = Thresholds.model_validate(plan["thresholds"])
    after = yield from run_battery(office, number, Stage.AFTER, state["name"], suite, knowledge, device)
    reference = yield from reference_battery(office, number, state, suite, knowledge, device)
    if thresholds.rules >= RULES_VERSION:
        after, reference = yield from settle(
            office, number, suite, knowledge, device, after, reference, thresholds, before
        )
    utility = measured_utility(office, number, knowledge, before[1], after[1])
    verdict = decide(
        before[1].battery,
        after[1].battery,
        reference[1].battery if reference else None,
        utility,
        thresholds,
        claim_of(office, request, state["name"]),
    )
    body = VerdictReached(
        artefact=state["name"],
        verdict=verdict,
        thresholds_hash=plan["thresholds_hash"],
        utility=utility,
        before_seq=before[0],
        after_seq=after[0],
        reference_seq=reference[0] if reference else None,
    )
    with office.ledger.transaction() as transaction:
        transaction.append(VerdictReached.kind, body.to_body(), request_id=number, actor=office.require(Duty.VERIFY))
        _follow_verdict(transaction, office, number, verdict.word)
    earlier = yield from recheck_earlier(office, state["name"], device)
    beside = reference[1] if reference else None
    return AttackOutcome(state["name"], verdict, utility, before[1], after[1], beside, earlier)


def _nothing_before(number: str, *, planned: bool, bound: bool) -> str:
    if planned and not bound:
        return (
            f"The plan for {number} was fixed when models were asked and read in another way, so what is found now "
            "could not be compared with what was found before the erasure: run locate again, and erase again."
        )
    return f"There is nothing from before the erasure to compare with; run locate on {number}."


def claim_of(office: Office, request: dict[str, Any], artefact: str) -> Claim:
    """The most that the method which made an artefact may claim, as recorded with its run."""
    event = office.ledger.events(after_seq=request["runs"][artefact]["seq"] - 1)[0]
    return Claim(ErasureRun.model_validate(event.body).method["claim"])


def _follow_verdict(transaction: Transaction, office: Office, number: str, word: Word) -> None:
    """Take the case where the verdict leads; a repeated attack on a settled case changes nothing."""
    request = transaction.projected(REQUESTS, number)
    assert request is not None
    if RequestStatus(request["status"]) is S.VERIFYING:
        append_status(transaction, request, status_for_verdict(word), TransitionFacts(verdict=word), office.actor.id)
