"""Read facts from files that people have, row by row, and write them again.

Every row is judged on its own: good rows are kept, and each bad one is reported with its line, its
field and what to do. Messages never repeat the content of a cell, because it is personal data and
messages are logged. The layouts are in :mod:`console.domain.item_layouts`.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from console.domain.csv_cells import escape_formula, join_list, split_list, unescape_formula
from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.item_layouts import (
    COLUMNS_OF_FIELD,
    FIELD_OF_COLUMN,
    LIST_FIELDS,
    REQUIRED_FIELDS,
    RowFaultError,
    column_name,
    is_tofu,
    row_fields,
    tofu_fields,
    unknown_columns,
)
from console.domain.tofu_subjects import RowSubject, subjects_of_rows
from console.errors import InputError

ImportFormat = Literal["csv", "jsonl"]

_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class RowError:
    """Why a row was left out.

    Attributes:
        line: line on which the row starts, or the position in a JSON array, counted from 1.
        field: the field at fault, or ``row``.
        message: one sentence with what to do; it never repeats the cell.
    """

    line: int
    field: str
    message: str


@dataclass(frozen=True)
class ImportResult:
    """What a file gave.

    Attributes:
        items: the good rows, in the file's order.
        errors: one entry for each fault; a row can have several.
        total: rows in the file, good or bad.
        notes: what the reader should know, such as columns that were not used.
    """

    items: tuple[ForgetItem, ...]
    errors: tuple[RowError, ...]
    total: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Row:
    """A row before it becomes an item: the values by column, or the fault that made it unreadable."""

    line: int
    values: Mapping[str, Any]
    fault: RowFaultError | None = None


def decode_text(data: bytes) -> str:
    """The text of a file in UTF-8 (with or without byte-order mark) or UTF-16.

    Raises:
        InputError: the bytes are neither, as in old spreadsheet exports or files that are not text.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encoding = "utf-32"
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif data[1:2] == b"\0" and data[:1] != b"\0":
        encoding = "utf-16-le"
    elif data[:1] == b"\0" and data[1:2] != b"\0":
        encoding = "utf-16-be"
    else:
        encoding = "utf-8-sig"
    refusal = "The file is not text in UTF-8 or UTF-16: save it again as UTF-8 (in a spreadsheet, 'CSV UTF-8')."
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(refusal) from error
    if "\0" in text:
        raise InputError(refusal)
    return text


def read_items(
    text: str, format: ImportFormat, source_name: str, subject: str = "", aliases: Sequence[str] = ()
) -> ImportResult:
    """Read the facts of a file.

    Args:
        text: the file's content, see :func:`decode_text`.
        format: ``csv`` (header row; comma, semicolon or tab) or ``jsonl`` (an object a line, or one array).
        source_name: what to call the file in messages.
        subject: the person whom rows without a subject are about.
        aliases: other spellings of that person.

    Raises:
        InputError: the file is empty, or its header lacks a column without which no row can be read.
    """
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise InputError(f"The file '{source_name}' is empty: choose a file with at least one row.")
    rows = _csv_rows(text, source_name, bool(subject)) if format == "csv" else _json_rows(text, source_name)
    if not rows:
        raise InputError(f"The file '{source_name}' has no rows: add at least one.")
    unknown = sorted({column for row in rows for column in unknown_columns(row.values)})
    notes = [f"The column '{column}' is not known and was not used." for column in unknown]
    subject_of_line = {} if subject else _tofu_subjects(rows)
    if subject_of_line:
        notes.append("The file names no subjects; they were taken from the questions, so check them.")

    items: list[ForgetItem] = []
    errors: list[RowError] = []
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
            errors.append(RowError(row.line, fault.field, fault.message))
        except ValidationError as error:
            errors.extend(_row_errors(row.line, error))
        else:
            line_of_id[item.id] = row.line
            items.append(item)
    return ImportResult(tuple(items), tuple(errors), len(rows), tuple(notes))


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


