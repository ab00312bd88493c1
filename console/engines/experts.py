"""The stacked weights of a mixture's routed experts."""

from __future__ import annotations

from typing import Any

import torch


def expert_stacks(network: Any) -> dict[str, torch.nn.Parameter]:
    """The weights of routed experts by their paths, each (experts, rows, columns).

    transformers keeps all experts of a block in such tensors, in which no linear layer can be found.
    """
    return {
        path: weight for path, weight in network.named_parameters() if weight.ndim == 3 and ".experts." in f".{path}"
    }


def expert_matrices(network: Any) -> list[torch.Tensor]:
    """Every expert's matrices, as (outputs, inputs) views of the network's own memory."""
    found: list[torch.Tensor] = []
    for path, stack in expert_stacks(network).items():
        owner = network.get_submodule(path.rpartition(".")[0])
        turned = bool(getattr(owner, "is_transposed", False))  # some architectures keep (inputs, outputs)
        found += (stack.detach().mT if turned else stack.detach()).unbind()
    return found
