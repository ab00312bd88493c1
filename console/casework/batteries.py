"""Running a suite on a model for a request, and keeping what it finds: counts in the ledger, attempts in the vault."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from console.casework.helper_questions import helper_settings, sealed_questions, written_payload
from console.casework.knowledge import Knowledge, bank_payload, behaviour_payload
from console.casework.models import model_state, new_job_id, reference_to
from console.casework.office import Office
from console.casework.operation import CancelledByUserError, Job, JobResult
from console.casework.own_places import places_payload, places_settings, sealed_places
from console.casework.requests import forget_items, request_state
from console.casework.side_effects import near_to
from console.domain.engine_names import EngineName
from console.domain.events import BatteryInterrupted, BatteryRecorded, plain
from console.domain.forget_set import ForgetItem
from console.domain.own_places import PLACES_VERSION
from console.domain.reading import ANSWER_TOKENS, reading
from console.domain.results import Battery, Stage
from console.domain.roles import Duty
from console.domain.suites import MOST_REPEATS, QUICK, ROOMS, SUITES, SuitePlan
from console.domain.teaching import without_subjects
from console.errors import ConsoleError, InputError
from console.jobs.spec import JobKind, JobPayload, JobSpec
from console.ledger.canonical import canonical_text

ATTEMPTS = "attempts"
FINISHED = "finished_attacks"


def digest(value: Any) -> str:
    """SHA-256 over the canonical text of a JSON value."""
    return hashlib.sha256(canonical_text(plain(value)).encode()).hexdigest()


@dataclass(frozen=True)
class Suite:
    """A suite bound to one request: the same attacks, settings, people and questions for every model.

    Attributes:
        questions: vault item with what a helper model wrote; None where all wordings are templates.
        engine: what runs the models; counts of different engines are never compared.
        places: vault item with the places where the searched model itself puts the facts.
    """

    attacks: tuple[str, ...]
    settings: Mapping[str, Any]
    hash: str
    behaviour: bool
    questions: str | None = None
    engine: EngineName = EngineName.TRANSFORMERS
    places: str | None = None


def suite_for(
    office: Office,
    number: str,
    knowledge: Knowledge,
    plan: SuitePlan = QUICK,
    questions: str | None = None,
    engine: EngineName = EngineName.TRANSFORMERS,
    places: str | None = None,
) -> Suite:
    """The suite's identity covers whom it is about by commitment, so that nobody can read a name off it."""
    about = _about(office, number, knowledge)
    asked = (questions, _committed(office, number, questions))
    return _bind(plan.run_by(engine), about, asked, (places, _committed(office, number, places)), engine)


def _about(office: Office, number: str, knowledge: Knowledge) -> dict[str, Any]:
    """What every suite of a request is bound to: what was read otherwise is never compared."""
    items = [item.model_dump(mode="json") for item in forget_items(office, number)]
    controls = [item.model_dump(mode="json") for item in knowledge.controls]
    return {
        "bank": digest(bank_payload().model_dump(mode="json")),
        "items": office.ledger.commitment(number, items),
        "controls": office.ledger.commitment(number, controls),
        "reading": {**reading(), "places": PLACES_VERSION},
    }


def _committed(office: Office, number: str, item: str | None) -> str | None:
    """A sealed item's commitment."""
    return None if item is None else office.ledger.commitment(number, office.ledger.unseal(item))


_Sealed = tuple[str | None, str | None]  # a vault item and its commitment


def _bind(plan: SuitePlan, about: Mapping[str, Any], questions: _Sealed, places: _Sealed, engine: EngineName) -> Suite:
    bound: dict[str, Any] = {"attacks": list(plan.attacks), "settings": plain(dict(plan.settings)), **about}
    for name, (_, committed) in (("questions", questions), ("places", places)):
        if committed is not None:
            bound[name] = committed
    # Left out for the engine that was the only one, so that the hash of a suite stays what it was.
    if engine is not EngineName.TRANSFORMERS:
        bound["engine"] = engine.value
    return Suite(plan.attacks, plan.settings, digest(bound), plan.behaviour, questions[0], engine, places[0])


def suite_named(name: str) -> SuitePlan:
    """A suite by its name.

    Raises:
        InputError: there is none.
    """
    if name not in SUITES:
        raise InputError(f"There is no suite '{name}'; known are {', '.join(SUITES)}.")
    return SUITES[name]


def repeated(plan: SuitePlan, repeats: int) -> SuitePlan:
    """The suite with its sampled attacks run with several seeds.

    Raises:
        InputError: fewer than one, or more than a suite may take.
    """
    if not 1 <= repeats <= MOST_REPEATS:
        raise InputError(f"A suite can be repeated with 1 to {MOST_REPEATS} seeds, not {repeats}.")
    return plan if repeats == 1 else replace(plan, settings={**plan.settings, "repeats": repeats})


