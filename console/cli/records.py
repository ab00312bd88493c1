"""The law, the ledger, and what this installation can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.cli.behaviour import behaviour_json, behaviour_words
from console.cli.session import (
    DataDir,
    Force,
    Json,
    Profile,
    PublishedDays,
    Session,
    open_session,
    parse_day,
    rows,
)
from console.cli.speaking import say, say_beside, say_line
from console.domain.deadline import Deadline
from console.errors import InputError

app = typer.Typer()
_ENTRIES_SHOWN = 20
ledger_app = typer.Typer(no_args_is_help=True, help="Check and export the ledger.")


@app.command()
def deadline(
    received: Annotated[str, typer.Option("--received", help="Day of receipt, year-month-day.")] = "",
    country: Annotated[str, typer.Option("--country", help="Two-letter code, such as DE.")] = "",
    subdivision: Annotated[str | None, typer.Option("--subdivision", help="State or region, such as BY.")] = None,
    profile: Profile = None,
    published_days: PublishedDays = None,
    request: Annotated[
        str, typer.Option("--request", metavar="REQUEST", help="A registered request: its date as it was recorded.")
    ] = "",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """When a request must be answered, and why on that day; for a day of receipt, or for a registered request."""
    session = open_session(as_json, data_dir)
    if request:
        _recorded_deadline(session, request, received or country or subdivision or profile or published_days)
        return
    if not received or not country:
        raise InputError("Name the day of receipt and the country (--received, --country), or a request (--request).")
    from console.casework.office import load_profiles, system_clock
    from console.domain.place_law import calculated_deadline, law_of_place

    law = law_of_place(load_profiles(), country, subdivision, profile, published_days)
    found = calculated_deadline(parse_day(received), law, system_clock().date())
    value = {**found.model_dump(mode="json"), "law": law.words}
    session.show(value, lambda: _deadline_words(found, {"Law": law.words}))


def _recorded_deadline(session: Session, number: str, other: object) -> None:
    if other:
        raise InputError("A registered request has its own day, place and law: leave the other options out.")
    from console.casework.requests import deadline_difference, deadline_of, request_state

    with session.viewing() as office:
        state = request_state(office, number)
        found, difference = deadline_of(office, state), deadline_difference(office, state)
    value = {**found.model_dump(mode="json"), "request": number, "by_todays_calendar": difference or None}
    session.show(value, lambda: _deadline_words(found, {"But": difference} if difference else {}))


def _deadline_words(found: Deadline, further: dict[str, str]) -> None:
    rows({"Due": found.binding_due, "If extended": found.due_extended or "no extension in this law"})
    rows({**further, "Calendar": found.calendar, "Rule": found.rule})
    for step in found.steps:
        say_line(f"  - {step}")


@ledger_app.command("verify")
def ledger_verify(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Verify the whole ledger file; writes nothing. Exit code 1: something does not fit, and what."""
    from console.casework.records import verify_office

    session = open_session(as_json, data_dir)
    result = verify_office(session.places, prompt=session.prompt, say=say_beside)
    value = {
        "ok": result.ok,
        "checked": result.checked,
        "findings": [
            {"code": finding.code.value, "seq": finding.seq, "message": finding.message} for finding in result.findings
        ],
        "not_checked": list(result.not_checked),
    }

    def words() -> None:
        rows({"Ledger": "whole" if result.ok else "NOT whole", "Entries": result.checked})
        for finding in value["findings"]:
            rows({finding["code"]: finding["message"]})
        for sentence in result.not_checked:
            rows({"Not checked": sentence})

    session.show(value, words)
    if not result.ok:
        raise typer.Exit(1)


