"""Public benchmarks on the user's own files and models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.session import (
    DataDir,
    DeviceOption,
    Encoding,
    Force,
    Json,
    named_out,
    open_session,
    parse_settings,
    write_json,
)
from console.cli.speaking import say, step_teller

if TYPE_CHECKING:
    from console.domain.benchmark_results import BenchmarkResult, Figure

app = typer.Typer()

FILES = (
    "ROLE=PATH, or a path whose name begins with its role; may be repeated. tofu: forget, retain, real_authors, "
    "world_facts. muse: verbmem, forget_qa, retain_qa, forget_qa_icl, retain_qa_icl, forget_text, retain_text, "
    "holdout_text, scalability, sustainability (results of earlier runs). rwku: forget_level1 to 3, "
    "neighbour_level1 and 2, mia_forget, mia_retain. restor: facts, context. evoke: prompts. priming: keywords. "
    "wmdp: questions. traces: concepts (optional)."
)


@app.command("evaluate")
def evaluate(
    benchmark: Annotated[str, typer.Argument(help="tofu, muse, rwku, restor, evoke, priming, wmdp or traces.")],
    model: Annotated[Path, typer.Option("--model", help="Model folder or GGUF file to examine.")],
    file: Annotated[list[str] | None, typer.Option("--file", help=FILES)] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="A model that never knew (restor: the clean one).")
    ] = None,
    before: Annotated[
        Path | None, typer.Option("--before", help="The model from before (restor: the corrupted one).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON file for the figures and every row, with its texts.")
    ] = None,
    force: Force = False,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value: answer_tokens, wrong_answer_mean, resamples, seed.")
    ] = None,
    encoding: Encoding = None,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Run a benchmark of your own files on a model; no case, no ledger, nothing kept but what --out names."""
    from console.casework.benchmarks import evaluate_benchmark

    session = open_session(as_json, data_dir)
    file_out = named_out(out, session.places, replace=force)
    result = evaluate_benchmark(
        session.places,
        benchmark,
        model,
        file or [],
        reference=reference,
        before=before,
        encoding=encoding,
        device=device,
        settings=parse_settings(setting or []),
        say=step_teller(),
    )
    value = result.model_dump(mode="json")
    write_json(file_out, value)
    session.show(value, lambda: say(table(result, model.name)))


def table(result: BenchmarkResult, model: str) -> str:
    """The figures, one a line: value, 95 % interval, number of rows."""
    width = max(len(figure.title) for figure in result.figures) if result.figures else 0
    lines = [f"{result.benchmark} on {model}, {result.models.get('model', '')[:16]}", ""]
    lines += [_line(figure, width) for figure in result.figures]
    lines += [f"Note: {note}" for note in result.notes]
    return "\n".join(lines).rstrip() + "\n"


def _line(figure: Figure, width: int) -> str:
    if figure.value is None:
        return f"{figure.title:<{width}}  not applicable: {figure.reason}"
    value = f"{figure.hits} of {figure.n}" if figure.hits is not None else f"{figure.value:.4g}"
    interval = "no interval" if figure.low is None or figure.high is None else f"{figure.low:.4g} to {figure.high:.4g}"
    note = f"  ({figure.note})" if figure.note else ""
    return f"{figure.title:<{width}}  {value:>12}  95 %: {interval:<20}  n = {figure.n}{note}".rstrip()
