"""Requests one after another: search again for earlier ones, and show what a single one changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.cli.session import DataDir, DeviceOption, Json, open_session, rows
from console.cli.speaking import say_line
from console.domain.results import AttackRow
from console.domain.sequence import ChainLimits, ChainMeasure, Standing, beyond

if TYPE_CHECKING:
    from console.casework.sequence import Change, EarlierRequest

app = typer.Typer()


def earlier_json(found: tuple[EarlierRequest, ...]) -> list[dict[str, Any]]:
    """Earlier requests with their counts then and now."""
    from console.casework.demo import rows_json

    return [
        {
            "request": entry.number,
            "own_artefact": entry.own_artefact,
            "standing": entry.standing.value,
            "by": list(entry.by),
            "reason": entry.reason,
            "now": rows_json(entry.now) if entry.now else None,
            "then": rows_json(entry.then) if entry.then else None,
            "seq": entry.seq,
        }
        for entry in found
    ]


def _counts(row: AttackRow | None) -> str:
    if row is None or row.outcome is None:
        return "not run"
    return f"{row.outcome.attempts.hits} of {row.outcome.attempts.trials}"


def earlier_words(found: tuple[EarlierRequest, ...]) -> None:
    """Print what became of each earlier request; nothing where there is none."""
    for entry in found:
        by = f", by {', '.join(entry.by)}" if entry.by else ""
        say_line(f"Earlier request {entry.number}: {entry.standing.value}{by}")
        if entry.reason:
            say_line(f"  - {entry.reason}")
        for row in entry.now.rows if entry.now else ():
            then = entry.then.row(row.attack) if entry.then else None
            say_line(f"  {row.attack:<18} {_counts(row):<10} after its own erasure {_counts(then)}")


def chain_json(measure: ChainMeasure) -> dict[str, Any]:
    """How far the chain has gone, and the limits that the next erasure is held to."""
    limits = ChainLimits()
    return {
        "first": measure.first,
        "relative_change": None if measure.relative_change is None else str(measure.relative_change),
        "upper_bound": measure.bound,
        "perplexity_ratio": None if measure.perplexity_ratio is None else f"{measure.perplexity_ratio:.4f}",
        "limits": limits.model_dump(mode="json"),
        "beyond": list(beyond(measure, limits)),
    }


def chain_words(measure: ChainMeasure) -> None:
    """Print how far the chain has gone, beside its limits."""
    limits = ChainLimits()
    change, ratio = measure.relative_change, measure.perplexity_ratio
    most = "at most " if measure.bound else ""
    moved = "not measured" if change is None else f"{most}{change:.4f} of the weights' norm since {measure.first}"
    harder = "not measured" if ratio is None else f"{ratio:.4f} times that of {measure.first}"
    rows(
        {
            "Change so far": f"{moved} (limit {limits.relative_change})",
            "Perplexity": f"{harder} (limit {limits.perplexity_ratio})",
        }
    )
    for passed in beyond(measure, limits):
        say_line(f"  - the next erasure from here is stopped: {passed}")


@app.command()
def recheck(
    artefact: Annotated[str, typer.Argument(metavar="ARTEFACT")],
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Search an erased model again for every earlier request of its chain. Exit code 1: the data of one came back."""
    from console.casework import sequence

    session = open_session(as_json, data_dir)
    with session.office() as office:
        found, _ = session.run(office, sequence.rechecks(office, artefact, device))
        measure = sequence.measure_of(office, artefact)
    value = {"artefact": measure.last, "earlier": earlier_json(found), "chain": chain_json(measure)}

    def words() -> None:
        earlier_words(found)
        chain_words(measure)

    session.show(value, words)
    if any(entry.standing is Standing.CAME_BACK for entry in found):
        raise typer.Exit(1)


def _change_json(change: Change) -> dict[str, Any]:
    run = change.run
    return {
        "request": change.number,
        "artefact": change.artefact,
        "parent": change.parent,
        "method": run.method["id"],
        "steps": run.steps,
        "stop_reason": run.stop_reason,
        "relative_change": change.relative_change,
        "changed_tensors": run.changed_count,
        "tensors": list(run.changed),
    }


def _change_words(change: Change) -> None:
    run = change.run
    rows(
        {
            "Artefact": f"{change.artefact}, from {change.parent}",
            "Method": f"{run.method['id']}, {run.steps} steps; {run.stop_reason}",
            "Change": f"{change.relative_change or 'not measured'} of the norm of all weights",
            "Tensors": f"{run.changed_count} changed, {len(run.changed)} listed",
        }
    )
    if run.changed:
        say_line(f"  {'tensor':<56} {'norm':>8} {'rank':>8}")
    for tensor in run.changed:
        rank = tensor.get("effective_rank", "")
        say_line(f"  {tensor['tensor']:<56} {tensor['relative_norm']:>8} {rank:>8}")


@app.command()
def changes(
    number: Annotated[str, typer.Argument(metavar="REQUEST")],
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """What one request's erasure changed in the weights, against the model that it started from."""
    from console.casework.sequence import changes_of

    session = open_session(as_json, data_dir)
    with session.viewing() as office:
        found = changes_of(office, number)

    def words() -> None:
        for change in found:
            _change_words(change)

    session.show([_change_json(change) for change in found], words)
