"""Canonical bytes: one value, one text, and nothing that two readers could understand differently."""

from __future__ import annotations

import json
import unicodedata
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import InputError
from console.ledger.canonical import (
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    canonical_scalar,
    canonical_text,
    canonical_value,
    parse_canonical,
)

texts = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | texts
nfc_keys = texts.map(lambda text: unicodedata.normalize("NFC", text))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(nfc_keys, inner, max_size=4), max_leaves=12
)


def in_nfc(value: Any) -> Any:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, list):
        return [in_nfc(item) for item in value]
    if isinstance(value, dict):
        return {key: in_nfc(item) for key, item in value.items()}
    return value


@given(values)
@settings(max_examples=200, deadline=None)
def test_round_trip_gives_the_value_back_in_nfc(value: Any) -> None:
    text = canonical_text(value)
    assert parse_canonical(text) == in_nfc(value) == json.loads(text)
    assert canonical_text(parse_canonical(text)) == text


@given(texts | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.none())
@settings(max_examples=200, deadline=None)
def test_scalars_are_written_as_rfc_8785_writes_them(value: str | int | None) -> None:
    assert canonical_scalar(value) == rfc8785.dumps(value).decode()


def test_rfc_8785_sorting_example() -> None:
    # RFC 8785, section 3.2.3, without U+FB33, which is not an NFC character. U+E000 stands for it: sorted by UTF-16
    # units it comes after the emoji, sorted by code points it would come before.
    keys = ["\u20ac", "\r", "\ue000", "1", "\U0001f600", "\u0080", "\u00f6"]
    text = canonical_text(dict.fromkeys(keys, 0))
    assert list(json.loads(text)) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ue000"]


def test_nfd_and_nfc_are_one_text() -> None:
    assert canonical_text({"cafe\u0301": "e\u0301"}) == canonical_text({"caf\u00e9": "\u00e9"})


class Colour(StrEnum):
    RED = "red"


class MixedIn(str, Enum):  # noqa: UP042 - the older way to write it, in which str() gives "MixedIn.BLUE"
    BLUE = "blue"


class Level(IntEnum):
    HIGH = 3


def test_enums_are_written_as_their_values() -> None:
    value = canonical_value({"colour": Colour.RED, "mixed": MixedIn.BLUE, "level": Level.HIGH, "pair": (1, 2)})
    assert value == {"colour": "red", "mixed": "blue", "level": 3, "pair": [1, 2]}
    assert [type(item) for item in value.values()] == [str, str, int, list]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        {"score": 0.5},
        [float("nan")],
        float("inf"),
        MAX_SAFE_INTEGER + 1,
        -MAX_SAFE_INTEGER - 1,
        {1: "key"},
        {None: 1},
        {"e\u0301": 1, "\u00e9": 2},
        "\ud800",
        {"\udfff": 1},
        b"bytes",
        {1, 2},
        object(),
        nested(MAX_DEPTH + 1),
    ],
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(InputError):
        canonical_text(value)


def test_the_deepest_and_largest_values_are_accepted() -> None:
    for value in (nested(MAX_DEPTH), MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER):
        assert parse_canonical(canonical_text(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"a":2}',
        '{"a": 1}',
        '{"b":1,"a":2}',
        '{"a":1.0}',
        '{"a":1e3}',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-0}',
        '{"a":01}',
        '{"a":9007199254740992}',
        '{"a":' + "9" * 5000 + "}",
        '{"a":"\\u0041"}',
        '{"a":"\\ud800"}',
        '{"a":"e\u0301"}',
        '{"a":"\\/"}',
        '\ufeff{"a":1}',
        '{"a":1}\n',
        "{'a':1}",
        "",
        "[" * 100_000,
        json.dumps(nested(MAX_DEPTH + 1)),
        '{"\ue000":1,"\U0001f600":2}',
    ],
)
def test_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_canonical(text)
