"""Files of facts: read before anything is recorded, and the empty form to fill in."""

from __future__ import annotations

from pathlib import Path

from console.casework.text_files import read_text_file
from console.domain.importers import ImportResult, read_items, write_items_csv
from console.out_file import OutFile

LARGEST_FACTS = 8 * 2**20  # bytes; a request holds the facts of one person


def read_facts_file(path: Path, subject: str = "", encoding: str | None = None) -> ImportResult:
    """What a file of facts gives; rows without a person are about ``subject``.

    Raises:
        InputError: the file cannot be read, is too large, no text, empty, or lacks a column.
    """
    return read_items(read_text_file(path, encoding, largest=LARGEST_FACTS), subject.strip())


def save_empty_form(out: OutFile) -> None:
    """Write a CSV with the column names and nothing else, which a spreadsheet opens.

    Raises:
        InputError, DiskFullError: the file cannot be written (see ``console.out_file``).
    """
    out.write(write_items_csv(()).encode("utf-8-sig"))
