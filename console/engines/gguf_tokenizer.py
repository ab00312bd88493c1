"""The transformers tokenizer of a GGUF file, without its weights.

What llama.cpp makes of a text is compared with it before any score is trusted (llama.cpp #7062: a token too many at
the beginning spoils every score and says nothing). It is cached by the file's hash, because a vocabulary takes seconds.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

from console.engines.checking.chat_template import limit_rendering
from console.engines.checking.network import failures_named
from console.engines.gguf_snapshot import file_parsed_once
from console.engines.prompts import Tokenizer


def tokenizer_of(path: Path, tree_hash: str, cache: Path) -> Tokenizer:
    """The tokenizer, made on first use.

    Args:
        tree_hash: of the model, which names the cached copy.

    Raises:
        ModelFileError: transformers cannot make one of this file.
    """
    folder = cache / "tokenizers" / tree_hash[:24]
    if not (folder / "tokenizer.json").is_file():
        _make(path, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    limit_rendering(tokenizer)
    return tokenizer


def _make(path: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(dir=folder.parent, prefix="part-"))
    try:
        with file_parsed_once(), failures_named(path.name, "vocabulary is"):
            made = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name, trust_remote_code=False)
            made.save_pretrained(working)
        shutil.rmtree(folder, ignore_errors=True)
        working.replace(folder)
    finally:
        shutil.rmtree(working, ignore_errors=True)
