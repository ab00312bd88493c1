"""A GGUF model in another file type, for as long as somebody looks at it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from console.engines.gguf_quantise import convert
from console.engines.llama_engine import LlamaModel


@contextmanager
def converted(model: LlamaModel, file_type: str) -> Iterator[LlamaModel]:
    """The model's file written as ``file_type`` and opened, with the same adapters; the file is gone afterwards.

    Raises:
        ModelFileError, DiskFullError, SetupError: as ``gguf_quantise.convert``.
    """
    with tempfile.TemporaryDirectory(prefix="erasure-console-") as folder:
        target = Path(folder) / "model.gguf"
        convert(model.path, target, file_type, threads=model.threads)
        other = LlamaModel.load(target, adapters=model.adapters, threads=model.threads)
        other.processors, other.output_filter = model.processors, model.output_filter
        try:
            yield other
        finally:
            other.close()
