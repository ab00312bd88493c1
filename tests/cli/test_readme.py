"""What the README promises is there: its commands, its methods, its defaults."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer

from console.cli import app
from console.domain.advice import DEFAULT_FOR_EXPERTS, DEFAULT_METHOD, DEFAULT_WITHOUT_SNAPSHOT

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
# A command ends where its line, its backtick or its comment ends.
COMMANDS = sorted(set(re.findall(r"erasure-console ([a-z].*?) *[\n`#]", README)))


def test_the_commands_are_found() -> None:
    assert {"request list", "doctor", "report ER-2026-0007 --out report.pdf"} <= set(COMMANDS)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_and_option_exists(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)
    while words and (known := getattr(command, "commands", None)) is not None:
        assert words[0] in known, f"there is no command '{words[0]}'"
        command = known[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert [word for word in words if word.startswith("--") and word not in options] == []


def test_the_table_names_every_method_and_no_other() -> None:
    table = README.split("| kind | methods |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"`([a-z-]+)`", table)) == sorted(
        entry.name for entry in entry_points(group="erasure_console.methods") if entry.value.startswith("console.")
    )


def test_the_defaults_are_the_ones_that_run() -> None:
    sentence = README.split("Where nobody chooses, ")[1].split(". ")[0]
    assert re.findall(r"`([a-z-]+)`", sentence) == [DEFAULT_METHOD, DEFAULT_WITHOUT_SNAPSHOT, DEFAULT_FOR_EXPERTS]
