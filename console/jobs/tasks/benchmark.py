"""Run a benchmark of the user's own files: the ``evaluate`` job.

The rows arrive in the payload and the results leave in the event stream, so the worker writes nothing of either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from console.domain.benchmark_files import Benchmark
from console.domain.benchmark_results import BenchmarkResult
from console.engines.devices import set_threads
from console.errors import InputError
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.benchmarks.evoke import evoke
from console.jobs.tasks.benchmarks.measuring import BenchmarkSettings, Findings, Models
from console.jobs.tasks.benchmarks.muse import muse
from console.jobs.tasks.benchmarks.priming import priming
from console.jobs.tasks.benchmarks.restor import restor
from console.jobs.tasks.benchmarks.rwku import rwku
from console.jobs.tasks.benchmarks.tofu import tofu
from console.jobs.tasks.benchmarks.traces import traces
from console.jobs.tasks.benchmarks.wmdp import wmdp
from console.jobs.tasks.files import validated
from console.jobs.worker import EventWriter

Run = Callable[[Any, Models, BenchmarkSettings], Findings]

_RUNS: dict[Benchmark, Run] = {
    Benchmark.TOFU: tofu,
    Benchmark.MUSE: muse,
    Benchmark.RWKU: rwku,
    Benchmark.RESTOR: restor,
    Benchmark.EVOKE: evoke,
    Benchmark.PRIMING: priming,
    Benchmark.WMDP: wmdp,
    Benchmark.TRACES: traces,
}


def evaluate(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """Figures, every row (perhaps personal), and the models by their hashes.

    Raises:
        InputError: no rows, an unknown setting, or a row that the model cannot take.
    """
    if payload.benchmark is None:
        raise InputError("There is nothing to evaluate; name the files of a benchmark.")
    set_threads()
    settings = validated(BenchmarkSettings, spec.settings)
    models = Models(spec, settings, writer)
    found = _RUNS[payload.benchmark.benchmark](payload.benchmark, models, settings)
    writer.progress(1, 1, "Done")
    return BenchmarkResult(
        benchmark=payload.benchmark.benchmark.value,
        models=models.hashes,
        settings=settings.model_dump(mode="json", exclude={"before"}),
        figures=tuple(found.figures),
        rows=found.rows,
        forget_size=found.forget_size,
        notes=tuple(models.notes),
    ).model_dump(mode="json")
