"""Child processes that try what may crash, and what their end means in words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIME_LIMIT_S = 60.0  # loading torch from a cold, slow disk takes half of it
DONE = "done"
_LOG_LINES = 12
_MEANING = {
    "SIGSEGV": "it used memory that is not its own",
    "SIGILL": "it used an instruction that this processor does not have",
    "SIGBUS": "it used memory that is not there",
    "SIGFPE": "it made an impossible calculation",
    "SIGABRT": "it gave up by itself",
    "SIGKILL": "often the machine ran out of memory",
}


@dataclass(frozen=True)
class Ended:
    """What a child said and how it ended.

    Attributes:
        facts: all that it said, later words over earlier ones.
        code: exit code, negative for a signal; None when it was stopped at the time limit.
        log: its last lines on standard error, for the engineer.
    """

    facts: Mapping[str, Any]
    code: int | None
    log: tuple[str, ...] = ()

    @property
    def absent(self) -> str | None:
        """The module that is not installed, if that is what stopped it."""
        return self.facts.get("absent")

    @property
    def trouble(self) -> str | None:
        """What went wrong, as the end of a sentence; None where all went well."""
        if self.code is None:
            return f"gave no answer in time{self._while()}"
        if self.code != 0:
            return end_in_words(self.code) + self._while()
        if "error" in self.facts:
            return f"does not work ({str(self.facts['error']).rstrip('.')}){self._while()}"
        if self.facts.get("stage") != DONE:
            return f"ended without a result{self._while()}"
        return None

    def _while(self) -> str:
        stage = self.facts.get("stage")
        return f" while {stage}" if stage and stage != DONE else ""


def end_in_words(code: int) -> str:
    """An exit code other than 0 as the end of a sentence."""
    if code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            meaning = f"; {_MEANING[name]}" if name in _MEANING else ""
            return f"crashed with signal {name} ({-code}{meaning})"
        return f"crashed with signal {-code}"
    if code >= 0xC0000000:  # Windows hands the exception's number on, such as 0xC0000005 for an access violation
        return f"crashed with Windows error 0x{code:08X}"
    return f"ended with code {code}"


class Child:
    """One running child. Standard output and error go to files in ``folder``, so that nothing here has to read along.

    Raises:
        OSError: it could not be started.
    """

    def __init__(
        self, name: str, command: tuple[str, ...], folder: Path, time_limit_s: float, **variables: str
    ) -> None:
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        self._deadline = time.monotonic() + time_limit_s
        flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
        quiet = {
            "HF_HUB_OFFLINE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "KMP_BLOCKTIME": "0",
            "PYTHONFAULTHANDLER": "1",  # the place of a crash goes to the log
            "PYTHONIOENCODING": "utf-8",
        }
        with self._out.open("wb") as out, self._err.open("wb") as err, _no_core_files():
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=os.environ | quiet | variables,
                creationflags=flags,
            )

    def ended(self) -> Ended:
        """Wait for its end, or make one at the time limit."""
        code: int | None
        try:
            code = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
            self.close()
        log = self._err.read_text(encoding="utf-8", errors="replace").splitlines()
        return Ended(_facts(self._out.read_text(encoding="utf-8", errors="replace")), code, tuple(log[-_LOG_LINES:]))

    def close(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextmanager
def _no_core_files() -> Iterator[None]:
    """A child started in here leaves no image of its memory when it crashes: the crash is an answer, not a riddle."""
    if sys.platform == "win32":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def _facts(text: str) -> dict[str, Any]:
    """All JSON objects of the lines put together; a line that a crash cut off is left out."""
    facts: dict[str, Any] = {}
    for line in text.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            facts |= said
    return facts
