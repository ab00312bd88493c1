"""The child process of a job: ``python -m console.jobs.worker SPEC.json``.

Reads its spec from the file and its payload from standard input, writes events to standard output, and
never touches the ledger. Whatever a library prints goes to standard error.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel

from console.errors import ConsoleError, DiskFullError
from console.jobs.events import CancelledEvent, Done, Failed, Log, Metric, Progress, encode
from console.jobs.job_log import places_of, versions
from console.jobs.spec import JobKind, JobPayload, JobSpec

_DISK_FULL_SIGNS = ("No space left on device", "os error 28", "not enough space", "os error 112")


class StopRequestedError(Exception):
    """The person asked to stop."""


class EventWriter:
    """Sends events and hears the cancellation; the ``RunControl`` of methods."""

    def __init__(self, stream: TextIO) -> None:
        self.state_file: Path | None = None
        self._stream = stream
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def send(self, event: BaseModel) -> None:
        with self._lock:
            self._stream.write(encode(event) + "\n")
            self._stream.flush()

    def request_stop(self) -> None:
        self._stop.set()

    def progress(self, step: int, steps: int, label: str) -> None:
        self.send(Progress(step=step, steps=steps, label=label))

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        self.send(Metric(step=step, values=dict(values)))

    def check_cancelled(self) -> None:
        if self._stop.is_set():
            raise StopRequestedError


def _own_the_output() -> TextIO:
    """Keep standard output for events: the descriptor that libraries print to becomes standard error."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return events


def _hear_cancel(writer: EventWriter, stream: TextIO) -> None:
    for line in stream:
        if line.strip() == "cancel":
            writer.request_stop()
            return
    # Standard input closed: the console is gone, and nobody is left to take the result.
    writer.request_stop()


def peak_rss_mb() -> int:
    """Most memory this process has held, in MiB."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset // 2**20)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak // 2**20 if sys.platform == "darwin" else peak // 2**10)


Task = Callable[[JobSpec, JobPayload, EventWriter], dict[str, Any]]


# Module under ``console.jobs.tasks`` and function; imported when it is asked for, because only some of them need a
# compute library.
_TASKS = {
    JobKind.INSPECT: ("inspect", "inspect_model"),
    JobKind.DESCRIBE: ("describe", "describe"),
    JobKind.TEACH: ("teach", "teach"),
    JobKind.ATTACK: ("attack", "attack"),
    JobKind.ERASE: ("erase", "erase"),
    JobKind.EVALUATE: ("benchmark", "evaluate"),
    JobKind.PREPARE_QUESTIONS: ("questions", "prepare_questions"),
    JobKind.OWN_PLACES: ("own_places", "own_places"),
    JobKind.ASK_AGAIN: ("ask_again", "ask_again"),
    JobKind.ADVISE: ("advise", "advise"),
    JobKind.CORPUS: ("corpus", "self_made_corpus"),
    JobKind.SCAN: ("scan", "scan"),
    JobKind.NEURONS: ("neurons", "browse_neurons"),
    JobKind.EXPORT: ("export", "export"),
}


def _task(kind: JobKind) -> Task:
    """The code of a job."""
    module, function = _TASKS[kind]
    found: Task = getattr(import_module(f"console.jobs.tasks.{module}"), function)
    return found


def _failure(error: BaseException, job_id: str) -> Failed:
    """An error as an event: ours in our words, the rest by its type (its text may quote personal data)."""
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if full or isinstance(error, DiskFullError) or any(sign in str(error) for sign in _DISK_FULL_SIGNS):
        return Failed(
            kind="DiskFullError",
            reason="There is not enough free space to write the model; free some or choose another folder.",
        )
    if isinstance(error, ConsoleError):
        return Failed(kind=type(error).__name__, reason=str(error))
    if isinstance(error, MemoryError):
        return Failed(kind="JobFailedError", reason="The machine has not enough memory for this job.")
    return Failed(
        kind="JobFailedError",
        reason=f"The background job failed with an unexpected error ({type(error).__name__}); its log ('job log "
        f"{job_id}') tells where.",
    )


def run(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> int:
    """Run one job; returns the exit code."""
    started = time.monotonic()
    try:
        result = _task(spec.kind)(spec, payload, writer)
    except StopRequestedError:
        writer.send(CancelledEvent())
        return 3
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        writer.send(Log(text=f"{places_of(error)}\nwith {versions()}"))
        writer.send(_failure(error, spec.job_id))
        return 1
    writer.send(Done(result=result, seconds=round(time.monotonic() - started, 3), peak_rss_mb=peak_rss_mb()))
    return 0


def main() -> int:
    events = _own_the_output()
    spec = JobSpec.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    writer = EventWriter(events)
    payload = JobPayload.model_validate_json(sys.stdin.readline())
    threading.Thread(target=_hear_cancel, args=(writer, sys.stdin), daemon=True).start()
    return run(spec, payload, writer)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the thread that waits for "cancel" must not hold the process up
