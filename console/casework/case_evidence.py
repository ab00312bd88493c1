"""The record of a case that goes into its report, built from the ledger."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from console.casework.batteries import digest
from console.casework.models import model_state
from console.casework.notes import OWN_SENTENCES, note_text
from console.casework.office import Office
from console.casework.requests import (
    deadline_difference,
    deadline_of,
    forget_items,
    request_state,
)
from console.casework.sequence import recorded_rechecks
from console.casework.story import is_second_person, timeline
from console.casework.views import latest_batteries
from console.domain.engine_names import EngineName
from console.domain.events import ArtefactExported, BatteryRecorded, ErasureRun, VerdictReached
from console.domain.exports import ExportForm
from console.domain.forget_set import known_types
from console.domain.jurisdiction import resolve_profile
from console.domain.own_words import tells_of
from console.domain.request_terms import Channel, Ground, RequestStatus
from console.domain.results import Battery, Rate, Status
from console.domain.verdict import RULES_VERSION, Thresholds, Verdict, Word, decide, version_of
from console.domain.verdict_words import WORDS
from console.errors import InputError, NotPossibleError
from console.reports import evidence as parts
from console.reports.limits import limits_for, not_checked
from console.reports.wording import summary_sentence

S = RequestStatus
_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "numpy",
    "scipy",
    "holidays",
    "sqlcipher3",
    "pyhanko",
    "llama-cpp-python",
)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _model(office: Office, name: str) -> parts.ModelIdentity:
    state = model_state(office, name)
    identity = {key: value for key, value in state["identity"].items() if key != "chat_template"}
    return parts.ModelIdentity(model_id=name, name=name, **identity)


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def _method(office: Office, state: dict[str, Any], artefact: str) -> parts.MethodRun:
    run = ErasureRun.model_validate(_event_body(office, state["runs"][artefact]["seq"]))
    return parts.MethodRun(
        id=run.method["id"],
        title=run.method["title"],
        family=run.method["family"],
        claim=run.method["claim"],
        source=run.method["source"],
        summary=run.method["summary"],
        parameters=_flat(run.config),
        modules=_modules(run.modules),
        steps=run.steps,
        seed=int(run.config.get("seed", 0)),
        seconds=run.seconds,
        device=run.device,
        stop_reason=run.stop_reason,
        changed=tuple(parts.ChangedTensor(**entry) for entry in run.changed),
        changed_count=run.changed_count,
        stages=tuple(parts.StageRun(**stage) for stage in run.method.get("stages", ())),
    )


def _event_body(office: Office, seq: int) -> dict[str, Any]:
    return office.ledger.events(after_seq=seq - 1)[0].body


def _exported(office: Office, state: dict[str, Any], artefact: str) -> parts.Exported | None:
    """How an artefact became the file that it is; None for one that an erasure wrote."""
    seq = state["runs"][artefact].get("exported")
    if seq is None:
        return None
    body = ArtefactExported.model_validate(_event_body(office, seq))
    gate = body.gate
    return parts.Exported(
        form=ExportForm(body.form).label,
        source=body.source,
        source_hash=body.source_hash,
        base=body.base,
        base_hash=body.base_hash,
        rewritten=tuple(parts.WrittenTensor(**tensor) for tensor in body.rewritten),
        rewritten_count=body.rewritten_count,
        untouched=body.untouched,
        vanished=body.vanished,
        texts=gate.texts,
        tokens=gate.tokens,
        reading=gate.reading,
        reading_tolerance=gate.reading_tolerance,
        rounding=gate.rounding,
        rounding_tolerance=gate.rounding_tolerance,
        whole=gate.whole,
        seq=seq,
    )


def _engine_in_words(settings: dict[str, Any]) -> str:
    """What ran the models, in words."""
    device = settings.get("device", "cpu")
    engine = EngineName(settings.get("engine", EngineName.TRANSFORMERS))
    thinks = f"; the model thinks first ({settings['thinking']}), and was read" if "thinking" in settings else ""
    if engine is EngineName.BOTH:
        inside = "what looks inside or changes weights: transformers on the file's own weights"
        return f"llama.cpp on {device}; {inside}{thinks}"
    return f"{engine.value} on {device}{thinks}"


def _attacks(battery: BatteryRecorded) -> tuple[parts.AttackDescription, ...]:
    settings = battery.settings
    repeats = int(settings.get("repeats", 1))
    sampling = (
        f"1 greedy and {int(settings['samples']) * repeats} sampled answers per prompt (temperature 0.8, top-p 0.95, "
        f"seeds from {settings['seed']}{f', {repeats} repeats' if repeats > 1 else ''})"
    )
    generating = {"asked", "elicited"}
    return tuple(
        parts.AttackDescription(
            id=attack["id"],
            title=attack["title"],
            access=attack["access"],
            budget=attack["budget"],
            definition=attack["definition"],
            sampling=sampling if attack["evidence"] in generating else "no sampling; deterministic",
        )
        for attack in battery.attacks
    )


def _verdict(
    office: Office, state: dict[str, Any], batteries: dict[str, BatteryRecorded]
) -> tuple[Verdict, Any, Thresholds]:
    """The recorded verdict; where nothing was erased, that the search did not find the data.

    Raises:
        NotPossibleError: the search found it, or could not tell, and no erased model was attacked: every word that the
            rules have would then speak of an erasure that never was.
    """
    if state["verdict"] is not None:
        reached = VerdictReached.model_validate(_event_body(office, state["verdict"]["seq"]))
        return reached.verdict, reached.utility, Thresholds.model_validate(state["plan"]["thresholds"])
    before, reference = batteries["before"], batteries.get("reference")
    counted_by_fact = version_of(before.battery) == RULES_VERSION
    thresholds = Thresholds.current() if counted_by_fact else Thresholds()
    verdict = decide(before.battery, before.battery, reference.battery if reference else None, None, thresholds)
    if verdict.word is not Word.NOT_LOCATED:
        raise NotPossibleError(
            f"No erased model of {state['number']} was attacked yet, and the search did not say that there is nothing "
            "to erase: a report would speak of an erasure that never was. Erase and attack first."
        )
    return verdict, None, thresholds


def _answered_in_days(office: Office, state: dict[str, Any]) -> int | None:
    """Days from receipt to the day on which the person was told; None while that is still to come."""
    told = next((seq for status, seq in state["history"] if status == S.SUBJECT_INFORMED), None)
    if told is None:
        return None
    on = office.local(office.ledger.events(after_seq=told - 1)[0].at).date()
    return (on - date.fromisoformat(state["received_on"])).days


def _modules(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Module paths of many layers in a few words: ``model.layers.*.mlp.up_proj, layers 15 to 29``."""
    layers: dict[str, list[int]] = {}
    for path in paths:
        parts_of_path = path.split(".")
        number = next((int(part) for part in parts_of_path if part.isdigit()), -1)
        layers.setdefault(".".join("*" if part.isdigit() else part for part in parts_of_path), []).append(number)
    return tuple(f"{pattern}, layers {min(numbers)} to {max(numbers)}" for pattern, numbers in layers.items())


