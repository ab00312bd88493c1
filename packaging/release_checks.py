"""Checks on the repository that no test of a room makes: shipped data, entry points, versions that agree."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def problems() -> list[str]:
    """One sentence for each thing that does not fit."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = (ROOT / "console" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'__version__ = "(.+?)"', source)
    said = []
    if found is None or found[1] != project["version"]:
        said.append("console.__version__ and pyproject.toml name different versions.")
    if version("erasure-console") != project["version"]:
        said.append("The installed package is older than pyproject.toml; install it again.")
    for group, entries in project["entry-points"].items():
        known = {entry.name for entry in entry_points(group=group)}
        said += [f"Entry point {name} of {group} is not installed." for name in entries if name not in known]
    for folder in ("legal", "office", "prompts", "fonts", "report"):
        if not any((ROOT / "resources" / folder).rglob("*.*")):
            said.append(f"resources/{folder} is empty.")
    return said


if __name__ == "__main__":
    complaints = problems()
    print("\n".join(complaints) or "release checks: fine")
    sys.exit(1 if complaints else 0)
