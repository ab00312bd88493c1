"""What every command shares: where the office is, how to print, how errors end.

Exit codes: 0 done, 1 the answer is no, 2 the input cannot be used (one sentence says why), 3 done in part (what was
left out is listed).
"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from console.casework.office import Office, is_absent
from console.casework.operation import Operation, UseCase, settle_orphans
from console.cli.speaking import StepLines, json_text, say, say_beside, say_line
from console.domain.json_values import value_or_text
from console.domain.visible import quoted, visible
from console.errors import InputError, PassphraseError
from console.out_file import OutFile
from console.paths import Places, data_folder

DONE_IN_PART = 3  # some of what was given was used and some refused; a script must not take it for all

Profile = Annotated[
    str | None, typer.Option("--profile", help="The law, such as eu-gdpr; else the one of the place.", metavar="LAW")
]
PublishedDays = Annotated[
    int | None, typer.Option("--published-days", help="Your own period, where the law sets none (India).", metavar="N")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the office's data.", metavar="DIR", parser=data_folder),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the file that is to be written if there is one.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Encoding = Annotated[
    str | None, typer.Option("--encoding", help="How the file's letters are stored, such as cp1252; else found out.")
]
SampleModel = Annotated[
    Path | None, typer.Option("--sample-model", help="A copy of the sample model (GGUF or its package).")
]


@dataclass
class Session:
    """One command's surroundings.

    Attributes:
        as_json: print one JSON object and nothing else on standard output.
    """

    as_json: bool
    places: Places

    @property
    def prompt(self) -> Callable[[], str | None] | None:
        """Asks for the passphrase, where somebody is there to answer."""
        return _ask_passphrase if sys.stdin.isatty() else None

    def office(self) -> Office:
        """The office in this data folder, to work in; it must be there."""
        office = Office.open(self.places, prompt=self.prompt, say=say_beside)
        settle_orphans(office)
        return office

    def viewing(self) -> Office:
        """The office for a command that only looks: nothing is written, and another console may be at work in it."""
        return Office.open(self.places, prompt=self.prompt, say=say_beside, read_only=True)

    def new_office(self, organisation: str = "") -> Office:
        """A new office in this data folder."""
        ask = None if self.prompt is None else _ask_new_passphrase
        return Office.create(self.places, organisation=organisation, prompt=ask, say=say_beside)

    def office_or_new(self) -> Office:
        """The office in this data folder; a new one, if there never was one: for the commands that say so."""
        return self.new_office() if is_absent(self.places) else self.office()

    def run(self, office: Office, use_case: UseCase) -> tuple[Any, int]:
        """Run a use case and show on standard error how far it is; returns its value and its jobs' peak memory in MiB.

        A terminal gets a bar, a log one line a step with the elapsed time.
        """
        operation = Operation(office, use_case)
        with _telling(operation, quiet=self.as_json) as tell:
            try:
                value = operation.start().wait(tell)
            except KeyboardInterrupt:
                operation.close()
                raise
        return value, operation.peak_rss_mb

    def show(self, value: Any, words: Callable[[], None] | None = None) -> None:
        """Print a result: as JSON, or in words."""
        if self.as_json or words is None:
            sys.stdout.write(json_text(value))
        else:
            words()


@contextmanager
def _telling(operation: Operation, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """What to call after every event. ``quiet`` leaves a log without lines, because a program reads the result."""
    shown = Console(stderr=True)
    if not shown.is_terminal:
        lines = StepLines()
        yield (lambda: None) if quiet else (lambda: _tell(lines, operation))
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[label]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=shown) as bar:
        task = bar.add_task("Starting", total=1.0, label="")

        def update() -> None:
            status = operation.status
            bar.update(task, description=visible(status.title), completed=status.fraction, label=visible(status.label))

        yield update
        bar.update(task, completed=1.0, label="")


def _tell(lines: StepLines, operation: Operation) -> None:
    status = operation.status
    if status.title:
        parts = dict.fromkeys(part for part in (status.title, status.label) if part)  # one word for both, if short
        lines.tell(": ".join(parts), status.fraction)


def _ask_passphrase() -> str | None:
    return getpass.getpass("Passphrase of the ledger: ") or None


def _ask_new_passphrase() -> str | None:
    typed = getpass.getpass("New passphrase of the ledger: ")
    if typed != getpass.getpass("The same again: "):
        raise PassphraseError("The two passphrases are not the same, so nothing was made: try again.")
    return typed or None


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """``key=value`` settings; a dot goes into a group (``lora.rank=8``), values are read as JSON where they are.

    Raises:
        InputError: a setting without an equals sign, or with a value that nobody can count with.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, found, text = pair.partition("=")
        if not found or not key:
            raise InputError(f"{quoted(pair)} is not a setting; write --set key=value.")
        value = value_or_text(text, f"The setting {quoted(key)}")
        *groups, last = key.strip().split(".")
        place = settings
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                raise InputError(f"{quoted(key)} sets a part of something that is already set as a whole.")
        place[last] = value
    return settings