def _csv_rows(text: str, source_name: str, has_subject: bool) -> list[_Row]:
    delimiter = max(_DELIMITERS, key=lambda sign: _recognised_columns(text, sign))
    records = _csv_records(text, delimiter)
    line, header = next(records)
    if isinstance(header, csv.Error):
        raise InputError(f"The header of '{source_name}' cannot be read: check its quotation marks.") from header
    columns = [column_name(name) for name in header]
    _check_header(columns, source_name, has_subject)
    rows = []
    for line, record in records:
        if isinstance(record, csv.Error):
            message = "The row cannot be read: check that every quotation mark is closed and no cell is enormous."
            rows.append(_Row(line, {}, RowFaultError("row", message)))
        elif len(record) > len(columns):
            message = (
                f"The row has {len(record)} cells, but the header has {len(columns)}: "
                "put cells that contain the separator in quotation marks."
            )
            rows.append(_Row(line, {}, RowFaultError("row", message)))
        else:
            values = {name: _cell_value(name, cell) for name, cell in zip(columns, record, strict=False)}
            rows.append(_Row(line, values))
    return rows


def _cell_value(column: str, cell: str) -> str | list[str]:
    text = unescape_formula(cell)
    return split_list(text) if FIELD_OF_COLUMN.get(column) in LIST_FIELDS else text


def _csv_records(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Line and cells of every record that is not blank; a fault does not end the reading."""
    # Strict, because otherwise one forgotten quotation mark swallows the rest of the file without a word.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, error
        else:
            if any(cell.strip() for cell in record):
                yield line, record


def _recognised_columns(text: str, delimiter: str) -> tuple[int, int]:
    """How well a delimiter explains the header: known columns, then columns at all."""
    _, header = next(_csv_records(text, delimiter))
    if isinstance(header, csv.Error):
        return (0, 0)
    return (sum(column_name(name) in FIELD_OF_COLUMN for name in header), len(header))


def _check_header(columns: Sequence[str], source_name: str, has_subject: bool) -> None:
    fields = [FIELD_OF_COLUMN[column] for column in columns if column in FIELD_OF_COLUMN]
    missing = [field for field in REQUIRED_FIELDS if field not in fields and not (field == "subject" and has_subject)]
    if missing:
        raise InputError(
            f"The header of '{source_name}' lacks the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}: add a first row that names the columns."
        )
    for field, names in COLUMNS_OF_FIELD.items():
        repeated = [column for column in columns if column in names]
        if len(repeated) > 1:
            raise InputError(
                f"The columns {' and '.join(repeated)} of '{source_name}' mean the same ({field}): keep one of them."
            )


def _json_rows(text: str, source_name: str) -> list[_Row]:
    if text.lstrip().startswith("["):
        try:
            return [_json_row(number, value) for number, value in enumerate(json.loads(text), start=1)]
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"The file '{source_name}' is not valid JSON: check it at its end.") from error
    rows = []
    # Not splitlines(): it would also split at signs that may stand inside a JSON string.
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            rows.append(_json_row(line, json.loads(content)))
        except json.JSONDecodeError as error:
            message = f"The line is not valid JSON: correct it at column {error.colno} ({error.msg})."
            rows.append(_Row(line, {}, RowFaultError("row", message)))
        except RecursionError:
            rows.append(
                _Row(line, {}, RowFaultError("row", "The line is nested too deeply: write one flat object a line."))
            )
    return rows


def _json_row(line: int, value: Any) -> _Row:
    if not isinstance(value, dict):
        return _Row(line, {}, RowFaultError("row", "The row is not an object: write names and values in braces."))
    return _Row(line, {column_name(name): content for name, content in value.items()})


def _tofu_subjects(rows: Sequence[_Row]) -> dict[int, RowSubject | None]:
    """The subject of every TOFU row, by line."""
    tofu = [row for row in rows if row.fault is None and is_tofu(row.values)]
    found = subjects_of_rows([(row.values["question"], row.values["answer"]) for row in tofu])
    return {row.line: subject for row, subject in zip(tofu, found, strict=True)}


def _check_new_id(item_id: str, line_of_id: Mapping[str, int]) -> None:
    if item_id in line_of_id:
        message = f"The id is already used in line {line_of_id[item_id]}: give every row its own id."
        raise RowFaultError("id", message)


def _row_errors(line: int, error: ValidationError) -> Iterator[RowError]:
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
        yield RowError(line, field, message)
