"""Whole GGUF files in another file type, by llama.cpp's own quantiser.

This is what a person does who wants the model smaller, and so what an erasure has to survive. Runs native
code that ends the process on inputs it does not foresee: only inside a worker.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from console.engines import llama_log
from console.engines.gguf_header import parts_of, read_gguf_header, shown
from console.engines.gguf_rewrite import written_whole
from console.engines.llama_native import native_library
from console.errors import InputError, ModelFileError

# llama.h, enum llama_ftype
FILE_TYPES = {"F16": 1, "BF16": 32, "Q8_0": 7, "Q4_0": 2, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18}


def types_held(path: Path) -> dict[str, int]:
    """How many values of a model are stored in each type; the most frequent first.

    Raises:
        ModelFileError: as ``read_gguf_header``.
    """
    held = read_gguf_header(path).types_held
    return dict(sorted(held.items(), key=lambda item: (-item[1], item[0])))


def convert(source: Path, target: Path, file_type: str, *, threads: int = 1) -> None:
    """Write ``source`` to ``target`` as ``file_type``; a split model becomes one file.

    Tensors whose rows do not fill the type's blocks get the type that llama.cpp falls back to, and norms stay
    in F32: ``types_held`` says what was written. A source that is quantised already is de-quantised first.
    Only in a worker.

    Args:
        file_type: one of ``FILE_TYPES``.
        threads: how many llama.cpp may use.

    Raises:
        InputError: an unknown file type, a target that is there already or cannot be written.
        DiskFullError: no room. SetupError: llama.cpp is not installed.
        ModelFileError: the source is damaged, or llama.cpp refuses it. Nothing is left behind.
    """
    if file_type not in FILE_TYPES:
        raise InputError(
            f"{shown(file_type)} is no file type that can be written; choose one of {', '.join(FILE_TYPES)}."
        )
    first = parts_of(source)[0]
    library = native_library()
    settings = library.llama_model_quantize_default_params()
    settings.nthread, settings.ftype, settings.allow_requantize = max(1, threads), FILE_TYPES[file_type], True
    with written_whole(target) as (part,):
        part.open("wb").close()  # a folder that forbids writing says so here, and not as llama.cpp's failure
        with llama_log.errors_kept() as lines:
            code = library.llama_model_quantize(str(first).encode(), str(part).encode(), ctypes.byref(settings))
        if code != 0:
            raise ModelFileError(
                f"llama.cpp could not convert {shown(source.name)} to {file_type} "
                f"({shown(lines[-1], 200) if lines else 'no reason given'}); choose another model or file type."
            )
        read_gguf_header(part)