def _clock(office: Office, state: dict[str, Any]) -> parts.Clock:
    deadline = deadline_of(office, state)
    return parts.Clock(
        due=deadline.due,
        due_extended=deadline.due_extended if state["extension"] else None,
        binding_due=deadline.binding_due,
        rule=deadline.rule,
        steps=deadline.steps,
        calendar=deadline.calendar,
        answered_in_days=_answered_in_days(office, state),
        other_date=deadline_difference(office, state),
    )


def _request(office: Office, state: dict[str, Any]) -> parts.Request:
    return parts.Request(
        number=state["number"],
        subject_ref=state["subject_ref"],
        received_on=date.fromisoformat(state["received_on"]),
        channel=Channel(state["channel"]).label,
        country=state["country"],
        subdivision=state["subdivision"],
        profile_id=state["profile_id"],
        profile_title=resolve_profile(office.profiles, state["profile_id"]).title,
        grounds=tuple(parts.Ground(code=ground, text=Ground(ground).label) for ground in state["grounds"]),
        status=S(state["status"]).label,
    )


def _approvals(office: Office, state: dict[str, Any]) -> tuple[parts.Approval, ...]:
    events = {event.seq: event for event in office.ledger.events(state["number"])}
    return tuple(
        parts.Approval(
            role="Approver of the plan",
            actor=approval["actor"],
            at=_instant(events[approval["seq"]].at),
            statement=(
                "A second person approved the plan before it ran."
                if is_second_person(approval)
                else f"Approved by the person who prepared it. {_printed_reason(office, state['number'], approval)}"
            ),
        )
        for approval in state["approvals"]
    )


