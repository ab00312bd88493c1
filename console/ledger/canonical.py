"""Canonical bytes: the one way a value is written before it is hashed.

RFC 8785 (JSON Canonicalization Scheme) with four extra rules that remove every known ambiguity between two writers:

* no floats: ``1`` and ``1.0`` are one number in JSON and two in Python, so numbers are integers or decimal strings;
* integers stay within ±(2^53 - 1), the range that every JSON reader keeps exactly (I-JSON, RFC 7493);
* strings and keys are Unicode NFC, so that an ``é`` typed on two systems is one text;
* a parsed text must be exactly the canonical text again, which rules out duplicate keys, spaces and other spellings.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any, NoReturn

import rfc8785

from console.errors import InputError

MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 32

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def canonical_value(value: object) -> Any:
    """A copy of ``value`` made of dict, list, str, int, bool and None, with every text in NFC.

    Raises:
        InputError: a float, an integer beyond ±(2^53 - 1), a text that is not Unicode, a key that is not a text, two
            keys that become one in NFC, nesting deeper than ``MAX_DEPTH``, or a type that JSON does not have.
    """
    return _canonical_value(value, MAX_DEPTH)


def canonical_text(value: object) -> str:
    """The RFC 8785 text of ``value`` after ``canonical_value``.

    Raises:
        InputError: as ``canonical_value``.
    """
    return rfc8785.dumps(canonical_value(value)).decode("utf-8")


def parse_canonical(text: str) -> Any:
    """The value of a stored canonical text.

    Raises:
        InputError: ``text`` is not JSON, or not the canonical text of its own value (duplicate keys, floats, NaN,
            spaces, another key order, a text outside NFC).
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_pairs,
            parse_int=_exact_integer,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except RecursionError as error:
        raise InputError("A stored value is nested too deeply to be read.") from error
    except ValueError as error:
        raise InputError("A stored value is not valid JSON.") from error
    if not _is_plainly_canonical(value, text) and canonical_text(value) != text:
        raise InputError("A stored value is not written in its canonical form.")
    return value


def canonical_scalar(value: str | int | None) -> str:
    """RFC 8785 text of one text, integer or null, taken as it is: without the NFC step.

    The standard library and RFC 8785 write a text alike: only ``"``, ``\\`` and control characters are escaped.
    """
    return _ENCODER.encode(value)


def _is_plainly_canonical(value: object, text: str) -> bool:
    """A fast yes for the common case, ASCII and shallow; RFC 8785 in Python takes ten times as long for the rest.

    In ASCII nothing is left to NFC, and sorting by code point and by UTF-16 unit (RFC 8785) is the same.
    """
    if not text.isascii() or text.count("{") + text.count("[") > MAX_DEPTH:
        return False
    return _ENCODER.encode(value) == text


def _canonical_value(value: object, depth: int) -> Any:
    if depth < 0:
        raise InputError(f"A value is nested more than {MAX_DEPTH} levels deep, which the ledger does not record.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _canonical_string(value)
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise InputError("An integer beyond 2^53 - 1 cannot be recorded exactly: write it as a decimal string.")
        return int(value)
    if isinstance(value, float):
        raise InputError(
            "A floating-point number cannot be recorded exactly: write it as an integer or decimal string."
        )
    if isinstance(value, Mapping):
        return _canonical_object(value, depth)
    if isinstance(value, list | tuple):
        return [_canonical_value(item, depth - 1) for item in value]
    raise InputError(
        f"A value of type {type(value).__name__} cannot be recorded: use text, integers, lists and objects."
    )


def _canonical_string(value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError("A text holds half of a Unicode character pair and cannot be recorded.") from error
    # str.__str__ turns a str-based enum member into its plain text, which str() does not for (str, Enum) classes.
    return unicodedata.normalize("NFC", str.__str__(value))


def _canonical_object(value: Mapping[Any, object], depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise InputError("A recorded object has a key that is not a text.")
        name = _canonical_string(key)
        if name in result:
            raise InputError("A recorded object has two keys that are the same text.")
        result[name] = _canonical_value(item, depth - 1)
    return result


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InputError("A stored object has the same key twice.")
    return result


def _exact_integer(text: str) -> int:
    # The length first: turning a million digits into an integer takes quadratic time.
    if len(text) > len(str(-MAX_SAFE_INTEGER)) or abs(int(text)) > MAX_SAFE_INTEGER:
        _refuse_number(text)
    return int(text)


def _refuse_number(text: str) -> NoReturn:
    raise InputError(f"A stored value holds the number {text[:40]}, which is not an exact integer.")
