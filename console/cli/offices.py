"""Making an office, which happens only by asking for it."""

from __future__ import annotations

from typing import Annotated

import typer

from console.cli.session import DataDir, Json, open_session, rows

app = typer.Typer(no_args_is_help=True, help="Make an office.")


@app.callback()
def office() -> None:
    """Make an office."""


@app.command("create")
def office_create(
    organisation: Annotated[
        str, typer.Option("--organisation", metavar="NAME", help="Whose office it is; stands on every report.")
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
