"""Listen where a model itself puts the facts of a request, before a suite is bound to those places."""

from __future__ import annotations

from typing import Any

from console.attacks.fact_forms import with_forms
from console.attacks.own_places import FoundPlaces, find_places
from console.attacks.protocol import AttackTarget, facts
from console.domain.own_places import PlaceCounts, PlaceSource
from console.engines.devices import set_threads
from console.engines.protocol import Prompt
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.attack import prompt_bank
from console.jobs.tasks.files import open_file, open_model
from console.jobs.worker import EventWriter

_STEPS = 3


def own_places(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """The places by item (personal), and of how many facts they are whose words."""
    set_threads()
    writer.progress(0, _STEPS, "Opening the model")
    target = with_forms(AttackTarget(payload.forget, payload.controls, prompt_bank(payload), retain=payload.retain))

    def announce(step: int) -> None:
        writer.check_cancelled()
        writer.progress(step, _STEPS, "Listening how the model tells the facts")

    if not spec.engine.needs_file:
        found = find_places(open_model(spec.model, spec), target, announce)
    else:
        file = open_file(spec.model, spec, [(Prompt(item.id, item.prompt), item.answers) for item in payload.forget])
        try:
            found = find_places(file, target, announce)
        finally:
            file.close()
    writer.progress(_STEPS, _STEPS, "Done")
    return {
        "places": {item: [place.model_dump(mode="json") for place in places] for item, places in found.by_item.items()},
        "counts": _counts(target, found).model_dump(mode="json"),
    }


def _counts(target: AttackTarget, found: FoundPlaces) -> PlaceCounts:
    asked = facts(target.items)
    sources = {item.id: places[0].source for item in asked if (places := found.by_item.get(item.id))}
    spoken = {key for key, source in sources.items() if source in (PlaceSource.OWN_WORDS, PlaceSource.OTHERS_WORDS)}
    return PlaceCounts(
        facts=len(asked),
        answered_first=len(found.answered_first),
        own_words=list(sources.values()).count(PlaceSource.OWN_WORDS),
        others_words=list(sources.values()).count(PlaceSource.OTHERS_WORDS),
        sentences=len({item.id for item in asked} - spoken - found.answered_first),
    )
