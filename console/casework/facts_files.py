"""Files of facts: read before anything is recorded, and the empty form to fill in."""

from __future__ import annotations

from pathlib import Path

from console.casework.text_files import read_text_file
from console.domain.importers import ImportResult, read_items, write_items_csv
from console.domain.visible import quoted
from console.errors import InputError
from console.reports.atomic_file import write_atomically

LARGEST_FACTS = 8 * 2**20  # bytes; a request holds the facts of one person


def read_facts_file(path: Path, subject: str = "", encoding: str | None = None) -> ImportResult:
    """What a file of facts gives; rows without a person are about ``subject``.

    Raises:
        InputError: the file cannot be read, is too large, no text, empty, or lacks a column.
    """
    return read_items(read_text_file(path, encoding, largest=LARGEST_FACTS), subject.strip())


def save_empty_form(path: Path, *, replace: bool = False) -> None:
    """Write a CSV with the column names and nothing else, which a spreadsheet opens.

    Args:
        replace: take the place of a file that is there.

    Raises:
        InputError: a file is there already.
        DiskFullError: the folder cannot be written.
    """
    if path.exists() and not replace:
        raise InputError(f"{quoted(path.name)} is there already; name a new file.")
    write_atomically(path, write_items_csv(()).encode("utf-8-sig"))
