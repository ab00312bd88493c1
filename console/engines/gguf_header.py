"""The header of a GGUF file: what the model is and where its bytes lie, before anything large is read.

The file may come from anywhere, so every declared size is checked against the file's own
length before it is believed, and nothing in it decides where anything is written. Layout: ggml's
``gguf.md`` (magic, version, counts, key/values, tensor infos, alignment, tensor data).
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from console.engines.checking.plain_files import another_kind
from console.errors import ModelFileError

MAGIC = b"GGUF"
SUPPORTED_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
INT32, FLOAT32 = 5, 6
_MAX_KEYS, _MAX_TENSORS, _MAX_DIMENSIONS = 10_000, 200_000, 4
# A vocabulary of 262,144 tokens with its merges is some 800,000 strings in 20 MB.
_MAX_STRINGS, _MAX_HEADER_BYTES, _MAX_KEPT_BYTES = 5_000_000, 256 * 1024 * 1024, 16 * 1024 * 1024
_BEGINNING = 512
_KEPT_STRING_BYTES, _PIECE = 64 * 1024, 1024 * 1024
_MAX_KEY_BYTES, _MAX_TENSOR_NAME_BYTES = 65_535, 63  # gguf.md; GGML_MAX_NAME, which counts its end mark
_SPLIT_NAME = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
_OTHER_KINDS = {
    "adapter": "a LoRA adapter, not a model; choose the model that it belongs to",
    "mmproj": "the image part of a model, not the model; choose the language model's own file",
    "imatrix": "an importance matrix, not a model; choose the model that it was made for",
}

# (values in a block, bytes of a block) of each ggml type, by its number; ggml.h and ggml-common.h
BLOCKS: dict[int, tuple[str, int, int]] = {
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
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}


def shown(text: str, longest: int = 80) -> str:
    """``text`` as it may stand in a sentence: one line, no control or direction marks, not endless."""
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[: longest + 1])
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


@dataclass(frozen=True)
class GgufTensor:
    """One tensor's declaration: dimensions in ggml order, type name, bytes in the file.

    ``offset`` counts from the file's beginning; ``info`` is where the declaration itself lies (from, to).
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    size: int
    offset: int = field(default=0, compare=False)
    info: tuple[int, int] = field(default=(0, 0), compare=False)


