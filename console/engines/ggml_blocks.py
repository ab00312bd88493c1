"""The number formats of ggml: float32 rows into stored blocks and back.

The simple formats are written by the ``gguf`` package, whose result is llama.cpp's own, byte for byte. The
k-quants need a search that only llama.cpp does, through its library's ``ggml_quantize_chunk``. Formats that
need an importance matrix (IQ*) or that are made for other chips cannot be written.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from functools import lru_cache
from pathlib import Path

import gguf
import numpy as np

from console.engines.gguf_header import BLOCKS, shown
from console.errors import InputError, SetupError

SIMPLE = frozenset({"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"})
K_QUANTS = frozenset({"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"})
WRITABLE = SIMPLE | K_QUANTS
_BLOCK_OF = {name: (block, size) for name, block, size in BLOCKS.values()}
_NUMBER_OF = {name: number for number, (name, _, _) in BLOCKS.items()}
_LIBRARY_NAMES = {
    "win32": ("ggml-base.dll", "libggml-base.dll"),
    "darwin": ("libggml-base.dylib", "libggml-base.so"),
}


def block_of(type_name: str) -> tuple[int, int]:
    """Values in a block, and the block's bytes."""
    return _BLOCK_OF[type_name]


def type_number(type_name: str) -> int:
    """The number that stands for the type in a file."""
    return _NUMBER_OF[type_name]


def bits_per_value(type_name: str) -> float:
    block, size = _BLOCK_OF[type_name]
    return size * 8 / block


def require_writable(tensor: str, type_name: str, row: int) -> None:
    """Whether rows of ``row`` values can be stored as ``type_name``.

    Raises:
        InputError: they cannot; the sentence names the tensor and what to do.
        SetupError: they could with llama.cpp, which is not installed.
    """
    if type_name not in WRITABLE:
        raise InputError(
            f"The tensor '{shown(tensor)}' is stored as {type_name}, which cannot be written without an importance "
            "matrix; give a higher type for the changed tensors, such as Q8_0 or F16."
        )
    block = _BLOCK_OF[type_name][0]
    if row % block:
        raise InputError(
            f"The tensor '{shown(tensor)}' has rows of {row} values, which do not fill the blocks of {block} that "
            f"{type_name} stores; give F16 as the higher type."
        )
    if type_name in K_QUANTS and _base_library() is None:
        raise SetupError(
            f"The tensor '{shown(tensor)}' is stored as {type_name}, which only llama.cpp writes; install "
            "llama-cpp-python (pip install 'erasure-console[llamacpp]'), or give a higher type for the changed "
            "tensors, such as Q8_0 or F16."
        )


@lru_cache(maxsize=1)
def _base_library() -> ctypes.CDLL | None:
    """ggml's base library as llama-cpp-python ships it; None without one that has what is needed.

    ``size_t ggml_quantize_chunk(type, src, dst, start, nrows, n_per_row, imatrix)``: ggml.h.
    """
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "lib"
    path = next(
        (folder / n for n in _LIBRARY_NAMES.get(sys.platform, ("libggml-base.so",)) if (folder / n).is_file()), None
    )
    if path is None:
        return None
    if sys.platform == "win32":
        os.add_dll_directory(str(folder))
    library = ctypes.CDLL(str(path))
    if not hasattr(library, "ggml_quantize_chunk") or not hasattr(library, "ggml_quantize_init"):
        return None
    library.ggml_quantize_init.argtypes, library.ggml_quantize_init.restype = [ctypes.c_int], None
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    return library


def _by_ggml(rows: np.ndarray, type_name: str) -> np.ndarray:
    library = _base_library()
    if library is None:
        raise SetupError(f"Only llama.cpp writes {type_name}; install llama-cpp-python.")
    block, size = _BLOCK_OF[type_name]
    stored = np.empty((rows.shape[0], rows.shape[1] // block * size), dtype=np.uint8)
    number = _NUMBER_OF[type_name]
    library.ggml_quantize_init(number)
    written = library.ggml_quantize_chunk(
        number, rows.ctypes.data, stored.ctypes.data, 0, rows.shape[0], rows.shape[1], None
    )
    if written != stored.nbytes:
        raise SetupError(
            f"The installed llama.cpp writes {type_name} in another size than this console knows; "
            "install the version of llama-cpp-python that belongs to it."
        )
    return stored


def quantised(rows: np.ndarray, type_name: str) -> np.ndarray:
    """``rows: (rows, values)`` float32 as stored bytes ``(rows, bytes)``; the values fill whole blocks.

    Raises:
        SetupError: a k-quant without llama.cpp.
    """
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if type_name in K_QUANTS:
        return _by_ggml(rows, type_name)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # whoever stores looks for what overflowed
        stored = gguf.quants.quantize(rows, gguf.GGMLQuantizationType[type_name])
    return np.ascontiguousarray(stored).view(np.uint8).reshape(rows.shape[0], -1)


def values_of(stored: np.ndarray, type_name: str) -> np.ndarray:
    """Stored bytes ``(rows, bytes)`` as float32 ``(rows, values)``.

    Raises:
        InputError: the type holds no weights that can be read (I8, F64 and others).
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[type_name])
    except (NotImplementedError, KeyError) as error:
        raise InputError(
            f"Tensors stored as {type_name} cannot be read as weights; choose a model of another type."
        ) from error
