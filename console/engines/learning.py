"""Which parameters take part in a gradient, for the time being."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def only_these_learn(network: Any, learning: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """Gradients are on, and only for these parameters; afterwards everything is as it was, and they keep none."""
    wanted = list(learning)
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        for parameter in wanted:
            parameter.requires_grad_(True)
            parameter.grad = None
        with torch.enable_grad():
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for parameter in wanted:
            parameter.grad = None
