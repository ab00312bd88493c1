"""Writing an erased model as the file that will be deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.cli.session import DataDir, DeviceOption, Json, open_session, parse_settings, rows
from console.cli.speaking import say_line
from console.domain.exports import ExportForm

if TYPE_CHECKING:
    from console.casework.exporting import ExportResult

app = typer.Typer()
_SHOWN = 6


def export_json(result: ExportResult) -> dict[str, Any]:
    """An export with its round trip."""
    return {
        "model": result.name,
        "path": str(result.path),
        "form": result.form.value,
        "source": result.source,
        "base": result.base,
        "hash": result.tree_hash,
        "rewritten": [dict(tensor) for tensor in result.rewritten],
        "untouched": result.untouched,
        "vanished": result.vanished,
        "round_trip": result.gate.model_dump(mode="json"),
        "seconds": round(result.seconds, 1),
    }


def _tensor_words(result: ExportResult) -> None:
    moved = sorted(result.rewritten, key=lambda tensor: -float(tensor["stored"]))
    for tensor in moved[:_SHOWN]:
        kind = tensor["type_after"]
        if tensor["type_before"] != kind:
            kind = f"{tensor['type_before']} to {kind}"
        say_line(f"  {tensor['tensor']:<28} {kind:<24} moved {float(tensor['stored']):.2%}")
    if len(moved) > _SHOWN:
        say_line(f"  and {len(moved) - _SHOWN} more")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="The erased model, or any that was made from a GGUF model.")],
    form: Annotated[
        ExportForm, typer.Option("--as", help="gguf: a new file; gguf-adapter: a small file for the untouched base.")
    ] = ExportForm.GGUF,
    name: Annotated[str | None, typer.Option("--name", help="What to call it.")] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="The GGUF model to write into; the one it was made from else.")
    ] = None,
    higher_type: Annotated[
        str | None, typer.Option("--type", help="F32, F16, BF16 or Q8_0 for changed tensors that have fewer bits.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, may be repeated.")] = None,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Write a model as a GGUF file or adapter, read the file back on llama.cpp, and register it."""
    from console.casework.exporting import export_model

    session = open_session(as_json, data_dir)
    chosen = parse_settings(settings or [])
    if higher_type is not None:
        chosen["higher_type"] = higher_type
    with session.office() as office:
        use_case = export_model(office, model, form, name, base, chosen, device)
        result, _ = session.run(office, use_case)
    gate = result.gate

    def words() -> None:
        rows(
            {
                "Written": f"{result.name} ({result.form.label})",
                "File": result.path,
                "Hash": result.tree_hash,
                "Base": result.base,
                "Tensors": f"{len(result.rewritten)} hold the change, {result.untouched} as in the base",
                "Read back": f"{gate.texts} texts, {gate.tokens} tokens; llama.cpp against torch {gate.reading}, "
                f"rounding {gate.rounding} nats per token at most",
            }
        )
        _tensor_words(result)
        if result.vanished:
            say_line(f"  {result.vanished} changed tensors are as before: rounding took their change away.")
        if result.request:
            rows({"Next": f"erasure-console attack {result.request} --artefact {result.name}"})

    session.show(export_json(result), words)
