"""The benches: what the attacks find after known erasers, and every method on one forget set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.cli.regimes_table import regimes_table
from console.cli.session import (
    DataDir,
    DeviceOption,
    Force,
    Json,
    SampleModel,
    named_out,
    open_session,
    parse_settings,
    rows,
    write_json,
)
from console.cli.speaking import say, step_teller
from console.errors import InputError

if TYPE_CHECKING:
    from console.casework.bench import BenchResult
    from console.domain.bench_results import Axis, Baseline, Difference, Interval, MethodLine, MethodsBench
    from console.out_file import OutFile

app = typer.Typer(no_args_is_help=True, help="Benchmarks of methods, on the sample office or on TOFU.")


@app.callback()
def bench() -> None:
    """Benchmarks of methods, on the sample office or on TOFU."""


@app.command("erasers")
def erasers(
    method: Annotated[
        list[str] | None, typer.Option("--method", help="May be repeated; every installed one else.")
    ] = None,
    person: Annotated[
        list[str] | None, typer.Option("--person", help="Such as s03, choosing or reported; may be repeated; s01 else.")
    ] = None,
    suite: Annotated[str, typer.Option("--suite", help="quick, brief, standard or full.")] = "standard",
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write beside the table.")] = None,
    force: Force = False,
    sample_model: SampleModel = None,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Erase an invented person with each method, attack, decide by the rules; goes on where it stopped."""
    from console.casework.bench import SUBJECT, bench_erasers, bench_json

    session = open_session(as_json, data_dir)
    table = named_out(out, session.places, replace=force)
    people = tuple(person or (SUBJECT,))
    result = bench_erasers(session.places, tuple(method or ()), suite, device, sample_model, people, say=step_teller())
    value = bench_json(result)
    write_json(table, value)

    session.show(value, lambda: say(erasers_table(result)))


def erasers_table(result: BenchResult) -> str:
    """What the rules say of every eraser, what found the data, and what it cost."""
    people = ", ".join(f"{person.id} with {person.facts} facts" for person in result.people)
    written = [f"Suite {result.suite}; erased, each alone: {people}", ""]
    for line in result.lines:
        kept = ", ".join(
            f"{row.kept.hits} of {row.kept.trials} facts of {row.group} kept" for row in line.utility.groups
        )
        written.append(
            f"{line.method:<16} {line.person} {line.verdict.word.value} ({line.verdict.rule}); {kept}; "
            f"erased in {line.erase_seconds:.0f} s, attacked in {line.attack_seconds:.0f} s"
        )
        for kind, names in line.found_by.items():
            counts = ", ".join(f"{name} {_count(line.after[name])}" for name in names)
            written.append(f"{'':<16}   found by {kind}: {counts}")
        written += [f"{'':<16}   - {reason}" for reason in (*line.verdict.reasons, *line.verdict.caps)]
    written += [f"{one.method:<16} {one.person} failed: {one.reason}" for one in result.failed]
    return "\n".join(written) + "\n"


def _count(row: dict[str, Any]) -> str:
    """One attack's result with its 95 % interval."""
    if (area := row.get("area")) is not None:
        return f"{area['value']} [{area['low']}, {area['high']}]"
    return f"{row['hits']} of {row['trials']} [{row['low']:.0%}, {row['high']:.0%}]"


@app.command("methods")
def methods(
    on: Annotated[str, typer.Option("--on", help="office, mini-tofu or tofu.")] = "office",
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with TOFU's files; needed for mini-tofu and tofu.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="tofu only: forget01 (the default), forget05 or forget10.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="ID or NAME=ID; may be repeated; all that change weights else."),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME.key=value: a setting of one line; may be repeated.")
    ] = None,
    teach: Annotated[
        list[str] | None, typer.Option("--teach", help="key=value: a setting of the teaching of TOFU's authors.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Model that is taught the people; the sample model else.")
    ] = None,
    regime: Annotated[
        list[str] | None,
        typer.Option(
            "--regime", help="office only: office (the default), adapter-all, full, free-text; may be repeated."
        ),
    ] = None,
    person: Annotated[
        list[str] | None,
        typer.Option("--person", help="office only: such as s02, choosing or reported; may be repeated; s01 else."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option("--suite", help="office only: quick (the default), brief, standard or full.")
    ] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Measure the first N rows of each TOFU set.")
    ] = None,
    answer_tokens: Annotated[
        int | None, typer.Option("--answer-tokens", min=1, help="Most new tokens of a TOFU answer; 200 else.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", help="TOFU only: line whose utility the others are compared with; the retrained model else."
        ),
    ] = None,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Leave the erased models in the cache (each as large as the model).")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="JSON file to write beside the table; office: what it holds already is not rerun."),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Picture to write: .svg or .pdf.")] = None,
    force: Force = False,
    sample_model: SampleModel = None,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """The same forget set through every method, the same measurements after; goes on where it stopped."""
    from console.casework.methods_bench import BenchOptions, bench_methods
    from console.reports.scatter import check_plot_file, write_plot

    session = open_session(as_json, data_dir)
    if plot is not None:
        check_plot_file(plot)
    finished = None if force or on != "office" or out is None else unfinished(out)
    table = named_out(out, session.places, replace=force or finished is not None)
    picture = named_out(plot, session.places, replace=force)
    options = BenchOptions(
        data=data,
        split=split,
        model=model,
        sample_model=sample_model,
        suite=suite,
        regimes=tuple(regime or ()),
        people=tuple(person or ()),
        rows=rows,
        answer_tokens=answer_tokens,
        teaching=parse_settings(teach or []),
        against=against,
        keep_models=keep_models,
        device=device,
    )
    result = bench_methods(
        session.places,
        on,
        tuple(method or ()),
        parse_settings(setting or []),
        options,
        say=step_teller(),
        finished=finished,
        keep=lambda so_far: write_json(_replaceable(table), methods_json(so_far)),
    )
    value = methods_json(result)
    write_json(_replaceable(table), value)
    if picture is not None:
        write_plot(result, picture)
    session.show(value, lambda: say(regimes_table(result) if on == "office" else methods_table(result)))


