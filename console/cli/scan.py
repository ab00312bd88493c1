"""Looking into models: a changed one beside the one it came from, and the neurons that spell a word."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from console.cli.session import DataDir, DeviceOption, Json, Session, open_session, parse_settings, rows
from console.cli.speaking import say, say_line, step_teller

app = typer.Typer()
_SHOWN = 12  # tensors in words; --json has all


def _sentences(*sentences: str) -> None:
    for sentence in sentences:
        for index, line in enumerate(textwrap.wrap(sentence, 100)):
            say_line(f"  {'- ' if index == 0 else '  '}{line}")


def _reference(session: Session, name: str) -> Any:
    from console.casework.scanning import model_at

    return model_at(name, session.viewing)


@app.command()
def scan(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The changed model: a registered name, or its files.")],
    before: Annotated[str, typer.Option("--before", metavar="BASE", help="The model that it came from.")],
    trigger: Annotated[
        list[str] | None, typer.Option("--trigger", help="A word to try as a trigger; may be repeated.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value: backdoor, prompts, norm, steps, step_share, prompts_per_step, seed."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """What a change did to a model, and whether it may hide a backdoor. Exit code 1: it may."""
    from console.casework import scanning

    session = open_session(as_json, data_dir)
    chosen = parse_settings(settings or [])
    changed, base = _reference(session, model), _reference(session, before)
    value = scanning.scan(session.places, changed, base, trigger or (), device, chosen, step_teller())
    check = value["backdoor"]

    def words() -> None:
        rows({"Changed": f"{len(value['changed'])} of {value['tensors']} tensors"})
        rows({"Size of the change": f"{value['relative_change']} of the norm of all weights"})
        for row in value["changed"][:_SHOWN]:
            rank = f"effective rank {row['effective_rank']}" if "effective_rank" in row else ""
            mark = "  one direction" if row["tensor"] in value["rank_one"] else ""
            say_line(f"  {row['tensor']:<48} {row['relative_norm']:>10}  {rank}{mark}")
        if (more := len(value["changed"]) - _SHOWN) > 0:
            say_line(f"  and {more} more; --json lists them all")
        _sentences(*value["notes"])
        if check is not None:
            rows({"Backdoor": "POSSIBLE" if check["possible_backdoor"] else "no sign of one"})
            _sentences(*check["sentences"])
            _probes_words(check["probes"])

    session.show(value, words)
    if check is not None and check["possible_backdoor"]:
        raise typer.Exit(1)


def _probes_words(probes: list[dict[str, Any]]) -> None:
    say_line(f"  {'Tried':<28} {'base':>8} {'changed':>8} {'times':>8}   (nats)")
    for row in probes:
        name = row["name"] if row["probe"] == "word" else f"a push ({row['name']})"
        mark = "   far" if row["far"] else ""
        say_line(f"  {name:<28} {row['base']:>8.3f} {row['changed']:>8.3f} {row['ratio']:>8.1f}{mark}")


@app.command()
def neurons(
    word: Annotated[list[str], typer.Argument(metavar="WORD...", help="Words to look for.")],
    model: Annotated[str, typer.Option("--model", help="A registered name, or a model's files.")],
    layer: Annotated[list[int] | None, typer.Option("--layer", help="Only this layer (0 is the first).")] = None,
    role: Annotated[list[str] | None, typer.Option("--role", help="down, up or gate; all where none is named.")] = None,
    top: Annotated[int, typer.Option("--top", help="How many are shown.")] = 10,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Which single neurons of a model spell a word. Exit code 1: none is specialised on it."""
    from console.casework import scanning

    session = open_session(as_json, data_dir)
    settings: dict[str, Any] = {"top": top, "layers": layer or []}
    if role:
        settings["roles"] = role
    value = scanning.neurons(session.places, _reference(session, model), word, device, settings, step_teller())

    def words() -> None:
        say(value["sentence"] + "\n")
        for one in value["neurons"]:
            sign = "" if one["sign"] > 0 else " (the other way round)"
            mark = "*" if one["specialised"] else " "
            spells = " ".join(repr(token) for token in one["spells"])
            say(
                f"{mark} layer {one['layer']:>2} neuron {one['index']:<6} {one['role']:<4} {one['word']}: rank "
                f"{one['rank'] + 1}, cosine {one['cosine']:.3f}{sign}\n     spells {spells}\n"
            )

    session.show(value, words)
    if not value["specialised"]:
        raise typer.Exit(1)
