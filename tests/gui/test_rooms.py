"""The window asks casework: no ledger, no jobs, no reports, no SQL, no compute library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import console.gui

FILES = sorted(Path(console.gui.__file__).parent.glob("*.py"))
# The door for files out stands beside the paths, outside of every room.
ALLOWED = ("console.casework", "console.domain", "console.errors", "console.out_file", "console.paths", "console.gui")
FORBIDDEN = {"torch", "transformers", "peft", "llama_cpp", "sqlmodel", "sqlalchemy", "sqlcipher3", "sqlite3", "pyhanko"}
QT_FREE = {"presenter", "road", "proof", "progress", "forget_file", "unlocking", "tones", "deployment"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_module_stays_in_its_room(path: Path) -> None:
    for name in imported(path):
        assert name.split(".")[0] not in FORBIDDEN
        if name.startswith("console."):
            assert name.startswith(ALLOWED), name
        if path.stem in QT_FREE:
            assert not name.startswith("PySide6")
