"""A file of facts, looked at before anything is recorded. Qt-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from console.casework.facts_files import read_facts_file
from console.domain.forget_set import ForgetItem
from console.domain.importers import SUFFIXES, ImportResult, RowError
from console.domain.visible import quoted
from console.errors import InputError


@dataclass(frozen=True)
class FactsPreview:
    """What a file would give: the rows that can be used, and why the others cannot.

    Attributes:
        name: quoted and escaped.
    """

    name: str
    result: ImportResult

    @property
    def items(self) -> tuple[ForgetItem, ...]:
        return self.result.items

    @property
    def errors(self) -> tuple[RowError, ...]:
        return self.result.errors

    @property
    def sentence(self) -> str:
        """``8 of 10 rows can be used.``"""
        rows = "row" if self.result.total == 1 else "rows"
        return f"{len(self.items)} of {self.result.total} {rows} can be used."


def read_facts(path: Path, subject: str = "", encoding: str | None = None) -> FactsPreview:
    """Read a file of facts; rows without a person are about ``subject``.

    Raises:
        InputError: the file cannot be read, is too large, of another kind, empty, or lacks a column.
    """
    name = quoted(path.name)
    if path.suffix.lower() not in SUFFIXES and not path.is_dir():  # of a folder, the reader says that it is one
        raise InputError(f"{name} is neither CSV nor JSON lines: choose a file that ends in .csv or .jsonl.")
    return FactsPreview(name, read_facts_file(path, subject, encoding))
