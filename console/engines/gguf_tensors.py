"""Tensors and provenance of a GGUF model, read without loading the rest."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from console.engines.ggml_blocks import values_of
from console.engines.gguf_header import ARRAY, STRING, read_gguf_parts, shown
from console.errors import ModelFileError

PREFIX = "erasure_console."  # of the entries that this console adds to a file


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: ``shape`` as numpy has it (rows first), ``offset`` and ``size`` in bytes of ``path``."""

    type_name: str
    shape: tuple[int, ...]
    offset: int
    size: int
    path: Path


def tensors_of(path: Path) -> dict[str, StoredTensor]:
    """All tensors of the model to which ``path`` belongs, over all its files.

    Raises:
        ModelFileError: as ``read_gguf_parts``.
    """
    return {
        tensor.name: StoredTensor(tensor.type_name, tensor.shape[::-1], tensor.offset, tensor.size, layout.path)
        for layout in read_gguf_parts(path)
        for tensor in layout.tensors
    }


def read_values(stored: StoredTensor) -> np.ndarray:
    """The tensor's values, float32, in its shape. For many tensors of one model: ``tensors_of`` is read once.

    Raises:
        InputError: its type holds no weights.
        ModelFileError: the file cannot be read any more.
    """
    rows = math.prod(stored.shape[:-1])
    with opened(stored.path) as stream:
        stream.seek(stored.offset)
        raw = taken(stream, stored.size, stored.path)
    return values_of(raw.reshape(rows, -1), stored.type_name).reshape(stored.shape)


def provenance_of(path: Path) -> dict[str, str | tuple[str, ...]]:
    """What this console has written into a file on an earlier occasion, without the keys' prefix.

    Raises:
        ModelFileError: as ``read_gguf_parts``.
    """
    layout = read_gguf_parts(path)[0]
    found: dict[str, str | tuple[str, ...]] = {}
    with opened(layout.path) as stream:
        for entry in layout.entries:
            if not entry.key.startswith(PREFIX):
                continue
            stream.seek(entry.start)
            raw = stream.read(entry.end - entry.start)[8 + len(entry.key.encode()) + 4 :]
            key = entry.key.removeprefix(PREFIX)
            if entry.kind == STRING:
                found[key] = raw[8:].decode("utf-8", errors="replace")
            elif entry.kind == ARRAY and struct.unpack_from("<I", raw)[0] == STRING:
                found[key] = tuple(_strings(raw[12:]))
    return found


def _strings(raw: bytes) -> Iterator[str]:
    at = 0
    while at < len(raw):
        size = struct.unpack_from("<Q", raw, at)[0]
        yield raw[at + 8 : at + 8 + size].decode("utf-8", errors="replace")
        at += 8 + size


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ModelFileError(
            f"The model file {shown(path.name)} cannot be read ({error.strerror}); copy it again."
        ) from error
    with stream:
        yield stream


def taken(stream: BinaryIO, count: int, path: Path) -> np.ndarray:
    raw = np.frombuffer(stream.read(count), dtype=np.uint8)
    if raw.size != count:
        raise ModelFileError(f"The model file {shown(path.name)} became shorter while it was read; copy it again.")
    return raw
