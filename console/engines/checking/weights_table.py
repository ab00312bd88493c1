"""The tensor table of a safetensors file: which tensors of which type lie where, before a byte of them is read.

The format (safetensors' README): eight bytes with the header's length, a JSON object of names to type, shape and
offsets, strings only under ``__metadata__``, then the data without holes. Every promise is checked, because readers in
other languages differ in which of them they check.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

from console.domain.visible import quoted
from console.engines.checking.model_json import parse_object
from console.engines.checking.plain_files import another_kind, beginning_of, require_file
from console.errors import ModelFileError

_MAX_HEADER = 100 * 1024 * 1024  # the format's own limit
_METADATA = "__metadata__"
_MOST_DIMENSIONS = 8

# Bits of one value of each type, by safetensors' name.
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
FLOATS = frozenset(("F64", "F32", "F16", "BF16"))
# Types of packed weights, which mean nothing without the scales of a quantisation.
PACKED = frozenset(name for name in BITS if name.startswith(("F8_", "F6_")) or name == "F4")


@dataclass(frozen=True)
class TableEntry:
    """One tensor: safetensors' name of its type, its shape, and where its bytes lie in the file (from, to)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_table(path: Path) -> tuple[TableEntry, ...]:
    """The tensors of a weights file in the order of their bytes.

    Raises:
        ModelFileError: truncated, not of this format, or in contradiction with itself.
    """
    require_file(path, "The weights file")
    length = path.stat().st_size
    with path.open("rb") as stream:
        prefix = stream.read(8)
        size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else length
        if size > min(length - 8, _MAX_HEADER):
            raise _refusal(path, "it ends before its own header does")
        raw = stream.read(size)
    try:
        header = parse_object(raw)
    except ValueError as error:
        raise _refusal(path, f"its header cannot be read: {error}") from error
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _refusal(path, "its metadata hold something else than text")
    if not header:
        raise _refusal(path, "it holds no tensor")
    entries = [_entry(path, name, declared, 8 + size) for name, declared in header.items()]
    entries.sort(key=lambda entry: (entry.start, entry.end))
    _require_dense(path, entries, 8 + size, length)
    return tuple(entries)


def _refusal(path: Path, cause: str) -> ModelFileError:
    kind = another_kind(beginning_of(path))
    if kind:
        return ModelFileError(f"The weights file {quoted(path.name)} is {kind}.")
    return ModelFileError(f"The weights file {quoted(path.name)} is damaged or incomplete ({cause}); copy it again.")


def _entry(path: Path, name: str, declared: object, begin: int) -> TableEntry:
    told = f"the tensor {quoted(name)}"
    if not isinstance(declared, dict):
        raise _refusal(path, f"{told} is not declared by type, shape and place")
    dtype, shape, offsets = (declared.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _refusal(path, f"{told} is of the unknown type {quoted(str(dtype))}")
    if not _are_sizes(shape) or len(shape) > _MOST_DIMENSIONS:
        raise _refusal(path, f"{told} has no shape")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _refusal(path, f"{told} has no place")
    if math.prod(shape) * BITS[dtype] != 8 * (offsets[1] - offsets[0]):
        raise _refusal(path, f"{told} has not as many bytes as its shape and type need")
    return TableEntry(name, dtype, tuple(shape), begin + offsets[0], begin + offsets[1])


def _are_sizes(found: object) -> bool:
    return isinstance(found, list) and all(type(number) is int and number >= 0 for number in found)


def _require_dense(path: Path, entries: list[TableEntry], begin: int, length: int) -> None:
    """Every byte behind the header belongs to exactly one tensor."""
    end = begin
    for entry in entries:
        if entry.start < end:
            raise _refusal(path, f"the tensor {quoted(entry.name)} lies on another one")
        if entry.start > end:
            raise _refusal(path, f"there is a hole before the tensor {quoted(entry.name)}")
        end = entry.end
    if end != length:
        raise _refusal(path, f"its tensors end at byte {end:,}, the file at {length:,}")