def _printed_reason(office: Office, number: str, approval: dict[str, Any]) -> str:
    """The reason of an approval, unless it tells of the person, or nobody can say any more whether it does."""
    reason = note_text(office, approval)
    if reason in OWN_SENTENCES:
        return reason  # nobody gave it as theirs, so it is not called so
    try:
        tells = tells_of(reason, forget_items(office, number))
    except (InputError, NotPossibleError):
        tells = True
    return "The reason is kept in the office's vault, not in this report." if tells else f"Reason given: {reason}"


def _anchor(office: Office, number: str) -> parts.LedgerAnchor:
    checkpoint = office.ledger.checkpoint()
    last = office.ledger.events(number)[-1]
    proof = office.ledger.inclusion_proof(last.seq)
    head = office.ledger.head()
    return parts.LedgerAnchor(
        origin=office.ledger.origin,
        size=head.size,
        head=head.hash,
        checkpoint=checkpoint,
        inclusion=parts.Inclusion(
            index=proof.seq - 1,
            size=proof.size,
            path=proof.path,
        ),
    )


def _asked_with(battery: BatteryRecorded) -> dict[str, str]:
    """Who wrote the questions of the attacks, where that was not the templates alone, and whose words were read."""
    settings = battery.settings
    names = {"helper": "helper model", "helper_sentence": "helper questions", "own_places_sentence": "own words"}
    return {name: settings[key] for key, name in names.items() if key in settings}


def environment() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"erasure-console": version("erasure-console")}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _earlier(office: Office, artefact: str | None) -> tuple[parts.EarlierRequest, ...]:
    """What the newest recheck found of each request that was carried out before."""
    if artefact is None:
        return ()
    return tuple(
        parts.EarlierRequest(
            number=request.number,
            standing=request.standing.value,
            seq=request.seq,
            counts=tuple(
                parts.EarlierCount(
                    attack=row.attack, then=_attempts(request.then, row.attack), now=_attempts(request.now, row.attack)
                )
                for row in request.now.rows
            ),
        )
        for request in recorded_rechecks(office, artefact)
        if request.now is not None and request.seq is not None
    )


def _attempts(battery: Battery | None, attack: str) -> Rate | None:
    row = battery.row(attack) if battery is not None else None
    return row.outcome.attempts if row is not None and row.outcome is not None else None


def _copies(verdict: Verdict) -> tuple[parts.Copy, ...]:
    """Where else the data may sit; only what the console itself looked at has another state than *unknown*."""
    return (
        parts.Copy(place="The erased model", state=WORDS[verdict.word].copy),
        parts.Copy(place="The model as it was before", state="retained", note="Delete it once the new one is in use."),
        parts.Copy(place="Training data, backups, caches, derived models", state="unknown", note="Not looked at."),
    )


def _ran(battery: Battery) -> frozenset[str]:
    return frozenset(row.attack for row in battery.rows if row.status is Status.OK)


