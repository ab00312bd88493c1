"""What a network must be given so that each of its layers sees of a packed row what it sees of each text alone.

A row's mask says which tokens belong together. Some architectures have layers that see only the last W tokens
(sliding windows: Gemma 2 and 3, Mistral, Phi-3, Qwen with its window on). transformers makes their masks from a
two-dimensional mask or none, but takes a four-dimensional one as it is, for every layer; so here each kind of
layer gets its own. The window is counted in the text's own positions, not in the row's: with p(i) the position of
row place i, a sliding layer's token i sees j where the row's mask allows it and p(i) - p(j) < W, which is what
transformers does for a text alone (``masking_utils.sliding_window_overlay``).

How a mask is written depends on the attention code as well: SDPA takes True and False, the plain ("eager")
one adds the mask to the scores and would take True for a score of 1 and hide nothing.
"""

from __future__ import annotations

from typing import Any

import torch

from console.engines.packing import PackedRow
from console.errors import ModelFileError

FULL, SLIDING = "full_attention", "sliding_attention"
_ONE_FOR_ALL = frozenset({"ministral3", "mistral", "mixtral", "phi3", "qwen3_moe", "starcoder2"})
_ONE_A_KIND = frozenset(
    {
        "cohere2",
        "exaone4",
        "gemma2",
        "gemma3_text",
        "gpt_oss",
        "ministral",
        "olmo3",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "smollm3",
    }
)

AttentionMask = torch.Tensor | dict[str, torch.Tensor]


def _config(network: Any) -> Any:
    return network.config.get_text_config(decoder=True)


def _kinds(config: Any) -> frozenset[str]:
    """The kinds of attention that the network's layers have; none where the configuration does not tell."""
    named = getattr(config, "layer_types", None) or ()
    return frozenset(config.attention_layers if config.model_type == "gpt_neo" else named)


def _obstacle(network: Any) -> str | None:
    """What makes a packed row wrong for this network, as the end of a sentence; None where nothing does."""
    config = _config(network)
    unknown = _kinds(config) - {FULL, SLIDING, "global"}
    if unknown:
        return f"has layers of a kind that this console does not know ({', '.join(sorted(unknown))})"
    if getattr(network, "_is_stateful", False):
        return "carries a state from token to token"
    if not getattr(config, "is_causal", True) or getattr(config, "use_bidirectional_attention", None):
        return "looks ahead in the text"
    if SLIDING in _kinds(config) and not getattr(config, "sliding_window", None):
        return "has sliding layers without a window"
    if config._attn_implementation not in {"sdpa", "eager"}:
        return f"is set to attention code that this console does not use ({config._attn_implementation})"
    return None


def require_known_attention(network: Any) -> None:
    """Refuse a network whose layers would see, in a packed row, something else than in a text alone.

    Raises:
        ModelFileError: unknown kinds of attention, a state that is carried along, or attention code without such masks.
    """
    obstacle = _obstacle(network)
    if obstacle is not None:
        raise ModelFileError(
            f"The architecture '{_config(network).model_type}' {obstacle}, so its scores would be wrong here; "
            "use a model of another architecture."
        )


def _window(config: Any) -> int | None:
    """Tokens that a sliding layer sees, the token itself included; None where no layer slides."""
    if config.model_type not in _ONE_FOR_ALL and _kinds(config) and SLIDING not in _kinds(config):
        return None
    return getattr(config, "sliding_window", None) or None


def sees_whole(network: Any, tokens: int) -> bool:
    """Whether every layer is known to see the whole of a text of so many tokens."""
    window = _window(_config(network))
    return _obstacle(network) is None and (window is None or tokens <= window)


def layers_are_alike(network: Any) -> bool:
    """Whether all layers see alike, so that any of them can stand in another's place."""
    return len(_kinds(_config(network))) < 2


def _written(visible: torch.Tensor, network: Any) -> torch.Tensor:
    """A mask of True and False as the network's attention code reads it."""
    if _config(network)._attn_implementation != "eager":
        return visible
    hidden = torch.finfo(network.dtype).min
    return torch.zeros(visible.shape, dtype=network.dtype, device=visible.device).masked_fill_(~visible, hidden)


def attention_of(row: PackedRow, network: Any) -> AttentionMask:
    """The ``attention_mask`` that the network must be given for a packed row.

    One (1, 1, time, time) mask, or for architectures that ask for it one for each kind of layer.

    Raises:
        ModelFileError: the network's layers see in a way for which no mask is known here.
    """
    require_known_attention(network)
    config = _config(network)
    window = _window(config)
    everything = _written(row.attention_mask, network)
    if window is None or int(row.position_ids.max()) < window:
        return everything
    back = row.position_ids[:, None, :, None] - row.position_ids[:, None, None, :]
    near = _written(row.attention_mask & (back < window), network)
    if config.model_type in _ONE_FOR_ALL:
        return near
    if config.model_type in _ONE_A_KIND:
        return {FULL: everything, SLIDING: near}
    raise ModelFileError(
        f"A text is longer than the {window} tokens that some layers of the architecture '{config.model_type}' see, "
        "and this console does not know which layers; shorten the texts or use a model of another architecture."
    )
