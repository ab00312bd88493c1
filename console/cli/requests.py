"""Commands on requests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.cli.session import (
    DONE_IN_PART,
    DataDir,
    Encoding,
    Json,
    open_session,
    parse_day,
    rows,
)
from console.domain.visible import quoted, visible
from console.errors import InputError

if TYPE_CHECKING:
    from console.domain.importers import RowError

app = typer.Typer(no_args_is_help=True, help="Register requests and move them on.")


@app.command("add")
def request_add(
    received: Annotated[str, typer.Option("--received", help="Day of receipt, year-month-day.")],
    country: Annotated[str, typer.Option("--country", help="Two-letter code of the place that answers.")],
    forget_set: Annotated[Path, typer.Option("--forget-set", help="CSV or JSONL file of what to erase.")],
    subject: Annotated[str, typer.Option("--subject", help="The person, for files without such a column.")] = "",
    encoding: Encoding = None,
    subdivision: Annotated[str | None, typer.Option("--subdivision")] = None,
    profile: Annotated[str, typer.Option("--profile")] = "eu-gdpr",
    channel: Annotated[
        str, typer.Option("--channel", help="email, letter, phone, web_form, in_person, agent.")
    ] = "email",
    language: Annotated[str, typer.Option("--language")] = "en",
    ground: Annotated[list[str] | None, typer.Option("--ground", help="a to f of Art. 17(1); may be repeated.")] = None,
    grant: Annotated[bool, typer.Option("--grant", help="Identity is settled and the request is granted.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Register a request. Rows that cannot be used are listed and the others kept; the exit code is then 3."""
    from console.casework import requests
    from console.casework.facts_files import read_facts_file

    session = open_session(as_json, data_dir)
    found = read_facts_file(forget_set, subject, encoding)
    name = quoted(forget_set.name)
    if not found.items:
        first = found.errors[0]
        raise InputError(f"No row of {name} can be used. {first.where.capitalize()}, {first.field}: {first.message}")
    grounds = tuple(requests.parse_ground(entry) for entry in ground or ())
    with session.office() as office:
        number = requests.register(
            office,
            received=parse_day(received),
            country=country,
            items=found.items,
            subdivision=subdivision,
            profile_id=profile,
            channel=requests.parse_channel(channel),
            language=language,
            grounds=grounds,
        )
        if grant:
            requests.confirm_identity(office, number)
            requests.grant(office, number, grounds)
        state = requests.request_state(office, number)
    value = {
        "number": number,
        "items": len(found.items),
        "rows": found.total,
        "refused": found.refused,
        "file": forget_set.name,
        "reading": found.reading,
        "errors": [_about_row(error) for error in found.errors],
        "warnings": [_about_row(warning) for warning in found.warnings],
        "notes": list(found.notes),
        "due": state["due"],
        "status": state["status"],
    }

    def words() -> None:
        rows({"Registered": number, "Facts": f"{len(found.items)} of {found.total} rows of {name}"})
        rows({"Read as": found.reading, "Due": state["due"]})
        for title, lines in (("refused", found.errors), ("weak", found.warnings)):
            for line in lines:
                sys.stdout.write(f"  {title}: {name}, {line.where}, {visible(line.field)}: {line.message}\n")
        for note in found.notes:
            sys.stdout.write(f"  note: {note}\n")

    session.show(value, words)
    if found.refused:
        raise typer.Exit(DONE_IN_PART)


def _about_row(error: RowError) -> dict[str, Any]:
    """A refused or weak row as JSON; ``rows`` counts those that one fault left out."""
    return {"line": error.line, "field": error.field, "message": error.message, "rows": error.rows}


@app.command("form")
def request_form(
    out: Annotated[Path, typer.Option("--out", help="CSV file to write; it must not be there yet.")],
    as_json: Json = False,
) -> None:
    """Write an empty forget set with its columns, to be filled in with a spreadsheet."""
    from console.casework.facts_files import save_empty_form

    save_empty_form(out)
    open_session(as_json, None).show({"path": str(out)}, lambda: rows({"Written": visible(str(out))}))


@app.command("list")
def request_list(as_json: Json = False, data_dir: DataDir = None) -> None:
    """All requests, what is due first."""
    from console.casework import views

    session = open_session(as_json, data_dir)
    with session.viewing() as office:
        lines = views.inbox(office)
    value = [
        {
            "number": line.number,
            "person": line.person,
            "status": line.status.value,
            "received": line.received.isoformat(),
            "due": line.due.isoformat() if line.due else None,
            "days_left": line.days_left,
            "urgency": line.urgency.value,
            "next_step": line.next_step,
        }
        for line in lines
    ]

    def words() -> None:
        for line in lines:
            sys.stdout.write(
                f"{line.number}  {line.person:<9} {line.status_text:<30} {line.due_text:<32} {line.next_step}\n"
            )

    session.show(value, words)


@app.command("show")
def request_show(number: str, as_json: Json = False, data_dir: DataDir = None) -> None:
    """One request with its story."""
    from console.casework import views
    from console.casework.requests import request_state

    session = open_session(as_json, data_dir)
    with session.viewing() as office:
        state = request_state(office, number)
        page = views.case_page(office, number)
    value = {
        **state,
        "person": page.line.person,
        "deadline": page.deadline.model_dump(mode="json"),
        "next_step": page.line.next_step,
        "timeline": [
            {"seq": line.seq, "at": line.at.isoformat(), "what": line.what, "actor": line.actor}
            for line in page.timeline
        ],
    }

    def words() -> None:
        rows({"Request": number, "Person": page.line.person, "Status": page.line.status_text})
        rows({"Due": page.line.due_text, "Why": page.deadline.rule, "Next": page.line.next_step})
        if page.verdict_word:
            rows({"Verdict": f"{page.verdict_word} (rule {page.verdict_rule})"})
        for line in page.timeline:
            sys.stdout.write(f"  {line.at.astimezone():%Y-%m-%d %H:%M}  {line.what}\n")

    session.show(value, words)


@app.command("confirm")
def request_confirm(number: str, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Record that there is no reasonable doubt about who the person is."""
    from console.casework.requests import confirm_identity

    session = open_session(as_json, data_dir)
    with session.office() as office:
        confirm_identity(office, number)
    session.show({"number": number, "status": "triage"}, lambda: rows({number: "identity confirmed"}))


@app.command("decide")
def request_decide(
    number: str,
    grant: Annotated[bool, typer.Option("--grant/--refuse", help="Whether the data must go.")],
    ground: Annotated[list[str] | None, typer.Option("--ground", help="a to f of Art. 17(1).")] = None,
    basis: Annotated[str, typer.Option("--basis", help="What a refusal rests on.")] = "",
    exception: Annotated[list[str] | None, typer.Option("--exception", help="Such as 17(3)(e).")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, without personal data.")] = "",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Decide a request whose identity is settled."""
    from console.casework import requests
    from console.domain.request_terms import Exception17, RefusalBasis

    session = open_session(as_json, data_dir)
    with session.office() as office:
        if grant:
            requests.grant(office, number, tuple(requests.parse_ground(entry) for entry in ground or ()))
        else:
            try:
                parsed = RefusalBasis(basis)
                exceptions = tuple(Exception17(entry) for entry in exception or ())
            except ValueError as error:
                known = ", ".join(member.value for member in RefusalBasis)
                raise InputError(f"Name what the refusal rests on with --basis ({known}).") from error
            requests.refuse(office, number, parsed, reason, exceptions)
        status = requests.request_state(office, number)["status"]
    session.show({"number": number, "status": status}, lambda: rows({number: status}))
