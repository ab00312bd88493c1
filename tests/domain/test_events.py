"""Event bodies: typed, canonical, without floating-point numbers, and readable for ever."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.domain import events
from console.domain.events import VERSION, Body, Sealed, plain
from console.domain.exports import Gate
from console.domain.results import Access, AttackRow, Battery, Evidence, Outcome, Rate, Stage
from console.domain.verdict import Thresholds, Verdict, Word
from console.ledger.canonical import canonical_text

BODIES = tuple(
    kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Body) and "kind" in vars(kind)
)
_BATTERY = Battery(
    stage=Stage.AFTER,
    model_hash="aa",
    suite_hash="bb",
    rows=(
        AttackRow(
            attack="direct",
            evidence=Evidence.ASKED,
            access=Access.BLACK_BOX,
            budget=5,
            outcome=Outcome(attempts=Rate(hits=1, trials=4), items=Rate(hits=1, trials=2)),
        ),
    ),
)
_BY_TYPE: dict[Any, Any] = {
    str: "text",
    int: 7,
    Battery: _BATTERY,
    Gate: Gate(
        texts=20,
        tokens=400,
        reading="0.0100",
        reading_tolerance="0.02",
        rounding="0.0010",
        rounding_tolerance="0.02",
        whole="0.0110",
        sentence="The same.",
    ),
    Sealed: Sealed(item="vault-1", commitment="aa"),
    Thresholds: Thresholds(),
    Verdict: Verdict(word=Word.REMOVED, rule="V1.7", reasons=("why",)),
    dict[str, Any]: {"rate": 0.1, "deep": [{"a": 1.5}], "none": None, "yes": True},
    dict[str, str]: {"a": "b"},
    dict[str, int]: {"city": 2},
    tuple[str, ...]: ("a", "b"),
    tuple[dict[str, Any], ...]: ({"x": 0.25},),
    tuple[dict[str, str], ...]: ({"tensor": "w"},),
}


def example(kind: type[Body]) -> Body:
    """A body with every field filled."""

    def value(annotation: Any) -> Any:
        if annotation in _BY_TYPE:
            return _BY_TYPE[annotation]
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return value(inner[0]) if len(inner) == 1 else None

    return kind(**{name: value(field.annotation) for name, field in kind.model_fields.items()})


def numbers_in(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [number for entry in value.values() for number in numbers_in(entry)]
    if isinstance(value, list):
        return [number for entry in value for number in numbers_in(entry)]
    return [value] if isinstance(value, float) else []


class TestBodies:
    def test_there_are_bodies_and_each_has_its_kind(self) -> None:
        assert len(BODIES) > 12
        assert len({body.kind for body in BODIES}) == len(BODIES)

    @pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.kind)
    def test_written_and_read_again(self, kind: type[Body]) -> None:
        body = example(kind).to_body()
        assert body["v"] == VERSION
        assert numbers_in(body) == []
        stored = json.loads(canonical_text(body))
        assert stored == body
        assert kind.model_validate(stored).to_body() == body

    @pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.kind)
    def test_a_later_version_s_fields_are_passed_over(self, kind: type[Body]) -> None:
        body = example(kind).to_body()
        assert kind.model_validate(body | {"from_the_future": 1}) == kind.model_validate(body)

    @pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.kind)
    def test_what_has_a_default_may_be_missing(self, kind: type[Body]) -> None:
        """A field that is added gets one, because old events are read for ever."""
        body = example(kind).to_body()
        required = {name for name, field in kind.model_fields.items() if field.is_required()}
        kind.model_validate({name: value for name, value in body.items() if name in required})
        for name in required:
            with pytest.raises(ValueError, match=name):
                kind.model_validate({key: value for key, value in body.items() if key != name})

    def test_a_body_cannot_be_changed(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            example(events.JobEnded).outcome = "done"  # type: ignore[attr-defined]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=12,
)


class TestPlain:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (0.1, "0.1"),
            (1e-5, "1e-05"),
            (2.0, "2.0"),
            (True, True),
            (None, None),
            (3, 3),
            (("a", 1.5), ["a", "1.5"]),
            ({1: 2.5, "x": (True,)}, {"1": "2.5", "x": [True]}),
        ],
    )
    def test_by_hand(self, value: Any, expected: Any) -> None:
        assert plain(value) == expected
        assert type(plain(value)) is type(expected)

    @given(json_values)
    def test_no_float_is_left_and_twice_is_once(self, value: Any) -> None:
        once = plain(value)
        assert numbers_in(once) == [] and plain(once) == once

    @given(st.floats(allow_nan=False))
    def test_a_number_s_text_is_exact(self, value: float) -> None:
        assert float(plain(value)) == value

    @pytest.mark.parametrize("value", [Decimal("1.5"), {1, 2}, b"bytes", object()])
    def test_anything_else_is_refused(self, value: Any) -> None:
        with pytest.raises(TypeError, match="cannot stand in an event"):
            plain({"deep": [value]})