def named_out(path: Path | None, places: Places, *, replace: bool) -> OutFile | None:
    """The file that a command was told to write, looked at before its work begins.

    Raises:
        InputError: see ``console.out_file``.
    """
    return None if path is None else OutFile.named(path, places, replace=replace)


def write_json(out: OutFile | None, value: Any) -> None:
    """Write a result beside what is printed, where the person named a file for it."""
    if out is not None:
        out.write((json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8"))


def rows(values: Mapping[str, Any], width: int = 16) -> None:
    """Print pairs in two columns, each on one line: a line break in a value would forge another pair."""
    for key, value in values.items():
        say_line(f"{key:<{width}} {value}")


def free_text(context: typer.Context, parameter: typer.CallbackParam, value: str) -> str:
    """What somebody typed into an option, as text: for ``typer.Option(callback=…)``.

    Raises:
        InputError: the shell gave bytes that are not UTF-8; the sentence names the option.
    """
    if any("\ud800" <= sign <= "\udfff" for sign in value or ""):
        what = str(parameter.name).replace("_", " ")
        raise InputError(f"The {what} holds bytes that are not UTF-8: type it again, or set the terminal to UTF-8.")
    return value


def open_session(as_json: bool, data_dir: Path | None) -> Session:
    """The surroundings of a command with these two options."""
    return Session(as_json, Places.choose(data_dir))


def parse_day(text: str) -> date:
    """A civil date.

    Raises:
        InputError: anything but year-month-day.
    """
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        day = None
    # Python also takes 20250131, and the week and its day: forms that a person more easily gets wrong.
    if day is None or day.isoformat() != text.strip():
        raise InputError(f"{quoted(text)} is not a date; write year-month-day, such as 2025-01-31.")
    return day


def _ways_words(row: Mapping[str, Any]) -> None:
    """Print what asking step by step adds, how far the seeds differ, and what asking again found."""
    for gain in row.get("leak_gains", ()):
        after, at_once = gain["after"], gain["at_once"]
        say(
            f"    {gain['form']}, {gain['mode']}: {after['hits']} of {after['trials']}, at once {at_once['hits']} of "
            f"{at_once['trials']}; leak gain {gain['gain']} (95 % interval {gain['low']} to {gain['high']})\n"
        )
    if "asked_again" in row:
        again = row["asked_again"]
        facts = "1 fact" if len(row["again"]) == 1 else f"{len(row['again'])} facts"
        say_line(f"    asked again for {facts}: {again['hits']} of {again['trials']}")
    if "seeds" in row:
        each = ", ".join(f"{one['hits']} of {one['trials']}" for one in row["seeds"])
        worst = next(one for one in row["seeds"] if one["seed"] == row["worst_seed"])
        say_line(
            f"    sampled, by seed: {each}; worst {worst['hits']} of {worst['trials']}, spread {row['spread']:.2f}"
        )


def battery_words(value: Mapping[str, Any]) -> None:
    """Print a battery, one attack a line."""
    for attack, row in value.items():
        if "hits" in row:
            interval = f"95 % interval {row['low']:.2f} to {row['high']:.2f}"
            say_line(f"  {attack:<18} {row['hits']:>3} of {row['trials']:<4} {interval}")
            _ways_words(row)
        else:
            say_line(f"  {attack:<18} {row['status']}: {row['reason']}")
