"""Verify a file from somewhere else in a process of its own, watched for time and memory.

The limits of :mod:`console.reports.pdf_limits` are set before reading; what they cannot foresee, the readers of a
foreign file may still do: loop, fill the memory, crash. Here that ends one small process, after seconds, with a
sentence. The caller loads no PDF reader, so that the command line starts fast and a window goes on painting.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, TypeAdapter

from console.domain.visible import quoted
from console.errors import InputError
from console.reports.verification import ReportVerification

MOST_SECONDS = 9.0  # of processor time, and a machine that does nothing else needs no longer
MOST_WALL_SECONDS = 15.0  # on a machine that does much else
MOST_MEMORY = 1024**3  # bytes
START_SECONDS = 60.0  # to load the libraries from a slow disk; no byte of the file has been read by then
_INTERVAL_S = 0.02
READY = b"ready\n"


class CheckOrder(BaseModel):
    """What the watched process is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    now: datetime


class CheckAnswer(BaseModel):
    """What it says: a result, or why there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    refusal: str = ""
    result: ReportVerification | None = None


ANSWER = TypeAdapter(CheckAnswer)


@dataclass
class _Start:
    """When the reading began, in seconds: on the wall, and of the process's own time."""

    wall: float
    processor: float


class WatchedCheck:
    """One verification under way; ask :meth:`poll` until it has a result, or :meth:`wait`.

    Raises:
        InputError: the path names no regular file.
    """

    def __init__(self, path: Path, *, now: datetime) -> None:
        if not path.is_file():  # also no pipe and no device, which would never end
            raise InputError(f"There is no file at {quoted(str(path), 300)}; name the report to verify.")
        self._name = quoted(path.name)
        flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "console.reports.watched_check_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            creationflags=flags,
        )
        self._watched = psutil.Process(self._process.pid)
        self._order = CheckOrder(path=path.resolve(), now=now).model_dump_json().encode()
        self._said = b""
        self._begun = time.monotonic()
        self._start: _Start | None = None
        self._talk = threading.Thread(target=self._exchange, daemon=True, name="watched-check")
        self._talk.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _exchange(self) -> None:
        """Hand over the order and read to the end, off the caller's thread: an answer is longer than a pipe holds."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            ready = self._process.stdout.readline()
            if ready == READY:
                self._start = _Start(time.monotonic(), _processor_seconds(self._watched))
                self._process.stdin.write(self._order)
                self._process.stdin.close()
                self._said = self._process.stdout.read()
        except OSError:
            pass  # the process is gone; poll says so

    def poll(self) -> ReportVerification | None:
        """The result, or None while there is none yet; never blocks for long.

        Raises:
            InputError: the file cannot be judged.
        """
        if self._talk.is_alive():
            self._watch()
            return None
        self._process.wait()
        self.close()
        if not self._said:
            raise InputError(f"The PDF reader crashed on {self._name}: the file was not judged; don't rely on it.")
        answer = ANSWER.validate_json(self._said)
        if answer.result is None:
            raise InputError(answer.refusal)
        return answer.result

    def _watch(self) -> None:
        start = self._start
        try:
            memory = self._watched.memory_info().rss
            processor = _processor_seconds(self._watched)
        except psutil.Error:
            return  # it has ended; the thread is about to
        now = time.monotonic()
        if start is None:
            too_long = now - self._begun > START_SECONDS
        else:
            too_long = now - start.wall > MOST_WALL_SECONDS or processor - start.processor > MOST_SECONDS
        if not too_long and memory < MOST_MEMORY:
            return
        self.close()
        what = "10 seconds" if too_long else "1 GB of memory"
        raise InputError(
            f"Reading {self._name} takes more than {what}, and a report takes a second: the file was not judged; don't "
            "rely on it."
        )

    def wait(self) -> ReportVerification:
        """The result.

        Raises:
            InputError: the file cannot be judged.
        """
        try:
            while True:
                result = self.poll()
                if result is not None:
                    return result
                self._talk.join(_INTERVAL_S)
        finally:
            self.close()

    def close(self) -> None:
        """End the process, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._talk.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
