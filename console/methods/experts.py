"""Mixtures of experts, whose weights no method here reaches yet."""

from __future__ import annotations

from typing import Any

from console.errors import InputError

_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")


def require_dense(network: Any) -> None:
    """Refuse a network in which each token goes through a few of many blocks, before anything is planned for it.

    Their weights are kept as one tensor of three dimensions, in which no method finds a matrix to change: it would
    leave the knowledge in the experts as it is, and say that it erased.

    Raises:
        InputError: the network has experts.
    """
    config = network.config.get_text_config()
    counted = max((int(getattr(config, name, 0) or 0) for name in _COUNTS), default=0)
    stacked = any(weight.ndim == 3 and ".experts." in name for name, weight in network.named_parameters())
    if counted > 1 or stacked:
        raise InputError(
            f"The architecture '{config.model_type}' is a mixture of experts, and no method here changes what the "
            "experts hold; it can be located in and attacked, and erased only by training it anew without the data."
        )
