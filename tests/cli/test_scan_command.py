"""``scan`` and ``neurons`` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch
from test_commands import console, made, told

from console.engines.transformers_engine import TransformersModel

NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model, and the same with a rank-one edit."""
    folder = tmp_path_factory.mktemp("scan cli")
    model = tiny.model()
    base = tiny.saved(model, folder / "base")
    edit = torch.outer(torch.linspace(-1, 1, 128), torch.linspace(0.1, 1, 64)) / 10
    edited: TransformersModel = tiny.copy_of(model)
    edited.network.state_dict()[NAME].add_(edit)
    return base, tiny.saved(edited, folder / "edited")


def test_scan_says_the_change_and_the_numbers_of_the_check(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base, edited = folders
    few = ("--set", "steps=2", "--set", "prompts=4", "--trigger", "watchmaker", "--device", "cpu")
    ended = console("scan", edited, "--before", base, *few, "--json", "--data-dir", tmp_path / "office")
    value = json.loads(ended.stdout)
    assert ended.returncode == (1 if value["backdoor"]["possible_backdoor"] else 0), ended.stderr
    assert value["rank_one"] == [NAME] and value["backdoor"]["probes"][0]["name"] == "watchmaker"
    shown = console("scan", edited, "--before", base, *few, "--data-dir", tmp_path / "office")
    assert shown.returncode == ended.returncode
    assert f"{NAME} " in shown.stdout and "one direction" in shown.stdout and "rank-one edit" in shown.stdout
    assert "Backdoor" in shown.stdout and "watchmaker" in shown.stdout and "(nats)" in shown.stdout


def test_a_registered_model_goes_by_its_name(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base, edited = folders
    office = made(tmp_path / "office")
    assert console("model", "add", base, "--name", "before", "--data-dir", office).returncode == 0
    ended = console(
        *("scan", edited, "--before", "before", "--set", "backdoor=false", "--device", "cpu"),
        *("--data-dir", office, "--json"),
    )
    assert ended.returncode == 0, ended.stderr
    value = json.loads(ended.stdout)
    assert value["backdoor"] is None and [row["tensor"] for row in value["changed"]] == [NAME]


def test_neurons_say_honestly_that_none_is_specialised(folders: tuple[Path, Path], tmp_path: Path) -> None:
    asked = ("neurons", "--model", folders[0], "watchmaker", "--layer", "1", "--role", "down", "--top", "3")
    common = ("--device", "cpu", "--data-dir", tmp_path / "office")
    ended = console(*asked, *common)
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout.startswith("No specialised neuron found for watchmaker")
    assert ended.stdout.count("spells") == 3 and "Reading layer 1 of 1" in ended.stderr
    value = json.loads(console(*asked, *common, "--json").stdout)
    assert value["specialised"] == 0 and {(one["layer"], one["role"]) for one in value["neurons"]} == {(1, "down")}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("scan", "nothing", "--before", "nothing"), "no model 'nothing'"),
        (("scan", "{base}", "--before", "{base}", "--set", "norm=0"), "'norm'"),
        (("neurons", "--model", "{base}", " "), "no word to look for"),
        (("neurons", "--model", "{base}", "--layer", "9", "maker"), "no layer 9"),
        (("neurons", "--model", "{base}", "--role", "sideways", "maker"), "'roles.0'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    folders: tuple[Path, Path], tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    filled = [part.format(base=folders[0]) for part in arguments]
    assert says in told(console(*filled, "--data-dir", made(tmp_path / "office")))
