"""The stacked weights of a mixture's routed experts."""

from __future__ import annotations

from typing import Any

import torch


def expert_stacks(network: Any) -> dict[str, torch.nn.Parameter]:
    """The weights of routed experts by their paths, each (experts, rows, columns).

    transformers keeps all experts of a block in such tensors, in which no linear layer can be found. Whatever their
    names, nothing else in a language model has three dimensions but the short convolutions of state-space blocks.
    """
    return {
        path: weight
        for path, weight in network.named_parameters()
        if weight.ndim == 3 and not isinstance(_owner(network, path), torch.nn.Conv1d)
    }


def _owner(network: Any, path: str) -> Any:
    return network.get_submodule(path.rpartition(".")[0])


def expert_matrices(network: Any) -> list[torch.Tensor]:
    """Every expert's matrices, as (outputs, inputs) views of the network's own memory."""
    found: list[torch.Tensor] = []
    for path, stack in expert_stacks(network).items():
        # Some architectures keep (inputs, outputs).
        turned = bool(getattr(_owner(network, path), "is_transposed", False))
        found += (stack.detach().mT if turned else stack.detach()).unbind()
    return found
