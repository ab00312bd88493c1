"""Read facts from files that people have, row by row, and write them again.

Every row is judged on its own: good rows are kept, and each bad one is reported with its line, its field and what to
do, so that kept and refused rows add up to the rows of the file. Messages never repeat the content of a cell, because
it is personal data and messages are logged; only the note of a guessed encoding shows one word, to be looked at. The
bytes come through :mod:`console.domain.text_file`; the layouts are in :mod:`console.domain.item_layouts`; whether a
fact can be measured is :mod:`console.domain.fact_checks`.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from console.domain.csv_cells import escape_formula, join_list, split_list, unescape_formula
from console.domain.csv_records import Record, read_csv
from console.domain.fact_checks import doubts
from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.item_layouts import (
    COLUMNS_OF_FIELD,
    FIELD_OF_COLUMN,
    LIST_FIELDS,
    REQUIRED_FIELDS,
    RowFaultError,
    by_column,
    column_name,
    is_tofu,
    row_fields,
    shown_name,
    tofu_fields,
    unknown_columns,
)
from console.domain.json_values import JsonEntry, read_entries
from console.domain.text_file import LONGEST_TEXT, TextFile
from console.domain.tofu_subjects import RowSubject, subjects_of_rows
from console.domain.visible import quoted
from console.errors import InputError

SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
MOST_ROWS = 20_000  # of one file; no suite could ask for more facts
_JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})


@dataclass(frozen=True)
class RowError:
    """Why a row was left out, or what its reader should know.

    Attributes:
        line: line on which the row starts, or its position in a JSON array, counted from 1.
        field: the field at fault, or ``row``.
        message: one sentence with what to do; it never repeats the cell.
        is_line: whether ``line`` is a line, and not a position.
        last_line: where a part that was not read ends; 0 for a row.
        rows: how many rows were left out for this.
    """

    line: int
    field: str
    message: str
    is_line: bool = True
    last_line: int = 0
    rows: int = 1

    @property
    def where(self) -> str:
        """``line 3``, ``lines 3 to 8`` or ``entry 3``."""
        if not self.is_line:
            return f"entry {self.line}"
        return f"lines {self.line} to {self.last_line}" if self.rows > 1 else f"line {self.line}"


@dataclass(frozen=True)
class ImportResult:
    """What a file gave.

    Attributes:
        items: the good rows, in the file's order.
        errors: one entry for each fault; a row can have several.
        total: rows in the file, good or bad.
        reading: how it was read: encoding, and separator or layout.
        notes: what the reader should know of the file, such as columns that were not used.
        warnings: what the reader should know of rows that are kept: facts that are weak evidence.
    """

    items: tuple[ForgetItem, ...]
    errors: tuple[RowError, ...]
    total: int
    reading: str
    notes: tuple[str, ...] = ()
    warnings: tuple[RowError, ...] = ()

    @property
    def refused(self) -> int:
        """Rows that were left out."""
        return self.total - len(self.items)


@dataclass(frozen=True)
class _Row:
    """A row before it becomes an item: the values by column, or the fault that made it unreadable."""

    line: int
    values: Mapping[str, Any]
    fault: RowFaultError | None = None
    is_line: bool = True
    last_line: int = 0
    rows: int = 1

    def error(self, field: str, message: str) -> RowError:
        return RowError(self.line, field, message, self.is_line, self.last_line, self.rows)


def is_json(file: TextFile) -> bool:
    """Whether a file is JSON, by how it begins or by its name; else it is CSV."""
    return file.text.lstrip()[:1] in {"{", "["} or file.ending in _JSON_SUFFIXES


def read_items(file: TextFile, subject: str = "", aliases: Sequence[str] = ()) -> ImportResult:
    """Read the facts of a file: CSV with a heading, JSON lines, or one JSON array.

    Args:
        subject: the person whom rows without a subject are about.
        aliases: other spellings of that person.

    Raises:
        InputError: the file has no rows, or its heading lacks a column without which no row can be read.
    """
    rows, layout = _json_rows(file) if is_json(file) else _csv_rows(file, bool(subject))
    total = sum(row.rows for row in rows)
    if not rows:
        raise InputError(f"The file {file.name} has no rows: add at least one.")
    if total > MOST_ROWS:
        raise InputError(f"The file {file.name} has {total:,} rows; at most {MOST_ROWS:,} are read: cut it into parts.")
    unknown = sorted({column for row in rows for column in unknown_columns(row.values)})
    notes = [f"The column {quoted(column)} is not known and was not used." for column in unknown]
    if file.caution:
        notes.insert(0, file.caution)
    subject_of_line = {} if subject else _tofu_subjects(rows)
    if subject_of_line:
        notes.append("The file names no subjects; they were taken from the questions, so check them.")

    items: list[ForgetItem] = []
    errors: list[RowError] = []
    warnings: list[RowError] = []
    line_of_id: dict[str, int] = {}
    for position, row in enumerate(rows, start=1):
        try:
            if row.fault is not None:
                raise row.fault
            fields = (
                tofu_fields(row.values, subject_of_line[row.line])
                if row.line in subject_of_line
                else row_fields(row.values, subject, aliases)
            )
            item = ForgetItem.model_validate({"id": f"item-{position:04d}", **fields})
            _check_new_id(item.id, line_of_id)
        except RowFaultError as fault:
            errors.append(row.error(fault.field, fault.message))
        except ValidationError as error:
            errors.extend(row.error(field, message) for field, message in _faults(error))
        else:
            found = doubts(item)
            if any(doubt.is_refusal for doubt in found):
                errors.extend(row.error(doubt.field, doubt.message) for doubt in found)
                continue
            warnings.extend(row.error(doubt.field, doubt.message) for doubt in found)
            line_of_id[item.id] = row.line
            items.append(item)
    return ImportResult(tuple(items), tuple(errors), total, f"{file.reading}, {layout}", tuple(notes), tuple(warnings))


def write_items_jsonl(items: Iterable[ForgetItem]) -> str:
    """The items as JSON lines, one object a line; :func:`read_items` gives them back unchanged."""
    return "".join(json.dumps(item.model_dump(mode="json"), ensure_ascii=False) + "\n" for item in items)


def write_items_csv(items: Iterable[ForgetItem]) -> str:
    """The items as comma-separated values with a header; :func:`read_items` gives them back unchanged.

    Cells that a spreadsheet would run as a formula get an apostrophe in front, which the reader takes away.
    Write the text with the encoding ``utf-8-sig`` if a spreadsheet is to open it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS_OF_FIELD)
    for item in items:
        values = item.model_dump(mode="json")
        cells = (join_list(values[field]) if field in LIST_FIELDS else values[field] for field in COLUMNS_OF_FIELD)
        writer.writerow(escape_formula(cell) for cell in cells)
    return out.getvalue()


