"""The jobs of a bench: each is run once, and its result is kept by what went into it.

What went into it is the specification, a hash of the payload and a hash of the program text that does the work, so a
changed method or measure is never taken from the cache. A job that failed or was cancelled keeps nothing: the next run
of the bench tries it again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import console
from console.casework.models import new_job_id
from console.domain.events import plain
from console.jobs.events import Done, Progress
from console.jobs.runner import JobRun
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference
from console.ledger.canonical import canonical_text
from console.paths import Places
from console.recipe_files import shipped_recipes

Say = Callable[[str], None]
METHODS = "erasure_console.methods"
# Everything that decides what a job does with its payload.
_ROOMS = ("methods", "engines", "attacks", "evaluation", "jobs/tasks")
# What counts as giving a fact away, and where it is read.
_FILES = ("domain/matching.py", "domain/values.py", "domain/reading.py", "domain/own_places.py")


def code_version(package: Path) -> str:
    """SHA-256 over the sources that do the work, in the order of their paths.

    A packed program has no sources beside it; its version stands for them.
    """
    digest = hashlib.sha256(console.__version__.encode())
    rooms = [path for room in _ROOMS for path in (package / room).rglob("*.py")]
    files = [package / name for name in _FILES if (package / name).is_file()]
    for path in sorted((*rooms, *files)):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _origin(method: str | None) -> str:
    """Where a method comes from: one of another package is not among this one's sources, and a recipe is data."""
    if method in shipped_recipes():
        return canonical_text(plain(shipped_recipes()[method].body))
    found = [entry for entry in entry_points(group=METHODS) if entry.name == method]
    return " ".join(f"{entry.value} {entry.dist.version if entry.dist else ''}" for entry in found)


class BenchJobs:
    """The folder of one bench, and its jobs.

    Args:
        keep_models: leave the models that methods wrote on the disk after they were measured.
        code: stands for the program text; None takes the hash of what is installed.
    """

    def __init__(
        self, places: Places, device: str, say: Say, *, keep_models: bool = True, code: str | None = None
    ) -> None:
        self._places = places
        self._device = device
        self._keep_models = keep_models
        self.code = code or code_version(Path(console.__file__).parent)
        self.say = say
        self.folder = places.cache / "bench"
        self.folder.mkdir(parents=True, exist_ok=True)

    def spec(self, kind: JobKind, model: ModelReference, **more: Any) -> JobSpec:
        return JobSpec(
            job_id=new_job_id(kind),
            kind=kind,
            model=model,
            cache=str(self._places.cache),
            device=self._device,
            **more,
        )

    def writing(self, name: str, payload: JobPayload, kind: JobKind, model: ModelReference, **more: Any) -> JobSpec:
        """A job that writes a model, into a folder that is named by what goes into the job."""
        spec = self.spec(kind, model, **more)
        output = self.folder / f"{name}-{self._key(spec, payload)[:12]}"
        return spec.model_copy(update={"output": str(output)})

    def kept(self, spec: JobSpec, payload: JobPayload) -> dict[str, Any] | None:
        """The result of an earlier run of the same; the model that it wrote may be gone."""
        path = self._path(spec, payload)
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def job(self, spec: JobSpec, payload: JobPayload, title: str) -> dict[str, Any]:
        """Run a job to its end, or take its result from an earlier run of the same.

        Returns:
            ``value``, ``seconds`` and ``peak_rss_mb`` (MiB) of the run.

        Raises:
            JobFailedError: it failed or was cancelled.
        """
        kept = self.kept(spec, payload)
        if kept is not None and (spec.output is None or Path(spec.output).is_dir()):
            self.say(f"{title}: kept from before")
            return kept
        if spec.output is not None:
            shutil.rmtree(spec.output, ignore_errors=True)
        started = time.monotonic()
        run = JobRun(spec, payload, self._places.jobs / spec.job_id)
        run.start()
        try:
            for event in run.events():
                if isinstance(event, Progress):
                    self.say(f"{title}: {event.label} ({event.step} of {event.steps})")
        finally:
            run.close(timeout_s=0.0 if run.final is None else 10.0)
        value = run.result()
        assert isinstance(run.final, Done)
        seconds = round(time.monotonic() - started, 1)
        result = {"value": value, "seconds": seconds, "peak_rss_mb": run.final.peak_rss_mb}
        path = self._path(spec, payload)
        working = path.with_suffix(".part")
        working.write_text(json.dumps(result), encoding="utf-8")
        working.replace(path)
        return result

    def measured(
        self,
        write: JobSpec,
        payload: JobPayload,
        titles: tuple[str, str],
        measure: Callable[[ModelReference], tuple[JobSpec, JobPayload]],
        settle: Callable[[ModelReference, dict[str, Any]], None] = lambda _model, _found: None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write a model and measure it; once that is kept, nobody needs the model's files any more.

        Args:
            titles: of the two jobs.
            measure: the second job, given the model that the first one wrote.
            settle: what else is asked of the model while its files are there, given what the second job found.

        Raises:
            JobFailedError: one of the jobs failed.
        """
        written = self.kept(write, payload)
        found = None if written is None else self.kept(*measure(_artefact(write, written)))
        if written is not None and found is not None:
            for title in titles:
                self.say(f"{title}: kept from before")
        else:
            written = self.job(write, payload, titles[0])
            found = self.job(*measure(_artefact(write, written)), titles[1])
        settle(_artefact(write, written), found)
        if not self._keep_models and write.output is not None:
            shutil.rmtree(write.output, ignore_errors=True)
        return written, found

    def _key(self, spec: JobSpec, payload: JobPayload) -> str:
        content = {
            "code": self.code,
            "method": _origin(spec.method),
            "spec": spec.model_dump(mode="json", exclude={"job_id", "output", "cache"}),
            "payload": hashlib.sha256(payload.model_dump_json(exclude={"finished"}).encode()).hexdigest(),
        }
        return hashlib.sha256(canonical_text(plain(content)).encode()).hexdigest()

    def _path(self, spec: JobSpec, payload: JobPayload) -> Path:
        return self.folder / f"{self._key(spec, payload)[:24]}.json"


def _artefact(write: JobSpec, written: dict[str, Any]) -> ModelReference:
    assert write.output is not None
    return ModelReference(path=write.output, tree_hash=written["value"]["identity"]["tree_hash"])
