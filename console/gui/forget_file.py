"""A file of facts, looked at before anything is recorded. Qt-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from console.domain.forget_set import ForgetItem
from console.domain.importers import RowError, decode_text, read_items, write_items_csv
from console.errors import InputError
from console.out_file import OutFile
from console.paths import Places

_LARGEST = 8 * 2**20  # reading more would keep the window from answering
_FORMATS: dict[str, Literal["csv", "jsonl"]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
}
SUFFIXES = tuple(_FORMATS)


@dataclass(frozen=True)
class FactsPreview:
    """What a file would give: the rows that can be used, and why the others cannot."""

    name: str
    items: tuple[ForgetItem, ...]
    errors: tuple[RowError, ...]
    total: int
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """``8 of 10 rows can be used.``"""
        rows = "row" if self.total == 1 else "rows"
        return f"{len(self.items)} of {self.total} {rows} can be used."


def read_facts(path: Path, subject: str = "") -> FactsPreview:
    """Read a file of facts; rows without a person are about ``subject``.

    Raises:
        InputError: the file cannot be read, is too large, of another kind, empty, or lacks a column.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"'{path.name}' is neither CSV nor JSON lines: choose a file that ends in .csv or .jsonl.")
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"'{path.name}' is larger than 8 MB: a request holds a person's facts, so cut it down.")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path.name}' cannot be read ({error.strerror}): choose another file.") from error
    result = read_items(decode_text(data), kind, path.name, subject.strip())
    return FactsPreview(path.name, result.items, result.errors, result.total, result.notes)


def save_empty_form(path: Path, places: Places) -> None:
    """Write a CSV with the column names and nothing else, which a spreadsheet opens.

    The dialog that asked for the path has asked about replacing a file as well.

    Raises:
        InputError, DiskFullError: the file cannot be written.
    """
    OutFile.named(path, places, replace=True).write(write_items_csv(()).encode("utf-8-sig"))
