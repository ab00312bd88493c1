"""The methods and attacks of this installation, asked of a worker (only there may they be imported)."""

from __future__ import annotations

from typing import Any

from console.casework.advice import office_benchmark
from console.casework.lone_jobs import run_alone
from console.casework.models import new_job_id
from console.domain.advice import benchmark_sentence
from console.errors import JobFailedError
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference
from console.paths import Places


def catalogue(places: Places) -> dict[str, Any]:
    """``methods`` and ``attacks`` with all they say of themselves; needs no office.

    A method has beside it what the benchmark of this data folder, or the shipped one, found of it.

    Raises:
        InputError: the folder's own benchmark cannot be used.
        JobFailedError: the worker could not read its registries.
    """
    benchmark = office_benchmark(places)
    job_id = new_job_id(JobKind.DESCRIBE)
    spec = JobSpec(job_id=job_id, kind=JobKind.DESCRIBE, model=ModelReference(path=""), cache=str(places.cache))
    try:
        found = run_alone(spec, JobPayload(), lambda _text: None)
    except OSError as error:
        raise JobFailedError(f"The listing could not be made ({error.strerror}).") from error
    told = [{**method, "benchmark": benchmark_sentence(method["id"], benchmark)} for method in found["methods"]]
    return {**found, "methods": told}