@app.command("use")
def use(
    result: Annotated[Path | None, typer.Argument(metavar="FILE", help="What 'bench methods --out' wrote.")] = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="Take the benchmark of this installation again.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Let advice, 'methods' and the window of this office read your own bench of methods."""
    from console.casework import advice

    session = open_session(as_json, data_dir)
    if (result is None) is not shipped:
        raise InputError("Name one of the two: the file of a bench of methods, or --shipped.")
    known = advice.shipped_benchmark() if result is None else advice.read_benchmark(result)
    advice.use_benchmark(session.places, None if result is None else known)
    value = {"model": known.model, "suite": known.suite, "methods": sorted(known.methods)}
    session.show(
        value, lambda: rows({"Model": known.model, "Suite": known.suite, "Methods": ", ".join(value["methods"])})
    )


def unfinished(out: Path) -> MethodsBench | None:
    """The bench that a result file holds; None where there is no file, or another one."""
    from console.domain.bench_results import parse_methods_bench

    try:
        return parse_methods_bench(out.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # what else lies there is refused where the file is named


def _replaceable(out: OutFile | None) -> OutFile | None:
    """The same file, now that a line of this run may stand in it."""
    return None if out is None else replace(out, replace=True)


def methods_json(result: MethodsBench) -> dict[str, Any]:
    """The bench as plain data; every line says whether it is acceptable."""
    value = result.model_dump(mode="json")
    for line, shown in zip(result.lines, value["lines"], strict=True):
        shown["acceptable"] = result.acceptable(line)
    return value


def methods_table(result: MethodsBench) -> str:
    """One line a method: where it lands, what it cost, and what the rules or the figures say."""
    sets = ", ".join(f"{name} {rows.measured} of {rows.available}" for name, rows in result.sets.items())
    compared = f"against {result.against}" if result.against else ""
    head = f"{'':<24}{'forgetting':>20}{'utility':>20}{'erase':>9}{'memory':>10}{'measure':>9}  {compared}"
    lines = [f"{result.on} on {result.model}; rows measured: {sets}", "", head.rstrip()]
    for baseline in result.baselines:
        lines.append(f"{baseline.name:<24}{_place(baseline)}{'':>28}  {baseline.title}")
    lines += [_method_row(result, line) for line in result.lines]
    lines += ["", f"{result.forgetting.title}; acceptable from {_limit(result.forgetting)}"]
    lines += [f"{result.utility.title}; acceptable from {_limit(result.utility)}"]
    lines += ["In brackets: 95 % intervals; 'perhaps chance' where one reaches across a limit."]
    if result.against:
        lines += [f"Against {result.against}: difference of the utility over the same rows, paired bootstrap."]
    lines += [f"Note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def _limit(axis: Axis) -> str:
    return f"{axis.acceptable:.4g} ({axis.why})."


def _place(shown: Baseline | MethodLine) -> str:
    forgetting = _number(shown.forgetting, shown.forgetting_interval)
    return f"{forgetting:>20}{_number(shown.utility, shown.utility_interval):>20}"


def _number(value: float | None, interval: Interval | None) -> str:
    if value is None or interval is None:
        return "-" if value is None else f"{value:.3g}"
    return f"{value:.3g} [{interval.low:.2f}, {interval.high:.2f}]"


def _method_row(result: MethodsBench, line: MethodLine) -> str:
    if line.cost is None:
        return f"{line.name:<24}failed: {line.reason}"
    cost = line.cost
    word = "acceptable" if result.acceptable(line) else "not acceptable"
    if result.perhaps_chance(line):
        word += " (perhaps chance)"
    if "verdict" in line.measures:
        word += f"; {line.measures['verdict']['word']}"
    compared = f"{_signed(line.utility_difference):<24}" if result.against else ""
    return (
        f"{line.name:<24}{_place(line)}{cost.erase_seconds:>7.0f} s"
        f"{cost.erase_peak_mb:>7} MB{cost.measure_seconds:>7.0f} s  {compared}{word}"
    )


def _signed(difference: Difference | None) -> str:
    if difference is None:
        return "-"
    spread = difference.interval
    return f"{difference.value:+.3f}" + ("" if spread is None else f" [{spread.low:+.3f}, {spread.high:+.3f}]")
