"""Requests one after another on one model: earlier ones are searched for again, and a governor says when to stop."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from console.casework.batteries import (
    bound_suites,
    case_payload,
    recorded,
    snapshot_of,
    suite_for,
    with_sealed,
)
from console.casework.engine_choice import require_runnable
from console.casework.knowledge import Knowledge
from console.casework.models import knowledge_of, model_state, new_job_id, reference_to
from console.casework.office import Office
from console.casework.operation import Job, JobResult, UseCase
from console.casework.requests import forget_items, request_state
from console.domain.case_state import MODELS, REQUESTS
from console.domain.engine_names import EngineName
from console.domain.events import BatteryRecorded, EarlierRechecked, ErasureRun, plain
from console.domain.results import Battery, Stage
from console.domain.roles import Duty
from console.domain.sequence import (
    OWN_CHANGE,
    RECHECK_RULES,
    ChainLimits,
    ChainMeasure,
    Link,
    Standing,
    beyond,
    chain_to,
    earlier_requests,
    own_artefact,
    recheck,
    requests_in,
    whole_change,
)
from console.domain.suites import RECHECK
from console.domain.teaching import without_subjects
from console.errors import InputError, ModelFileError, NotPossibleError
from console.jobs.spec import JobKind, JobSpec, ModelReference

ATTEMPTS = "recheck_attempts"  # kind of the sealed item
_READ_OTHERWISE = (
    "After its own erasure the model was attacked when models were asked and read in another way; what is found now "
    "cannot be compared with that."
)
_TRAINED_ANEW = "exact"  # family of the methods that start from the snapshot


def chain_of(office: Office, model: str) -> tuple[Link, ...]:
    """The models that led to this one, the first model first."""
    return chain_to(model, office.ledger.projection(MODELS))


def remaining_knowledge(office: Office, state: dict[str, Any]) -> Knowledge:
    """A model's training record without everybody whom an erasure on the way to it was about.

    An artefact inherits its parent's record. If the earlier persons stayed in it, the next erasure would train on
    their facts as facts to keep, and so teach them again.
    """
    knowledge = knowledge_of(office, state)
    gone: set[str] = set()
    for number in requests_in(chain_of(office, state["name"])):
        try:
            gone |= {item.subject for item in forget_items(office, number)}
        except InputError:  # their data is destroyed, and with it who they were
            continue
    if not gone:
        return knowledge
    near = {
        name: tuple(other for other in others if other not in gone) for name, others in knowledge.neighbours.items()
    }
    return knowledge.model_copy(
        update={"teaching": without_subjects(knowledge.teaching, gone), "neighbours": near},
    )


# -- is it still gone ------------------------------------------------------------------------


@dataclass(frozen=True)
class EarlierRequest:
    """One earlier request, searched for in a later model.

    Attributes:
        own_artefact: the model that its own erasure wrote; ``then`` is what was found in that.
        by: attacks that find more in the later model.
        now: what the short suite finds in the later model; None where nothing could be asked.
        reason: why nothing is known, else empty.
        seq: place in the ledger; None where nothing was recorded.
    """

    number: str
    own_artefact: str
    standing: Standing
    by: tuple[str, ...]
    now: Battery | None
    then: Battery | None
    reason: str = ""
    seq: int | None = None


def rechecks(office: Office, artefact: str, device: str = "auto") -> UseCase:
    """Search a model again for every earlier request of its chain; returns a tuple of :class:`EarlierRequest`.

    Raises:
        InputError: no such model.
        NotPossibleError: no request was carried out before this model's own.
    """
    office.require(Duty.VERIFY)
    name = model_state(office, artefact)["name"]
    if not earlier_requests(chain_of(office, name)):
        raise NotPossibleError(f"No request was carried out on the way to '{name}' before its own; nothing to recheck.")
    return (yield from recheck_earlier(office, name, device))


def recheck_earlier(
    office: Office, artefact: str, device: str
) -> Generator[Job, JobResult, tuple[EarlierRequest, ...]]:
    """Every earlier request of the chain, one job each; nothing where there is none."""
    chain = chain_of(office, artefact)
    found = []
    for number in earlier_requests(chain):
        own = own_artefact(chain, number)
        try:
            forget_items(office, number)
        except InputError as error:
            found.append(EarlierRequest(number, own, Standing.NOT_KNOWN, (), None, None, str(error)))
            continue
        found.append((yield from _recheck_one(office, number, artefact, own, device)))
    return tuple(found)


def _recheck_one(
    office: Office, number: str, artefact: str, own: str, device: str
) -> Generator[Job, JobResult, EarlierRequest]:
    state = model_state(office, artefact)
    knowledge = remaining_knowledge(office, state)
    then = _after_own_erasure(office, number, own)
    engine = EngineName(then[1].settings.get("engine", EngineName.TRANSFORMERS)) if then else EngineName.TRANSFORMERS
    try:
        require_runnable(office, state, engine)
    except NotPossibleError as error:  # counts of another engine would not compare
        return EarlierRequest(number, own, Standing.NOT_KNOWN, (), None, then[1].battery if then else None, str(error))
    bound = None
    if then is not None:
        before = then[1].battery
        bound = next((s for s in bound_suites(office, number, knowledge) if s.hash == before.suite_hash), None)
        if bound is None:
            return EarlierRequest(number, own, Standing.NOT_KNOWN, (), None, before, _READ_OTHERWISE)
    suite = suite_for(office, number, knowledge, RECHECK, engine=engine, places=bound.places if bound else None)
    payload, told = with_sealed(office, suite, case_payload(office, number, knowledge))
    spec = JobSpec(
        job_id=new_job_id(JobKind.ATTACK),
        kind=JobKind.ATTACK,
        model=reference_to(office, artefact),
        cache=str(office.places.cache),
        attacks=suite.attacks,
        settings={**suite.settings, "prompt_controls": True, "retained_asked": 0},
        device=device,
        engine=engine,
        sign_of_life=False,
    )
    result = yield Job(
        spec,
        payload.model_copy(update={"probe": (), "held_out": (), "behaviour": None}),
        f"Looking whether the data of {number} came back",
        artefact,
        number,
        details={"recheck": own, "suite": suite.hash},
    )
    battery = Battery(
        stage=Stage.AFTER,
        model_hash=spec.model.tree_hash or "",
        suite_hash=suite.hash,
        rows=result.value["rows"],
    )
    value = {**result.value, "settings": {**result.value["settings"], **told}}
    return _record(office, number, artefact, own, battery, value, spec.job_id)


def _record(
    office: Office, number: str, artefact: str, own: str, now: Battery, value: dict[str, Any], job_id: str
) -> EarlierRequest:
    then = _after_own_erasure(office, number, own)
    reference = _reference_of(office, number, own, then[1]) if then else None
    judged = recheck(now, then[1].battery if then else None, reference[1].battery if reference else None)
    with office.ledger.transaction() as transaction:
        body = EarlierRechecked(
            job_id=job_id,
            artefact=artefact,
            own_artefact=own,
            battery=now,
            then_seq=then[0] if then else None,
            reference_seq=reference[0] if reference else None,
            standing=judged.standing.value,
            by=judged.by,
            rules_version=RECHECK_RULES,
            attempts=transaction.seal(number, ATTEMPTS, plain({"attempts": value["attempts"]})),
            attacks=tuple(value["attacks"]),
            settings={**value["settings"], **value["engine"]},
        )
        event = transaction.append(
            EarlierRechecked.kind, body.to_body(), request_id=number, actor=office.require(Duty.VERIFY)
        )
    return _told(office, number, body, event.seq)


def _after_own_erasure(office: Office, number: str, own: str) -> tuple[int, BatteryRecorded] | None:
    kept = request_state(office, number)["batteries"].get(f"{Stage.AFTER.value}/{own}")
    if kept is None:
        return None
    return kept["seq"], BatteryRecorded.model_validate(_body(office, kept["seq"]))


def _reference_of(office: Office, number: str, own: str, then: BatteryRecorded) -> tuple[int, BatteryRecorded] | None:
    snapshot = snapshot_of(office, model_state(office, own))
    return None if snapshot is None else recorded(office, number, Stage.REFERENCE, snapshot, then.battery.suite_hash)


def _body(office: Office, seq: int) -> dict[str, Any]:
    return office.ledger.events(after_seq=seq - 1)[0].body


def _battery(office: Office, seq: int | None) -> Battery | None:
    return None if seq is None else BatteryRecorded.model_validate(_body(office, seq)).battery


def _told(office: Office, number: str, body: EarlierRechecked, seq: int) -> EarlierRequest:
    """A recorded recheck, with the counts from after the request's own erasure beside it."""
    standing = Standing(body.standing)
    then = _battery(office, body.then_seq)
    reason = ""
    if standing is Standing.NOT_KNOWN:
        reason = (
            f"The model '{body.own_artefact}' was not attacked after the erasure; nothing to compare with."
            if then is None
            else "No attack of the short suite ran on both models."
        )
    return EarlierRequest(number, body.own_artefact, standing, body.by, body.battery, then, reason, seq)


