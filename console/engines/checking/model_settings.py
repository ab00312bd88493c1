"""The numbers in a model's settings: each one that is computed with can be, before a library computes with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from console.domain.visible import quoted
from console.errors import ModelFileError

_ENDS = "eos_token_id"
# Mamba 2 has no upper limit for the length of a step, and its settings say so by an infinite number.
_WITHOUT_LIMIT = frozenset(("time_step_limit",))


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_small(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1


def _is_above_zero(value: Any) -> bool:
    return type(value) in (int, float) and value > 0


# What a setting must be, wherever it stands, each value of a list (one a layer) too; None leaves it to the library.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        (
            *("num_attention_heads", "num_key_value_heads", "n_head", "n_heads", "num_heads", "head_dim"),
            *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "hidden_size", "n_embd", "d_model"),
            *("vocab_size", "max_position_embeddings", "n_positions"),
        ),
        (_is_size, "no whole number above zero"),
    ),
    **dict.fromkeys(
        ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
        (_is_small, "no number between zero and one"),
    ),
    **dict.fromkeys(("rope_theta", "rotary_emb_base"), (_is_above_zero, "no number above zero")),
}


def require_computable(settings: Mapping[str, Any], name: str, folder: str) -> None:
    """Refuse a setting with which nothing can be computed.

    Args:
        name: of the file.
        folder: name of the model's folder.

    Raises:
        ModelFileError: names the setting.
    """
    for key, value in _every(settings):
        if isinstance(value, float) and not math.isfinite(value) and key not in _WITHOUT_LIMIT:
            raise _refusal(key, name, folder, "is no number (NaN or infinite)")
        allowed, what = _RULES.get(key, (None, ""))
        if allowed is not None and value is not None and not allowed(value):
            told = f"{value:,}" if type(value) in (int, float) else quoted(str(value))
            raise _refusal(key, name, folder, f"is {told}, {what}")


def require_end_in_vocabulary(settings: Mapping[str, Any], tokens: Any, name: str, folder: str) -> None:
    """The token that ends an answer is one that the model can write.

    Args:
        tokens: of the vocabulary; what is no whole number is not compared with.

    Raises:
        ModelFileError: it is beyond the vocabulary, or no token's number.
    """
    said = settings.get(_ENDS)
    if said is None or type(tokens) is not int:
        return
    for end in said if isinstance(said, list) else [said]:
        if type(end) is not int or not 0 <= end < tokens:
            told = f"{end:,}" if type(end) is int else quoted(str(end))
            raise _refusal(_ENDS, name, folder, f"is {told}, which is no number of one of the {tokens:,} tokens")


def _every(settings: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Each single value with the name that it stands under, the values of a list too."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield from _every(value, name)
    elif isinstance(settings, list):
        for value in settings:
            yield from _every(value, key)
    else:
        yield key, settings


def _refusal(key: str, name: str, folder: str, what: str) -> ModelFileError:
    return ModelFileError(f"The setting {quoted(key)} in {name} of {quoted(folder)} {what}; copy the model again.")
