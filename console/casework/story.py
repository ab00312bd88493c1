"""The story of a case: every entry of the ledger as a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from console.casework.notes import OWN_SENTENCES, note_text
from console.casework.office import Office
from console.domain.exports import ExportForm
from console.domain.request_terms import RequestStatus
from console.domain.results import Battery, Stage
from console.domain.roles import Separation
from console.domain.tally import tally
from console.ledger import Event

IN_THE_VAULT = "reason sealed in the vault"


@dataclass(frozen=True)
class TimelineLine:
    """One entry of a case's story; ``at`` is in the office's time zone, ``what`` a sentence that may hold a reason."""

    seq: int
    at: datetime
    what: str
    actor: str
    hash: str


def sentence_of(kind: str, body: dict[str, Any], note: str = "") -> str:
    """A ledger event as a sentence for the story.

    Args:
        note: what somebody typed with it, opened; or a word on where it lies.
    """
    clause = note.removesuffix(".")  # inside a sentence that has a stop of its own
    match kind:
        case "request_registered":
            return f"Request registered with {body['items']} facts to look for; due on {body['due']}."
        case "status_changed":
            reason = f" ({clause})" if note else ""
            return f"Now: {RequestStatus(body['to']).label}{reason}."
        case "clock_suspended":
            # Whether the wait moves the due date is the law's to say: the steps of the date say it.
            return f"The person was asked on {body['starts_on']}; the office waits for the answer."
        case "clock_resumed":
            return f"The person answered on {body['ends_on']}; the office waits no longer."
        case "extension_notified":
            return f"The person was told on {body['notified_on']} that the answer takes longer: {clause}."
        case "clock_entry_withdrawn":
            return f"Entry {body['entry']} was recorded in error and no longer counts: {clause}."
        case "deadline_accepted":
            return (
                f"The dates by today's calendar were accepted: due on {body['binding_due']} in place of "
                f"{body['binding_due_before']}."
            )
        case "office_timezone_set":
            return f"The office counts its days in the time zone {body['timezone']}."
        case "job_started":
            return f"A job began: {_JOB_WORDS.get(body['job'], body['job'])} (model {body['model']})."
        case "job_ended":
            if body["outcome"] == "done":
                return f"The job ended after {body['seconds']} s."
            ended = "was cancelled" if body["outcome"] == "cancelled" else "failed"
            return f"The job {ended}: {note}"
        case "battery_interrupted":
            kept = len(body["finished"])
            are = "1 that was finished is" if kept == 1 else f"{kept} that were finished are"
            return f"The attacks were stopped; {are} kept, and the next run of the same attacks goes on from there."
        case "battery_recorded":
            battery = Battery.model_validate(body["battery"])
            return f"{_STAGE_WORDS[battery.stage]}: {tally(battery.rows).words}."
        case "plan_fixed":
            return f"Method '{body['method']}' and the thresholds were fixed (hash {body['thresholds_hash'][:12]}…)."
        case "approved":
            how = "by a second person." if is_second_person(body) else f"by the person who prepared it: {note}"
            return f"The {body['what']} was approved {how}"
        case "erasure_run":
            tensors = "1 tensor" if body["changed_count"] == 1 else f"{body['changed_count']} tensors"
            return f"Erased with {body['steps']} step{'' if body['steps'] == 1 else 's'}; {tensors} changed."
        case "artefact_exported":
            form = ExportForm(body["form"]).label
            new = "1 tensor is" if body["rewritten_count"] == 1 else f"{body['rewritten_count']} tensors are"
            return f"Written as {body['artefact']} ({form}) and read back; {new} new."
        case "verdict_reached":
            return f"Verdict: {body['verdict']['word']} (rule {body['verdict']['rule']})."
        case "earlier_rechecked":
            return f"Searched again in the later model {body['artefact']}: {body['standing']}."
        case "report_signed":
            return f"Report {body['report_id']} signed and written."
        case "vault_shredded":
            return "The person's data was destroyed in the vault."
    return kind.replace("_", " ")


_JOB_WORDS = {
    "attack": "attacking",
    "erase": "erasing",
    "export": "writing the file that is deployed",
    "inspect": "reading model files",
    "own-places": "listening where the model puts the facts",
    "prepare-questions": "letting the helper write questions",
    "teach": "teaching the sample model",
}
_STAGE_WORDS = {
    Stage.BEFORE: "Attacked before the erasure",
    Stage.AFTER: "Attacked after the erasure",
    Stage.REFERENCE: "Attacked a model that never knew the data",
}


def is_second_person(approval: dict[str, Any]) -> bool:
    """Whether somebody else approved than the person who prepared it."""
    return approval["mode"] == Separation.SECOND_PERSON.value


def timeline(office: Office, number: str, *, opened: bool = True) -> tuple[TimelineLine, ...]:
    """The story of a case, oldest first.

    Args:
        opened: with what people typed; else a word that it lies sealed, for a story that leaves the house.
    """

    def line(event: Event) -> TimelineLine:
        note = note_text(office, event.body)
        shown = opened or not note or note in OWN_SENTENCES
        said = sentence_of(event.kind, event.body, note if shown else IN_THE_VAULT)
        return TimelineLine(event.seq, office.local(event.at), said, event.actor, event.hash)

    return tuple(line(event) for event in office.ledger.events(number))
