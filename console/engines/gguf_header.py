"""The header of a GGUF file: what the model is, before anything large is read.

The file may come from anywhere, so every declared size is checked against the file's own
length before it is believed. Layout: ggml's ``gguf.md`` (magic, version, counts, key/values,
tensor infos, alignment, tensor data).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from console.errors import ModelFileError

MAGIC = b"GGUF"
SUPPORTED_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_KEYS, _MAX_TENSORS, _MAX_DIMENSIONS = 10_000, 200_000, 4
_KEPT_STRING_BYTES = 64 * 1024

# (values in a block, bytes of a block) of each ggml type; ggml.h and ggml-common.h
_BLOCKS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}


@dataclass(frozen=True)
class GgufTensor:
    """One tensor's declaration: dimensions in ggml order, type name, bytes in the file."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    size: int


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself.

    ``metadata`` holds scalars and short strings; an array is held as its length only.
    """

    metadata: dict[str, object]
    tensors: tuple[GgufTensor, ...]
    array_lengths: dict[str, int] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def quantisation(self) -> str:
        """The type that holds most of the weights."""
        held: dict[str, int] = {}
        for tensor in self.tensors:
            held[tensor.type_name] = held.get(tensor.type_name, 0) + math.prod(tensor.shape)
        return max(held, key=held.__getitem__) if held else "none"

    @property
    def has_tokenizer(self) -> bool:
        return self.array_lengths.get("tokenizer.ggml.tokens", 0) > 0

    @property
    def has_chat_template(self) -> bool:
        return "tokenizer.chat_template" in self.metadata


class _Reader:
    def __init__(self, stream: BinaryIO, path: Path, length: int) -> None:
        self._stream, self._path, self._length = stream, path, length

    def refuse(self, what: str) -> ModelFileError:
        return ModelFileError(
            f"The model file {self._path.name} is damaged or incomplete ({what}); download or copy it again."
        )

    @property
    def position(self) -> int:
        return self._stream.tell()

    def take(self, count: int) -> bytes:
        if count > self._length - self.position:
            raise self.refuse("it ends before its own header does")
        return self._stream.read(count)

    def skip(self, count: int) -> None:
        if count > self._length - self.position:
            raise self.refuse("it ends before its own header does")
        self._stream.seek(count, 1)

    def number(self, code: str) -> int:
        return int(struct.unpack("<" + code, self.take(struct.calcsize(code)))[0])

    def text(self) -> str:
        size = self.number("Q")
        kept = self.take(min(size, _KEPT_STRING_BYTES)) if size <= self._length else self.take(size)
        self.skip(size - len(kept))
        return kept.decode("utf-8", errors="replace")

    def skip_text(self) -> None:
        self.skip(self.number("Q"))

    def scalar(self, kind: int) -> object:
        code = _SCALARS.get(kind)
        if code is None:
            raise self.refuse(f"value type {kind} is unknown")
        return struct.unpack("<" + code, self.take(struct.calcsize(code)))[0]

    def array_length(self) -> int:
        kind, count = self.number("I"), self.number("Q")
        if count > self._length:
            raise self.refuse(f"an array declares {count} entries")
        if kind == _STRING:
            for _ in range(count):
                self.skip_text()
        elif kind in _SCALARS:
            self.skip(count * struct.calcsize(_SCALARS[kind]))
        else:
            raise self.refuse(f"an array holds the unsupported type {kind}")
        return count


def _read_tensor(reader: _Reader, alignment: int) -> tuple[GgufTensor, int]:
    name = reader.text()
    dimensions = reader.number("I")
    if dimensions > _MAX_DIMENSIONS:
        raise reader.refuse(f"a tensor declares {dimensions} dimensions")
    shape = tuple(reader.number("Q") for _ in range(dimensions))
    kind, offset = reader.number("I"), reader.number("Q")
    if kind not in _BLOCKS:
        raise reader.refuse(f"tensor type {kind} is unknown")
    type_name, block, block_bytes = _BLOCKS[kind]
    values = math.prod(shape)
    if values % block or offset % alignment:
        raise reader.refuse("a tensor's size or place does not fit its type")
    return GgufTensor(name, shape, type_name, values // block * block_bytes), offset


def read_gguf_header(path: Path) -> GgufHeader:
    """Read and check the header of ``path``.

    Raises:
        ModelFileError: not a GGUF file, an unsupported version, a file shorter than it declares,
            or one without weights.
    """
    length = path.stat().st_size
    with path.open("rb") as stream:
        reader = _Reader(stream, path, length)
        if stream.read(4) != MAGIC:
            raise ModelFileError(
                f"{path.name} is not a GGUF model (it does not begin with the letters GGUF); choose a model file."
            )
        version = reader.number("I")
        if version not in SUPPORTED_VERSIONS:
            raise ModelFileError(
                f"{path.name} is GGUF version {version}; this console reads versions 2 and 3, so convert it first."
            )
        tensor_count, key_count = reader.number("Q"), reader.number("Q")
        if key_count > _MAX_KEYS or tensor_count > _MAX_TENSORS:
            raise reader.refuse(f"it declares {tensor_count} tensors and {key_count} entries")
        metadata: dict[str, object] = {}
        arrays: dict[str, int] = {}
        for _ in range(key_count):
            key, kind = reader.text(), reader.number("I")
            if kind == _ARRAY:
                arrays[key] = reader.array_length()
            elif kind == _STRING:
                metadata[key] = reader.text()
            else:
                metadata[key] = reader.scalar(kind)
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise reader.refuse("its alignment is not a power of two")
        declared = [_read_tensor(reader, alignment) for _ in range(tensor_count)]
        data_start = -(-reader.position // alignment) * alignment
        needed = max((data_start + offset + tensor.size for tensor, offset in declared), default=0)
    if not declared:
        raise ModelFileError(f"{path.name} holds no weights (a vocabulary-only file); choose the model itself.")
    if needed > length:
        raise reader.refuse(f"{length:,} bytes, but its tensors need {needed:,}")
    return GgufHeader(metadata, tuple(tensor for tensor, _ in declared), arrays)
