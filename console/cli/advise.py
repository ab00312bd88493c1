"""What helps to decide before an erasure: which method to take, and what the model itself says about the person."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from console.cli.session import DataDir, DeviceOption, Json, open_session, parse_settings, rows
from console.cli.speaking import say, say_line

app = typer.Typer()


@app.command()
def advise(
    number: Annotated[str, typer.Argument(metavar="REQUEST")],
    model: Annotated[str, typer.Option("--model")],
    minutes: Annotated[float | None, typer.Option("--minutes", help="Time at hand for the erasure.")] = None,
    method: Annotated[list[str] | None, typer.Option("--method", help="May be repeated; all known ones else.")] = None,
    benchmark: Annotated[
        Path | None,
        typer.Option("--benchmark", help="Your own result of 'bench methods'; the office's benchmark else."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Which erasure methods can run, the best first, with the time that each takes on this machine. Changes nothing."""
    from console.casework import advice
    from console.domain.advice import Advice

    session = open_session(as_json, data_dir)
    own = None if benchmark is None else advice.read_benchmark(benchmark)
    with session.office() as office:
        given: Advice
        given, _ = session.run(office, advice.advise(office, number, model, minutes, method or (), device, own))

    def words() -> None:
        for place, one in enumerate(given.methods, start=1):
            say_line(f"{place:>2}. {one.facts.id:<16} {one.strongest.value:<11} {one.time}")
            _sentences(one.facts.title + ".", *one.reasons)
        if given.cannot:
            say("\nCannot run\n")
        for refused in given.cannot:
            say_line(f"    {refused.id}")
            _sentences(refused.refusal)

    session.show(advice.advice_json(given), words)


def _sentences(*sentences: str) -> None:
    for line in textwrap.wrap(" ".join(sentences), 100):
        say_line(f"      {line}")


@app.command()
def corpus(
    number: Annotated[str, typer.Argument(metavar="REQUEST")],
    model: Annotated[str, typer.Option("--model")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, may be repeated.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Do not blot out names and facts.")] = False,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Let the model write down what it says about the person, sealed with the case, for 'erase --self-made'."""
    from dataclasses import asdict

    from console.casework import self_made

    session = open_session(as_json, data_dir)
    chosen = parse_settings(settings or [])
    with session.office() as office:
        made, _ = session.run(office, self_made.write_corpus(office, number, model, chosen, device))
        lines = self_made.corpus_lines(office, number, model, made, plain=plain)
    value = {
        "kept": made.kept,
        "drawn": made.drawn,
        "counterfactuals": made.counterfactuals,
        "dropped": dict(made.dropped),
        "sentence": made.sentence,
        "items": [asdict(line) for line in lines],
    }

    def words() -> None:
        for line in lines:
            say_line(f"{line.kind:<9} {' '.join(line.asked.split())}")
            say_line(f"          {' '.join(line.said.split())}")
        for reason, count in made.dropped.items():
            rows({"Dropped": f"{count}: {reason}"})
        rows({"Kept": made.sentence, "Next": f"erasure-console erase {number} --model {model} --self-made"})

    session.show(value, words)
