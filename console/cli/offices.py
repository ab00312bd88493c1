"""The office itself: making one, which happens only by asking for it, and its time zone."""

from __future__ import annotations

from typing import Annotated

import typer

from console.cli.session import DataDir, Json, free_text, open_session, rows

app = typer.Typer(no_args_is_help=True, help="Make an office, and set its time zone.")


@app.callback()
def office() -> None:
    """Make an office, and set its time zone."""


@app.command("create")
def office_create(
    organisation: Annotated[
        str,
        typer.Option(
            "--organisation", callback=free_text, metavar="NAME", help="Whose office it is; stands on every report."
        ),
    ] = "",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a new, empty office: its ledger, its vault, and a passphrase file where no passphrase is given."""
    session = open_session(as_json, data_dir)
    with session.new_office(organisation) as made:
        value = {
            "folder": str(session.places.data),
            "organisation": made.organisation,
            "key_file": str(session.places.passphrase_file) if session.places.passphrase_file.exists() else None,
            "time_zone": made.timezone_words,
        }

    def words() -> None:
        rows({"Office": value["organisation"], "Folder": value["folder"], "Time zone": value["time_zone"]})
        if value["key_file"]:
            rows({"Key file": f"{value['key_file']} (whoever has it can open the ledger; without it nobody can)"})

    session.show(value, words)


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
