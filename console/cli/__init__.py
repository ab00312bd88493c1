"""The command line: thin commands over ``console.casework``."""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from console import __version__
from console.cli import (
    advise,
    bench,
    case,
    doctor,
    evaluate,
    export,
    jobs,
    models,
    offices,
    records,
    requests,
    scan,
    sequence,
)
from console.cli.session import DataDir
from console.cli.speaking import can_be_written, give_up, json_text, open_missing_streams, say, say_beside
from console.cli.topics import EXIT_CODES, ByTopic
from console.errors import ConsoleError
from console.paths import Places

_UsageError = typer.BadParameter.__bases__[0]  # of every wrong option or command; typer exports it under no name
_READER_GONE = 141  # as a shell says it of a program whose reader went away

app = typer.Typer(cls=ByTopic, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(case.app)
app.add_typer(advise.app)
app.add_typer(records.app)
app.add_typer(evaluate.app)
app.add_typer(sequence.app)
app.add_typer(scan.app)
app.add_typer(export.app)
app.add_typer(doctor.app)
app.add_typer(offices.app, name="office")
app.add_typer(requests.app, name="request")
app.add_typer(models.model_app, name="model")
app.add_typer(models.sample_app, name="sample")
app.add_typer(records.ledger_app, name="ledger")
app.add_typer(jobs.job_app, name="job")
app.add_typer(bench.app, name="bench")


@app.command("app")
def open_app(data_dir: DataDir = None) -> None:
    """Open the window."""
    from console.gui.app import main as run_window

    raise typer.Exit(run_window(Places.choose(data_dir), argv=[]))


def _version(wanted: bool) -> None:
    if wanted:
        say(f"erasure-console {__version__}\n")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Erasure Console: find, erase and prove the erasure of personal data in local language models."""


def _fail(sentence: str, kind: str) -> int:
    if "--json" in sys.argv:
        sys.stdout.write(json_text({"error": sentence, "kind": kind}))
    say_beside(f"erasure-console: {sentence}")
    return 2


def main() -> int:
    """Run a command; every error that a person can act on becomes one sentence and exit code 2."""
    open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # a Windows console may not know UTF-8
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        give_up(sys.stdout)
        return _READER_GONE  # and not 1, which is the answer to an invalid report
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        full = [stream for stream in (sys.stdout, sys.stderr) if not can_be_written(stream)]
        for stream in full:
            give_up(stream)
        if sys.stdout not in full and isinstance(error.__context__, _UsageError):
            return _fail(error.__context__.format_message(), _UsageError.__name__)
        return _fail("The result could not be written out: there is no space left where it goes.", "DiskFullError")
    return code


def _run() -> int:
    try:
        app()  # ends with SystemExit; a wrong option is said there, with code 2
    except ConsoleError as error:
        return _fail(str(error), type(error).__name__)
    except SystemExit as end:
        cause = end.__context__
        if isinstance(cause, BrokenPipeError):
            raise cause from None
        if isinstance(cause, _UsageError) and "--json" in sys.argv:
            sys.stdout.write(json_text({"error": cause.format_message(), "kind": _UsageError.__name__}))
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
