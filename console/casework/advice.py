"""Which method to take for a request: what a worker has tried and timed, put in order by the shipped benchmark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from console.atomic_file import write_atomically
from console.casework.batteries import case_payload, snapshot_of
from console.casework.bench import BenchResult, Line
from console.casework.models import model_state, new_job_id, reference_to
from console.casework.office import Office
from console.casework.operation import Job, UseCase
from console.casework.sequence import remaining_knowledge
from console.casework.text_files import read_text_file
from console.domain.advice import Advice, BenchmarkedMethod, MethodBenchmark, MethodFacts, best, worst
from console.domain.advice import advise as ordered
from console.domain.bench_results import MethodLine, MethodsBench, found_names, parse_methods_bench
from console.domain.claims import Claim
from console.domain.regimes import Regime
from console.domain.results import Evidence, pooled
from console.domain.roles import Duty
from console.domain.verdict import Word
from console.domain.visible import quoted
from console.errors import InputError
from console.jobs.spec import JobKind, JobSpec
from console.paths import Places, resource


def shipped_benchmark() -> MethodBenchmark:
    """The results of the bench of erasers that come with the product."""
    return parse_benchmark(resource("methods", "benchmark.json").read_text(encoding="utf-8"))


def office_benchmark(places: Places) -> MethodBenchmark:
    """What advice, listings and windows of an office read: its own benchmark where it has one, else the shipped one.

    Raises:
        InputError: its own file cannot be used.
    """
    return read_benchmark(places.method_benchmark) if places.method_benchmark.exists() else shipped_benchmark()


def use_benchmark(places: Places, benchmark: MethodBenchmark | None) -> None:
    """Take a benchmark for all advice in an office from now on; None takes the shipped one again.

    Raises:
        DiskFullError: the office's folder cannot be written.
    """
    if benchmark is None:
        places.method_benchmark.unlink(missing_ok=True)
    else:
        write_atomically(places.method_benchmark, benchmark.model_dump_json(indent=2).encode("utf-8"), private=True)


def read_benchmark(path: Path) -> MethodBenchmark:
    """A results file: of ``bench methods`` on the office, or a summary as it is shipped.

    Raises:
        InputError: it is neither.
    """
    text = read_text_file(path).text
    try:
        value = json.loads(text)
        is_summary = isinstance(value, dict) and "methods" in value
        if not is_summary:
            return benchmark_of_regimes(parse_methods_bench(text))
    except ValueError as error:
        raise InputError(
            f"{quoted(path.name)} is no result of a bench of methods; name the file that 'bench methods --out' wrote."
        ) from error
    return parse_benchmark(text)


def parse_benchmark(text: str) -> MethodBenchmark:
    """Read a results file.

    Raises:
        InputError: not JSON, or a field that cannot be.
    """
    try:
        return MethodBenchmark.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"The benchmark of methods cannot be used: {place}: {first['msg']}.") from error


def benchmark_of(result: BenchResult, model: str, device: str) -> MethodBenchmark:
    """The results file of a bench run, as it is shipped."""
    facts = sum(person.facts for person in result.people)
    methods: dict[str, list[Line]] = {}
    for line in result.lines:
        methods.setdefault(line.method, []).append(line)
    summary = {method: _summary(lines) for method, lines in methods.items()}
    return MethodBenchmark(version=1, model=model, suite=result.suite, device=device, facts=facts, methods=summary)


def _summary(lines: Sequence[Line]) -> BenchmarkedMethod:
    """One method's lines, a person each."""
    kept = pooled(row.kept for line in lines for row in line.utility.groups)
    recognised = [len(line.found_by.get(Evidence.MEMBERSHIP, [])) for line in lines]
    found = [sum(map(len, line.found_by.values())) for line in lines]
    return BenchmarkedMethod(
        people=len(lines),
        verdict=worst(line.verdict.word for line in lines),
        kept_share=0.0 if kept is None else round(kept.share, 4),
        found_by=max(every - only for every, only in zip(found, recognised, strict=True)),
        recognised_by=max(recognised),
        seconds=round(sum(line.erase_seconds for line in lines) / len(lines), 1),
        best=best(line.verdict.word for line in lines),
    )


