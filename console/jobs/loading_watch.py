"""Limits on a worker while it opens a model: memory by the size of its files, and time.

Watched from outside, so that they hold on every system and for native code as well. A file may come from anywhere, and
what it makes a library do before the first answer must not take the whole machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
from pydantic import BaseModel

from console.jobs.events import Failed, Progress
from console.jobs.spec import JobSpec, ModelReference

# How a job says that it opens a model; with any other step, the opening is over.
OPENING = ("Opening", "Reading the model", "Measuring a model that never knew")
_FLOOR_BYTES = 1_500_000_000  # the libraries alone hold a third of it
# Bytes held at most for each byte of the files: 16-bit weights become 32, twice while they are copied; a GGUF file
# has down to 1.6 bits a weight, of which one model at a time is unpacked.
_FOLDER_FACTOR, _FILE_FACTOR = 5, 24
_FLOOR_S, _BYTES_PER_S = 600.0, 5_000_000  # a loaded machine reads and unpacks a small model within seconds
_LOOK_EVERY_S = 0.2


def _size(path: Path) -> tuple[int, int]:
    """Bytes of a model's files, and the factor that goes with their form."""
    try:
        if path.is_dir():
            return sum(one.stat().st_size for one in path.iterdir() if one.is_file()), _FOLDER_FACTOR
        return sum(one.stat().st_size for one in path.parent.glob("*.gguf")) or path.stat().st_size, _FILE_FACTOR
    except OSError:  # the worker says what is wrong with it
        return 0, _FOLDER_FACTOR


def _models(spec: JobSpec) -> list[Path]:
    found: list[Path] = []
    asked: list[ModelReference | None] = [spec.model, spec.reference, spec.origin]
    while asked:
        reference = asked.pop()
        if reference is not None:
            found.append(Path(reference.path))
            asked.append(reference.base)
    return found


class LoadingWatch:
    """Told of every event; asked whether the worker has gone beyond what its model can need."""

    def __init__(
        self,
        spec: JobSpec,
        clock: Callable[[], float] = time.monotonic,
        resident: Callable[[int], int] = lambda pid: int(psutil.Process(pid).memory_info().rss),
    ) -> None:
        self._clock, self._resident = clock, resident
        sizes = [_size(path) for path in _models(spec)]
        self.most_bytes = _FLOOR_BYTES + sum(size * factor for size, factor in sizes)
        self.most_s = _FLOOR_S + sum(size for size, _ in sizes) / _BYTES_PER_S
        self._since = self._looked = clock()
        self._opening = True

    def heard(self, event: BaseModel) -> None:
        """A step that is another one starts the time again, or ends the watch."""
        if isinstance(event, Progress):
            opening = event.label.startswith(OPENING)
            if opening and not self._opening:
                self._since = self._clock()
            self._opening = opening

    def breach(self, pid: int) -> Failed | None:
        """Why the worker has to be ended, or None."""
        now = self._clock()
        if not self._opening or now - self._looked < _LOOK_EVERY_S:
            return None
        self._looked = now
        try:
            held = self._resident(pid)
        except psutil.Error:  # it has just ended
            return None
        if held > self.most_bytes:
            return Failed(
                kind="ModelFileError",
                reason=f"Opening the model needed more than {self.most_bytes / 1e9:.1f} GB of memory, more than "
                "a model of its size can need, so it was stopped; check that its files are whole, or choose another.",
            )
        if now - self._since > self.most_s:
            return Failed(
                kind="ModelFileError",
                reason=f"Opening the model took more than {self.most_s / 60:.0f} minutes without coming further, so it "
                "was stopped; check that its files are whole, or that the machine is not busy with other work.",
            )
        return None
