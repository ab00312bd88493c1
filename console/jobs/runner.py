"""The parent's side of a job: start, read, cancel, and say why it ended.

Nothing here waits: ``poll`` returns what has arrived and moves a cancellation along by the clock, so a
window can call it from a timer and a command line from a loop. A crash of the child, of whatever
kind, becomes a :class:`Failed` event with the signal's name.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel

from console.errors import JobFailedError
from console.jobs.events import Artefact, CancelledEvent, Done, Failed, decode, encode, is_final
from console.jobs.job_log import JobLog
from console.jobs.loading_watch import LoadingWatch
from console.jobs.spec import JobPayload, JobSpec

CANCEL_GRACE_S = 5.0
TERMINATE_GRACE_S = 3.0
_LOG_LINES = 60
PART_SUFFIX = ".part"


def part_folder(output: Path) -> Path:
    """Where a worker writes before it renames."""
    return output.with_name(output.name + PART_SUFFIX)


def _environment() -> dict[str, str]:
    """The child's environment: passive waiting, no network.

    Waiting passively costs up to a third of the speed on idle cores, and is worth it: two runtimes that spin
    on the same cores slow each other down fifty-fold (a round of 12 s took 182 s beside another job).
    """
    return os.environ | {
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONUNBUFFERED": "1",
    }


def _end_in_words(code: int) -> str:
    """Why a process ended that said nothing itself."""
    if code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            hint = " (often: the machine ran out of memory)" if name == "SIGKILL" else ""
            return f"The background job was ended by {name}{hint}."
    return f"The background job ended with code {code} and no result."


class JobRun:
    """One child process and its event stream.

    Args:
        folder: the job's own folder; holds the spec while it runs.
        clock: monotonic seconds, for the cancellation's grace times.
    """

    def __init__(
        self, spec: JobSpec, payload: JobPayload, folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.spec = spec
        self._payload = payload
        self._folder = folder
        self._clock = clock
        self._process: subprocess.Popen[str] | None = None
        self._events: queue.SimpleQueue[BaseModel] = queue.SimpleQueue()
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._threads: list[threading.Thread] = []
        self._writing = threading.Lock()  # the payload goes out whole before anything else does
        self._cancelled_at: float | None = None
        self._terminated_at: float | None = None
        self._watch = LoadingWatch(spec, clock)
        self._kept_log = JobLog(folder.with_suffix(".log"), spec)
        self.final: Done | Failed | CancelledEvent | None = None
        self.artefacts: list[Artefact] = []

    def start(self) -> None:
        """Start the child process.

        Raises:
            OSError: the folder cannot be written or the process not started.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        spec_path = self._folder / "spec.json"
        spec_path.write_text(self.spec.model_dump_json(), encoding="utf-8")
        flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "console.jobs.worker", str(spec_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=_environment(),
            creationflags=flags,
        )
        for read in (self._read_events, self._read_log, self._send_payload):
            thread = threading.Thread(target=read, daemon=True, name=f"{self.spec.job_id}-{read.__name__}")
            thread.start()
            self._threads.append(thread)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def finished(self) -> bool:
        return self.final is not None

    @property
    def log(self) -> str:
        """The child's last lines, for the engineer; kept in memory only, because they may quote a fact."""
        return "\n".join(self._log)

    def poll(self) -> list[BaseModel]:
        """Events that have arrived since the last call; never blocks."""
        events = self._drain()
        process = self._process
        if self.final is None and process is not None:
            self._move_cancellation(process)
            breach = self._watch.breach(process.pid)
            if breach is not None and process.poll() is None:
                process.kill()
                self._end_with(breach)
                return [*events, breach]
            code = process.poll()
            if code is not None and not self._threads[0].is_alive():
                events += self._drain()
                if self.final is None:
                    events.append(self._unexpected_end(code))
        if self.final is not None:
            self._clean_up()
        return events

    def events(self, interval_s: float = 0.05) -> Iterator[BaseModel]:
        """All events until the end, for callers that may wait."""
        while True:
            yield from self.poll()
            if self.finished:
                return
            time.sleep(interval_s)

    def cancel(self) -> None:
        """Ask the child to stop; ``poll`` insists if it does not."""
        if self._cancelled_at is None and self.final is None:
            self._cancelled_at = self._clock()
            if self._process is not None:
                # A child that does not read yet would hold up whoever writes to it: a window must not wait for that.
                threading.Thread(target=self._send_cancel, daemon=True, name=f"{self.spec.job_id}-cancel").start()

    def result(self) -> dict[str, object]:
        """What the finished job returned.

        Raises:
            JobFailedError: it failed or was cancelled.
        """
        if isinstance(self.final, Done):
            return self.final.result
        if isinstance(self.final, Failed):
            raise JobFailedError(self.final.reason)
        raise JobFailedError("The job was cancelled; nothing was changed.")

    # -- inside -----------------------------------------------------------------------------

    def _drain(self) -> list[BaseModel]:
        arrived: list[BaseModel] = []
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return arrived
            if self.final is not None:
                return arrived  # nothing counts after the last word
            arrived.append(event)
            self._watch.heard(event)
            self._kept_log.heard(event)
            if isinstance(event, Artefact):
                self.artefacts.append(event)
            if is_final(event) and self.final is None:
                self.final = event  # type: ignore[assignment]

    def _move_cancellation(self, process: subprocess.Popen[str]) -> None:
        if self._cancelled_at is None or process.poll() is not None:
            return
        now = self._clock()
        if self._terminated_at is None:
            if now - self._cancelled_at > CANCEL_GRACE_S:
                self._terminated_at = now
                process.terminate()
        elif now - self._terminated_at > TERMINATE_GRACE_S:
            process.kill()

    def _end_with(self, event: Failed | CancelledEvent) -> None:
        self.final = event
        self._kept_log.heard(event)

    def _unexpected_end(self, code: int) -> BaseModel:
        end = (
            CancelledEvent()
            if self._cancelled_at is not None
            else Failed(kind="JobFailedError", reason=_end_in_words(code))
        )
        self._end_with(end)
        return end

    def _clean_up(self) -> None:
        """Reap the child and take away what an interrupted job left half written."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            return  # it has said its last word and is closing down; the next poll reaps it
        for thread in self._threads:
            thread.join(timeout=1.0)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):  # flushing to a reader that is gone
                    stream.close()
        if self.spec.output is not None:
            shutil.rmtree(part_folder(Path(self.spec.output)), ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._kept_log.write()
        self._process = None

    def close(self, timeout_s: float = 10.0) -> None:
        """Wait for the child to be gone; ends it if it does not go by itself."""
        deadline = time.monotonic() + timeout_s
        while self._process is not None:
            self.poll()
            if self._process is not None and time.monotonic() > deadline:
                self._process.kill()
            time.sleep(0.02)

    def _read_events(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            if not line.strip():
                continue
            try:
                self._events.put(decode(line))
            except JobFailedError as error:
                self._events.put(Failed(kind="JobFailedError", reason=str(error)))
                self._process.kill()  # what speaks another language will not hear "cancel" either
                return

    def _read_log(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line.rstrip())

    def _send_cancel(self) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            # It may have just ended: poll will say so.
            with self._writing, contextlib.suppress(OSError, ValueError):
                process.stdin.write("cancel\n")
                process.stdin.flush()

    def _send_payload(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        # The child may die before it has read: poll reports its end.
        with self._writing, contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(encode(self._payload) + "\n")
            self._process.stdin.flush()
