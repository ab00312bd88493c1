"""A GGUF adapter's change, put into a network in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from console.domain.visible import quoted
from console.engines.checking.weights_values import require_numbers_in_file
from console.engines.gguf_header import read_gguf_header, read_gguf_layout
from console.engines.gguf_names import network_places
from console.engines.gguf_tensors import tensors_of
from console.engines.model_files import ADAPTER_FILE, AdapterNote
from console.errors import ModelFileError

_DOWN, _UP = ".lora_a", ".lora_b"


def _halves(adapter: Path) -> dict[str, np.ndarray]:
    """Every tensor of an adapter file, float32, as numpy has the shape."""
    read_gguf_layout(adapter)  # the package's reader believes what a file declares
    found = {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        for tensor in gguf.GGUFReader(adapter).tensors
    }
    if {name.removesuffix(_DOWN) for name in found if name.endswith(_DOWN)} != {
        name.removesuffix(_UP) for name in found if name.endswith(_UP)
    }:
        raise ModelFileError(f"The adapter {adapter.name} has a half without its other half; export it again.")
    return found


@torch.no_grad()
def add_adapter(network: Any, adapter: Path, scale: float) -> None:
    """Add ``scale`` times each pair's product to the weight that it belongs to, in place.

    Raises:
        ModelFileError: the adapter names a weight that the network has not.
    """
    places = {place.tensor: place for place in network_places(network).values()}
    weights = dict(network.named_parameters(remove_duplicate=False))
    halves = _halves(adapter)
    for name in halves:
        if not name.endswith(_DOWN):
            continue
        tensor = name.removesuffix(_DOWN)
        place = places.get(tensor)
        if place is None:
            raise ModelFileError(f"The adapter changes '{tensor}', which this model has not; use it with its own base.")
        change = halves[tensor + _UP] @ halves[name]
        weight = weights[place.parameter]
        weight += scale * torch.tensor(place.from_file(change)).to(weight.device, weight.dtype)


def check_file_adapter(folder: Path, base: Path) -> None:
    """Whether every half of an adapter's file fits a weight of its base, a GGUF file, and is made of numbers.

    Raises:
        ModelFileError: names the tensor.
    """
    adapter = folder / ADAPTER_FILE
    layout = read_gguf_layout(adapter)
    kind, architecture = layout.header.metadata.get("general.type"), read_gguf_header(base).architecture
    if (
        kind != "adapter"
        or layout.header.architecture != architecture
        or AdapterNote.of(folder).architecture != architecture
    ):
        raise ModelFileError(
            f"The adapter {quoted(folder.name)} is not one for a model of the architecture '{architecture}'; use it "
            "with the model that it was exported from."
        )
    weights = {name: stored.shape for name, stored in tensors_of(base).items()}
    halves = {tensor.name: tensor.shape[::-1] for tensor in layout.tensors}
    for name, shape in halves.items():
        tensor = name.removesuffix(_DOWN).removesuffix(_UP)
        down, up = halves.get(tensor + _DOWN, ()), halves.get(tensor + _UP, ())
        fits = len(down) == len(up) == 2 and down[0] == up[1] and weights.get(tensor) == (up[0], down[1])
        if name == tensor or not fits:
            raise ModelFileError(
                f"The adapter's tensor {quoted(name)} with the shape {list(shape)} does not fit the base "
                f"{quoted(base.name)}; use it with the model that it was exported from."
            )
    require_numbers_in_file((layout,))