def _csv_rows(file: TextFile, has_subject: bool) -> tuple[list[_Row], str]:
    """The rows of a CSV file, and the layout in words."""
    table = read_csv(file, lambda name: column_name(name) in FIELD_OF_COLUMN)
    columns = [column_name(name) for name in table.header]
    if broken := next((fault for name in table.header if (fault := file.broken_text(name, "It"))), None):
        raise InputError(f"The heading of {file.name} cannot be read: {broken}")
    rows = [_csv_row(file, columns, record) for record in table.records]
    layout = f"separator {table.separator}"
    try:
        _check_header(columns, f"{file.name} (read as {file.reading}, {layout})", has_subject)
    except InputError as refusal:
        # A file can have two faults, and the second tells whoever mends the first that it is not enough.
        found = next(((row.error("row", "").where, row.fault) for row in rows if row.fault is not None), None)
        if found is None:
            raise
        raise InputError(f"{refusal} Besides, {found[0]}: {found[1].message}") from refusal
    return rows, layout


def _csv_row(file: TextFile, columns: Sequence[str], record: Record) -> _Row:
    row = _Row(record.line, {}, last_line=record.last_line, rows=record.rows)
    if record.fault:
        return replace(row, fault=RowFaultError("row", record.fault))
    if len(record.cells) > len(columns):
        message = (
            f"The row has {len(record.cells)} cells, but the header has {len(columns)}: "
            "put cells that contain the separator in quotation marks."
        )
        return replace(row, fault=RowFaultError("row", message))
    for column, cell in zip(columns, record.cells, strict=False):
        field = FIELD_OF_COLUMN.get(column, column)
        message = file.broken_text(cell, f"The {shown_name(field)}") or ""
        if len(cell) > LONGEST_TEXT:
            message = f"The {shown_name(field)} is longer than {LONGEST_TEXT:,} characters: cut it."
        if message:
            return replace(row, fault=RowFaultError(field, message))
    cells = itertools.zip_longest(columns, record.cells, fillvalue="")
    return replace(row, values={name: _cell_value(name, cell) for name, cell in cells if name or cell.strip()})