@dataclass(frozen=True)
class GgufEntry:
    """One key/value: its key, the value's type number, and where both lie in the file (from, to)."""

    key: str
    kind: int
    start: int
    end: int


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself.

    ``metadata`` holds scalars and short strings; an array is held as its length and the number of its values' type.
    """

    metadata: dict[str, object]
    tensors: tuple[GgufTensor, ...]
    array_lengths: dict[str, int] = field(default_factory=dict)
    array_kinds: dict[str, int] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        return shown(str(self.metadata.get("general.architecture", "unknown")))

    @property
    def parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def quantisation(self) -> str:
        """The type that holds most of the weights."""
        held = self.types_held
        return max(held, key=held.__getitem__) if held else "none"

    @property
    def types_held(self) -> dict[str, int]:
        """How many values each type holds."""
        held: dict[str, int] = {}
        for tensor in self.tensors:
            held[tensor.type_name] = held.get(tensor.type_name, 0) + math.prod(tensor.shape)
        return held

    @property
    def has_tokenizer(self) -> bool:
        return self.array_lengths.get("tokenizer.ggml.tokens", 0) > 0

    @property
    def has_chat_template(self) -> bool:
        return "tokenizer.chat_template" in self.metadata


@dataclass(frozen=True)
class GgufLayout:
    """Where everything lies in one GGUF file: entries, declarations and data, in bytes from its beginning."""

    path: Path
    length: int
    version: int
    entries: tuple[GgufEntry, ...]
    alignment: int
    data_start: int
    header: GgufHeader

    @property
    def tensors(self) -> tuple[GgufTensor, ...]:
        return self.header.tensors

    @property
    def split(self) -> tuple[int, int]:
        """Which part of how many this file is, counted from 0; (0, 1) for a model in one file."""
        number, count = self.header.metadata.get("split.no", 0), self.header.metadata.get("split.count", 0)
        if not isinstance(number, int) or not isinstance(count, int) or count <= 1:
            return 0, 1
        return number, count


class _Reader:
    def __init__(self, stream: BinaryIO, path: Path, length: int) -> None:
        self._stream, self._path, self._length = stream, path, length
        self._strings = self._kept = 0

    def refuse(self, what: str) -> ModelFileError:
        return ModelFileError(
            f"The model file {shown(self._path.name)} is damaged or incomplete ({what}); download or copy it again."
        )

    @property
    def position(self) -> int:
        return self._stream.tell()

    def take(self, count: int) -> bytes:
        self._require(count)
        taken = self._stream.read(count)
        if len(taken) != count:
            raise self.refuse("it became shorter while it was read")
        return taken

    def beginning(self) -> bytes:
        """The file's first bytes, which tell its kind; what follows is read from behind GGUF's own mark."""
        found = self._stream.read(_BEGINNING)
        self._stream.seek(min(len(MAGIC), len(found)))
        return found

    def skip(self, count: int) -> None:
        self._require(count)
        self._stream.seek(count, 1)

    def _require(self, count: int) -> None:
        if count > self._length - self.position:
            raise self.refuse("it ends before its own header does")
        if count > _MAX_HEADER_BYTES - self.position:
            raise self.refuse("its header is longer than 256 MB")

    def number(self, code: str) -> int:
        return int(struct.unpack("<" + code, self.take(struct.calcsize(code)))[0])

    def text(self) -> str:
        size = self.number("Q")
        kept = self.take(min(size, _KEPT_STRING_BYTES)) if size <= self._length else self.take(size)
        self.skip(size - len(kept))
        self._kept += len(kept)
        if self._kept > _MAX_KEPT_BYTES:
            raise self.refuse("its header holds more than 16 MB of text")
        return kept.decode("utf-8", errors="replace")

    def name(self, what: str, longest: int) -> str:
        """A key or a tensor's name: printable, not empty and of at most ``longest`` bytes."""
        start = self.position
        name = self.text()
        size = self.position - start - 8
        if size > longest:
            raise self.refuse(f"{what}'s name is {size:,} bytes long, but at most {longest:,} are allowed")
        if not name or not name.isprintable() or "\ufffd" in name:
            raise self.refuse(f"{what}'s name '{shown(name)}' is empty or not plain text")
        return name

    def skip_texts(self, count: int) -> None:
        """Pass over so many strings, in large pieces: a vocabulary has hundreds of thousands."""
        size_of = struct.Struct("<Q").unpack_from
        begin, at, raw = self.position, 0, b""  # ``raw`` lies at ``begin``, the next string at ``begin + at``
        for _ in range(count):
            if at + 8 > len(raw):
                begin, at = begin + at, 0
                self._stream.seek(begin)
                self._require(8)
                raw = self._stream.read(_PIECE)
                if len(raw) < 8:
                    raise self.refuse("it became shorter while it was read")
            at += 8 + size_of(raw, at)[0]
            if begin + at > self._length:
                raise self.refuse("it ends before its own header does")
        self._stream.seek(begin + at)
        self._require(0)

    def scalar(self, kind: int) -> object:
        code = _SCALARS.get(kind)
        if code is None:
            raise self.refuse(f"value type {kind} is unknown")
        return struct.unpack("<" + code, self.take(struct.calcsize(code)))[0]

    def array(self) -> tuple[int, int]:
        """Pass over an array: its values' type, and how many there are."""
        kind, count = self.number("I"), self.number("Q")
        if count > self._length:
            raise self.refuse(f"an array declares {count} entries")
        if kind == STRING:
            self._strings += count
            if self._strings > _MAX_STRINGS:
                raise self.refuse(f"its header declares {self._strings:,} strings")
            self.skip_texts(count)
        elif kind in _SCALARS:
            self.skip(count * struct.calcsize(_SCALARS[kind]))
        else:
            raise self.refuse(f"an array holds the unsupported type {kind}")
        return kind, count


def _read_counts(reader: _Reader, name: str) -> tuple[int, int, int]:
    """Version, tensors and entries that the file declares."""
    beginning = reader.beginning()
    if not beginning.startswith(MAGIC):
        kind = another_kind(beginning)
        if kind:
            raise ModelFileError(f"{name} is {kind}.")
        raise ModelFileError(
            f"{name} is not a GGUF model (it does not begin with the letters GGUF); choose a model file."
        )
    version = reader.number("I")
    if int.from_bytes(version.to_bytes(4, "little"), "big") in (1, *SUPPORTED_VERSIONS):
        raise ModelFileError(
            f"{name} is a GGUF file of a big-endian version, for another kind of processor; get the usual "
            "little-endian file."
        )
    if version not in SUPPORTED_VERSIONS:
        raise ModelFileError(
            f"{name} is GGUF version {version}; this console reads versions 2 and 3, so convert it first."
        )
    tensor_count, key_count = reader.number("Q"), reader.number("Q")
    if key_count > _MAX_KEYS or tensor_count > _MAX_TENSORS:
        raise reader.refuse(f"it declares {tensor_count} tensors and {key_count} entries")
    return version, tensor_count, key_count