def _measured(office: Office, state: dict[str, Any]) -> dict[str, BatteryRecorded]:
    """What a report rests on.

    Raises:
        NotPossibleError: nothing has been measured yet.
    """
    batteries = latest_batteries(office, state)
    if "before" not in batteries:
        raise NotPossibleError(f"Nothing has been measured for {state['number']} yet; run locate first.")
    return batteries


@dataclass(frozen=True)
class ReportOutline:
    """What a report would say if it were signed now, for whoever is asked to sign it.

    Attributes:
        model_after: the erased model, or None where nothing was erased.
        approvals: what the report says of each approval.
    """

    number: str
    status: str
    verdict: Word
    sentence: str
    model_before: str
    model_after: str | None
    approvals: tuple[str, ...]
    organisation: str


def outline_report(office: Office, number: str) -> ReportOutline:
    """What the report of a case would say now; writes nothing.

    Raises:
        InputError: no such request.
        NotPossibleError: nothing has been measured yet.
    """
    state = request_state(office, number)
    batteries = _measured(office, state)
    before, after, reference = (batteries.get(stage) for stage in ("before", "after", "reference"))
    assert before is not None
    word = _verdict(office, state, batteries)[0].word
    return ReportOutline(
        number=number,
        status=S(state["status"]).label,
        verdict=word,
        sentence=summary_sentence(
            word, before.battery, after.battery if after else None, reference.battery if reference else None
        ),
        model_before=before.model,
        model_after=after.model if after else None,
        approvals=tuple(approval.statement for approval in _approvals(office, state)),
        organisation=office.organisation,
    )


def build_evidence(office: Office, number: str) -> parts.Evidence:
    """The record of one case as it stands in the ledger.

    Raises:
        InputError: no such request.
        NotPossibleError: nothing has been measured yet.
    """
    state = request_state(office, number)
    batteries = _measured(office, state)
    verdict, utility, thresholds = _verdict(office, state, batteries)
    artefact = state["verdict"]["artefact"] if state["verdict"] else None
    before, after, reference = (batteries.get(stage) for stage in ("before", "after", "reference"))
    assert before is not None
    method = _method(office, state, artefact) if artefact else None
    now = office.clock()
    return parts.Evidence(
        report_id=f"R-{number}-{secrets.token_hex(3)}",
        created_at=_instant(now),
        organisation=office.organisation,
        request=_request(office, state),
        clock=_clock(office, state),
        timeline=tuple(
            parts.TimelineEntry(seq=line.seq, at=_instant(line.at), what=line.what, actor=line.actor, hash=line.hash)
            for line in timeline(office, number, opened=False)
        ),
        forget_set=parts.ForgetSetSummary(
            items=state["items"], by_type=known_types(state["by_type"]), commitment=state["commitment"]
        ),
        model_before=_model(office, before.model),
        model_after=_model(office, after.model) if after else None,
        model_reference=_model(office, reference.model) if reference else None,
        method=method,
        exported=_exported(office, state, artefact) if artefact else None,
        batteries=parts.Batteries(
            before=before.battery,
            after=after.battery if after else None,
            reference=reference.battery if reference else None,
        ),
        attacks=_attacks(before),
        utility=utility,
        behaviour_before=before.behaviour,
        behaviour_after=after.behaviour if after else None,
        earlier_requests=_earlier(office, artefact),
        thresholds=thresholds,
        thresholds_hash=digest(thresholds.model_dump(mode="json")),
        thresholds_seq=state["plan"]["seq"] if state["plan"] else None,
        verdict=verdict,
        sentence=summary_sentence(
            verdict.word, before.battery, after.battery if after else None, reference.battery if reference else None
        ),
        limits=limits_for(verdict.word, method.family if method else None),
        not_checked=not_checked(_ran((after or before).battery)),
        copies=_copies(verdict) if artefact else (),
        approvals=_approvals(office, state),
        ledger=_anchor(office, number),
        environment={
            **environment(),
            "engine": _engine_in_words(before.settings),
            **_asked_with(before),
        },
    )
