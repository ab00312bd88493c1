"""What this machine can do, before any office is made."""

from __future__ import annotations

import textwrap

import typer

from console import __version__
from console.cli.session import DataDir, DeviceOption, Json, open_session
from console.cli.speaking import say, say_line, step_teller

app = typer.Typer()
_TITLE_WIDTH, _TEXT_WIDTH = 18, 92
_HELD = "\N{NO-BREAK SPACE}"  # textwrap breaks lines at ordinary spaces only


def _wrapped(sentence: str, command: str) -> list[str]:
    """Lines of a sentence; a command in it stays in one piece, to be copied."""
    whole = sentence.replace(command, command.replace(" ", _HELD)) if command else sentence
    lines = textwrap.wrap(whole, _TEXT_WIDTH, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_HELD, " ") for line in lines]


@app.command()
def doctor(device: DeviceOption = "auto", as_json: Json = False, data_dir: DataDir = None) -> None:
    """What this machine can do; opens no office. Exit code 1: something that is needed is missing."""
    from console.casework.doctor import examine
    from console.casework.doctor_checks import Check

    session = open_session(as_json, data_dir)
    found = examine(session.places, device, step_teller())

    def line(check: Check) -> None:
        word = check.status.value.upper() if check in found.lacking else check.status.value
        for index, part in enumerate(_wrapped(check.sentence, check.details.get("command", ""))):
            left = f"{word:<8} {check.title:<{_TITLE_WIDTH}}" if index == 0 else " " * (_TITLE_WIDTH + 9)
            say_line(f"{left} {part}")

    def words() -> None:
        for check in found.checks:
            line(check)
        say(f"\n{found.summary}\n")

    session.show(found.as_json(__version__), words)
    if not found.ready:
        raise typer.Exit(1)
