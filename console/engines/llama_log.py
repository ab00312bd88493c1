"""llama.cpp's log: one a process, silent on the terminal, its last lines kept for error sentences.

The native library keeps the bare address of the function that it calls for every line. A function that goes away
before the process does takes the process with it, at the next line that anyone's model logs; so there is one
function here for the whole life of the process, and nobody else sets one.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_ERROR = 4  # ggml_log_level
_LINES = 20

_last: deque[str] = deque(maxlen=_LINES)
_readers: list[list[str]] = []  # of error lines, while somebody wants them
_listener: list[Any] = []  # the one function, never dropped


def silence(library: ModuleType) -> None:
    """Take the log of ``llama_cpp.llama_cpp``; may be called as often as one likes."""
    if not _listener:
        _listener.append(library.llama_log_callback(_listen))
    library.llama_log_set(_listener[0], ctypes.c_void_p(0))


def last_line() -> str:
    """What the library said last, empty where it said nothing."""
    return _last[-1] if _last else ""


@contextmanager
def errors_kept() -> Iterator[list[str]]:
    """The error lines that the library says while this is open."""
    lines: list[str] = []
    _readers.append(lines)
    try:
        yield lines
    finally:
        _readers[:] = [reader for reader in _readers if reader is not lines]


def _listen(level: int, text: bytes, _data: object) -> None:
    line = text.decode("utf-8", errors="replace").strip(" .\n")
    if not line:
        return
    _last.append(line)
    if level == _ERROR:
        for reader in _readers:
            reader.append(line)
