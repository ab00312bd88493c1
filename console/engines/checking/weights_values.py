"""Whether every stored weight is a number: streamed, without a compute library, in bounded memory.

A single NaN makes every answer and every score of a model meaningless, and a network that answers nothing looks like
one that knows nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from console.domain.visible import quoted
from console.engines.checking.weights_table import TableEntry
from console.engines.gguf_header import BLOCKS, GgufLayout
from console.errors import ModelFileError

_PIECE = 16 * 1024 * 1024  # bytes, before they are cut down to whole blocks
_HEADS = ("lm_head.weight", "embed_out.weight", "embed_tokens.weight", "wte.weight", "token_embd.weight")

# Exponent bits that are all set in what is no number, by the width of the value: IEEE 754, and bfloat16.
_EXPONENTS = {
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
    "F32": (np.uint32, 0x7F80_0000),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
}
# Where the half-precision scales lie in a block of ggml's packed types, in bytes (ggml-common.h); Q8_K has a float.
_SCALES = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S"), (0,)),
    **dict.fromkeys(("IQ2_S", "IQ4_XS", "Q1_0"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q8_1", "Q4_K", "Q5_K"), (0, 2)),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q6_K": (208,),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
}


def require_numbers(tensors: Iterable[tuple[Path, TableEntry]]) -> None:
    """Read every floating-point tensor of safetensors files once.

    Raises:
        ModelFileError: names the first tensor that holds something else than numbers, or a head of zeros.
    """
    for path, entry in tensors:
        if entry.dtype in _EXPONENTS:
            _require(path, entry.name, entry.start, entry.end, entry.dtype, _EXPONENTS[entry.dtype][0]().itemsize, (0,))


def require_numbers_in_file(layouts: Iterable[GgufLayout]) -> None:
    """The same for a GGUF model: its plain tensors, and the scales of its packed ones.

    Raises:
        ModelFileError: as ``require_numbers``.
    """
    bytes_of = {name: size for name, _, size in BLOCKS.values()}
    for layout in layouts:
        for tensor in layout.tensors:
            begin, end, kind = tensor.offset, tensor.offset + tensor.size, tensor.type_name
            if kind in _EXPONENTS:
                _require(layout.path, tensor.name, begin, end, kind, bytes_of[kind], (0,))
            elif kind in _SCALES:
                _require(layout.path, tensor.name, begin, end, "F16", bytes_of[kind], _SCALES[kind])
            elif kind == "Q8_K":
                _require(layout.path, tensor.name, begin, end, "F32", bytes_of[kind], (0,))


def _require(path: Path, name: str, begin: int, end: int, kind: str, block: int, places: tuple[int, ...]) -> None:
    integer, exponent = _EXPONENTS[kind]
    width = integer().itemsize
    holds_something = False
    for raw in _pieces(path, begin, end, block):
        holds_something = holds_something or bool(raw.any())
        blocks = raw.reshape(-1, block)
        for place in places:
            found = np.ascontiguousarray(blocks[:, place : place + width]).view(integer)
            if bool(((found & integer(exponent)) == integer(exponent)).any()):
                raise ModelFileError(
                    f"The weights {quoted(name)} in {quoted(path.name)} hold values that are no numbers (NaN or "
                    "infinite), so nothing that this model says means anything; copy it again, or choose another."
                )
    if not holds_something and name.endswith(_HEADS):
        raise ModelFileError(
            f"The weights {quoted(name)} in {quoted(path.name)} are all zero, so this model can say nothing; copy it "
            "again, or choose another."
        )


def _pieces(path: Path, begin: int, end: int, block: int) -> Iterator[np.ndarray]:
    size = _PIECE // block * block
    with path.open("rb") as stream:
        stream.seek(begin)
        while begin < end:
            raw = np.frombuffer(stream.read(min(size, end - begin)), dtype=np.uint8)
            if not raw.size or raw.size % block:
                raise ModelFileError(f"The file {quoted(path.name)} became shorter while it was read; copy it again.")
            begin += raw.size
            yield raw