def recorded_rechecks(office: Office, artefact: str) -> tuple[EarlierRequest, ...]:
    """The newest recheck of each earlier request of a model, the earliest request first; not those never rechecked."""
    kept = model_state(office, artefact).get("rechecked", {})
    return tuple(
        _told(office, number, EarlierRechecked.model_validate(_body(office, kept[number]["seq"])), kept[number]["seq"])
        for number in earlier_requests(chain_of(office, artefact))
        if number in kept
    )


@dataclass(frozen=True)
class ReplayedRecheck:
    """One recheck of the ledger and what its counts say again."""

    number: str
    artefact: str
    seq: int
    recorded: Standing
    again: Standing
    same: bool


def replayed_rechecks(office: Office, version: int | None = None) -> tuple[ReplayedRecheck, ...]:
    """Every recheck of the ledger, decided again from the stored counts.

    Args:
        version: the rules to compare by; each recheck's own where None.
    """
    results = []
    for event in office.ledger.events():
        if event.kind != EarlierRechecked.kind or not event.request_id:
            continue
        body = EarlierRechecked.model_validate(event.body)
        then, reference = _battery(office, body.then_seq), _battery(office, body.reference_seq)
        again = recheck(body.battery, then, reference, version or body.rules_version)
        told = Standing(body.standing)
        same = (again.standing, again.by) == (told, body.by)
        results.append(ReplayedRecheck(event.request_id, body.artefact, event.seq, told, again.standing, same))
    return tuple(results)


