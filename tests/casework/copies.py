"""Copies of an office that was made once, for tests that change it."""

from __future__ import annotations

import shutil
from pathlib import Path

from console.casework.office import Office
from console.paths import Places


def opened_copy(data: Path, folder: Path) -> Office:
    """The office whose data is in ``data``, opened in ``folder``; the folders of its models lie where they lay."""
    return Office.open(Places(Path(shutil.copytree(data, folder / "office")), folder / "cache"), env={})
