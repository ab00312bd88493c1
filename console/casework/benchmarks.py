"""Benchmarks of the user's own files on a model of theirs: no case and no ledger, and nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from console.casework.lone_jobs import Say, run_alone
from console.casework.models import new_job_id
from console.casework.text_files import read_text_file
from console.domain.benchmark_files import (
    Benchmark,
    NamedFile,
    benchmark_named,
    read_files,
    role_and_path,
    roles_of,
)
from console.domain.benchmark_results import BenchmarkResult
from console.domain.visible import visible
from console.errors import InputError, ModelFileError
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference
from console.paths import Places

WITH_REFERENCE = frozenset({Benchmark.TOFU, Benchmark.MUSE, Benchmark.RESTOR})
WITH_BEFORE = frozenset({Benchmark.RESTOR, Benchmark.EVOKE, Benchmark.PRIMING, Benchmark.TRACES})
WITHOUT_FILES = frozenset({Benchmark.TRACES})


def _read(benchmark: Benchmark, argument: str, encoding: str | None, say: Say) -> NamedFile:
    role, place = role_and_path(benchmark, argument)
    file = read_text_file(Path(place), encoding)
    if file.caution:
        say(f"{file.name}: {file.caution}")
    return NamedFile(role, file)


def _model(path: Path) -> ModelReference:
    if not path.exists():
        raise ModelFileError(f"There is no model at {visible(str(path))}; give a model folder or a GGUF file.")
    return ModelReference(path=str(path.resolve()))


def _check_models(benchmark: Benchmark, reference: Path | None, before: Path | None) -> None:
    """A model that nothing would read must not seem to have been compared."""
    for given, option, readers in ((reference, "reference", WITH_REFERENCE), (before, "before", WITH_BEFORE)):
        if given is not None and benchmark not in readers:
            names = ", ".join(sorted(readers))
            raise InputError(f"The benchmark {benchmark} uses no --{option}; leave it out ({names} use one).")


def evaluate_benchmark(
    places: Places,
    name: str,
    model: Path,
    files: Sequence[str],
    *,
    reference: Path | None = None,
    before: Path | None = None,
    encoding: str | None = None,
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    say: Say = print,
) -> BenchmarkResult:
    """Run a benchmark on a model.

    Args:
        files: ``ROLE=PATH``, or paths whose names begin with their role.
        reference: a model that never knew (RESTOR: the clean one).
        before: the model from before the edit or the erasure (RESTOR: the corrupted one).
        encoding: of the files; found out where it is None.
        settings: see ``console.jobs.tasks.benchmarks.measuring.BenchmarkSettings``.

    Raises:
        InputError: an unknown benchmark, a file that cannot be read, or a line that cannot be used.
        ModelFileError: no model where one was named, or a damaged one.
        JobFailedError: the job failed.
    """
    benchmark = benchmark_named(name)
    _check_models(benchmark, reference, before)
    if not files and benchmark not in WITHOUT_FILES:
        raise InputError(f"Name the files of {benchmark} with --file; it reads {', '.join(roles_of(benchmark))}.")
    given = dict(settings or {})
    if "before" in given:
        raise InputError("The model from before is named with --before, not with --set.")
    rows = read_files(benchmark, [_read(benchmark, argument, encoding, say) for argument in files])
    if before is not None:
        given["before"] = _model(before).model_dump()
    spec = JobSpec(
        job_id=new_job_id(JobKind.EVALUATE),
        kind=JobKind.EVALUATE,
        model=_model(model),
        reference=None if reference is None else _model(reference),
        cache=str(places.cache),
        device=device,
        settings=given,
    )
    return BenchmarkResult.model_validate(run_alone(spec, JobPayload(benchmark=rows), say))
