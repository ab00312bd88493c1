"""An adapter's folder: its identity, and the change it makes to a network in torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from console.engines.adapted_network import add_adapter
from console.engines.gguf_adapter import write_adapter
from console.engines.gguf_names import network_places
from console.engines.model_files import ADAPTER_FILE, ADAPTER_NOTE, AdapterNote, ModelFormat, identify
from console.engines.transformers_engine import TransformersModel
from console.errors import ModelFileError

NAME = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def adapter(untaught: TransformersModel, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A folder with an adapter of one rotated weight, and the change that it stands for."""
    place = network_places(untaught.network)[NAME]
    rows, inputs = dict(untaught.network.named_parameters())[NAME].shape
    draw = np.random.default_rng(5)
    down = draw.normal(size=(3, inputs)).astype(np.float32)
    up = draw.normal(size=(rows, 3)).astype(np.float32)
    pair = place.lora_to_file(down, up)
    provenance: dict[str, str] = {}
    write_adapter(
        tmp_path / ADAPTER_FILE,
        architecture="llama",
        pairs={place.tensor: pair},
        alpha=0.0,
        name="small",
        provenance=provenance,
    )
    AdapterNote("ab" * 32, "llama", 1.0).write(tmp_path)
    return tmp_path, torch.from_numpy(up @ down)


def test_its_identity_covers_the_adapter_and_the_base_it_names(adapter: tuple[Path, torch.Tensor]) -> None:
    folder, _ = adapter
    first = identify(folder)
    assert first.format is ModelFormat.ADAPTER
    assert {file.name for file in first.files} == {ADAPTER_FILE, ADAPTER_NOTE}
    assert AdapterNote.of(folder).base == "ab" * 32
    AdapterNote("cd" * 32, "llama", 1.0).write(folder)
    assert identify(folder).tree_hash != first.tree_hash


@pytest.mark.parametrize("scale", [1.0, -1.0, 0.0])
def test_the_network_gets_the_change_in_its_own_order(
    adapter: tuple[Path, torch.Tensor], untaught: TransformersModel, scale: float
) -> None:
    folder, change = adapter
    copy = tiny.copy_of(untaught)
    add_adapter(copy.network, folder / ADAPTER_FILE, scale)
    old, new = dict(untaught.network.named_parameters()), dict(copy.network.named_parameters())
    torch.testing.assert_close(new[NAME], old[NAME] + scale * change, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(old[name], new[name]) for name in old if name != NAME)


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"base": "a", "architecture": "llama", "scale": "much"}'])
def test_a_note_that_is_none(adapter: tuple[Path, torch.Tensor], body: str) -> None:
    folder, _ = adapter
    (folder / ADAPTER_NOTE).write_text(body, encoding="utf-8")
    with pytest.raises(ModelFileError, match="missing or damaged; export the adapter again"):
        identify(folder)


def test_a_folder_without_its_adapter(adapter: tuple[Path, torch.Tensor]) -> None:
    folder, _ = adapter
    (folder / ADAPTER_FILE).unlink()
    with pytest.raises(ModelFileError, match=f"has no {ADAPTER_FILE}"):
        identify(folder)


def test_a_scale_that_is_no_number(adapter: tuple[Path, torch.Tensor]) -> None:
    folder, _ = adapter
    note = json.loads((folder / ADAPTER_NOTE).read_text(encoding="utf-8"))
    (folder / ADAPTER_NOTE).write_text(json.dumps({**note, "scale": float("inf")}), encoding="utf-8")
    with pytest.raises(ModelFileError, match="missing or damaged"):
        AdapterNote.of(folder)


def test_an_adapter_of_another_model(adapter: tuple[Path, torch.Tensor]) -> None:
    folder, _ = adapter
    with pytest.raises(ModelFileError, match="use it with its own base"):
        add_adapter(tiny.model("gpt2").network, folder / ADAPTER_FILE, 1.0)
