"""What an interrupted run needs to go on as if it had never stopped: one file, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from console.methods.training import Stepper


def trained_tensors(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that the run trains, by name."""
    return {name: parameter.detach() for name, parameter in network.named_parameters() if parameter.requires_grad}


def keep(path: Path, network: torch.nn.Module, stepper: Stepper, **more: Any) -> None:
    """Write a run's state.

    Args:
        more: whatever else the run depends on, as plain values.
    """
    state = {"tensors": trained_tensors(network), "stepper": stepper.state(), **more}
    path.parent.mkdir(parents=True, exist_ok=True)
    working = path.with_suffix(".part")
    torch.save(state, working)
    working.replace(path)


def resumed(path: Path | None, network: torch.nn.Module, stepper: Stepper) -> dict[str, Any] | None:
    """Put a kept state back; returns what else was kept, or None where there is nothing to go on from.

    A file that cannot be read, or is of other tensors, is passed over: the run then starts from its beginning, which
    gives the same result later.
    """
    if path is None or not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        kept = dict(state["tensors"])
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError, UnpicklingError):
        return None
    mine = trained_tensors(network)
    if {name: tensor.shape for name, tensor in mine.items()} != {name: tensor.shape for name, tensor in kept.items()}:
        return None
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(kept[name])
    stepper.restore(state["stepper"])
    return {name: value for name, value in state.items() if name not in ("tensors", "stepper")}
