"""A CSV file as records: the separator, the heading, and every row with the line on which it starts.

Read strictly, because a reader that forgives lets one forgotten quotation mark swallow the rest of a file without a
word. What cannot be read counts as the rows that a person sees there, so that kept and refused rows add up.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from console.domain.text_file import TextFile
from console.domain.visible import quoted
from console.errors import InputError

SEPARATORS: dict[str, str] = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
# Excel writes and reads "sep=;" as a first line (with or without quotation marks).
_SEP_LINE = re.compile(r'"?sep=([^\r\n"])"?[,;\t| ]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)
_CELL_LIMIT = 131_072  # characters; csv stops a cell there (csv.field_size_limit)


@dataclass(frozen=True)
class Record:
    """One row of a file, or a part of a file that cannot be read.

    Attributes:
        line: where it starts, from 1.
        cells: as they stand there; empty where they cannot be told.
        fault: why it cannot be read.
        last_line: where it ends.
        rows: how many rows it stands for.
    """

    line: int
    cells: tuple[str, ...]
    fault: str = ""
    last_line: int = 0
    rows: int = 1


@dataclass(frozen=True)
class CsvTable:
    """A heading and its records.

    Attributes:
        separator: its name, such as ``semicolon``.
    """

    header: tuple[str, ...]
    records: tuple[Record, ...]
    separator: str


def read_csv(file: TextFile, is_known: Callable[[str], bool]) -> CsvTable:
    """The rows of a CSV file that are not blank.

    Args:
        is_known: whether a column's name is one that the importer reads; it tells the separators apart.

    Raises:
        InputError: the heading cannot be read.
    """
    sep_line = _SEP_LINE.match(file.text)
    text, first = (file.text[sep_line.end() :], 2) if sep_line else (file.text, 1)
    lines = io.StringIO(text, newline="").readlines()
    separator = sep_line[1] if sep_line else _separator(lines, is_known)
    records = _records(lines, separator, first)
    header = next(records, None)
    if header is None:
        raise InputError(f"The file {file.name} has no rows: add at least one.")
    if header.fault:
        raise InputError(f"The heading of {file.name} cannot be read: check its quotation marks.")
    return CsvTable(header.cells, tuple(records), SEPARATORS.get(separator, quoted(separator)))


def _separator(lines: Sequence[str], is_known: Callable[[str], bool]) -> str:
    """The separator that explains the heading best: most known columns, then most columns."""

    def fit(separator: str) -> tuple[int, int]:
        header = next(_records(lines, separator, 1), None)
        cells = header.cells if header is not None else ()
        return sum(is_known(name) for name in cells), len(cells)

    return max(SEPARATORS, key=fit)


def _records(lines: Sequence[str], separator: str, first: int) -> Iterator[Record]:
    """Every record that is not blank; ``first`` is the number of the first line."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    heading: tuple[str, ...] = ()
    is_quoted = False  # the heading, by a program that then does so with every cell
    while True:
        start = reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            end = reader.line_num
            is_open = "unexpected end of data" in str(error)
            if is_open or ("field limit" in str(error) and end > start + 1):
                yield _unread(lines[start:], start + first, to_the_end=True)
                return
            yield _unread(lines[start:end], start + first)
        else:
            own = lines[start : reader.line_num]
            if not heading:
                heading, is_quoted = tuple(cells), _all_quoted(own, cells, separator)
            is_written = is_quoted and len(cells) == len(heading) and _all_quoted(own, cells, separator)
            if not is_written and _holds_rows(own, separator, heading):
                # With its cells: they tell the separator of a heading.
                yield replace(_unread(own, start + first, swallowed=True), cells=tuple(cells))
            elif any(cell.strip() for cell in cells):
                yield Record(start + first, tuple(cells), last_line=reader.line_num + first - 1)


def _holds_rows(lines: Sequence[str], separator: str, heading: Sequence[str]) -> bool:
    """Whether a record of several lines holds lines that look like rows: a quotation mark was left open in the first.

    A row has the heading's number of separators; in prose a blank follows each of them.
    """
    width = len(heading)
    if len(lines) < 2 or width < 2:
        return False
    is_spaced = any(name.startswith(" ") for name in heading[1:])
    between = re.compile(re.escape(separator) + ("" if is_spaced else "(?! )"))
    return any(len(between.findall(line)) >= width - 1 for line in lines[1:])


def _all_quoted(lines: Sequence[str], cells: Sequence[str], separator: str) -> bool:
    """Whether every cell of a record stands in quotation marks, as programs write: none was forgotten."""
    written = separator.join('"' + cell.replace('"', '""') + '"' for cell in cells)
    return "".join(lines).rstrip("\r\n") == written


def _unread(lines: Sequence[str], line: int, *, to_the_end: bool = False, swallowed: bool = False) -> Record:
    """Lines, of which the first is number ``line``, as a record that is not read.

    Args:
        to_the_end: a quotation mark is never closed.
        swallowed: one that a later row closes makes a cell of rows.
    """
    rows = max(1, sum(bool(text.strip()) for text in lines))
    last = line + len(lines) - 1
    if to_the_end and rows > 1:
        fault = (
            f"From line {line} on nothing was read ({rows} rows): a quotation mark that is opened there is not closed. "
            "Close it, and read the file again."
        )
    elif swallowed:
        fault = (
            f"Lines {line} to {last} were read as one row and hold what looks like rows: a quotation mark is not "
            "closed. Close it in its own cell; if the lines are one cell, use JSON lines."
        )
    elif rows > 1:
        fault = (
            f"Lines {line} to {last} were not read: a quotation mark that is opened in the first of them is closed in "
            "the last. Close it in its own cell."
        )
    else:
        fault = (
            "The row cannot be read: check that every quotation mark is closed, and that no cell is longer than "
            f"{_CELL_LIMIT:,} characters."
        )
    return Record(line, (), fault, last, rows)
