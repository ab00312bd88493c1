"""A GGUF adapter's change, put into a network in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from console.engines.gguf_header import read_gguf_layout
from console.engines.gguf_names import network_places
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
