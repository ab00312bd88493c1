"""The high-water mark: how far the ledger had come, kept in a file beside it (``ledger.head.json``).

A database that is replaced by an older copy, or cut at its end, is consistent in itself; only something outside it can
tell that there once was more. The mark is written after every commit, so it may lag one commit behind after a crash and
is never ahead. It holds sizes and hashes only. Whoever can replace the ledger can replace the mark too: against that
help the checkpoints that left the house in reports.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from console.errors import InputError
from console.ledger.canonical import canonical_text
from console.ledger.chain import Head

FORMAT = "erasure-console-ledger-head/1"
MAX_FILE_BYTES = 16 * 1024
SALT_BYTES = 16  # SQLCipher 4


@dataclass(frozen=True)
class HeadMark:
    """The ledger named ``origin`` once had ``head``; ``checkpoint`` is its latest signed note, if any.

    ``file_salt`` is how the file begins (hex): SQLCipher writes it once, in clear, and derives the key with it. Where
    it is another one, the file was changed, and no passphrase would open it. Marks of earlier consoles have none.
    """

    origin: str
    head: Head
    verifier_key: str
    checkpoint: str | None
    file_salt: str | None = None


def mark_path(ledger: Path) -> Path:
    """``ledger.head.json`` for ``ledger.db``."""
    return ledger.with_name(f"{ledger.stem}.head.json")


def write_mark(ledger: Path, mark: HeadMark) -> None:
    """Replace the mark in one step.

    Raises:
        OSError: it could not be written; the previous mark is still there and still true.
    """
    text = canonical_text(
        {
            "checkpoint": mark.checkpoint,
            "file_salt": mark.file_salt,
            "format": FORMAT,
            "head": mark.head.hash,
            "origin": mark.origin,
            "size": mark.head.size,
            "verifier_key": mark.verifier_key,
        }
    )
    path = mark_path(ledger)
    replace_file(path, text + "\n")


def read_mark(ledger: Path) -> HeadMark | None:
    """The mark beside ``ledger``, or None if there is none.

    Raises:
        InputError: the file is there but cannot be read as a mark.
    """
    path = mark_path(ledger)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(path) from error
    try:
        data = json.loads(raw.decode("utf-8"))
        if data["format"] != FORMAT:
            raise ValueError("unknown format")
        size, texts = data["size"], (data["origin"], data["head"], data["verifier_key"])
        checkpoint, file_salt = data["checkpoint"], data.get("file_salt")
        if type(size) is not int or not all(isinstance(item, str) for item in texts):
            raise TypeError("wrong type")
        if not all(item is None or isinstance(item, str) for item in (checkpoint, file_salt)):
            raise TypeError("wrong type")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path) from error
    origin, head, verifier_key = texts
    return HeadMark(origin, Head(size, head), verifier_key, checkpoint, file_salt)


def replace_file(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` so that a reader sees the old or the new file, also after a power cut.

    Raises:
        OSError: the file could not be written; the old one is untouched and no part of the new one is left.
    """
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _damaged(path: Path) -> InputError:
    return InputError(f"The file {path.name} beside the ledger is damaged.")
