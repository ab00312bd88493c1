"""A GGUF file as a safetensors folder that can be trained and saved.

transformers loads a GGUF file by de-quantising it, but refuses to save the model it so
loaded; its weights are therefore copied into a model made from a clean configuration. The
folder is cached by the file's hash, because the conversion reads the file's vocabulary several
times over and takes many times as long as the load itself.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from console.engines.model_files import ModelFormat, identify
from console.errors import ModelFileError

_FORMAT_VERSION = 1
# How transformers says that it does not know an architecture, or one of its tensors or settings.
_UNSUPPORTED = (ValueError, KeyError, NotImplementedError)


class _PlainReader(gguf.GGUFReader):
    """The package's reader over a plain array: a view of a ``memmap`` costs many times one of an array,
    and a vocabulary is read in some 150,000 views.
    """

    @property  # type: ignore[override]
    def data(self) -> np.ndarray:
        return self._plain

    @data.setter
    def data(self, mapped: np.memmap) -> None:
        self._plain = np.asarray(mapped)


@contextmanager
def _file_parsed_once() -> Iterator[None]:
    """While open, parsing a GGUF file's header is remembered.

    Loading configuration, tokenizer and weights parses the same 49,000-entry vocabulary four
    times (5 s each here), and the tensor name map is built anew for every module.
    """
    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader = lru_cache(maxsize=2)(_PlainReader)  # type: ignore[misc,assignment]
    gguf.get_tensor_name_map = lru_cache(maxsize=4)(names)  # type: ignore[assignment]
    try:
        yield
    finally:
        gguf.GGUFReader = reader  # type: ignore[misc]
        gguf.get_tensor_name_map = names


def _convert(path: Path, target: Path) -> None:
    folder, name = str(path.parent), path.name
    with _file_parsed_once():
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    described = {
        key: value
        for key, value in loaded.config.to_dict().items()
        if key not in {"_name_or_path", "_model_name_or_path", "quantization_config"}
    }
    model_type = described.pop("model_type")
    with torch.device("meta"):
        clean = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **described), dtype=torch.float32)
    clean.load_state_dict(loaded.state_dict(), assign=True)
    clean.tie_weights()
    clean.save_pretrained(target)
    tokenizer.save_pretrained(target)


def snapshot_of(path: Path, cache: Path) -> Path:
    """The safetensors folder of a GGUF file, made on first use.

    Raises:
        ModelFileError: the file is damaged, or of an architecture that cannot be loaded.
    """
    identity = identify(path)
    if identity.format is not ModelFormat.GGUF:
        raise ModelFileError(f"{path.name} is not a GGUF file.")
    target = cache / "snapshots" / f"{identity.tree_hash[:24]}-v{_FORMAT_VERSION}"
    if (target / "config.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(dir=target.parent, prefix="part-"))
    try:
        _convert(path, working)
        (working / "console-origin.json").write_text(
            json.dumps({"gguf": identity.tree_hash, "quantisation": identity.quantisation}), encoding="utf-8"
        )
        working.replace(target)
    except _UNSUPPORTED as error:
        raise ModelFileError(
            f"The architecture '{identity.architecture}' of {path.name} cannot be loaded for erasure; "
            "choose a model of a supported architecture."
        ) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return target
