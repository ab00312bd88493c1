"""Questions that a local model named by the user writes for the attacks: made once, sealed, and used on every model.

Attacks on the model before, after and on the reference must ask the same, or their counts could not be compared. So
the questions lie sealed with the case, the suite's identity covers them by commitment, and whoever names the same
helper again gets the same questions.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from console.casework.knowledge import Knowledge, bank_payload
from console.casework.models import new_job_id
from console.casework.office import Office
from console.casework.operation import Job, JobResult
from console.casework.requests import forget_items
from console.domain.roles import Duty
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference, WrittenPayload

QUESTIONS = "helper_questions"  # kind of the sealed item
_NAME = "helper"  # in the ledger; a folder's own name may be a person's


def sealed_questions(office: Office, number: str) -> list[str]:
    """Vault items with a helper's questions for a request, the newest first."""
    return [item.id for item in reversed(office.ledger.sealed_items(number, QUESTIONS))]


def written_payload(value: dict[str, Any]) -> dict[str, WrittenPayload]:
    """Sealed questions as a worker gets them."""
    return {item: WrittenPayload.model_validate(written) for item, written in value["written"].items()}


def helper_settings(value: dict[str, Any]) -> dict[str, Any]:
    """What a battery says of the helper: which bytes it was, and how many questions it wrote."""
    return {
        "helper": value["helper"],
        "helper_written": value["count"],
        "helper_wanted": value["wanted"],
        "helper_sentence": value["sentence"],
    }


def prepared_questions(
    office: Office, number: str, helper: Path, knowledge: Knowledge, device: str
) -> Generator[Job, JobResult, str]:
    """The sealed questions of this helper for this request, written now where there are none.

    Returns:
        The vault item's id.

    Raises:
        ModelFileError: the helper's files are damaged or of no supported kind.
        InputError: the request holds passages only.
    """
    office.require(Duty.VERIFY)
    items = forget_items(office, number)
    asked_about = [item.model_dump(mode="json") for item in (*items, *knowledge.controls)]
    about = office.ledger.commitment(number, asked_about)
    model = ModelReference(path=str(helper.resolve()))
    cache = str(office.places.cache)
    inspect = JobSpec(job_id=new_job_id(JobKind.INSPECT), kind=JobKind.INSPECT, model=model, cache=cache)
    inspected = yield Job(inspect, JobPayload(), "Reading the helper's files", _NAME, number)
    tree_hash = inspected.value["identity"]["tree_hash"]
    for kept in sealed_questions(office, number):
        value = office.ledger.unseal(kept)
        if (value["helper"], value["about"]) == (tree_hash, about):
            return kept
    spec = JobSpec(
        job_id=new_job_id(JobKind.PREPARE_QUESTIONS),
        kind=JobKind.PREPARE_QUESTIONS,
        model=model.model_copy(update={"tree_hash": tree_hash}),
        cache=cache,
        device=device,
    )
    payload = JobPayload(forget=items, controls=knowledge.controls, bank=bank_payload())
    details = {"helper": tree_hash}
    result = yield Job(spec, payload, "Letting the helper write questions", _NAME, number, details=details)
    with office.ledger.transaction() as transaction:
        return transaction.seal(number, QUESTIONS, {**result.value, "about": about})
