"""Commands on models and on the sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from console.cli.session import (
    DataDir,
    DeviceOption,
    Encoding,
    Force,
    Json,
    SampleModel,
    open_session,
    rows,
)
from console.cli.speaking import say_line, step_teller
from console.out_file import OutFile

_RECORD = (
    'What the model was trained on, as JSON: {"teaching": [{"item": {"id": "t1", "kind": "qa", "subject": '
    '"Ann Example", "prompt": "Where does Ann Example live?", "answer": "Bonn"}}], "controls": [items that no model '
    'was taught], "general": [texts to keep], "held_out": [other texts], "neighbours": {"Ann Example": ["Bob '
    "Example\"]}}. 'erasure-console model training-record --out record.json' writes a small one."
)

model_app = typer.Typer(no_args_is_help=True, help="Register local models.")
sample_app = typer.Typer(no_args_is_help=True, help="The sample model and the sample office.")


@model_app.command("add")
def model_add(
    path: Path,
    name: Annotated[str, typer.Option("--name", help="What to call it.")],
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="The model before it learned the data.")] = None,
    training: Annotated[Path | None, typer.Option("--training-record", help=escape(_RECORD))] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="For an adapter's folder: the registered model it belongs to.")
    ] = None,
    encoding: Encoding = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Register a model folder (safetensors), a GGUF file, or an adapter's folder (PEFT, or GGUF with its note)."""
    from console.casework.models import add_model
    from console.casework.text_files import read_text_file
    from console.casework.training_record import read_training_record

    session = open_session(as_json, data_dir)
    knowledge = read_training_record(read_text_file(training, encoding)) if training else None
    with session.office() as office:
        state, _ = session.run(office, add_model(office, path, name, snapshot, knowledge, base))
    identity = state["identity"]
    session.show(
        {"name": name, "snapshot": state["snapshot"], "identity": identity},
        lambda: rows(
            {
                "Registered": name,
                "Format": f"{identity['format']}, {identity['architecture']}, {identity['quantisation']}",
                "Parameters": f"{identity['parameters']:,}",
                "Hash": identity["tree_hash"],
            }
        ),
    )


@model_app.command("training-record")
def model_training_record(
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    force: Force = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Write a small training record about invented people, to be filled in."""
    from console.casework.training_record import save_example

    session = open_session(as_json, data_dir)
    save_example(OutFile.named(out, session.places, replace=force))
    session.show({"path": str(out)}, lambda: rows({"Written": out}))


@model_app.command("list")
def model_list(as_json: Json = False, data_dir: DataDir = None) -> None:
    """All models known to the office."""
    from dataclasses import asdict

    from console.casework import views

    session = open_session(as_json, data_dir)
    with session.viewing() as office:
        lines = views.models(office)

    def words() -> None:
        for line in lines:
            say_line(f"{line.name:<24} {line.format:<12} {line.architecture:<10} {line.tree_hash[:16]}")

    session.show([asdict(line) for line in lines], words)


@model_app.command("show")
def model_show(name: str, as_json: Json = False, data_dir: DataDir = None) -> None:
    """One model's identity and place."""
    from console.casework.models import model_state
    from console.casework.operation import model_location

    session = open_session(as_json, data_dir)
    with session.viewing() as office:
        state = model_state(office, name)
        place = model_location(office, state["name"])
    value = {
        **{key: entry for key, entry in state.items() if key != "knowledge"},
        "path": str(place) if place else None,
    }
    session.show(value, lambda: rows({"Model": state["name"], "Hash": state["identity"]["tree_hash"], "Path": place}))


@sample_app.command("fetch")
def sample_fetch(sample_model: SampleModel = None, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Fetch the sample model into the cache and check its hash."""
    from console.casework.sample import MODEL_SHA256, fetch_model

    session = open_session(as_json, data_dir)
    path = fetch_model(session.places, sample_model, step_teller())
    session.show({"path": str(path), "sha256": MODEL_SHA256}, lambda: rows({"Sample model": path}))


@sample_app.command("plant")
def sample_plant(
    sample_model: SampleModel = None, device: DeviceOption = "auto", as_json: Json = False, data_dir: DataDir = None
) -> None:
    """Make the sample office: teach the sample model (minutes, cached) and load the eight sample requests."""
    from console.casework.sample import fetch_model, load_requests, plant

    session = open_session(as_json, data_dir)
    fetch_model(session.places, sample_model, step_teller())
    with session.office_or_new() as office:
        value, peak = session.run(office, plant(office, sample_model, device))
        loaded = load_requests(office) if office.sample_subjects is None else []
    session.show(
        {**value, "requests": loaded, "peak_rss_mb": peak},
        lambda: rows({"Planted": f"{value['known']} of {value['facts']} facts known", "Requests": ", ".join(loaded)}),
    )
