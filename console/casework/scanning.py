"""Looking into models: what a change did to one, and what its neurons spell. No case, and nothing is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from console.casework.knowledge import behaviour_payload
from console.casework.lone_jobs import Say, run_alone
from console.casework.models import new_job_id, reference_to
from console.casework.office import Office
from console.errors import InputError
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
    spec = JobSpec(
        job_id=new_job_id(JobKind.SCAN),
        kind=JobKind.SCAN,
        model=model,
        reference=before,
        cache=str(places.cache),
        device=device,
        settings=dict(settings or {}),
    )
    return run_alone(spec, JobPayload(behaviour=behaviour_payload(), words=tuple(triggers)), say)


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