def benchmark_of_regimes(result: MethodsBench) -> MethodBenchmark:
    """The results file of the office's bench of methods, as it is shipped: reported people only, default settings.

    Raises:
        InputError: it has no such line.
    """
    methods: dict[str, list[MethodLine]] = {}
    for line in result.lines:
        if line.status == "done" and line.use == "reported" and not line.settings:
            methods.setdefault(line.method, []).append(line)
    if not methods:
        raise InputError(
            "This result has no line of a reported person with a method's default settings, so advice can read "
            "nothing from it; run 'bench methods --on office --person reported'."
        )
    facts = {one.person: one.measures["facts"] for one in result.baselines if "facts" in one.measures}
    people = {line.person for lines in methods.values() for line in lines}
    return MethodBenchmark(
        version=1,
        model=f"{result.model}, taught the sample office",
        suite=result.settings["suite"],
        device=result.settings.get("device", ""),
        facts=sum(facts[person] for person in people),
        methods={method: _summary_of_regimes(lines) for method, lines in methods.items()},
    )


def _summary_of_regimes(lines: Sequence[MethodLine]) -> BenchmarkedMethod:
    """One method's lines, one for each person and way of teaching."""
    words: dict[Regime, list[Word]] = {}
    for line in lines:
        words.setdefault(Regime(line.regime), []).append(Word(line.measures["verdict"]["word"]))
    kept = [row for line in lines for row in line.measures["kept"].values()]
    names = [found_names(line.measures["found_by"]) for line in lines]
    trials = sum(row["trials"] for row in kept)
    return BenchmarkedMethod(
        people=len({line.person for line in lines}),
        verdict=worst(word for found in words.values() for word in found),
        kept_share=round(sum(row["hits"] for row in kept) / trials, 4) if trials else 0.0,
        found_by=max(len(back) for back, _ in names),
        recognised_by=max(len(only) for _, only in names),
        seconds=round(sum(line.cost.erase_seconds for line in lines if line.cost) / len(lines), 1),
        regimes={regime: worst(found) for regime, found in words.items()},
        best=best(word for found in words.values() for word in found),
    )


def advise(
    office: Office,
    number: str,
    model: str,
    minutes: float | None = None,
    methods: Sequence[str] = (),
    device: str = "auto",
    benchmark: MethodBenchmark | None = None,
) -> UseCase:
    """Try every method on a model for a few steps, and put them in order; returns an :class:`Advice`.

    Args:
        minutes: time at hand; methods that take longer are listed after the others.
        methods: only these; all where it is empty.
        benchmark: instead of the office's.

    Raises:
        InputError: no such request, model or method, or a time budget that is none.
    """
    office.require(Duty.PLAN)
    state = model_state(office, model)
    known = benchmark or office_benchmark(office.places)
    ordered((), known, True, minutes)  # a budget that is none is refused before minutes of work
    knowledge = remaining_knowledge(office, state)
    snapshot = snapshot_of(office, state)
    spec = JobSpec(
        job_id=new_job_id(JobKind.ADVISE),
        kind=JobKind.ADVISE,
        model=reference_to(office, state["name"]),
        reference=reference_to(office, snapshot) if snapshot else None,
        cache=str(office.places.cache),
        settings={"methods": list(methods)},
        device=device,
    )
    payload = case_payload(office, number, knowledge)
    result = yield Job(spec, payload, "Trying the methods", state["name"], number)
    facts = [MethodFacts(**{**row, "claim": Claim(row["claim"])}) for row in result.value["methods"]]
    return ordered(facts, known, result.value["has_reference"], minutes)


def advice_json(advice: Advice) -> dict[str, Any]:
    """The advice as data."""
    return {
        "methods": [
            {
                "id": one.facts.id,
                "title": one.facts.title,
                "strongest": one.strongest.value,
                "time": one.time,
                "seconds": round(one.facts.seconds, 2),
                "at_least": one.facts.at_least,
                "steps": one.facts.steps,
                "steps_timed": one.facts.measured,
                "memory_mb": one.facts.memory_mb,
                "over_budget": one.over_budget,
                "reasons": list(one.reasons),
            }
            for one in advice.methods
        ],
        "cannot": [{"id": one.id, "title": one.title, "reason": one.refusal} for one in advice.cannot],
    }
