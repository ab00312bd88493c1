"""Commands on requests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.casework.office import Office
from console.cli.session import (
    DONE_IN_PART,
    DataDir,
    Encoding,
    Force,
    Json,
    Profile,
    PublishedDays,
    Session,
    free_text,
    open_session,
    parse_day,
    rows,
)
from console.cli.speaking import say_line
from console.domain.place_law import law_of_place
from console.domain.request_terms import language_code
from console.domain.typed_terms import parse_basis, parse_channel, parse_exception, parse_ground, parse_suspension
from console.domain.visible import quoted, visible
from console.errors import InputError
from console.out_file import OutFile

if TYPE_CHECKING:
    from console.domain.importers import RowError

app = typer.Typer(no_args_is_help=True, help="Register requests and move them on.")


@app.command("add")
def request_add(
    received: Annotated[str, typer.Option("--received", help="Day of receipt, year-month-day.")],
    country: Annotated[str, typer.Option("--country", help="Two-letter code of the place that answers.")],
    forget_set: Annotated[Path, typer.Option("--forget-set", help="CSV or JSONL file of what to erase.")],
    subject: Annotated[
        str, typer.Option("--subject", callback=free_text, help="The person, for files without such a column.")
    ] = "",
    encoding: Encoding = None,
    subdivision: Annotated[str | None, typer.Option("--subdivision")] = None,
    profile: Profile = None,
    published_days: PublishedDays = None,
    channel: Annotated[
        str, typer.Option("--channel", help="email, letter, phone, web_form, in_person, agent.")
    ] = "email",
    language: Annotated[
        str, typer.Option("--language", help="Of the correspondence: a code such as de or pt-BR.")
    ] = "en",
    ground: Annotated[list[str] | None, typer.Option("--ground", help="a to f of Art. 17(1); may be repeated.")] = None,
    summary: Annotated[
        str, typer.Option("--summary", callback=free_text, help="One line for the inbox; sealed with the facts.")
    ] = "",
    grant: Annotated[bool, typer.Option("--grant", help="Identity is settled and the request is granted.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Register a request. Rows that cannot be used are listed and the others kept; the exit code is then 3."""
    from console.casework import requests
    from console.casework.facts_files import read_facts_file
    from console.casework.office import load_profiles

    session = open_session(as_json, data_dir)
    received_on, came_by = parse_day(received), parse_channel(channel)
    grounds = tuple(parse_ground(entry) for entry in ground or ())
    language_code(language)
    law = law_of_place(load_profiles(), country, subdivision, profile, published_days)
    found = read_facts_file(forget_set, subject, encoding)
    name = quoted(forget_set.name)
    if not found.items:
        first = found.errors[0]
        raise InputError(f"No row of {name} can be used. {first.where.capitalize()}, {first.field}: {first.message}")
    with session.office() as office:
        number = requests.register(
            office,
            received=received_on,
            country=country,
            items=found.items,
            subdivision=subdivision,
            profile_id=profile,
            published_days=published_days,
            channel=came_by,
            language=language,
            grounds=grounds,
            summary=summary,
            granted=grant,
        )
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
        "law": law.words,
        "status": state["status"],
    }

    def words() -> None:
        rows({"Registered": number, "Facts": f"{len(found.items)} of {found.total} rows of {name}"})
        rows({"Read as": found.reading, "Due": state["due"], "Law": law.words})
        for title, lines in (("refused", found.errors), ("weak", found.warnings)):
            for line in lines:
                say_line(f"  {title}: {name}, {line.where}, {visible(line.field)}: {line.message}")
        for note in found.notes:
            say_line(f"  note: {note}")

    session.show(value, words)
    if found.refused:
        raise typer.Exit(DONE_IN_PART)


def _about_row(error: RowError) -> dict[str, Any]:
    """A refused or weak row as JSON; ``rows`` counts those that one fault left out."""
    return {"line": error.line, "field": error.field, "message": error.message, "rows": error.rows}


