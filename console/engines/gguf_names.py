"""Where each weight of a network stands in a GGUF file, and how the file lays it out.

A GGUF file and the transformers network made from it hold the same numbers under other names and, for
some tensors, in another order. With W a parameter as transformers has it, the file's tensor is

- *rotary order* (query and key projections of files whose architecture is ``llama``): the rows of each
  head interleaved, because ggml turns neighbouring pairs where transformers turns the two halves of a
  head: ``reshape(heads, 2, d/2, ...) -> swapaxes(1, 2)``;
- *transposed* (GPT-2's ``Conv1D``, which keeps (inputs, outputs)): W^T;
- *stacked* (the routed experts of a mixture, which transformers keeps as (experts, rows, columns)): the same, but of
  ``gate_up_proj`` the first half of the rows is one tensor and the second another;
- *shifted* (the norms of Gemma 2 and 3, which transformers keeps as w of x·(1 + w)): W + 1;
- otherwise W itself. Phi-3's query/key/value and gate/up projections stay fused on both sides.

Where input and output embeddings are tied the file holds them once, as ``token_embd.weight``.
Source: llama.cpp's converter and the ``gguf`` package's tensor name maps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM

from console.errors import ModelFileError

FILE_ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {
        "llama": "llama",
        "mistral": "llama",
        "qwen2": "qwen2",
        "qwen3": "qwen3",
        "qwen2_moe": "qwen2moe",
        "qwen3_moe": "qwen3moe",
        "olmoe": "olmoe",
        "gemma2": "gemma2",
        "gemma3_text": "gemma3",
        "phi3": "phi3",
        "gpt2": "gpt2",
    }
)
"""The architecture that a GGUF file names, by the model type of the transformers configuration."""

TENSORS_WITHOUT_PARAMETER = frozenset({"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})
"""Tensors of a file that are settings (how positions are turned), not weights: never changed, always copied."""

MIXTURES = frozenset({"olmoe", "qwen2moe", "qwen3moe"})
"""Architectures of GGUF files whose experts are placed."""

_ROTARY = frozenset({"llama"})
_SHIFTED = frozenset({"gemma2", "gemma3"})
_CONV1D = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")
_KNOWN = (
    "Llama (SmolLM, Mistral), Qwen2, Qwen3, the mixtures of experts of both, OLMoE, Gemma 2, Gemma 3 (text), Phi-3 and "
    "GPT-2"
)


@dataclass(frozen=True)
class WeightPlace:
    """One parameter's place in the file.

    Attributes:
        parameter: the name in the transformers network.
        tensor: the name in the GGUF file.
        shape: of the parameter in the network, or of its part in ``rows``; (outputs, inputs) of a matrix, except
            ``Conv1D``'s.
        rotary_heads: heads whose rows the file has in rotary order; 0 for none.
        transposed: the file holds the transpose.
        shifted: the file holds the weight plus one.
        embedding: the matrix is looked up by token or position (it may be the tied head as well).
        rows: of each expert in a stacked parameter, those that the tensor holds; None for all.
        flat: the network keeps one row as a matrix, and the file as a vector.
    """

    parameter: str
    tensor: str
    shape: tuple[int, ...]
    rotary_heads: int = 0
    transposed: bool = False
    shifted: bool = False
    embedding: bool = False
    rows: tuple[int, int] | None = None
    flat: bool = False

    def part(self, weight: Any) -> Any:
        """What the tensor holds of the network's parameter, an array or a torch tensor, as a view."""
        return weight if self.rows is None else weight[:, self.rows[0] : self.rows[1]]

    @property
    def file_shape(self) -> tuple[int, ...]:
        """Shape of the tensor in the file as numpy has it, (rows, inputs); ggml writes it the other way round."""
        if self.flat:
            return self.shape[1:]
        return self.shape[::-1] if self.transposed else self.shape

    @property
    def row_order(self) -> np.ndarray | None:
        """(rows,): for each row of the file's tensor, the network's row it comes from; None if the same."""
        if not self.rotary_heads:
            return None
        return np.arange(self.shape[0]).reshape(self.rotary_heads, 2, -1).swapaxes(1, 2).reshape(-1)

    def to_file(self, weight: np.ndarray) -> np.ndarray:
        """The file's array (``file_shape``, contiguous) of the network's parameter ``weight``.

        Exact, but for shifted norms: those are rounded to the nearest float32 of W + 1.

        Raises:
            ModelFileError: ``weight`` has another shape.
        """
        weight = self.part(weight)
        self._expect(weight, self.shape)
        if self.flat:
            weight = weight[0]
        order = self.row_order
        if order is not None:
            weight = weight[order]
        if self.transposed:
            weight = weight.T
        if self.shifted:
            weight = weight + np.float32(1)
        return np.ascontiguousarray(weight)

    def from_file(self, stored: np.ndarray) -> np.ndarray:
        """The network's array (``shape``, contiguous) of the file's ``stored`` (``file_shape``).

        ``to_file(from_file(x))`` is x bit for bit (of shifted norms: while x is from 0.5 to 2^24).

        Raises:
            ModelFileError: ``stored`` has another shape.
        """
        self._expect(stored, self.file_shape)
        order = self.row_order
        if order is not None:
            stored = stored[np.argsort(order)]
        if self.transposed:
            stored = stored.T
        if self.shifted:
            stored = stored - np.float32(1)
        return np.ascontiguousarray(stored.reshape(self.shape))

    def lora_to_file(self, down: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A low-rank pair of this weight in the file's order.

        With A = ``down`` (rank, inputs) and B = ``up`` (outputs, rank) the change of a linear layer is B·A, and
        permuting the rows of B·A is permuting those of B. ``Conv1D`` keeps (B·A)^T and the file its transpose,
        which is B·A again, so that pair stays as it is.

        Returns:
            (A', B') with B'·A' the change of the file's tensor (rows, inputs).

        Raises:
            ModelFileError: the weight is not the matrix of a linear layer, or the pair does not fit it.
        """
        if len(self.file_shape) != 2 or self.embedding:
            raise ModelFileError(
                f"A low-rank change of '{self.parameter}' cannot be written for llama.cpp, because it is an embedding, "
                "a head tied to one, or no matrix; choose other layers."
            )
        rows, inputs = self.file_shape
        if down.ndim != 2 or up.ndim != 2 or (up.shape[0], down.shape[1], up.shape[1]) != (rows, inputs, down.shape[0]):
            raise ModelFileError(
                f"A low-rank change of shapes {down.shape} and {up.shape} does not fit '{self.parameter}', which "
                f"has {inputs} inputs and {rows} outputs; use the change with the model it was made for."
            )
        order = self.row_order
        return down, (up if order is None else np.ascontiguousarray(up[order]))

    def _expect(self, array: np.ndarray, shape: tuple[int, ...]) -> None:
        if array.shape != shape:
            raise ModelFileError(
                f"'{self.tensor}' was expected with shape {shape} but has {array.shape}; the file and the network "
                "are not the same model, so load the network from this file again."
            )


def check_architecture(architecture: str, *, experts: int = 0, tensors: Iterable[str] = ()) -> None:
    """Refuse a file whose weights this module cannot place.

    Args:
        architecture: ``general.architecture`` of the file.
        experts: ``<architecture>.expert_count`` of the file, 0 where it has none.
        tensors: names of the file's tensors.

    Raises:
        ModelFileError: an unknown architecture, or experts in one where they have no known place.
    """
    if architecture not in FILE_ARCHITECTURES.values():
        raise ModelFileError(
            f"A GGUF file of the architecture '{architecture}' cannot be changed in place; supported are {_KNOWN}."
        )
    routed = experts or any(part in name for name in tensors for part in ("_exps.", "ffn_gate_inp", "_shexp."))
    if routed and architecture not in MIXTURES:
        raise ModelFileError(
            f"This GGUF file ('{architecture}') is a mixture of experts of a kind that cannot be changed in place; "
            f"supported are {_KNOWN}."
        )


def file_architecture(config: Any) -> str:
    """The architecture that a GGUF file of this transformers configuration names.

    Raises:
        ModelFileError: of another kind than the supported ones.
    """
    named = FILE_ARCHITECTURES.get(config.model_type)
    if named is None:
        raise ModelFileError(
            f"A model of the type '{config.model_type}' cannot be written as a GGUF file; supported are {_KNOWN}."
        )
    return named


def network_places(network: Any) -> dict[str, WeightPlace]:
    """The place of every parameter of a transformers network, by the name that it has in a model folder.

    That is the parameter's own, but for stacked experts: a folder holds each expert's matrices, and here those of all
    experts go by one name, without the expert's number (``folder_name``). Tied embeddings have the same tensor:
    ``lm_head.weight`` then has the place of the input embeddings.

    Args:
        network: a causal language model without adapters around its layers.

    Raises:
        ModelFileError: an unsupported architecture, or a parameter without a place (named).
    """
    config = network.config
    architecture = file_architecture(config)
    names = gguf.get_tensor_name_map(_gguf_architecture(architecture), config.num_hidden_layers)
    looked_up = _embeddings(network)
    places: dict[str, WeightPlace] = {}
    owners: dict[tuple[int, tuple[int, int] | None], WeightPlace] = {}
    parameters = network.named_parameters(remove_duplicate=False)
    for parameter, weight, name, rows in (part for one in parameters for part in _parts(*one)):
        tied = owners.get((id(weight), rows))
        tensor = tied.tensor if tied else names.get_name(name, try_suffixes=(".weight", ".bias"))
        if tensor is None:
            raise ModelFileError(
                f"The weight '{parameter}' has no place in a GGUF file of the architecture '{architecture}'; "
                "choose a model that is stored the usual way, without added layers."
            )
        place = WeightPlace(
            parameter,
            tensor,
            tuple(weight.shape) if rows is None else (len(weight), rows[1] - rows[0], weight.shape[2]),
            rotary_heads=_rotary_heads(parameter, architecture, config),
            transposed=architecture == "gpt2" and parameter.endswith(_CONV1D),
            shifted=architecture in _SHIFTED and parameter.endswith("norm.weight"),
            embedding=id(weight) in looked_up,
            rows=rows,
            flat=parameter.endswith(".shared_expert_gate.weight"),
        )
        owners.setdefault((id(weight), rows), place)
        places[name] = place
    _refuse_shared_places(owners.values(), architecture)
    return places


def _parts(parameter: str, weight: torch.Tensor) -> Iterator[tuple[str, torch.Tensor, str, tuple[int, int] | None]]:
    """What of a parameter is a tensor of its own in a file: parameter, weight, name in a folder, and rows."""
    experts, _, last = parameter.rpartition(".")
    if last == "gate_up_proj" and weight.ndim == 3:
        half = weight.shape[1] // 2
        yield parameter, weight, f"{experts}.gate_proj.weight", (0, half)
        yield parameter, weight, f"{experts}.up_proj.weight", (half, 2 * half)
    else:
        yield parameter, weight, f"{parameter}.weight" if weight.ndim == 3 else parameter, None


def folder_name(name: str) -> str:
    """The name by which ``network_places`` knows a weight of a model folder."""
    return re.sub(r"\.experts\.\d+\.", ".experts.", name)


def weight_places(architecture: str, config: Any) -> dict[str, WeightPlace]:
    """``network_places`` of the network that ``config`` describes, without making its weights.

    Args:
        architecture: ``general.architecture`` of the file.
        config: transformers configuration of the network that goes with it.

    Raises:
        ModelFileError: an unsupported architecture, or a configuration of another one.
    """
    check_architecture(architecture)
    if file_architecture(config) != architecture:
        raise ModelFileError(
            f"The file's architecture is '{architecture}' but the network is a '{config.model_type}'; "
            "load the network from this file."
        )
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    return network_places(network)


def check_file(places: Mapping[str, WeightPlace], tensors: Mapping[str, tuple[int, ...]]) -> None:
    """Compare the places with what a file holds, so that nothing is left out and nothing guessed.

    Args:
        places: of the network.
        tensors: shape (rows, inputs) of every tensor of the file, by name.

    Raises:
        ModelFileError: a tensor is missing, of another shape, or belongs to no parameter.
    """
    for place in places.values():
        if place.tensor not in tensors:
            raise ModelFileError(
                f"The file has no tensor '{place.tensor}', which the network needs for '{place.parameter}'; "
                "load the network from this file again."
            )
        if tuple(tensors[place.tensor]) != place.file_shape:
            raise ModelFileError(
                f"'{place.tensor}' has shape {tuple(tensors[place.tensor])} in the file but {place.file_shape} in the "
                "network; load the network from this file again."
            )
    spare = unplaced(places, tensors)
    if spare:
        raise ModelFileError(
            f"The file holds '{spare[0]}', which belongs to no weight of the network; "
            "choose a file of the model alone, in a supported architecture."
        )


def unplaced(places: Mapping[str, WeightPlace], tensors: Iterable[str]) -> tuple[str, ...]:
    """The tensors of a file, in its order, that are neither a weight's nor one of ``TENSORS_WITHOUT_PARAMETER``."""
    known = {place.tensor for place in places.values()} | TENSORS_WITHOUT_PARAMETER
    return tuple(name for name in tensors if name not in known)


def _gguf_architecture(name: str) -> gguf.MODEL_ARCH:
    return next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)


def _embeddings(network: Any) -> set[int]:
    return {id(module.weight) for module in network.modules() if isinstance(module, torch.nn.Embedding)}


def _rotary_heads(parameter: str, architecture: str, config: Any) -> int:
    if architecture not in _ROTARY:
        return 0
    if ".q_proj." in parameter:
        return int(config.num_attention_heads)
    if ".k_proj." in parameter:
        return int(config.num_key_value_heads)
    return 0


def _refuse_shared_places(places: Iterable[WeightPlace], architecture: str) -> None:
    taken: dict[str, str] = {}
    for place in places:
        other = taken.setdefault(place.tensor, place.parameter)
        if other != place.parameter:
            raise ModelFileError(
                f"'{other}' and '{place.parameter}' would both be '{place.tensor}' in a GGUF file of the "
                f"architecture '{architecture}'; choose a model that is stored the usual way."
            )
