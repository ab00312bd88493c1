"""What a job did, kept as a file beside the jobs' folders, for whoever has to find out why one failed.

It holds nothing personal: steps with their times, the result in one sentence, and of an error its kinds and the places
in the code, never its message, which may quote a fact. The worker's own words (standard error) stay in memory.
"""

from __future__ import annotations

import contextlib
import platform
import time
import traceback
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel

from console import __version__
from console.errors import ConsoleError, InputError
from console.jobs.events import CancelledEvent, Done, Failed, Log, Progress
from console.jobs.spec import JobSpec

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "peft", "gguf", "llama-cpp-python")
_KEPT = 200  # logs of so many jobs, the newest
_MOST_LINES = 400


def places_of(error: BaseException) -> str:
    """An error's kinds and places in the code, the cause first, without any message but our own."""
    told: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        said = f": {current}" if isinstance(current, ConsoleError) else ""
        lines = [f"{type(current).__module__}.{type(current).__name__}{said}"]
        for frame in traceback.extract_tb(current.__traceback__):
            lines.append(f"  {'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno} in {frame.name}")
        told.append("\n".join(lines))
        current = current.__cause__ or current.__context__
    return "\n".join(reversed(told))


def versions() -> str:
    """The libraries that a worker computes with, for an engineer who has to do the same again."""
    held = []
    for library in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            held.append(f"{library} {version(library)}")
    return ", ".join(held)


class JobLog:
    """Lines about one job, written when it has ended."""

    def __init__(self, path: Path, spec: JobSpec) -> None:
        self._path = path
        self._started = time.monotonic()
        self._lines = [
            f"job {spec.job_id} ({spec.kind.value}), {datetime.now(UTC).isoformat(timespec='seconds')}",
            f"erasure-console {__version__}, Python {platform.python_version()}",
            f"model {spec.model.tree_hash or 'not registered yet'}, method {spec.method or 'none'}, "
            f"attacks {', '.join(spec.attacks) or 'none'}, engine {spec.engine.value}",
        ]

    def heard(self, event: BaseModel) -> None:
        """Keep what may be kept of an event."""
        if isinstance(event, Progress):
            self._say(f"step {event.step} of {event.steps}: {event.label}")
        elif isinstance(event, Log):
            self._say(event.text)
        elif isinstance(event, Done):
            self._say(f"done after {event.seconds:.1f} s, {event.peak_rss_mb} MiB at most")
        elif isinstance(event, Failed):
            self._say(f"failed: {event.reason}")
        elif isinstance(event, CancelledEvent):
            self._say("stopped by the person at the desk")

    def _say(self, text: str) -> None:
        if len(self._lines) < _MOST_LINES:
            self._lines.append(f"{time.monotonic() - self._started:8.1f} s  {text}")

    def write(self) -> None:
        """Write the lines, and forget the oldest logs; a log that cannot be written is no reason for a job to fail."""
        with contextlib.suppress(OSError):
            self._path.write_text("\n".join(self._lines) + "\n", encoding="utf-8")
            kept = sorted(self._path.parent.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in kept[_KEPT:]:
                path.unlink(missing_ok=True)


def read_log(jobs: Path, job_id: str) -> str:
    """The log of a job.

    Raises:
        InputError: there is none of this name.
    """
    known = {path.stem: path for path in jobs.glob("*.log")} if jobs.is_dir() else {}
    fitting = [path for name, path in known.items() if name == job_id] or [
        path for name, path in known.items() if len(job_id) >= 4 and name.startswith(job_id)
    ]
    if len(fitting) != 1:
        raise InputError(
            f"There is no log of a job {job_id!r} here; 'job list' shows the jobs, and the newest {_KEPT} keep theirs."
        )
    return fitting[0].read_text(encoding="utf-8")