@app.command("form")
def request_form(
    out: Annotated[Path, typer.Option("--out", help="CSV file to write.")],
    force: Force = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Write an empty forget set with its columns, to be filled in with a spreadsheet."""
    from console.casework.facts_files import save_empty_form

    session = open_session(as_json, data_dir)
    save_empty_form(OutFile.named(out, session.places, replace=force))
    session.show({"path": str(out)}, lambda: rows({"Written": out}))


@app.command("list")
def request_list(as_json: Json = False, data_dir: DataDir = None) -> None:
    """All requests, what is due first. Exit code 3: one of them cannot be read; its line says why."""
    from console.casework import views

    session = open_session(as_json, data_dir)
    with session.viewing() as office:
        lines = views.inbox(office)
    value = [
        {
            "number": line.number,
            "person": line.person,
            "status": line.status.value,
            "received": line.received.isoformat() if line.received else None,
            "due": line.due.isoformat() if line.due else None,
            "days_left": line.days_left,
            "urgency": line.urgency.value,
            "next_step": line.next_step,
            "problem": line.problem or None,
        }
        for line in lines
    ]

    def words() -> None:
        for line in lines:
            say_line(f"{line.number}  {line.person:<9} {line.status_text:<30} {line.due_text:<32} {line.next_step}")
            if line.problem:
                say_line(f"    {line.problem}")

    session.show(value, words)
    if any(line.problem for line in lines):
        raise typer.Exit(DONE_IN_PART)


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
        "summary": page.line.summary,
        "deadline": page.deadline.model_dump(mode="json"),
        "by_todays_calendar": page.other_date or None,
        "next_step": page.line.next_step,
        "timeline": [
            {"seq": line.seq, "at": line.at.astimezone(UTC).isoformat(), "what": line.what, "actor": line.actor}
            for line in page.timeline
        ],
    }

    def words() -> None:
        rows({"Request": number, "Person": page.line.person, "Status": page.line.status_text})
        rows({"Due": page.line.due_text, "Why": page.deadline.rule, "Next": page.line.next_step})
        if page.other_date:
            rows({"But": page.other_date, "Accept it": f"erasure-console request accept-date {number}"})
        if page.line.summary:
            rows({"Summary": page.line.summary})
        if page.verdict_word:
            rows({"Verdict": f"{page.verdict_word} (rule {page.verdict_rule})"})
        for line in page.timeline:
            what = " ".join(line.what.split())
            say_line(f"  {line.seq:>5}  {line.at:%Y-%m-%d %H:%M}  {what}")

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
    reason: Annotated[str, typer.Option("--reason", callback=free_text, help="Why; sealed in the vault.")] = "",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Decide a request whose identity is settled."""
    from console.casework import requests

    session = open_session(as_json, data_dir)
    grounds = tuple(parse_ground(entry) for entry in ground or ())
    exceptions = tuple(parse_exception(entry) for entry in exception or ())
    _refuse_idle(grant, {"--ground": ground} if not grant else {"--basis": basis, "--exception": exception})
    parsed = None if grant else parse_basis(basis)
    with session.office() as office:
        if parsed is None:
            requests.grant(office, number, grounds, reason)
        else:
            requests.refuse(office, number, parsed, reason, exceptions)
        status = requests.request_state(office, number)["status"]
    session.show({"number": number, "status": status}, lambda: rows({number: status}))


def _refuse_idle(grant: bool, given: Mapping[str, object]) -> None:
    """Refuse options that the decision does not take: nothing of them would be kept.

    Raises:
        InputError: one was given.
    """
    idle = next((option for option, value in given.items() if value), None)
    if idle is not None:
        made, other = ("--grant", "--refuse") if grant else ("--refuse", "--grant")
        raise InputError(f"{idle} belongs to {other} and not to {made}: leave it out, or decide otherwise.")


Number = Annotated[str, typer.Argument(metavar="REQUEST")]
Day = Annotated[str, typer.Option("--on", help="The day on which it happened, year-month-day; else today.")]


@app.command("ask")
def request_ask(
    number: Number,
    what: Annotated[str, typer.Option("--for", help="identity, authority, clarification or fee.")] = "identity",
    on: Day = "",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Record that the person was asked for something; the clock waits where the law lets it."""
    from console.casework import requests

    session = open_session(as_json, data_dir)
    reason, day = parse_suspension(what), parse_day(on) if on else None
    with session.office() as office:
        requests.suspend_clock(office, number, day or office.today(), reason)
        _show_due(session, office, number)


@app.command("answered")
def request_answered(number: Number, on: Day = "", as_json: Json = False, data_dir: DataDir = None) -> None:
    """Record that the person answered what was asked; the clock runs again."""
    from console.casework import requests

    session = open_session(as_json, data_dir)
    day = parse_day(on) if on else None
    with session.office() as office:
        requests.resume_clock(office, number, day or office.today())
        _show_due(session, office, number)


@app.command("extend")
def request_extend(
    number: Number,
    reason: Annotated[
        str, typer.Option("--reason", callback=free_text, help="The reasons that the person was given; sealed.")
    ],
    on: Day = "",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Record that the person was told of the longer time, and why (Art. 12(3))."""
    from console.casework import requests

    session = open_session(as_json, data_dir)
    day = parse_day(on) if on else None
    with session.office() as office:
        requests.notify_extension(office, number, day or office.today(), reason)
        _show_due(session, office, number)


@app.command("withdraw-entry")
def request_withdraw_entry(
    number: Number,
    entry: Annotated[int, typer.Argument(metavar="ENTRY", help="Its number in the case's story.")],
    reason: Annotated[str, typer.Option("--reason", callback=free_text, help="Why it is wrong; sealed.")],
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Take a question, an answer or a notice that was recorded in error out of the clock; it stays in the ledger."""
    from console.casework import requests

    session = open_session(as_json, data_dir)
    with session.office() as office:
        requests.withdraw_clock_entry(office, number, entry, reason)
        _show_due(session, office, number)


@app.command("accept-date")
def request_accept_date(number: Number, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Put the dates by today's holiday calendar in the place of the recorded ones, as an entry of the ledger."""
    from console.casework import requests

    session = open_session(as_json, data_dir)
    with session.office() as office:
        requests.accept_deadline(office, number)
        _show_due(session, office, number)


def _show_due(session: Session, office: Office, number: str) -> None:
    """Print the case's date after its clock has changed."""
    from console.casework.requests import deadline_of, request_state

    found = deadline_of(office, request_state(office, number))
    value = {"number": number, "due": found.binding_due.isoformat(), "paused": found.paused, "rule": found.rule}
    session.show(value, lambda: rows({"Request": number, "Due": value["due"], "Why": found.rule}))
