"""What commands print: nothing foreign steers the terminal, a log has a line a step, a closed output is no error."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from console.cli import app
from console.cli.session import rows
from console.cli.speaking import SILENT_AT_MOST_S, StepLines, json_text, say_line, step_teller
from console.cli.topics import EXIT_CODES, TOPICS

CLI = Path(__file__).parents[2] / "console" / "cli"


def test_json_stays_the_same_value_and_steers_nothing() -> None:
    value = {"name": "Zoë \x1b[2J\x9b \u202e東京\u2028"}
    text = json_text(value)
    assert json.loads(text) == value
    assert "Zoë" in text and "東京" in text
    assert not set("\x1b\x9b\u202e\u2028") & set(text)


def test_only_one_place_writes_to_the_outputs() -> None:
    """Whatever else wrote there would print names and file names unescaped."""
    found = [
        f"{path.name}:{number}"
        for path in CLI.glob("*.py")
        if path.name not in {"speaking.py"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"std(out|err)\.write\((?!json_text)|\bprint\(|typer\.echo", line)
    ]
    assert found == []


def test_every_command_stands_in_one_topic() -> None:
    command: Any = typer.main.get_command(app)
    named = [name for names in TOPICS.values() for name in names]
    assert len(named) == len(set(named))
    assert sorted(command.commands) == sorted(named)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_has_one_line_a_step_and_one_after_long_silence() -> None:
    lines: list[str] = []
    clock = Clock()
    steps = StepLines(lines.append, clock)
    for clock.now, step, fraction in (
        (0.0, "Opening", 0.0),
        (1.0, "Opening", 0.5),
        (2.0, "Asking", 0.1),
        (2.0 + SILENT_AT_MOST_S - 1, "Asking", 0.2),
        (2.0 + SILENT_AT_MOST_S, "Asking", 0.4),
        (75.0, "Asking", 0.9),
    ):
        steps.tell(step, fraction)
    assert lines == ["[  0:00] Opening", "[  0:02] Asking", "[  1:02] Asking (40%)"]


def test_counts_make_no_new_line() -> None:
    lines: list[str] = []
    tell = step_teller(StepLines(lines.append, Clock()))
    for text in ("Reading (1 of 3)", "Reading (2 of 3)", "Writing (1 of 1)"):
        tell(text)
    assert lines == ["[  0:00] Reading", "[  0:00] Writing"]


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_output_ends_quietly(closed: str, tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    line = f"'{sys.executable}' -m console deadline --received 2026-01-30 --country DE {closed}"
    ended = subprocess.run(["sh", "-c", line], stdout=subprocess.DEVNULL, stderr=errors.open("wb"), check=False)
    assert ended.returncode == 0
    assert errors.read_text(encoding="utf-8") == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_output_is_one_sentence() -> None:
    line = f"'{sys.executable}' -m console deadline --received 2026-01-30 --country DE > /dev/full"
    ended = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "no space left" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize(
    ("options", "code"),
    [("--received 2026-01-30 --country DE", 0), ("--received x --country DE", 2), ("--unknown", 2)],
)
def test_a_full_standard_error_changes_no_exit_code(options: str, code: int) -> None:
    line = f"'{sys.executable}' -m console deadline {options} --json 2> /dev/full"
    ended = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (ended.returncode, "error" in json.loads(ended.stdout)) == (code, code == 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["deadline", "--unknown"], "--unknown"), (["no-such"], "no-such"), (["model", "add"], "argument 'path'")],
)
def test_a_wrong_option_is_json_as_well(arguments: list[str], said: str) -> None:
    line = [sys.executable, "-m", "console", *arguments, "--json"]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    value = json.loads(ended.stdout)
    assert (ended.returncode, value["kind"]) == (2, "UsageError")
    assert said in value["error"] and "Error" in ended.stderr


def test_a_value_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows({"Office": "Firm\nLedger           whole"})
    assert capsys.readouterr().out == "Office           Firm\\x0aLedger           whole\n"


def test_a_line_of_a_list_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say_line("  one\r\ntwo\x1b")
    assert capsys.readouterr().out == "  one\\x0d\\x0atwo\\x1b\n"


def test_the_help_names_the_exit_codes() -> None:
    ended = subprocess.run([sys.executable, "-m", "console", "--help"], capture_output=True, text=True, check=False)
    assert " ".join(EXIT_CODES.split()) in " ".join(ended.stdout.split())


def test_the_help_keeps_brackets() -> None:
    """Help is mark-up for its printer, in which brackets would vanish."""
    line = [sys.executable, "-m", "console", "model", "add", "--help"]
    ended = subprocess.run(line, capture_output=True, text=True, encoding="utf-8", check=False)
    shown = re.sub(r"[\s│]+", " ", ended.stdout)
    assert '"controls": [items that no model was taught]' in shown
