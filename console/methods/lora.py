"""Low-rank adapters: which modules, put on, taken off, merged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from pydantic import BaseModel, ConfigDict, Field

from console.engines.frozen_trunk import blocks_of
from console.errors import InputError


class LoraSettings(BaseModel):
    """Rank and reach of an adapter.

    Attributes:
        alpha: scale; the adapter's product is multiplied by ``alpha / rank``.
        b_ratio: learning rate of the B matrices over that of the A matrices.
        first_layer: share of the depth (0 to 1) below which nothing is trained. Layers below the first
            adapter need no backward pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    b_ratio: float = Field(default=1.0, gt=0)
    first_layer: float = Field(default=0.0, ge=0.0, lt=1.0)


def layer_number(path: str) -> int | None:
    """The first whole-number segment of a module path: exact, because ``layers.3`` is in ``layers.30`` (S3T's bug)."""
    return next((int(segment) for segment in path.split(".") if segment.isdigit()), None)


def first_trained_layer(network: Any, settings: LoraSettings) -> int:
    """Number of the lowest block that an adapter with these settings touches."""
    return int(settings.first_layer * network.config.num_hidden_layers)


def trained_blocks(network: Any, settings: LoraSettings) -> list[torch.nn.Module]:
    """The blocks that an adapter with these settings touches."""
    return blocks_of(network)[first_trained_layer(network, settings) :]


def resolve_modules(network: Any, settings: LoraSettings) -> tuple[str, ...]:
    """Full paths of every linear module in the blocks, never the unembedding (it may be tied; llama.cpp #11554).

    Raises:
        InputError: the architecture offers no such module.
    """
    lowest = first_trained_layer(network, settings)
    head = network.get_output_embeddings()
    modules = tuple(
        path
        for path, module in network.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module is not head
        and (number := layer_number(path)) is not None
        and number >= lowest
    )
    if not modules:
        raise InputError(
            f"The architecture '{network.config.model_type}' has no linear layers that an adapter can be put on; "
            "choose another method or model."
        )
    return modules


def resolve_tensors(network: Any, names: tuple[str, ...], settings: LoraSettings) -> tuple[str, ...]:
    """Full paths of the modules in the blocks whose own weight is trained: the last segment is one of ``names``.

    Raises:
        InputError: a name that no module of these blocks has.
    """
    lowest = first_trained_layer(network, settings)
    inside = {
        path: path.rpartition(".")[2]
        for path, module in network.named_modules()
        if isinstance(getattr(module, "weight", None), torch.nn.Parameter)
        and (number := layer_number(path)) is not None
        and number >= lowest
    }
    missing = [name for name in names if name not in inside.values()]
    if missing:
        known = ", ".join(sorted(set(inside.values())))
        raise InputError(f"No weight in the model's blocks is called '{missing[0]}'; there are {known}.")
    return tuple(path for path, name in inside.items() if name in names)


def trainable_parameters(network: Any, modules: tuple[str, ...], rank: int) -> int:
    """Parameters that an adapter of this rank adds to these modules."""
    by_path = dict(network.named_modules())
    return sum(rank * (by_path[path].in_features + by_path[path].out_features) for path in modules)


def with_adapter(network: Any, modules: tuple[str, ...], settings: LoraSettings, seed: int) -> Any:
    """The network with a fresh adapter (its product is zero, so nothing changes yet)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, bias="none", target_modules=list(modules)
        )
        return get_peft_model(network, config)


@contextmanager
def adapter_off(network: Any) -> Iterator[None]:
    """The network as it was before training: the reference model needs no second copy."""
    with network.disable_adapter():
        yield


def merged(network: Any) -> Any:
    """The plain network with the adapter's product added to its weights (in float32)."""
    plain = network.merge_and_unload()
    for parameter in plain.parameters():
        parameter.requires_grad_(True)
    return plain
