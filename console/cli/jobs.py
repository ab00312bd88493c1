"""Background jobs: which there were, and what became of each."""

from __future__ import annotations

from dataclasses import asdict

import typer

from console.cli.session import DataDir, Json, open_session
from console.cli.speaking import say, say_line

job_app = typer.Typer(no_args_is_help=True, help="Look at background jobs and their logs.")


@job_app.command("list")
def job_list(as_json: Json = False, data_dir: DataDir = None) -> None:
    """All jobs of the office, the newest first."""
    from console.casework.job_logs import job_lines

    session = open_session(as_json, data_dir)
    with session.viewing() as office:
        lines = job_lines(office)

    def words() -> None:
        for line in lines:
            about = f"{line.job:<28} {line.outcome:<10} {line.model:<24} {line.request or ''}"
            say_line(about.rstrip())
            if line.reason:
                say_line(f"    {line.reason}")

    session.show([asdict(line) for line in lines], words)


@job_app.command("log")
def job_log(job: str, as_json: Json = False, data_dir: DataDir = None) -> None:
    """What a job did, step by step, and where in the code it failed; nothing personal stands in it."""
    from console.casework.job_logs import log_of

    session = open_session(as_json, data_dir)
    text = log_of(session.places, job)
    session.show({"job": job, "log": text.splitlines()}, lambda: say(text))
