"""A mixture of experts is refused before a method plans to leave it as it is."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, MixtralConfig, Qwen3MoeConfig

from console.errors import InputError
from console.methods.experts import require_dense

SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize(
    "config",
    [
        MixtralConfig(**SHAPE, num_local_experts=2),
        Qwen3MoeConfig(**SHAPE, num_experts=4, moe_intermediate_size=8, head_dim=8),
    ],
    ids=["mixtral", "qwen3_moe"],
)
def test_a_mixture_of_experts_is_refused(config: Any) -> None:
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    with pytest.raises(InputError, match="is a mixture of experts, and no method here"):
        require_dense(network)


def test_a_dense_network_is_not(any_model: Any) -> None:
    require_dense(any_model.network)
    require_dense(tiny.model("gpt2").network)
