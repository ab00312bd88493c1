"""Bounds that are set before a foreign PDF is read: no reader is given what could keep it busy or fill the memory.

They are far above what any report has (a long one: 400 KB, 40 pages, 150 objects) and far below what hurts. What
they cannot foresee is caught by the watched process of :mod:`console.reports.watched_check`.
"""

from __future__ import annotations

import re
import zlib

from console.errors import InputError

MIB = 1024 * 1024
LARGEST_FILE = 64 * MIB
LARGEST_INFLATED = 64 * MIB  # all streams of the file together
LARGEST_PAGES = 6 * MIB  # drawing instructions, counted for every page that uses them
LARGEST_EVIDENCE = 8 * MIB
MOST_REVISIONS = 32
MOST_OBJECTS = 20_000
MOST_PAGES = 2_000
MOST_NODES = 300_000  # values in dictionaries and arrays
DEEPEST = 100  # nested dictionaries and arrays; a report has 6

_TAG_WITHIN = 16  # bytes: how a web page begins
_HEADER_WITHIN = 1024  # where readers look for the header (ISO 32000-1, annex H, note 13), and for the end mark
_OBJECT = re.compile(rb"\d\s+obj\b")
_STREAM = re.compile(rb"(?<!end)stream\r?\n")
_PIECE = 64 * 1024


def beyond(what: str) -> InputError:
    """The refusal of a file that no report can be."""
    return InputError(f"The file {what}; no report of a console does, so it was not read and not judged.")


def check_limits(data: bytes) -> None:
    """Refuse what is no PDF, or more than a report can be, by its bytes alone.

    Raises:
        InputError: empty, not a PDF, or beyond a limit.
    """
    if not data:
        raise InputError("The file is empty (0 bytes): nothing to verify; ask for the report again.")
    if data.lstrip()[:_TAG_WITHIN].lower().startswith((b"<!doctype html", b"<html")):
        raise InputError("The file is a web page and not a PDF; download the report again.")
    if b"%PDF-" not in data[:_HEADER_WITHIN] and b"%%EOF" not in data[-_HEADER_WITHIN:]:
        raise InputError("The file is not a PDF; choose the report's PDF file.")
    if len(data) > LARGEST_FILE:
        raise beyond(f"has more than {LARGEST_FILE // MIB} MB")
    if data.count(b"%%EOF") > MOST_REVISIONS:
        raise beyond(f"was saved on top of itself more than {MOST_REVISIONS} times")
    _bounded_count(_OBJECT, data, "objects")


def _bounded_count(pattern: re.Pattern[bytes], data: bytes, what: str) -> None:
    for number, _ in enumerate(pattern.finditer(data)):
        if number > MOST_OBJECTS:
            raise beyond(f"has more than {MOST_OBJECTS} {what}")


def check_inflated(data: bytes) -> None:
    """Inflate every stream in pieces and keep none of them: only the sum of their sizes counts.

    Raises:
        InputError: beyond the limit.
    """
    _bounded_count(_STREAM, data, "streams")
    left = LARGEST_INFLATED
    for match in _STREAM.finditer(data):
        left -= _inflated_size(memoryview(data)[match.end() :], left)
        if left <= 0:
            raise beyond(f"unpacks to more than {LARGEST_INFLATED // MIB} MB")


def _inflated_size(packed: memoryview, limit: int) -> int:
    """Bytes that a zlib stream at the start of ``packed`` unpacks to, counted up to ``limit``; 0 where none is."""
    if len(packed) < 2 or packed[0] & 0x0F != 8 or (packed[0] << 8 | packed[1]) % 31:
        return 0
    inflater = zlib.decompressobj()
    size, start = 0, 0
    pending: bytes | memoryview = b""
    while size < limit and not inflater.eof:
        if not pending:
            pending = packed[start : start + _PIECE]
            start += _PIECE
            if not pending:
                break
        try:
            size += len(inflater.decompress(pending, _PIECE))
        except zlib.error:
            break
        pending = inflater.unconsumed_tail
    return size
