"""What commands print. Foreign text never steers the terminal, and long work is told in lines that a log can keep."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from console.domain.visible import visible, visible_json

SILENT_AT_MOST_S = 60.0
"""Where a step takes longer, its line comes again with how far it is, so that a log shows that the work goes on."""


def say(text: str) -> None:
    """Print on standard output: a text that may have lines, everything else in it escaped."""
    sys.stdout.write(visible(text, keep="\n\t"))


def say_line(text: str) -> None:
    """Print one line on standard output: a line break in a name or a reason would forge another."""
    sys.stdout.write(visible(text) + "\n")


def say_beside(line: str) -> None:
    """Print a line on standard error, where it does not mix with a result; nowhere, if it cannot be written to.

    What a command has done, and the exit code that says so, must not depend on a full log.
    """
    try:
        sys.stderr.write(visible(line) + "\n")
        sys.stderr.flush()
    except OSError:
        give_up(sys.stderr)


def can_be_written(stream: TextIO) -> bool:
    """Whether what a stream still holds goes out."""
    try:
        stream.flush()
    except OSError:
        return False
    return True


def give_up(stream: TextIO) -> None:
    """Let all that is written to a standard stream from now on go nowhere, the interpreter's last flush as well."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def json_text(value: Any) -> str:
    """A value as JSON: the letters of all scripts as they are, what could steer a terminal as JSON escapes."""
    return visible_json(json.dumps(value, ensure_ascii=False, indent=2)) + "\n"


class StepLines:
    """One plain line a step with the time since the start, for outputs that are no terminal.

    Args:
        write: takes a line.
        clock: seconds.
    """

    def __init__(self, write: Callable[[str], None] = say_beside, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._started = clock()
        self._step = ""
        self._said_at = self._started

    def tell(self, step: str, fraction: float | None = None) -> None:
        """What is being done now; the same step is told again only after a long silence."""
        now = self._clock()
        if step != self._step:
            self._line(step, now)
        elif now - self._said_at >= SILENT_AT_MOST_S:
            self._line(step if fraction is None else f"{step} ({fraction:.0%})", now)
        self._step = step

    def _line(self, text: str, now: float) -> None:
        minutes, seconds = divmod(int(now - self._started), 60)
        self._write(f"[{minutes:>3}:{seconds:02}] {text}")
        self._said_at = now


def step_teller(steps: StepLines | None = None) -> Callable[[str], None]:
    """Takes texts such as ``Reading (3 of 9)`` and tells the step on standard error, not every count."""
    lines = StepLines() if steps is None else steps
    return lambda text: lines.tell(re.sub(r" \(\d+ of \d+\)\Z", "", text))


def open_missing_streams() -> None:
    """Give a program that was started with closed standard streams the null device in their place.

    Otherwise the next file that is opened, the ledger for instance, takes the free number, and whatever prints to
    standard output prints into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # takes the lowest free number: this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", errors="replace", closefd=False))
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
