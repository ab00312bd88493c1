"""The benches: what the attacks find after erasers that are known to be bad, and after exact retraining."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.cli.session import DataDir, DeviceOption, Json, SampleModel, open_session
from console.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Benchmarks on the sample office.")


@app.callback()
def bench() -> None:
    """Benchmarks on the sample office."""


@app.command("erasers")
def erasers(
    method: Annotated[list[str] | None, typer.Option("--method", help="May be repeated; all known ones else.")] = None,
    suite: Annotated[str, typer.Option("--suite", help="quick, standard or full.")] = "standard",
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write beside the table.")] = None,
    sample_model: SampleModel = None,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Erase one invented person with each method, attack, decide by the rules; goes on where it stopped."""
    import json

    from console.casework.bench import ERASERS, Line, bench_erasers, bench_json

    session = open_session(as_json, data_dir)
    last = ""

    def say(text: str) -> None:
        nonlocal last
        if text != last:
            sys.stderr.write(text + "\n")
            last = text

    result = bench_erasers(session.places, tuple(method or ERASERS), suite, device, sample_model, say=say)
    value = bench_json(result)
    if out is not None:
        try:
            out.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"The file {out} cannot be written ({error.strerror}); choose another.") from error

    def words() -> None:
        _table(result.lines)

    def _table(lines: tuple[Line, ...]) -> None:
        sys.stdout.write(f"Suite {result.suite}, one person with {result.facts} facts\n\n")
        for line in lines:
            kept = ", ".join(
                f"{row.kept.hits} of {row.kept.trials} of {row.group}'s facts kept" for row in line.utility.groups
            )
            sys.stdout.write(f"{line.method:<14} {line.verdict.word.value} ({line.verdict.rule}); {kept}; ")
            sys.stdout.write(f"erased in {line.erase_seconds:.0f} s, attacked in {line.attack_seconds:.0f} s\n")
            for kind, attacks in line.found_by.items():
                sys.stdout.write(f"{'':<14}   found by {kind}: {', '.join(attacks)}\n")
            for reason in (*line.verdict.reasons, *line.verdict.caps):
                sys.stdout.write(f"{'':<14}   - {reason}\n")

    session.show(value, words)
