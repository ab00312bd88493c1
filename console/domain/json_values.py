"""JSON that people bring: read by :mod:`json`, and what a reader would decide in silence is refused.

A key given twice, a number that no computer holds, a number of thousands of digits, a text without an end and nesting
without a floor are faults of the entry in which they stand. Numbers stay as they were written, because ``1.50`` may be
a price and ``0171`` is no number at all.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from console.domain.text_file import LONGEST_TEXT, TextFile
from console.domain.visible import quoted
from console.errors import InputError

DEEPEST = 32  # levels of lists and objects in one entry
LONGEST_NUMBER = 300  # signs
_BLANK = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class WrittenNumber:
    """A number as it stands in the file."""

    text: str

    @property
    def value(self) -> int | float:
        """What it counts."""
        return int(self.text) if self.text.lstrip("-").isdigit() else float(self.text)


@dataclass(frozen=True)
class JsonFault:
    """Why an entry cannot be used.

    Attributes:
        field: the key at the entry's top under which the fault lies, or ``row``.
        message: a sentence with what to do.
    """

    field: str
    message: str


@dataclass(frozen=True)
class JsonEntry:
    """One value of a file: a line of its own, or an entry of the file's one array.

    Attributes:
        number: its line, or its place in the array, from 1.
        is_line: whether ``number`` is a line.
        fault: why it cannot be used; ``value`` is then of no use.
    """

    number: int
    is_line: bool
    value: Any = None
    fault: JsonFault | None = None


class _Reader:
    """Reads one value after the other and keeps what it must not decide."""

    def __init__(self) -> None:
        self._twice: list[str] = []
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_float=WrittenNumber,
            parse_int=WrittenNumber,
            parse_constant=WrittenNumber,
        )

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            self._twice += [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
        return made

    def read(self, text: str, start: int) -> tuple[Any, int, JsonFault | None]:
        """The value that begins at ``start``, where it ends, and its fault.

        Raises:
            json.JSONDecodeError: no value begins there.
            RecursionError: it is nested beyond what the interpreter takes.
        """
        self._twice = []
        value, end = self._decoder.raw_decode(text, start)
        if self._twice:
            key = self._twice[0]
            return value, end, JsonFault(key, f"{quoted(key)} is given twice: keep one of them.")
        return value, end, _fault_within(value)


def read_entries(file: TextFile) -> list[JsonEntry]:
    """The entries of a file: those of its one array, or one a line.

    Raises:
        InputError: the file is one array that is broken; the sentence says where.
    """
    if _is_array(file.text):
        return list(_array_entries(file))
    # Not splitlines(): it would also split at signs that may stand inside a JSON string.
    lines = enumerate(file.text.split("\n"), start=1)
    return [_line_entry(file, number, line) for number, line in lines if line.strip()]


def read_whole(file: TextFile) -> Any:
    """The one value of a file; numbers are :class:`WrittenNumber`.

    Raises:
        InputError: it is no JSON, or has a fault; the sentence says where.
    """
    try:
        value, end, fault = _Reader().read(file.text, _skip_blanks(file.text, 0))
        end = _skip_blanks(file.text, end)
        if end < len(file.text):
            raise json.JSONDecodeError("Extra data", file.text, end)
    except json.JSONDecodeError as error:
        raise InputError(_broken(file, error)) from error
    except RecursionError as error:
        raise InputError(f"The file {file.name} is nested too deeply: write it with fewer levels.") from error
    if fault is not None:
        raise InputError(f"{file.name}: {fault.message}")
    return value


def value_or_text(text: str, what: str) -> Any:
    """The value that a text is in JSON, or the text itself where it is none.

    Args:
        what: what the text is, for a sentence.

    Raises:
        InputError: it is JSON that a reader would have to decide about, such as ``NaN`` or a key given twice.
    """
    try:
        value, end, fault = _Reader().read(text, _skip_blanks(text, 0))
    except json.JSONDecodeError:
        return text
    except RecursionError as error:
        raise InputError(f"{what} is nested too deeply: write it with fewer levels.") from error
    if _skip_blanks(text, end) < len(text):
        return text
    if fault is not None:
        raise InputError(f"{what} cannot be used: {fault.message}")
    return plain(value)


def plain(value: Any, *, as_text: bool = False) -> Any:
    """A value of :func:`read_entries` without our own classes: numbers count, or stay as written."""
    if isinstance(value, WrittenNumber):
        return value.text if as_text else value.value
    if isinstance(value, dict):
        return {key: plain(entry, as_text=as_text) for key, entry in value.items()}
    return [plain(entry, as_text=as_text) for entry in value] if isinstance(value, list) else value


def _skip_blanks(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place


def _is_array(text: str) -> bool:
    """Whether a file is one array, and not lines of which the first happens to be one."""
    body = text.strip()
    if not body.startswith("["):
        return False
    first, line_end, rest = body.partition("\n")
    if not line_end or not rest.strip():
        return True
    try:
        _, end, _ = _Reader().read(first.rstrip(), 0)
    except (json.JSONDecodeError, RecursionError):
        return True
    return end < len(first.rstrip())


def _array_entries(file: TextFile) -> Iterator[JsonEntry]:
    """Entry by entry, so that the fault of one is no fault of the others."""
    text, reader = file.text, _Reader()
    place, number = _skip_blanks(text, text.index("[") + 1), 0
    try:
        while text[place : place + 1] != "]" or number:
            number += 1
            value, end, fault = reader.read(text, place)
            broken = file.broken_text(text[place:end], "The entry")
            yield JsonEntry(number, False, value, JsonFault("row", broken) if broken else fault)
            place = _skip_blanks(text, end)
            if text[place : place + 1] == "]":
                break
            if text[place : place + 1] != ",":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
            place = _skip_blanks(text, place + 1)
        place = _skip_blanks(text, place + 1)
        if place < len(text):
            raise json.JSONDecodeError("Extra data", text, place)
    except json.JSONDecodeError as error:
        raise InputError(_broken(file, error, number)) from error
    except RecursionError as error:
        raise InputError(
            f"Entry {number} of {file.name} is nested too deeply: write one flat object for each row."
        ) from error


def _line_entry(file: TextFile, number: int, line: str) -> JsonEntry:
    def refused(message: str) -> JsonEntry:
        return JsonEntry(number, True, fault=JsonFault("row", message))

    broken = file.broken_text(line, "The line")
    if broken:
        return refused(broken)
    try:
        value, end, fault = _Reader().read(line, _skip_blanks(line, 0))
        if (end := _skip_blanks(line, end)) < len(line):
            raise json.JSONDecodeError("Extra data", line, end)
    except json.JSONDecodeError as error:
        return refused(f"The line is not valid JSON: correct it at column {error.pos + 1} ({error.msg}).")
    except RecursionError:
        return refused("The line is nested too deeply: write one flat object a line.")
    return JsonEntry(number, True, value, fault)


def _broken(file: TextFile, error: json.JSONDecodeError, number: int = 0) -> str:
    if file.is_cut:
        return f"The file {file.name} ends in the middle of a character: it was cut off, so copy it again."
    entry = f", entry {number} of its list" if number else ""
    place = f"Line {error.lineno} of {file.name} is not valid JSON at column {error.colno}"
    return f"{place} ({error.msg}){entry}: correct it."


def _fault_within(value: Any) -> JsonFault | None:
    """The first fault of a value's parts; walked without recursion, for nesting is one of the faults."""
    stack: list[tuple[Any, str, int]] = [(value, "row", 0)]
    while stack:
        part, field, depth = stack.pop()
        if isinstance(part, WrittenNumber):
            message = _number_fault(part.text, field)
        elif isinstance(part, str):
            is_long = len(part) > LONGEST_TEXT
            message = f"The {_named(field)} is longer than {LONGEST_TEXT:,} characters: cut it." if is_long else ""
        elif isinstance(part, dict | list):
            is_deep = depth >= DEEPEST
            message = "It is nested too deeply: write one flat object." if is_deep else ""
            inner = part.items() if isinstance(part, dict) else ((field, entry) for entry in part)
            stack += [(entry, str(key) if not depth else field, depth + 1) for key, entry in inner]
            if isinstance(part, dict) and any(len(key) > LONGEST_TEXT for key in part):
                message = f"A name is longer than {LONGEST_TEXT:,} characters: cut it."
        else:
            continue
        if message:
            return JsonFault(field, message)
    return None


def _number_fault(text: str, field: str) -> str:
    if len(text) > LONGEST_NUMBER:
        return (
            f"The {_named(field)} holds a number of {len(text):,} signs: at most {LONGEST_NUMBER} can be read. "
            "Write it as text, in quotation marks."
        )
    if not math.isfinite(float(text)):
        return f"The {_named(field)} holds a number that cannot be counted with: write it as text, in quotation marks."
    return ""


def _named(field: str) -> str:
    return "row" if field == "row" else f"value of {quoted(field)}"