# -- when it is enough -----------------------------------------------------------------------


def _run_of(office: Office, request: str, artefact: str) -> ErasureRun | None:
    """None for an artefact whose console went away before its run was recorded."""
    kept = request_state(office, request)["runs"].get(artefact)
    return None if kept is None else ErasureRun.model_validate(_body(office, kept["seq"]))


def _governed(office: Office, model: str) -> tuple[Link, ...]:
    """The part of a chain whose changes add up: from the model that the first erasure began with, or from the last one
    that was trained anew. What somebody taught a model before that is no damage.

    An exact erasure starts from the snapshot, so whatever earlier erasures damaged is not in its model, and its
    distance from the one it replaces is no damage either.
    """
    chain = chain_of(office, model)
    for place in reversed(range(len(chain))):
        link = chain[place]
        run = _run_of(office, link.request, link.model) if link.request is not None else None
        if run is not None and run.method["family"] == _TRAINED_ANEW:
            return chain[place:]
    before = next((place - 1 for place, link in enumerate(chain) if link.request is not None), len(chain) - 1)
    return chain[max(before, 0) :]


def _perplexity(office: Office, model: str) -> Decimal | None:
    """The newest that any request's suite measured on a model."""
    keys = [f"{stage.value}/{model}" for stage in (Stage.BEFORE, Stage.AFTER)]
    seqs = [
        state["batteries"][key]["seq"]
        for state in office.ledger.projection(REQUESTS).values()
        for key in keys
        if key in state["batteries"]
    ]
    for seq in sorted(seqs, reverse=True):
        text = _body(office, seq).get("perplexity")
        if text is not None:
            return Decimal(text)
    return None


def measure_of(office: Office, model: str) -> ChainMeasure:
    """How far a model has gone from the one that its chain began with, from what the ledger holds.

    Raises:
        InputError: no such model.
    """
    model = model_state(office, model)["name"]
    chain = _governed(office, model)
    runs = [_run_of(office, link.request, link.model) for link in chain[1:] if link.request is not None]
    change, bound = whole_change([run.metrics if run is not None else {} for run in runs])
    first, last = _perplexity(office, chain[0].model), _perplexity(office, model)
    ratio = last / first if first and last is not None and len(chain) > 1 else None
    return ChainMeasure(chain[0].model, model, change, bound, ratio)


def check_limits(office: Office, model: str, reason: str = "", limits: ChainLimits | None = None) -> str:
    """Let the next erasure begin, or stop a chain that has gone too far.

    Args:
        reason: why to go on nevertheless.

    Returns:
        The reason where a limit is passed, for the plan; an empty text where none is.

    Raises:
        NotPossibleError: a limit is passed and no reason is given.
    """
    measure = measure_of(office, model)
    passed = beyond(measure, limits or ChainLimits())
    if not passed:
        return ""
    if not reason.strip():
        raise NotPossibleError(
            f"The model '{model}' has gone too far from '{measure.first}' for another erasure: {' and '.join(passed)}; "
            f"carry the requests out again from '{measure.first}', or go on with --beyond-limits REASON."
        )
    return reason.strip()


def origin_of(office: Office, model: str) -> ModelReference | None:
    """The model that a chain began with, to measure a further change against; None if it is this one or is gone."""
    first = _governed(office, model)[0].model
    if first == model:
        return None
    try:
        return reference_to(office, first)
    except ModelFileError:
        return None  # a report advises to delete it; the change is then bounded from the single steps


# -- one request's change --------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What one erasure did to the weights, against the model it started from.

    Attributes:
        relative_change: of all weights together; None in records from before it was measured.
    """

    number: str
    artefact: str
    parent: str
    relative_change: str | None
    run: ErasureRun


def changes_of(office: Office, number: str) -> tuple[Change, ...]:
    """Each erasure that was carried out for a request, the first one first.

    Raises:
        InputError: no such request.
        NotPossibleError: nothing was erased for it yet.
    """
    office.require(Duty.READ)
    runs = request_state(office, number)["runs"]
    if not runs:
        raise NotPossibleError(f"Nothing was erased for {number} yet, so there is no change to show.")
    changes = []
    for artefact, kept in sorted(runs.items(), key=lambda entry: int(entry[1]["seq"])):
        if "exported" in kept:  # the same change in another file
            continue
        run = ErasureRun.model_validate(_body(office, kept["seq"]))
        parent = str(model_state(office, artefact)["parent"])
        changes.append(Change(number, artefact, parent, run.metrics.get(OWN_CHANGE), run))
    return tuple(changes)
