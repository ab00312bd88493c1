"""Commands on models and on the sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.cli.session import (
    DataDir,
    DeviceOption,
    Json,
    SampleModel,
    open_session,
    read_bytes,
    rows,
)
from console.cli.speaking import say, step_teller

model_app = typer.Typer(no_args_is_help=True, help="Register local models.")
sample_app = typer.Typer(no_args_is_help=True, help="The sample model and the sample office.")


@model_app.command("add")
def model_add(
    path: Path,
    name: Annotated[str, typer.Option("--name", help="What to call it.")],
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="The model before it learned the data.")] = None,
    training: Annotated[Path | None, typer.Option("--training-record", help="JSON: teaching, controls, texts.")] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Register a model folder (safetensors) or GGUF file."""
    from console.casework.knowledge import parse_knowledge
    from console.casework.models import add_model
    from console.domain.importers import decode_text

    session = open_session(as_json, data_dir)
    knowledge = (
        parse_knowledge(decode_text(read_bytes(training, "training record")), training.name) if training else None
    )
    with session.office() as office:
        state, _ = session.run(office, add_model(office, path, name, snapshot, knowledge))
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
            say(f"{line.name:<24} {line.format:<12} {line.architecture:<10} {line.tree_hash[:16]}\n")

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
    """Teach the sample model its office (minutes, cached) and load the eight sample requests."""
    from console.casework.sample import load_requests, plant

    session = open_session(as_json, data_dir)
    with session.office() as office:
        value, peak = session.run(office, plant(office, sample_model, device))
        loaded = load_requests(office) if office.sample_subjects is None else []
    session.show(
        {**value, "requests": loaded, "peak_rss_mb": peak},
        lambda: rows({"Planted": f"{value['known']} of {value['facts']} facts known", "Requests": ", ".join(loaded)}),
    )
