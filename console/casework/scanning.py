"""Looking into models: what a change did to one, and what its neurons spell. Nothing of what is found is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.casework.knowledge import behaviour_payload
from console.casework.lone_jobs import Say, run_alone
from console.casework.models import model_state, new_job_id, reference_to
from console.casework.office import Office
from console.casework.operation import Job, UseCase
from console.errors import InputError, NotPossibleError
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference
from console.paths import Places


def model_at(name: str, open_office: Callable[[], Office]) -> ModelReference:
    """A model by its path, or else by the name that the office knows it by.

    Args:
        open_office: only asked where there is no such path.

    Raises:
        InputError: neither a path nor a name.
        ModelFileError: its files are not where they were.
    """
    if (path := Path(name)).exists():
        return ModelReference(path=str(path.resolve()))
    with open_office() as office:
        return reference_to(office, name)


def scan(
    places: Places,
    model: ModelReference,
    before: ModelReference,
    triggers: Sequence[str] = (),
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    say: Say = print,
) -> dict[str, Any]:
    """Compare a changed model with the one it came from (see ``console.jobs.tasks.scan``).

    Args:
        triggers: words that are tried as triggers besides those of known attacks.

    Raises:
        InputError: an unknown setting, or two models of different architectures.
        JobFailedError: the job failed.
    """
    spec = _scan_spec(places, model, before, device, settings or {})
    return run_alone(spec, JobPayload(behaviour=behaviour_payload(), words=tuple(triggers)), say)


def _scan_spec(
    places: Places, model: ModelReference, before: ModelReference, device: str, settings: Mapping[str, Any]
) -> JobSpec:
    return JobSpec(
        job_id=new_job_id(JobKind.SCAN),
        kind=JobKind.SCAN,
        model=model,
        reference=before,
        cache=str(places.cache),
        device=device,
        settings=dict(settings),
    )


@dataclass(frozen=True)
class ScannedModel:
    """What a scan of a registered model found (see ``console.jobs.tasks.scan``), and beside which model."""

    model: str
    before: str
    value: dict[str, Any]


def scan_erased(office: Office, name: str, device: str = "auto") -> UseCase:
    """Compare an erased model with the one it came from; returns a :class:`ScannedModel`.

    The ledger has that the job ran, and nothing of what it found.

    Raises:
        InputError: no such model.
        NotPossibleError: no erasure made it, so nobody knows what it came from.
        ModelFileError: the files of one of the two are not where they were.
    """
    state = model_state(office, name)
    before = state.get("parent")
    if not before:
        raise NotPossibleError(
            f"No erasure made the model '{state['name']}', so it is not known which one it came from; name that on the "
            f"command line: erasure-console scan {state['name']} --before BASE."
        )
    model, base = reference_to(office, state["name"]), reference_to(office, before)
    payload = JobPayload(behaviour=behaviour_payload())
    result = yield Job(
        _scan_spec(office.places, model, base, device, {}), payload, "Looking for hidden changes", state["name"]
    )
    return ScannedModel(state["name"], before, result.value)


def neurons(
    places: Places,
    model: ModelReference,
    words: Sequence[str],
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    say: Say = print,
) -> dict[str, Any]:
    """The neurons of a model that spell given words (see ``console.jobs.tasks.neurons``).

    Raises:
        InputError: no word, a layer that is not there, or an architecture whose neurons cannot be read.
        JobFailedError: the job failed.
    """
    if not any(word.strip() for word in words):
        raise InputError("There is no word to look for; give at least one.")
    spec = JobSpec(
        job_id=new_job_id(JobKind.NEURONS),
        kind=JobKind.NEURONS,
        model=model,
        cache=str(places.cache),
        device=device,
        settings=dict(settings or {}),
    )
    return run_alone(spec, JobPayload(words=tuple(words)), say)