def with_room(plan: SuitePlan, answer_tokens: int) -> SuitePlan:
    """The suite with other room for every answer.

    Raises:
        InputError: none of the rooms that a suite may give.
    """
    if answer_tokens not in ROOMS:
        allowed = ", ".join(map(str, ROOMS))
        raise InputError(f"A suite can give every answer room for one of {allowed} tokens, not {answer_tokens}.")
    if answer_tokens == ANSWER_TOKENS:
        return plan
    return replace(plan, settings={**plan.settings, "answer_tokens": answer_tokens})


def _bindings(office: Office, number: str, knowledge: Knowledge) -> Iterator[tuple[SuitePlan, Suite]]:
    about = _about(office, number, knowledge)
    banks = [(item, _committed(office, number, item)) for item in (*sealed_questions(office, number), None)]
    heard = [(item, _committed(office, number, item)) for item in (*sealed_places(office, number), None)]
    return (
        (plan, _bind(with_room(repeated(plan, repeats), room).run_by(engine), about, bank, places, engine))
        for engine in reversed(EngineName)
        for plan in reversed(SUITES.values())
        for bank in banks
        for places in heard
        for repeats in range(MOST_REPEATS, 0, -1)
        for room in reversed(ROOMS)
    )


def bound_suites(office: Office, number: str, knowledge: Knowledge) -> list[Suite]:
    """Every suite as this request could have run it, the deepest first.

    With the newest helper's questions before those of older ones and before templates, with many seeds and much
    room before few and little.
    """
    return [suite for _plan, suite in _bindings(office, number, knowledge)]


def stopped_suite(office: Office, number: str, knowledge: Knowledge) -> str | None:
    """Name of the suite whose search of the case was stopped last, so that it can be gone on with; None without one."""
    kept = request_state(office, number).get("interrupted", {})
    seqs = [seq for key, seq in kept.items() if key.startswith(f"{Stage.BEFORE.value}/")]
    if not seqs:
        return None
    body = BatteryInterrupted.model_validate(office.ledger.events(after_seq=max(seqs) - 1)[0].body)
    named = (plan.name for plan, suite in _bindings(office, number, knowledge) if suite.hash == body.suite_hash)
    return next(named, None)


def payload_about(items: tuple[ForgetItem, ...], knowledge: Knowledge) -> JobPayload:
    """What the worker is told: the person, the others, and people nobody knows."""
    subjects = {item.subject for item in items}
    teaching = without_subjects(knowledge.teaching, subjects)
    return JobPayload(
        forget=items,
        retain=(kept := tuple(taught.item for taught in teaching)),
        probe=kept,
        controls=knowledge.controls,
        general=knowledge.general,
        held_out=knowledge.held_out,
        teaching=teaching,
        neighbours=near_to(knowledge, subjects),
        bank=bank_payload(),
        behaviour=behaviour_payload(),
    )


def case_payload(office: Office, number: str, knowledge: Knowledge) -> JobPayload:
    """What the worker is told about a case."""
    return payload_about(forget_items(office, number), knowledge)


def recorded(
    office: Office, number: str, stage: Stage, model: str, suite_hash: str
) -> tuple[int, BatteryRecorded] | None:
    """A battery that this suite has already left behind, with its place in the ledger."""
    kept = request_state(office, number)["batteries"].get(f"{stage.value}/{model}")
    if kept is None:
        return None
    event = office.ledger.events(after_seq=kept["seq"] - 1)[0]
    body = BatteryRecorded.model_validate(event.body)
    return (event.seq, body) if body.battery.suite_hash == suite_hash else None


