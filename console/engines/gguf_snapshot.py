"""A GGUF file as a safetensors folder that can be trained and saved.

transformers loads a GGUF file by de-quantising it, but leaves out settings and biases and refuses to
save the model it so loaded. The network is therefore made from a completed configuration
(``gguf_settings``), and each of its weights is read from the tensor that ``gguf_names`` says: the folder
computes what llama.cpp computes on the file, or the file is refused. It is cached by the file's hash,
because the conversion takes many times as long as the load itself.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.integrations.gguf import GGUF_CONFIG_ARCHS

from console.engines.checking.gguf_file import check_gguf
from console.engines.checking.network import failures_named
from console.engines.gguf_header import GgufHeader, parts_of, shown
from console.engines.gguf_names import (
    FILE_ARCHITECTURES,
    MIXTURES,
    WeightPlace,
    check_architecture,
    check_file,
    network_places,
)
from console.engines.gguf_settings import FileSettings, check_settings, completed
from console.engines.model_files import ModelFormat, identify
from console.errors import ModelFileError

_FORMAT_VERSION = 2  # of what is made of a file: a folder of another version is not used


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
def file_parsed_once() -> Iterator[None]:
    """While open, parsing a GGUF file's header is remembered, and transformers knows OLMoE files.

    Loading tokenizer and configuration parses the same 49,000-entry vocabulary three times (5 s each here).
    """
    reader = gguf.GGUFReader
    gguf.GGUFReader = lru_cache(maxsize=2)(_PlainReader)  # type: ignore[misc,assignment]
    GGUF_CONFIG_ARCHS["olmoe"] = _olmoe
    try:
        yield
    finally:
        del GGUF_CONFIG_ARCHS["olmoe"]
        gguf.GGUFReader = reader  # type: ignore[misc]


def _olmoe(metadata: Mapping[str, Any], _tensors: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of an OLMoE, which transformers 5 makes of no GGUF file; ``completed`` adds the rest."""
    settings = {
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "max_position_embeddings": "context_length",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    }
    tokens = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    return {
        "model_type": "olmoe",
        "architectures": ["OlmoeForCausalLM"],
        **{name: metadata[f"olmoe.{key}"] for name, key in settings.items()},
        **{name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in tokens.items()},
    }


class _Tensors:
    """The tensors of all parts of a file, de-quantised one at a time."""

    def __init__(self, parts: tuple[Path, ...]) -> None:
        # By text, as transformers names the file: the reader that is remembered is then the same.
        self._held = {tensor.name: tensor for part in parts for tensor in gguf.GGUFReader(str(part)).tensors}

    def read(self, name: str) -> np.ndarray:
        """(rows, inputs), float32.

        Raises:
            ModelFileError: it is stored in a way that cannot be de-quantised.
        """
        tensor = self._held[name]
        try:
            return gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        except NotImplementedError as error:
            raise ModelFileError(
                f"The weights '{shown(name)}' are stored as {tensor.tensor_type.name}, which cannot be read for "
                "erasure; choose a file of the model in another quantisation, such as Q8_0 or Q4_K."
            ) from error


def _weights(places: Mapping[str, WeightPlace], tensors: _Tensors, shapes: Mapping[str, Any]) -> dict[str, Any]:
    """Every weight by its parameter's name; those that are tied are one, and the halves of experts are joined."""
    read: dict[str, torch.Tensor] = {}
    for place in places.values():
        if place.tensor in read:
            continue
        if place.tensor not in shapes:
            read[place.tensor] = torch.zeros(place.shape)
            continue
        read[place.tensor] = torch.from_numpy(np.array(place.from_file(tensors.read(place.tensor))))
    found: dict[str, torch.Tensor] = {}
    for place in places.values():
        weight = read[place.tensor]
        first = found.get(place.parameter)  # the half of stacked experts that comes before
        found[place.parameter] = weight if first is None else torch.cat([first, weight], dim=1)
    return found


def _check_places(name: str, places: Mapping[str, WeightPlace], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Every tensor has its weight and every weight its tensor, except biases: a bias that is not there is 0."""
    needed = {
        parameter: place
        for parameter, place in places.items()
        if place.tensor in shapes or not place.tensor.endswith(".bias")
    }
    missing = sorted({place.tensor for place in needed.values()} - shapes.keys())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelFileError(
            f"{name} lacks the tensor '{shown(missing[0])}'{more}, which its architecture needs; download or copy the "
            "file again."
        )
    check_file(needed, shapes)


def _check_kind(header: GgufHeader, name: str) -> None:
    if header.architecture not in FILE_ARCHITECTURES.values():
        raise ModelFileError(
            f"The architecture '{header.architecture}' of {name} cannot be loaded for erasure; choose a model of "
            f"a supported architecture ({', '.join(sorted(set(FILE_ARCHITECTURES.values())))})."
        )
    experts = header.metadata.get(f"{header.architecture}.expert_count", 0)
    check_architecture(header.architecture, experts=bool(experts), tensors=[one.name for one in header.tensors])


@dataclass(frozen=True)
class _Opened:
    """A file's network on the meta device, and what is needed to fill it."""

    network: Any
    tokenizer: Any
    places: Mapping[str, WeightPlace]
    file: FileSettings
    tensors: _Tensors


def _open(path: Path, header: GgufHeader) -> _Opened:
    """Raises:
    ModelFileError: an unsupported architecture or setting, a tensor that is missing or of another shape.
    """
    parts = parts_of(path)
    folder, name = str(parts[0].parent), parts[0].name
    _check_kind(header, shown(path.name))
    with file_parsed_once(), failures_named(path.name, "vocabulary or settings are"):
        tensors = _Tensors(parts)
        file = FileSettings(shown(path.name), header, tensors.read)
        check_settings(file)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name, trust_remote_code=False)
        config = AutoConfig.from_pretrained(folder, gguf_file=name, trust_remote_code=False)
        described = {
            key: value
            for key, value in completed(config.to_dict(), file).items()
            if key not in {"_name_or_path", "_model_name_or_path", "quantization_config"}
        }
        model_type = described.pop("model_type")
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(
                AutoConfig.for_model(model_type, **described), dtype=torch.float32, trust_remote_code=False
            )
    places = network_places(network)
    _check_places(shown(path.name), places, file.shapes)
    return _Opened(network, tokenizer, places, file, tensors)


def _convert(path: Path, target: Path) -> None:
    opened = _open(path, check_gguf(path))
    network = opened.network
    with failures_named(path.name, "weights are"):
        network.load_state_dict(_weights(opened.places, opened.tensors, opened.file.shapes), assign=True)
        network.tie_weights()
        network.save_pretrained(target)
        opened.tokenizer.save_pretrained(target)


def check_network(path: Path, header: GgufHeader) -> None:
    """Whether the file's settings and tensors make the network that they describe, without its weights.

    An architecture that only llama.cpp knows, and most mixtures of experts, can be located on and not erased, so
    nothing is compared for them.

    Raises:
        ModelFileError: an architecture that nobody knows, or as ``snapshot_of``.
    """
    if header.architecture not in gguf.MODEL_ARCH_NAMES.values():
        raise ModelFileError(
            f"The architecture '{header.architecture}' of {shown(path.name)} is not known; choose a model of a "
            "known one."
        )
    experts = header.metadata.get(f"{header.architecture}.expert_count", 0)
    if header.architecture in MIXTURES or (header.architecture in FILE_ARCHITECTURES.values() and not experts):
        _open(path, header)


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
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return target
