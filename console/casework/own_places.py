"""The places where a model itself puts a request's facts: found once a model, sealed, and read on every model.

Which places an attack reads must not depend on what it finds there, and they hold the person's data. So they are
collected before the suite is bound, lie sealed with the case, and the suite's identity covers them by commitment. The
model before, the model after and the reference are read at the same ones, and an interrupted suite goes on with them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from console.casework.knowledge import Knowledge, bank_payload
from console.casework.models import new_job_id, reference_to
from console.casework.office import Office
from console.casework.operation import Job, JobResult
from console.casework.requests import forget_items
from console.domain.engine_names import EngineName
from console.domain.own_places import PLACES_VERSION, OwnPlace, PlaceCounts
from console.domain.reading import reading
from console.domain.roles import Duty
from console.domain.teaching import without_subjects
from console.jobs.spec import JobKind, JobPayload, JobSpec

PLACES = "own_places"  # kind of the sealed item


def sealed_places(office: Office, number: str) -> list[str]:
    """Vault items with the places of a request, the newest first."""
    return [item.id for item in reversed(office.ledger.sealed_items(number, PLACES))]


def places_payload(value: dict[str, Any]) -> dict[str, tuple[OwnPlace, ...]]:
    """Sealed places as a worker gets them."""
    return {item: tuple(OwnPlace.model_validate(place) for place in places) for item, places in value["places"].items()}


def places_settings(item: str, value: dict[str, Any]) -> dict[str, Any]:
    """What a battery says of the places: which sealed ones they were, and whose words they are."""
    counts = PlaceCounts.model_validate(value["counts"])
    return {"own_places": item, "own_places_counts": value["counts"], "own_places_sentence": counts.sentence}


def collected_places(
    office: Office, number: str, model: str, knowledge: Knowledge, engine: EngineName, device: str
) -> Generator[Job, JobResult, str]:
    """The sealed places of this model for this request, collected now where there are none.

    Returns:
        The vault item's id.

    Raises:
        ModelFileError: the model's files have changed or are damaged.
    """
    office.require(Duty.VERIFY)
    items = forget_items(office, number)
    retain = tuple(taught.item for taught in without_subjects(knowledge.teaching, {item.subject for item in items}))
    payload = JobPayload(forget=items, retain=retain, controls=knowledge.controls, bank=bank_payload())
    reference = reference_to(office, model)
    found_how = {
        "payload": payload.model_dump(mode="json"),
        "model": reference.tree_hash,
        "engine": engine.value,
        "version": PLACES_VERSION,
        "reading": reading(),
    }
    about = office.ledger.commitment(number, found_how)
    for kept in sealed_places(office, number):
        if office.ledger.unseal(kept)["about"] == about:
            return kept
    spec = JobSpec(
        job_id=new_job_id(JobKind.OWN_PLACES),
        kind=JobKind.OWN_PLACES,
        model=reference,
        cache=str(office.places.cache),
        device=device,
        engine=engine,
    )
    result = yield Job(spec, payload, "Listening where the model puts the facts", model, number)
    with office.ledger.transaction() as transaction:
        return transaction.seal(number, PLACES, {**result.value, "about": about})
