"""JSON files of a model, read so that every reader sees the same: UTF-8, no name twice, nothing without end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from console.domain.visible import quoted
from console.engines.checking.plain_files import another_kind, own_file
from console.errors import ModelFileError

_MOST_BYTES = 256 * 1024 * 1024  # a tokenizer of 262,144 tokens has about 35 MB
_MOST_DIGITS = 40  # transformers writes 1e30, 31 digits, for a text length without a limit
_MOST_NESTED = 64


class _RefusedError(ValueError):
    """What is wrong, in words that may stand behind a colon."""


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _RefusedError(f"{quoted(twice)} stands in it twice")
    return found


def _number(text: str) -> int:
    if len(text.lstrip("-")) > _MOST_DIGITS:
        raise _RefusedError(f"it holds a number of {len(text):,} digits")
    return int(text)


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is none; the message says why in words.
    """
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_int=_number)
    except UnicodeDecodeError as error:
        raise _RefusedError("it is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise _RefusedError(f"it is no JSON, first at line {error.lineno}") from error
    except RecursionError as error:
        raise _RefusedError("it is nested without end") from error
    if not isinstance(found, dict):
        raise _RefusedError("it is not a model description but a list or a single value")
    return found


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """The object in one of a model's JSON files.

    Raises:
        ModelFileError: the file and the cause are named.
    """
    path = own_file(folder, name)
    if path.stat().st_size > _MOST_BYTES:
        raise ModelFileError(f"{quoted(path.name)} is longer than 256 MB and cannot be a model's; copy it again.")
    raw = path.read_bytes()
    try:
        found = parse_object(raw)
        _require_shallow(found)
        return found
    except _RefusedError as error:
        kind = another_kind(raw[:512])
        where = f"{path.name} in {quoted(path.parent.name)}"
        raise ModelFileError(
            f"{where} is {kind}." if kind else f"{where} cannot be read as JSON ({error}); copy the model again."
        ) from error


def _require_shallow(found: Any, depth: int = 0) -> None:
    """The readers in other languages have limits of their own, and not always a kind end."""
    if depth > _MOST_NESTED:
        raise _RefusedError("it is nested without end")
    if isinstance(found, dict):
        for value in found.values():
            if isinstance(value, (dict, list)):
                _require_shallow(value, depth + 1)
    elif isinstance(found, list):
        for value in found:
            if isinstance(value, (dict, list)):
                _require_shallow(value, depth + 1)