def _cell_value(column: str, cell: str) -> str | list[str]:
    text = unescape_formula(cell)
    return split_list(text) if FIELD_OF_COLUMN.get(column) in LIST_FIELDS else text


def _check_header(columns: Sequence[str], name: str, has_subject: bool) -> None:
    fields = [FIELD_OF_COLUMN[column] for column in columns if column in FIELD_OF_COLUMN]
    missing = [field for field in REQUIRED_FIELDS if field not in fields and not (field == "subject" and has_subject)]
    if missing:
        raise InputError(
            f"The header of {name} lacks the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}: add a first row that names the columns."
        )
    for field, names in COLUMNS_OF_FIELD.items():
        repeated = [column for column in columns if column in names]
        if len(repeated) > 1:
            raise InputError(
                f"The columns {' and '.join(repeated)} of {name} mean the same ({field}): keep one of them."
            )


def _json_rows(file: TextFile) -> tuple[list[_Row], str]:
    """The rows of a JSON file, and the layout in words."""
    entries = read_entries(file)
    lines = bool(entries) and entries[0].is_line
    return [_json_row(entry) for entry in entries], "JSON lines" if lines else "a JSON list"


def _json_row(entry: JsonEntry) -> _Row:
    row = _Row(entry.number, {}, is_line=entry.is_line)
    if entry.fault is not None:
        column = column_name(entry.fault.field)
        field = FIELD_OF_COLUMN.get(column, entry.fault.field)
        return replace(row, fault=RowFaultError(field, entry.fault.message))
    if not isinstance(entry.value, dict):
        message = "The row is not an object: write names and values in braces."
        return replace(row, fault=RowFaultError("row", message))
    try:
        return replace(row, values=by_column(entry.value))
    except RowFaultError as fault:
        return replace(row, fault=fault)


def _tofu_subjects(rows: Sequence[_Row]) -> dict[int, RowSubject | None]:
    """The subject of every TOFU row, by line."""
    tofu = [row for row in rows if row.fault is None and is_tofu(row.values)]
    found = subjects_of_rows([(row.values["question"], row.values["answer"]) for row in tofu])
    return {row.line: subject for row, subject in zip(tofu, found, strict=True)}


def _check_new_id(item_id: str, line_of_id: Mapping[str, int]) -> None:
    if item_id in line_of_id:
        message = f"The id is already used in line {line_of_id[item_id]}: give every row its own id."
        raise RowFaultError("id", message)


def _faults(error: ValidationError) -> Iterator[tuple[str, str]]:
    for fault in error.errors(include_url=False, include_input=False):
        # A fault of the whole item is always the missing subject.
        field = str(fault["loc"][0]) if fault["loc"] else "subject"
        match fault["type"]:
            case "missing" | "string_too_short":
                message = f"The {field} is empty: fill it in or leave the row out."
            case "enum":
                message = f"The {field} is not known: use one of {', '.join(ItemKind)}."
            case "value_error":
                reason = fault["msg"].removeprefix("Value error, ")
                message = f"{reason[:1].upper()}{reason[1:]}."
            case _:
                message = f"The {field} cannot be read as text: write it again."
        yield field, message
