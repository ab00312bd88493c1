"""The office's time zone: shown, or recorded anew."""

from __future__ import annotations

from typing import Annotated

import typer

from console.cli.session import DataDir, Json, open_session, rows

app = typer.Typer(no_args_is_help=True, help="The office itself.")


@app.callback()
def office() -> None:
    """The office itself."""


@app.command("timezone")
def office_timezone(
    zone: Annotated[
        str | None, typer.Argument(metavar="ZONE", help="Its name, such as Europe/Berlin; without one it is shown.")
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show the time zone whose days the office counts, or record another."""
    from console.casework.office_zone import zone_of

    session = open_session(as_json, data_dir)
    wanted = None if zone is None else zone_of(zone).key
    with session.viewing() if wanted is None else session.office() as office:
        if wanted is not None:
            office.set_timezone(wanted)
        value = {"time_zone": office.timezone or None, "today": office.today().isoformat()}
        words = office.timezone_words
    session.show(value, lambda: rows({"Time zone": words, "Today": value["today"]}))
