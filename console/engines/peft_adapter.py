"""A PEFT adapter laid over its base and merged, once, as a folder of the cache that is named by both hashes."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoTokenizer

from console.domain.visible import quoted
from console.engines.checking.model_folder import PEFT_WEIGHTS, read_folder
from console.engines.checking.network import failures_named, open_network
from console.engines.checking.peft_folder import PeftFolder, read_peft, require_adapter_numbers
from console.errors import ModelFileError

_SHOWN = 3


def _laid_over(network: Any, found: PeftFolder) -> Any:
    """The network with the adapter's places in it, once the adapter has exactly a tensor for each.

    Raises:
        ModelFileError: the adapter was made for another model.
    """
    with failures_named(found.path.name, "adapter is"):
        adapted = get_peft_model(network, LoraConfig.from_pretrained(str(found.path)))
        wanted = {name: tuple(tensor.shape) for name, tensor in get_peft_model_state_dict(adapted).items()}
    held = {entry.name: entry.shape for entry in found.tensors}
    differing = sorted(name for name in wanted.keys() | held.keys() if wanted.get(name) != held.get(name))
    if differing:
        told = ", ".join(map(quoted, differing[:_SHOWN]))
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise ModelFileError(
            f"The adapter {quoted(found.path.name)} does not fit this base: {told}{more} have no place or another "
            "shape in it; name the model that it was trained on with --base."
        )
    return adapted


def check_adapter(folder: Path, base: Path) -> None:
    """Whether an adapter's files are whole and fit the base, a model folder; no weights of the base are read.

    Raises:
        ModelFileError: names the cause.
    """
    found = read_peft(folder)
    require_adapter_numbers(found)
    _laid_over(open_network(read_folder(base), "meta"), found)


def merged_snapshot(folder: Path, base: Path, hashes: tuple[str, str], cache: Path) -> Path:
    """The base with the adapter's change added to its weights, as a model folder; made on first use.

    Args:
        base: a model folder.
        hashes: of the adapter and of its base, which name the copy.

    Raises:
        ModelFileError: as ``check_adapter``.
    """
    target = cache / "snapshots" / f"merged-{hashlib.sha256(' '.join(hashes).encode()).hexdigest()[:24]}"
    if (target / "config.json").is_file():
        return target
    found = read_peft(folder)
    require_adapter_numbers(found)
    adapted = _laid_over(open_network(read_folder(base)), found)
    with failures_named(folder.name, "adapter is"):
        set_peft_model_state_dict(adapted, load_file(folder / PEFT_WEIGHTS))
        network = adapted.merge_and_unload()
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(dir=target.parent, prefix="part-"))
    try:
        network.save_pretrained(working)
        tokenizer.save_pretrained(working)
        working.replace(target)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return target