def run_battery(
    office: Office, number: str, stage: Stage, model: str, suite: Suite, knowledge: Knowledge, device: str
) -> Generator[Job, JobResult, tuple[int, BatteryRecorded]]:
    """Run the suite on one model and record its counts; every attempt goes sealed into the vault."""
    payload = case_payload(office, number, knowledge)
    if stage is Stage.REFERENCE:
        payload = payload.model_copy(update={"probe": (), "held_out": ()})
    if stage is Stage.REFERENCE or not suite.behaviour:
        payload = payload.model_copy(update={"behaviour": None})
    payload, told = with_sealed(office, suite, payload)
    settings = {**suite.settings, "prompt_controls": stage is not Stage.REFERENCE}
    if stage is Stage.REFERENCE:
        settings["retained_asked"] = 0
    spec = JobSpec(
        job_id=new_job_id(JobKind.ATTACK),
        kind=JobKind.ATTACK,
        model=reference_to(office, model),
        cache=str(office.places.cache),
        attacks=suite.attacks,
        settings=settings,
        device=device,
        engine=suite.engine,
        # What an erased model lost is judged from others' facts and plain text; where neither is known, by this.
        sign_of_life=stage is Stage.BEFORE or (stage is Stage.AFTER and not payload.probe and not payload.held_out),
    )
    titles = {
        Stage.BEFORE: "Looking for the data in the model",
        Stage.AFTER: "Attacking the erased model",
        Stage.REFERENCE: "Attacking a model that never knew the data",
    }
    details = {"stage": stage.value, "suite": suite.hash}
    finished = _left_behind(office, number, stage, model, spec.model.tree_hash or "", suite)
    job = Job(
        spec,
        payload.model_copy(update={"finished": finished}),
        titles[stage],
        model,
        number,
        details=details,
        finished=dict(finished),
    )
    try:
        result = yield job
    except ConsoleError as error:
        if len(job.finished) > len(finished):
            _keep_finished(office, number, stage, job, suite)
        if job.finished and isinstance(error, CancelledByUserError):
            raise CancelledByUserError(_stopped_words(len(job.finished))) from error
        raise
    value = result.value
    with office.ledger.transaction() as transaction:
        kept = {key: value[key] for key in ("attempts", "answered", "retained")}
        sealed = transaction.seal(number, ATTEMPTS, plain(kept))
        body = BatteryRecorded(
            job_id=spec.job_id,
            model=model,
            battery=Battery(
                stage=stage,
                model_hash=spec.model.tree_hash or "",
                suite_hash=suite.hash,
                rows=value["rows"],
            ),
            perplexity=value["perplexity"],
            answered=sum(value["answered"].values()),
            asked=len(value["answered"]),
            attempts=sealed,
            attacks=tuple(value["attacks"]),
            settings={**value["settings"], **value["engine"], **told},
            behaviour=value["behaviour"],
        )
        event = transaction.append(
            BatteryRecorded.kind, body.to_body(), request_id=number, actor=office.require(Duty.VERIFY)
        )
    return event.seq, body


def _stopped_words(kept: int) -> str:
    attacks = "1 attack that was finished is" if kept == 1 else f"{kept} attacks that were finished are"
    return f"The attacks were stopped; {attacks} kept, and the next run of the same attacks goes on from there."


def with_sealed(office: Office, suite: Suite, payload: JobPayload) -> tuple[JobPayload, dict[str, Any]]:
    """What the suite asks with and where it reads, out of the vault; and what its battery says of it."""
    told: dict[str, Any] = {}
    if suite.questions is not None:
        value = office.ledger.unseal(suite.questions)
        told |= helper_settings(value)
        bank = payload.bank.model_copy(update={"written": written_payload(value)})
        payload = payload.model_copy(update={"bank": bank})
    if suite.places is not None:
        value = office.ledger.unseal(suite.places)
        told |= places_settings(suite.places, value)
        payload = payload.model_copy(update={"places": places_payload(value)})
    return payload, told


def _keep_finished(office: Office, number: str, stage: Stage, job: Job, suite: Suite) -> None:
    """Seal what an interrupted suite has found so far."""
    with office.ledger.transaction() as transaction:
        body = BatteryInterrupted(
            stage=stage.value,
            model=job.model,
            model_hash=job.spec.model.tree_hash or "",
            suite_hash=suite.hash,
            finished=tuple(attack for attack in suite.attacks if attack in job.finished),
            results=transaction.seal(number, FINISHED, plain(job.finished)),
        )
        transaction.append(
            BatteryInterrupted.kind, body.to_body(), request_id=number, actor=office.require(Duty.VERIFY)
        )


def _left_behind(
    office: Office, number: str, stage: Stage, model: str, model_hash: str, suite: Suite
) -> dict[str, dict[str, Any]]:
    """What an interrupted run of this suite on these very bytes has found, by attack."""
    seq = request_state(office, number).get("interrupted", {}).get(f"{stage.value}/{model}")
    if seq is None:
        return {}
    body = BatteryInterrupted.model_validate(office.ledger.events(after_seq=seq - 1)[0].body)
    if (body.model_hash, body.suite_hash) != (model_hash, suite.hash):
        return {}
    return dict(office.ledger.unseal(body.results))


def battery_once(
    office: Office, number: str, stage: Stage, model: str, suite: Suite, knowledge: Knowledge, device: str
) -> Generator[Job, JobResult, tuple[int, BatteryRecorded]]:
    """The recorded battery of this suite, or a fresh one."""
    kept = recorded(office, number, stage, model, suite.hash)
    if kept is not None:
        return kept
    return (yield from run_battery(office, number, stage, model, suite, knowledge, device))


def reference_battery(
    office: Office, number: str, state: dict[str, Any], suite: Suite, knowledge: Knowledge, device: str
) -> Generator[Job, JobResult, tuple[int, BatteryRecorded] | None]:
    """The same suite on the snapshot from before the training, where there is one."""
    snapshot = snapshot_of(office, state)
    if snapshot is None:
        return None
    return (yield from battery_once(office, number, Stage.REFERENCE, snapshot, suite, knowledge, device))


def snapshot_of(office: Office, state: dict[str, Any]) -> str | None:
    """Name of the model as it was before it learned the office's data."""
    if state["snapshot"]:
        return str(state["snapshot"])
    return snapshot_of(office, model_state(office, state["parent"])) if state["parent"] else None
