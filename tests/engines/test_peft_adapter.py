"""A folder that PEFT wrote: compared with its base before it is registered, and merged as PEFT itself merges it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from console.engines.model_files import ModelFormat, base_named_by, identify
from console.engines.peft_adapter import check_adapter, merged_snapshot
from console.engines.transformers_engine import TransformersModel
from console.errors import ModelFileError

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def adapter(untaught: TransformersModel, tmp_path: Path) -> Path:
    """An adapter of rank 2 on the query matrices, whose change is not nothing."""
    network = get_peft_model(
        tiny.copy_of(untaught).network, LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
    )
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.normal_(generator=torch.Generator().manual_seed(1))
    network.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "README.md").unlink(missing_ok=True)
    return tmp_path / "adapter"


def test_its_identity_is_the_adapter_s_own(adapter: Path) -> None:
    identity = identify(adapter)
    assert identity.format is ModelFormat.PEFT
    assert {file.name for file in identity.files} == {"adapter_config.json", WEIGHTS}
    assert base_named_by(adapter) is not None


def test_it_is_merged_as_peft_merges_it(adapter: Path, untaught_folder: Path, tmp_path: Path) -> None:
    check_adapter(adapter, untaught_folder)
    folder = merged_snapshot(adapter, untaught_folder, ("a", "b"), tmp_path / "cache")
    ours = TransformersModel.load(folder, tmp_path / "cache", "cpu").network.state_dict()
    base = TransformersModel.load(untaught_folder, tmp_path / "cache", "cpu").network
    theirs = PeftModel.from_pretrained(base, adapter).merge_and_unload().state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert merged_snapshot(adapter, untaught_folder, ("a", "b"), tmp_path / "cache") == folder


def test_an_adapter_of_another_model(adapter: Path, tmp_path: Path) -> None:
    other = tiny.saved(tiny.model(layers=1), tmp_path / "other")
    with pytest.raises(ModelFileError, match=r"does not fit this base: .*layers\.1"):
        check_adapter(adapter, other)
    with pytest.raises(ModelFileError, match="adapter"):
        check_adapter(adapter, tiny.saved(tiny.model("gpt2"), tmp_path / "gpt2"))


def test_what_is_no_adapter_to_be_trusted(adapter: Path, untaught_folder: Path) -> None:
    tensors = load_file(adapter / WEIGHTS)
    save_file({name: tensor * float("nan") for name, tensor in tensors.items()}, adapter / WEIGHTS)
    with pytest.raises(ModelFileError, match="no numbers"):
        check_adapter(adapter, untaught_folder)
    save_file(dict(list(tensors.items())[1:]), adapter / WEIGHTS)
    with pytest.raises(ModelFileError, match="does not fit this base"):
        check_adapter(adapter, untaught_folder)
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"peft_type": "IA3"}), encoding="utf-8")
    with pytest.raises(ModelFileError, match="kind 'IA3'"):
        identify(adapter)


def test_an_adapter_beside_a_whole_model_is_neither(adapter: Path, untaught_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(untaught_folder, tmp_path / "both"))
    shutil.copytree(adapter, folder, dirs_exist_ok=True)
    with pytest.raises(ModelFileError, match="a whole model and an adapter"):
        identify(folder)
