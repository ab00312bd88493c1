"""All or nothing for weights: a change that fails half-way leaves no trace.

Only the named tensors are copied, because an edit touches a few matrices of a model that may fill the memory. They are
put back from the copy and never by subtracting the change, which is only equal within rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Snapshot:
    """Copies of some tensors of a network as they were."""

    def __init__(self, network: Any, names: Iterable[str]) -> None:
        tensors = dict(network.named_parameters())
        self._tensors = {name: tensors[name] for name in names}
        self._kept = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Put every tensor back, bit for bit."""
        for name, tensor in self._tensors.items():
            tensor.copy_(self._kept[name])

    @torch.no_grad()
    def relative_change(self, name: str) -> float:
        """Frobenius norm of a tensor's change since the snapshot over its norm then (infinite from zero)."""
        kept = self._kept[name].cpu().double()
        change = float((self._tensors[name].detach().cpu().double() - kept).norm())
        return change / float(kept.norm()) if kept.any() else (float("inf") if change else 0.0)


@contextmanager
def weight_transaction(network: Any, names: Iterable[str]) -> Iterator[Snapshot]:
    """Keep the changes made inside if the block ends well; take them back if anything is raised, a stop included.

    Args:
        names: of the parameters that may be changed, as in ``network.named_parameters()``.

    Raises:
        KeyError: the network has no parameter of that name.
    """
    snapshot = Snapshot(network, names)
    try:
        yield snapshot
    except BaseException:
        snapshot.restore()
        raise
