"""A GGUF model before the native library sees it: its vocabulary, its template, its values, its parts.

llama.cpp reads scores and kinds of tokens as floats and whole numbers of 32 bits without asking what they are, and a
token number beyond the vocabulary ends the process.
"""

from __future__ import annotations

from pathlib import Path

from console.domain.visible import quoted
from console.engines.checking.chat_template import require_usable
from console.engines.checking.plain_files import require_inside
from console.engines.checking.weights_values import require_weights_in_file
from console.engines.gguf_header import FLOAT32, INT32, STRING, GgufHeader, read_gguf_header, read_gguf_parts, shown
from console.errors import ModelFileError

_VOCABULARY = "tokenizer.ggml."
_TOKENS = _VOCABULARY + "tokens"
# What each array of a vocabulary holds; those of the second group have one value a token.
_KINDS = {"tokens": STRING, "merges": STRING, "scores": FLOAT32, "token_type": INT32}
_ONE_A_TOKEN = ("scores", "token_type")
_TEMPLATE = "tokenizer.chat_template"
_KIND_NAMES = {STRING: "text", FLOAT32: "decimal numbers of 32 bits", INT32: "whole numbers of 32 bits"}


def check_gguf(path: Path) -> GgufHeader:
    """All that can be told of a GGUF model without a library; its header over all parts.

    Raises:
        ModelFileError: names the entry or the tensor.
    """
    layouts = read_gguf_parts(path)
    for layout in layouts:
        if len(layouts) > 1:
            require_inside(path.parent, layout.path)
    header = read_gguf_header(path)
    name = shown(path.name)
    if not header.has_tokenizer:
        raise ModelFileError(f"{name} carries no tokenizer; choose a GGUF file that does.")
    _require_vocabulary(header, name)
    for key, value in header.metadata.items():
        if key == _TEMPLATE or key.startswith(f"{_TEMPLATE}."):
            if not isinstance(value, str):
                raise _refusal(name, key, "is no text")
            require_usable(value, f"{key} of {name}")
    require_weights_in_file(layouts)
    return header


def _refusal(name: str, key: str, what: str) -> ModelFileError:
    return ModelFileError(f"The entry {quoted(key)} of {name} {what}; download or copy the file again.")


def _require_vocabulary(header: GgufHeader, name: str) -> None:
    tokens = header.array_lengths[_TOKENS]
    for short, kind in _KINDS.items():
        key = _VOCABULARY + short
        if key in header.metadata or header.array_kinds.get(key, kind) != kind:
            raise _refusal(name, key, f"does not hold {_KIND_NAMES[kind]}")
        if short in _ONE_A_TOKEN and header.array_lengths.get(key, tokens) != tokens:
            raise _refusal(name, key, f"has {header.array_lengths[key]:,} values for {tokens:,} tokens")
    for key, value in header.metadata.items():
        if not key.startswith(_VOCABULARY):
            continue
        if key.endswith("_token_id") and not (type(value) is int and 0 <= value < tokens):
            raise _refusal(name, key, f"is no number of one of the {tokens:,} tokens")
        if key in (f"{_VOCABULARY}model", f"{_VOCABULARY}pre") and not isinstance(value, str):
            raise _refusal(name, key, "is no text")
        if key.startswith(f"{_VOCABULARY}add_") and not isinstance(value, bool):
            raise _refusal(name, key, "is neither yes nor no")
    rows = next((tensor.shape[-1] for tensor in header.tensors if tensor.name == "token_embd.weight"), tokens)
    if rows != tokens:
        raise ModelFileError(
            f"{name} has {tokens:,} tokens and {rows:,} rows for them; download or copy the file again."
        )
