"""Whether every stored weight is a number: streamed, without a compute library, in bounded memory.

A single NaN makes every answer and every score of a model meaningless, and a network that answers nothing looks like
one that knows nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from console.domain.visible import quoted
from console.engines.checking.weights_table import TableEntry
from console.engines.gguf_header import BLOCKS, GgufLayout
from console.errors import ModelFileError

_PIECE = 16 * 1024 * 1024  # bytes, before they are cut down to whole blocks
_HEADS = frozenset(
    (
        *("lm_head", "embed_out", "output", "embed_tokens", "embed_in", "wte", "word_embeddings", "token_embd"),
        "output_norm",  # of a GGUF file, whose norms hold the whole weight
    )
)
_LAYER = re.compile(r"(?:^|.*\.)(?:layers|h|blocks|block|layer|blk)\.\d+(?=\.)")


@dataclass(frozen=True)
class _Bits:
    """A kind of number by its bits, which order the amounts as whole numbers do: IEEE 754, and bfloat16.

    Attributes:
        amount: all bits but the sign.
        beyond: the least amount whose square is too large for float32, 2^64; in half precision there is none.
        no_number: the least amount that is infinite or no number.
    """

    integer: type[np.uint16] | type[np.uint32] | type[np.uint64]
    amount: int
    beyond: int
    no_number: int


_BITS = {
    "F64": _Bits(np.uint64, 0x7FFF_FFFF_FFFF_FFFF, 0x43F0_0000_0000_0000, 0x7FF0_0000_0000_0000),
    "F32": _Bits(np.uint32, 0x7FFF_FFFF, 0x5F80_0000, 0x7F80_0000),
    "F16": _Bits(np.uint16, 0x7FFF, 0x7C00, 0x7C00),
    "BF16": _Bits(np.uint16, 0x7FFF, 0x5F80, 0x7F80),
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


def require_numbers(tensors: Iterable[tuple[Path, TableEntry]]) -> frozenset[str]:
    """Read every floating-point tensor of safetensors files once.

    Returns:
        the names of those that are all zero, as a bias, or half of an adapter, may be.

    Raises:
        ModelFileError: names the first tensor that holds something else than numbers to compute with.
    """
    zeros = set()
    for path, entry in tensors:
        if entry.dtype in _BITS:
            width = _BITS[entry.dtype].integer().itemsize
            if not _holds_something(path, entry.name, entry.start, entry.end, entry.dtype, width, (0,)):
                zeros.add(entry.name)
    return frozenset(zeros)


def require_weights(tensors: Sequence[tuple[Path, TableEntry]]) -> frozenset[str]:
    """The same for a whole model, which says nothing with a head, an embedding or a layer of zeros.

    Raises:
        ModelFileError: as ``require_numbers``, or names the tensor of zeros.
    """
    zeros = require_numbers(tensors)
    _require_living(((path, entry.name, len(entry.shape)) for path, entry in tensors), zeros)
    return zeros


def require_numbers_in_file(layouts: Iterable[GgufLayout]) -> frozenset[str]:
    """``require_numbers`` for GGUF files: their plain tensors, and the scales of their packed ones.

    Raises:
        ModelFileError: as ``require_numbers``.
    """
    bytes_of = {name: size for name, _, size in BLOCKS.values()}
    zeros = set()
    for layout in layouts:
        for tensor in layout.tensors:
            begin, end, kind = tensor.offset, tensor.offset + tensor.size, tensor.type_name
            number, places = _numbers_of(kind)
            if places and not _holds_something(layout.path, tensor.name, begin, end, number, bytes_of[kind], places):
                zeros.add(tensor.name)
    return frozenset(zeros)


def _numbers_of(kind: str) -> tuple[str, tuple[int, ...]]:
    """The type of the numbers in a block of one of ggml's types, and where they lie in it; nowhere in some."""
    if kind in _BITS:
        return kind, (0,)
    return ("F32", (0,)) if kind == "Q8_K" else ("F16", _SCALES.get(kind, ()))


def require_weights_in_file(layouts: Sequence[GgufLayout]) -> None:
    """``require_weights`` for a whole GGUF model.

    Raises:
        ModelFileError: as ``require_weights``.
    """
    zeros = require_numbers_in_file(layouts)
    _require_living(
        ((layout.path, tensor.name, len(tensor.shape)) for layout in layouts for tensor in layout.tensors), zeros
    )


def _require_living(tensors: Iterable[tuple[Path, str, int]], zeros: frozenset[str]) -> None:
    """A single matrix of zeros may be meant (a layer that was put in to be trained); all those of a layer are not.

    Args:
        tensors: file, name and number of dimensions of each.
    """
    layers: dict[str, list[tuple[Path, str]]] = {}
    for path, name, dimensions in tensors:
        layer = _LAYER.match(name)
        if layer is None:
            parts = name.split(".")
            if name in zeros and parts[-1] == "weight" and len(parts) > 1 and parts[-2] in _HEADS:
                raise all_zero(path, name)
        elif dimensions > 1:
            layers.setdefault(layer[0], []).append((path, name))
    for held in layers.values():
        if all(name in zeros for _, name in held):
            raise all_zero(*held[0])


def is_in_layer(name: str) -> bool:
    return _LAYER.match(name) is not None


def all_zero(path: Path, name: str) -> ModelFileError:
    return ModelFileError(
        f"The weights {quoted(name)} in {quoted(path.name)} are all zero, so this model can say nothing; copy it "
        "again, or choose another."
    )


def _holds_something(
    path: Path, name: str, begin: int, end: int, kind: str, block: int, places: tuple[int, ...]
) -> bool:
    """Whether a tensor has a value that is not zero (of either sign).

    Raises:
        ModelFileError: it has one that is no number, or too large.
    """
    bits = _BITS[kind]
    width = bits.integer().itemsize
    largest = 0
    for raw in _pieces(path, begin, end, block):
        blocks = raw.reshape(-1, block)
        for place in places:
            found = np.ascontiguousarray(blocks[:, place : place + width]).view(bits.integer)
            largest = max(largest, int((found & bits.integer(bits.amount)).max()))
        if largest >= bits.no_number:
            raise ModelFileError(
                f"The weights {quoted(name)} in {quoted(path.name)} hold values that are no numbers (NaN or "
                "infinite), so nothing that this model says means anything; copy it again, or choose another."
            )
    if largest >= bits.beyond:
        raise ModelFileError(
            f"The weights {quoted(name)} in {quoted(path.name)} hold values beyond what can be computed with (their "
            "squares are too large for 32 bits), so this model is damaged; copy it again, or choose another."
        )
    return largest > 0


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
