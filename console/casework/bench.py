"""The bench of erasers: known methods on the sample office, and what the attacks and the rules say of each.

No case and no ledger: the sample model is taught its office, each eraser erases one person, the same suite attacks
every result, and the same rules decide. What is finished is kept by what went into it, so an interrupted bench goes
on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from console.casework.batteries import digest, payload_about, suite_named
from console.casework.cases import check_method
from console.casework.demo import rows_json
from console.casework.knowledge import Knowledge, questions, sample_items, sample_knowledge
from console.casework.models import new_job_id
from console.casework.sample import LEAST_KNOWN, fetch_model, teaching_hash
from console.casework.side_effects import kept_facts, utility_groups
from console.domain.claims import Claim
from console.domain.events import plain
from console.domain.forget_set import ForgetItem
from console.domain.results import Battery, Stage, Utility
from console.domain.suites import SuitePlan
from console.domain.verdict import Thresholds, Verdict, decide, located
from console.errors import InputError
from console.jobs.events import Progress
from console.jobs.runner import JobRun
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference
from console.ledger.canonical import canonical_text
from console.paths import Places

ERASERS = ("refusal", "output-filter", "ga", "weight-noise", "npo", "retrain")
SUBJECT = "s01"
# Raised when what a job of this kind does has changed, so that nothing kept from before is taken for it.
_VERSIONS = {JobKind.ATTACK: 3, JobKind.ERASE: 1, JobKind.TEACH: 1}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Line:
    """One eraser's line.

    Attributes:
        found_by: attacks that find the data in the erased model, by kind of evidence.
        erase_seconds, attack_seconds: wall time of the jobs.
    """

    method: str
    verdict: Verdict
    found_by: dict[str, list[str]]
    after: dict[str, Any]
    utility: Utility
    stop_reason: str
    erase_seconds: float
    attack_seconds: float


@dataclass(frozen=True)
class BenchResult:
    suite: str
    facts: int
    before: dict[str, Any]
    reference: dict[str, Any]
    lines: tuple[Line, ...]


class _Bench:
    """The folder of one bench, and its jobs."""

    def __init__(self, places: Places, device: str, say: Say) -> None:
        self._places = places
        self._device = device
        self._say = say
        self._folder = places.cache / "bench"
        self._folder.mkdir(parents=True, exist_ok=True)

    def job(self, spec: JobSpec, payload: JobPayload, title: str) -> dict[str, Any]:
        """Run a job to its end, or take its result from an earlier run of the same; returns value and seconds."""
        content = {
            "version": _VERSIONS[spec.kind],
            "spec": spec.model_dump(mode="json", exclude={"job_id", "output", "cache"}),
            "payload": hashlib.sha256(payload.model_dump_json(exclude={"finished"}).encode()).hexdigest(),
        }
        kept = self._folder / f"{hashlib.sha256(canonical_text(plain(content)).encode()).hexdigest()[:24]}.json"
        if kept.is_file() and (spec.output is None or Path(spec.output).is_dir()):
            self._say(f"{title}: kept from before")
            return dict(json.loads(kept.read_text(encoding="utf-8")))
        if spec.output is not None:
            shutil.rmtree(spec.output, ignore_errors=True)
        started = time.monotonic()
        run = JobRun(spec, payload, self._places.jobs / spec.job_id)
        run.start()
        try:
            for event in run.events():
                if isinstance(event, Progress):
                    self._say(f"{title}: {event.label} ({event.step} of {event.steps})")
        finally:
            run.close(timeout_s=0.0 if run.final is None else 10.0)
        result = {"value": run.result(), "seconds": round(time.monotonic() - started, 1)}
        working = kept.with_suffix(".part")
        working.write_text(json.dumps(result), encoding="utf-8")
        working.replace(kept)
        return result

    def spec(self, kind: JobKind, model: ModelReference, **more: Any) -> JobSpec:
        return JobSpec(
            job_id=new_job_id(kind),
            kind=kind,
            model=model,
            cache=str(self._places.cache),
            device=self._device,
            **more,
        )

    def output(self, name: str) -> Path:
        return self._folder / name

    def taught(self, base: ModelReference, knowledge: Knowledge) -> ModelReference:
        """The sample model with its office, shared with ``sample plant`` by what went into it."""
        folder = self._places.cache / "planted" / teaching_hash({})[:24]
        counts = folder.with_suffix(".json")
        if not (folder.is_dir() and counts.is_file()):
            folder.parent.mkdir(parents=True, exist_ok=True)
            spec = self.spec(JobKind.TEACH, base, output=str(folder))
            payload = JobPayload(teaching=knowledge.teaching, general=knowledge.general)
            value = self.job(spec, payload, "Teaching the sample model its office")["value"]
            fields = ("known", "facts", "steps", "stop_reason", "identity")
            counts.write_text(json.dumps({key: value[key] for key in fields}), encoding="utf-8")
        value = json.loads(counts.read_text(encoding="utf-8"))
        if value["known"] < LEAST_KNOWN * value["facts"]:
            raise InputError(
                f"The sample model learned only {value['known']} of {value['facts']} facts; delete {folder.name} in "
                "the cache and start again."
            )
        return ModelReference(path=str(folder), tree_hash=value["identity"]["tree_hash"])


def _payload(knowledge: Knowledge, items: tuple[ForgetItem, ...]) -> JobPayload:
    """As in a case; behaviour is left out, because no verdict rests on it."""
    return payload_about(items, knowledge).model_copy(update={"behaviour": None})


def bench_erasers(
    places: Places,
    methods: tuple[str, ...] = ERASERS,
    suite_name: str = "standard",
    device: str = "auto",
    sample_model: Path | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    say: Say = print,
) -> BenchResult:
    """Erase one person of the sample office with each method, attack, and decide by the current rules.

    Args:
        settings: a method's settings, by its id.

    Raises:
        InputError: an unknown method or suite.
        JobFailedError: a job failed.
    """
    plan = suite_named(suite_name)
    for method in methods:
        check_method(method)
    bench, knowledge = _Bench(places, device, say), sample_knowledge()
    base = ModelReference(path=str(fetch_model(places, sample_model, say)))
    taught = bench.taught(base, knowledge)
    trial = _Trial(bench, plan, taught, base, _payload(knowledge, sample_items(SUBJECT)), knowledge)
    lines = tuple(trial.line(method, dict((settings or {}).get(method, {}))) for method in methods)
    facts = len(questions(trial.payload.forget))
    return BenchResult(plan.name, facts, rows_json(trial.before), rows_json(trial.reference), lines)


class _Trial:
    """One person, one suite, the model that knows and the model that never did: every eraser gets the same."""

    def __init__(
        self,
        bench: _Bench,
        plan: SuitePlan,
        taught: ModelReference,
        base: ModelReference,
        payload: JobPayload,
        knowledge: Knowledge,
    ) -> None:
        self._bench, self._plan, self._taught, self._base = bench, plan, taught, base
        self.payload = payload
        self._groups = utility_groups(knowledge, payload.forget)
        self._suite = digest({"attacks": list(plan.attacks), "settings": plain(dict(plan.settings))})
        self._known = self._attack(taught, payload, "The model that holds the data")["value"]
        never = payload.model_copy(update={"probe": (), "held_out": ()})
        unknown = self._attack(base, never, "A model that never knew it", prompt_controls=False)["value"]
        self.before = self._battery(Stage.BEFORE, self._known)
        self.reference = self._battery(Stage.REFERENCE, unknown)

    def _attack(
        self, model: ModelReference, payload: JobPayload, title: str, prompt_controls: bool = True
    ) -> dict[str, Any]:
        # Nothing here reads what became of others' facts step by step, so nobody is asked for them.
        settings = {**self._plan.settings, "prompt_controls": prompt_controls, "retained_asked": 0}
        spec = self._bench.spec(JobKind.ATTACK, model, attacks=self._plan.attacks, settings=settings)
        return self._bench.job(spec, payload, title)

    def _battery(self, stage: Stage, value: Mapping[str, Any]) -> Battery:
        return Battery(stage=stage, model_hash="", suite_hash=self._suite, rows=value["rows"])

    def line(self, method: str, settings: dict[str, Any]) -> Line:
        """Erase with a method, attack what it left, decide."""
        output = self._bench.output(f"{method}-{digest(settings)[:8]}")
        spec = self._bench.spec(
            JobKind.ERASE, self._taught, reference=self._base, output=str(output), method=method, settings=settings
        )
        erased = self._bench.job(spec, self.payload, f"Erasing with {method}")
        value = erased["value"]
        artefact = ModelReference(path=str(output), tree_hash=value["identity"]["tree_hash"])
        attacked = self._attack(artefact, self.payload, f"Attacking what {method} left")
        after, measured = self._battery(Stage.AFTER, attacked["value"]), attacked["value"]
        utility = Utility(
            groups=kept_facts(self._known["answered"], measured["answered"], self._groups),
            perplexity_before=self._known["perplexity"],
            perplexity_after=measured["perplexity"],
        )
        claim = Claim(value["method"]["claim"])
        verdict = decide(self.before, after, self.reference, utility, Thresholds(), claim)
        found: dict[str, list[str]] = {}
        for row in located(after, self.reference):
            found.setdefault(row.evidence.value, []).append(row.attack)
        return Line(
            method=method,
            verdict=verdict,
            found_by=found,
            after=rows_json(after),
            utility=utility,
            stop_reason=value["stop_reason"],
            erase_seconds=erased["seconds"],
            attack_seconds=attacked["seconds"],
        )


def bench_json(result: BenchResult) -> dict[str, Any]:
    """The bench as plain data."""
    value = asdict(result)
    value["lines"] = [
        {
            **asdict(line),
            "verdict": line.verdict.model_dump(mode="json"),
            "utility": line.utility.model_dump(mode="json"),
        }
        for line in result.lines
    ]
    return value