def _read_entries(reader: _Reader, count: int) -> tuple[list[GgufEntry], dict[str, object], dict[str, tuple[int, int]]]:
    entries: list[GgufEntry] = []
    metadata: dict[str, object] = {}
    arrays: dict[str, tuple[int, int]] = {}
    for _ in range(count):
        start = reader.position
        key, kind = reader.name("an entry", _MAX_KEY_BYTES), reader.number("I")
        if key in metadata or key in arrays:
            raise reader.refuse(f"the entry '{shown(key)}' stands in it twice")
        if kind == ARRAY:
            arrays[key] = reader.array()
        elif kind == STRING:
            metadata[key] = reader.text()
        else:
            metadata[key] = reader.scalar(kind)
        entries.append(GgufEntry(key, kind, start, reader.position))
    return entries, metadata, arrays


def _read_tensor(reader: _Reader, alignment: int) -> GgufTensor:
    """One declaration; its ``offset`` still counts from where the data begin."""
    start = reader.position
    name = reader.name("a tensor", _MAX_TENSOR_NAME_BYTES)
    if "/" in name or "\\" in name:
        raise reader.refuse(f"a tensor is called '{shown(name)}', which is a path and not a name")
    dimensions = reader.number("I")
    if dimensions > _MAX_DIMENSIONS:
        raise reader.refuse(f"a tensor declares {dimensions} dimensions")
    shape = tuple(reader.number("Q") for _ in range(dimensions))
    kind, offset = reader.number("I"), reader.number("Q")
    if kind not in BLOCKS:
        raise reader.refuse(f"tensor type {kind} is unknown")
    type_name, block, block_bytes = BLOCKS[kind]
    values = math.prod(shape)
    if not values:
        raise reader.refuse(f"the tensor '{shown(name)}' declares no values")
    if (shape[0] if shape else 1) % block or offset % alignment:
        raise reader.refuse("a tensor's size or place does not fit its type")
    return GgufTensor(name, shape, type_name, values // block * block_bytes, offset, (start, reader.position))


def _placed(reader: _Reader, tensors: list[GgufTensor], data_start: int, length: int) -> tuple[GgufTensor, ...]:
    """The tensors with their place in the file, once none is outside it, on another or there twice."""
    placed = tuple(
        GgufTensor(one.name, one.shape, one.type_name, one.size, data_start + one.offset, one.info) for one in tensors
    )
    needed = max((one.offset + one.size for one in placed), default=0)
    if needed > length:
        raise reader.refuse(f"{length:,} bytes, but its tensors need {needed:,}")
    names: set[str] = set()
    end = 0
    for one in sorted(placed, key=lambda tensor: tensor.offset):
        if one.name in names:
            raise reader.refuse(f"the tensor '{shown(one.name)}' stands in it twice")
        if one.offset < end:
            raise reader.refuse(f"the tensor '{shown(one.name)}' lies on another one")
        names.add(one.name)
        end = one.offset + one.size
    return placed


def read_gguf_layout(path: Path) -> GgufLayout:
    """Read and check all that stands before the weights in ``path``, which may be a model's part or an adapter.

    Raises:
        ModelFileError: not a GGUF file, an unsupported version, or a file that contradicts itself or its length.
    """
    if not path.is_file():  # a pipe would never answer
        raise ModelFileError(f"There is no model file at {path}; check the path.")
    try:
        length = path.stat().st_size
        with path.open("rb") as stream:
            return _read_layout(stream, path, length)
    except PermissionError as error:
        raise ModelFileError(
            f"The model at {shown(path.name)} cannot be read; ask for permission to the file."
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"The model file {shown(path.name)} cannot be read ({error.strerror}); copy it again."
        ) from error


def _read_layout(stream: BinaryIO, path: Path, length: int) -> GgufLayout:
    reader = _Reader(stream, path, length)
    version, tensor_count, key_count = _read_counts(reader, shown(path.name))
    entries, metadata, arrays = _read_entries(reader, key_count)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or isinstance(alignment, bool) or alignment < 1 or alignment & (alignment - 1):
        raise reader.refuse("its alignment is not a power of two")
    declared = [_read_tensor(reader, alignment) for _ in range(tensor_count)]
    data_start = -(-reader.position // alignment) * alignment
    tensors = _placed(reader, declared, data_start, length)
    lengths = {key: count for key, (_, count) in arrays.items()}
    header = GgufHeader(metadata, tensors, lengths, {key: kind for key, (kind, _) in arrays.items()})
    return GgufLayout(path, length, version, tuple(entries), alignment, data_start, header)


def _require_model(layout: GgufLayout) -> None:
    kind = str(layout.header.metadata.get("general.type", "model"))
    if kind != "model":
        what = _OTHER_KINDS.get(kind, f"a '{shown(kind)}', not a model; choose a model file")
        raise ModelFileError(f"{shown(layout.path.name)} is {what}.")
    if not layout.tensors and layout.split[1] == 1:
        raise ModelFileError(
            f"{shown(layout.path.name)} holds no weights (a vocabulary-only file); choose the model itself."
        )


def _part_paths(layout: GgufLayout) -> tuple[Path, ...]:
    """The names of all parts of a split model, as llama.cpp writes them."""
    number, count = layout.split
    named = _SPLIT_NAME.fullmatch(layout.path.name)
    if named is None or (int(named["number"]), int(named["count"])) != (number + 1, count):
        raise ModelFileError(
            f"{shown(layout.path.name)} is part {number + 1} of a model in {count} files, but its name does not say "
            f"so; give it back its name, which ends in -{number + 1:05d}-of-{count:05d}.gguf."
        )
    return tuple(
        layout.path.with_name(f"{named['prefix']}-{part:05d}-of-{count:05d}.gguf") for part in range(1, count + 1)
    )


def read_gguf_parts(path: Path) -> tuple[GgufLayout, ...]:
    """The layouts of all files of the model to which ``path`` belongs, in order; one for a model in one file.

    Raises:
        ModelFileError: as ``read_gguf_layout``; a part is missing or of another model; not a model.
    """
    chosen = read_gguf_layout(path)
    if chosen.split[1] == 1:
        _require_model(chosen)
        return (chosen,)
    paths = _part_paths(chosen)
    missing = [part.name for part in paths if not part.is_file()]
    if missing:
        raise ModelFileError(
            f"The model {shown(path.name)} lacks {len(missing)} of its {len(paths)} files ({shown(missing[0])}); "
            "put all of them into one folder."
        )
    layouts = tuple(chosen if part == path else read_gguf_layout(part) for part in paths)
    for number, layout in enumerate(layouts):
        if layout.split != (number, len(paths)):
            raise ModelFileError(
                f"{shown(layout.path.name)} says that it is part {layout.split[0] + 1} of {layout.split[1]}, not part "
                f"{number + 1} of {len(paths)}; copy the model's files again."
            )
    _require_one_model(layouts)
    return layouts


def _require_one_model(layouts: tuple[GgufLayout, ...]) -> None:
    name = shown(layouts[0].path.name)
    names = [tensor.name for layout in layouts for tensor in layout.tensors]
    if len(set(names)) != len(names):
        raise ModelFileError(f"The files of {name} hold some tensors twice; copy the model's files again.")
    for layout in layouts:
        declared = layout.header.metadata.get("split.tensors.count", len(names))
        if declared != len(names):
            raise ModelFileError(
                f"The files of {name} hold {len(names)} tensors, but {shown(layout.path.name)} declares {declared}; "
                "copy the model's files again."
            )
    if not names:
        raise ModelFileError(f"{name} holds no weights (a vocabulary-only file); choose the model itself.")
    _require_model(layouts[0])


def parts_of(path: Path) -> tuple[Path, ...]:
    """All files of the model to which ``path`` belongs, the one that llama.cpp opens first.

    Raises:
        ModelFileError: as ``read_gguf_parts``.
    """
    return tuple(layout.path for layout in read_gguf_parts(path))


def read_gguf_header(path: Path) -> GgufHeader:
    """Read and check the header of the model to which ``path`` belongs, over all its files.

    Raises:
        ModelFileError: not a GGUF file, an unsupported version, a file shorter than it declares,
            one without weights, a part without the others, or a file that is no model (an adapter).
    """
    layouts = read_gguf_parts(path)
    if len(layouts) == 1:
        return layouts[0].header
    first = layouts[0].header
    tensors = tuple(tensor for layout in layouts for tensor in layout.tensors)
    return GgufHeader(first.metadata, tensors, first.array_lengths, first.array_kinds)
