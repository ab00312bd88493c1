"""Commands on requests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.cli.session import (
    DataDir,
    Json,
    open_session,
    parse_day,
    read_bytes,
    rows,
)
from console.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Register requests and move them on.")


@app.command("add")
def request_add(
    received: Annotated[str, typer.Option("--received", help="Day of receipt, year-month-day.")],
    country: Annotated[str, typer.Option("--country", help="Two-letter code of the place that answers.")],
    forget_set: Annotated[Path, typer.Option("--forget-set", help="CSV or JSONL file of what to erase.")],
    subject: Annotated[str, typer.Option("--subject", help="The person, for files without such a column.")] = "",
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
    """Register a request. Rows that cannot be used are listed; the good ones are kept."""
    from console.casework import requests
    from console.domain.importers import decode_text, read_items

    session = open_session(as_json, data_dir)
    text = decode_text(read_bytes(forget_set, "forget set"))
    kind = "jsonl" if forget_set.suffix.lower() in {".jsonl", ".ndjson", ".json"} else "csv"
    found = read_items(text, kind, forget_set.name, subject)
    if not found.items:
        first = found.errors[0] if found.errors else None
        why = f" Line {first.line}: {first.message}" if first else ""
        raise InputError(f"No row of {forget_set.name} can be used.{why}")
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
    errors = [{"line": error.line, "field": error.field, "message": error.message} for error in found.errors]
    value = {
        "number": number,
        "items": len(found.items),
        "rows": found.total,
        "errors": errors,
        "due": state["due"],
        "status": state["status"],
    }

    def words() -> None:
        rows({"Registered": number, "Facts": f"{len(found.items)} of {found.total} rows", "Due": state["due"]})
        for error in errors:
            sys.stdout.write(f"  line {error['line']} ({error['field']}): {error['message']}\n")

    session.show(value, words)


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