@ledger_app.command("export")
def ledger_export(
    out: Annotated[Path, typer.Option("--out", help="JSON-lines file to write.")],
    force: Force = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Write all entries with a signed checkpoint, for an auditor; says what in them people typed in the clear."""
    from console.casework.records import clear_words, export_records

    session = open_session(as_json, data_dir)
    with session.office() as office:
        count = export_records(office, out, replace=force)
        typed = clear_words(office)
    value = {"path": str(out), "entries": count, "typed_in_the_clear": list(typed)}

    def words() -> None:
        rows({"Exported": f"{count} entries to {out}", "Holds": export_sentence(typed)})

    session.show(value, words)


def export_sentence(typed: tuple[int, ...]) -> str:
    """What an export holds of what people typed."""
    sealed = "Nothing of the vault: facts, letters, reasons and summaries stay sealed in the ledger file."
    if not typed:
        return f"{sealed} The entries name models, files and the organisation."
    shown = ", ".join(map(str, typed[:_ENTRIES_SHOWN])) + ("…" if len(typed) > _ENTRIES_SHOWN else "")
    what = "entry of an older console holds" if len(typed) == 1 else "entries of an older console hold"
    return (
        f"{sealed} But {len(typed)} {what} words that people typed, in the clear "
        f"({shown}): read them before you hand the file on."
    )


def _listing(kind: str, as_json: bool, data_dir: Path | None) -> None:
    from console.casework.catalogue import catalogue

    session = open_session(as_json, data_dir)
    found = catalogue(session.places)[kind]

    def words() -> None:
        for entry in found:
            about = entry.get("summary") or entry["definition"]
            tried = f"\n{'':<18} {entry['benchmark']}" if "benchmark" in entry else ""
            say(f"{entry['id']:<18} {entry['title']}\n{'':<18} {about}{tried}\n")
            for number, stage in enumerate(entry.get("stages", ()), start=1):
                say_line(f"{'':<18} {number}. {stage['name']}: {stage['title']}")

    session.show(found, words)


@app.command()
def methods(as_json: Json = False, data_dir: DataDir = None) -> None:
    """The erasure methods and recipes, with their settings and what a benchmark found of them."""
    _listing("methods", as_json, data_dir)


@app.command()
def attacks(as_json: Json = False, data_dir: DataDir = None) -> None:
    """The attacks, with what counts as a hit."""
    _listing("attacks", as_json, data_dir)


@app.command()
def replay(
    rules: Annotated[int | None, typer.Option("--rules", help="Decide by this version of the rules instead.")] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Reach every verdict and recheck again from the stored counts. Exit code 1: one comes out otherwise."""
    from console.casework.replay import replay as replay_all
    from console.casework.sequence import replayed_rechecks

    session = open_session(as_json, data_dir)
    with session.viewing() as office:
        found = replay_all(office, rules)
        rechecked = replayed_rechecks(office, rules)
    value = [
        {
            "request": entry.number,
            "artefact": entry.artefact,
            "seq": entry.seq,
            "recorded": entry.recorded.model_dump(mode="json"),
            "again": entry.again.model_dump(mode="json"),
            "same": entry.same,
        }
        for entry in found
    ] + [
        {
            "request": entry.number,
            "artefact": entry.artefact,
            "seq": entry.seq,
            "recorded": {"standing": entry.recorded.value},
            "again": {"standing": entry.again.value},
            "same": entry.same,
        }
        for entry in rechecked
    ]

    def words() -> None:
        for entry in found:
            again = "the same again" if entry.same else f"now {entry.again.word.value} (rule {entry.again.rule})"
            say_line(f"{entry.artefact:<18} {entry.recorded.word.value} (rule {entry.recorded.rule}): {again}")
        for check in rechecked:
            again = "the same again" if check.same else f"now {check.again.value}"
            say_line(f"{check.artefact:<18} {check.number} {check.recorded.value}: {again}")
        if not found:
            say("The ledger holds no verdict yet.\n")

    session.show(value, words)
    if not all(entry.same for entry in (*found, *rechecked)):
        raise typer.Exit(1)


@app.command()
def compare(
    left: Annotated[str, typer.Argument(metavar="REQUEST|A", help="A request: all its runs. Or a model.")],
    right: Annotated[str | None, typer.Argument(metavar="B", help="The other model.")] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """All runs of a request side by side; or two models of one, attack by attack. Reads only."""
    if right is None:
        _compare_runs(open_session(as_json, data_dir), left)
        return
    from console.casework.comparing import compare as compare_models
    from console.casework.demo import rate_json, row_json
    from console.domain.results import AttackRow

    session = open_session(as_json, data_dir)
    with session.viewing() as office:
        found = compare_models(office, left, right)
    value = {
        "request": found.number,
        "left": found.left,
        "right": found.right,
        "attacks": {
            row.attack: {"left": row_json(row.left), "right": row_json(row.right), "p_value": row.p_value}
            for row in found.rows
        },
        "suppressed": None if found.suppressed is None else rate_json(found.suppressed),
        "behaviour": behaviour_json(*found.behaviour, ("left", "right")),
    }

    def gains(row: AttackRow) -> dict[str, str]:
        return {
            f"{gain.form}, {gain.mode}": (
                f"{gain.gain} ({gain.after.hits} of {gain.after.trials}, at once {gain.at_once.hits} of "
                f"{gain.at_once.trials}; 95 % interval {gain.low} to {gain.high})"
            )
            for gain in row.leak_gains
        }

    def counts(row: AttackRow) -> str:
        if row.outcome is None:
            return row.status.value.replace("-", " ")
        if row.outcome.area is not None:
            return f"area {row.outcome.area.value}"
        return f"{row.outcome.attempts.hits} of {row.outcome.attempts.trials}"

    def words() -> None:
        say(f"Request {found.number}\n{'':<20} {found.left:<20} {found.right:<20} p\n")
        for row in found.rows:
            chance = "" if row.p_value is None else f"{row.p_value:.3f}"
            say_line(f"{row.attack:<20} {counts(row.left):<20} {counts(row.right):<20} {chance}")
        for row in found.rows:
            left_gains, right_gains = gains(row.left), gains(row.right)
            for way in dict.fromkeys((*left_gains, *right_gains)):
                say_line(f"Leak gain of {row.attack}, {way}")
                for name, shown in ((found.left, left_gains), (found.right, right_gains)):
                    say_line(f"  {name:<18} {shown.get(way, 'not measured')}")
        if found.suppressed is not None:
            lost = found.suppressed
            say(
                f"Other people's facts told step by step by {found.left} and no longer by {found.right} (unfair "
                f"suppression): {lost.hits} of {lost.trials}, 95 % interval {lost.low:.2f} to {lost.high:.2f}\n"
            )
        behaviour_words(*found.behaviour, (found.left, found.right))

    session.show(value, words)


def _compare_runs(session: Session, number: str) -> None:
    from console.casework.comparing import compare_runs, runs_json

    with session.viewing() as office:
        found = compare_runs(office, number)

    def words() -> None:
        if found.note:
            say_line(found.note)
        for run in found.runs:
            say_line(run.artefact)
            rows({"  Method": f"{run.title} ({run.method})"})
            for place, stage in enumerate(run.stages, start=1):
                rows({f"  Stage {place}": stage})
            rows({"  Verdict": "not attacked yet" if run.word is None else run.word.value})
            if run.word is not None:
                rows({"  Still found by": run.found_words, "  Recognised by": run.recognised_words})
                rows({"  Others' facts": run.kept_words, "  General text": run.perplexity_words})
            rows({"  Took": f"{run.seconds:.0f} s", "  Stopped": run.stop_reason})

    session.show(runs_json(found), words)
