"""The evidence file: canonical bytes, intervals beside counts, and every way to say no."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sample_evidence import battery, not_located, nothing_applicable, removed, row, rows_before, sample

from console.domain.intervals import clopper_pearson
from console.domain.results import Stage, decimal_text
from console.domain.verdict import Word
from console.errors import InputError
from console.paths import resource
from console.reports.encoding import evidence_bytes, parse_evidence, schema, schema_text
from console.reports.evidence import Evidence, counts, recomputed_verdict

SAMPLES: list[Callable[[], Evidence]] = [sample, removed, not_located, nothing_applicable]


@pytest.mark.parametrize("make", SAMPLES)
def test_evidence_survives_its_bytes(make: Callable[[], Evidence]) -> None:
    evidence = make()
    data = evidence_bytes(evidence)
    assert parse_evidence(data) == evidence
    assert evidence_bytes(parse_evidence(data)) == data
    assert data == rfc8785.dumps(json.loads(data))


@pytest.mark.parametrize("make", SAMPLES)
def test_evidence_follows_the_shipped_schema(make: Callable[[], Evidence]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    shipped = json.loads(resource("report", "evidence.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(shipped).validate(json.loads(evidence_bytes(make())))


def test_the_shipped_schema_is_the_models() -> None:
    assert resource("report", "evidence.schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_schema_says_no_to_a_missing_list_of_what_was_not_checked() -> None:
    body = json.loads(evidence_bytes(sample())) | {"not_checked": []}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(body)


def rates(node: Any) -> list[dict[str, Any]]:
    """Every rate in a JSON body."""
    if isinstance(node, list):
        return [found for item in node for found in rates(item)]
    if not isinstance(node, dict):
        return []
    if "hits" in node:
        return [node]
    return [found for value in node.values() for found in rates(value)]


def test_every_rate_carries_its_exact_interval() -> None:
    found = rates(json.loads(evidence_bytes(sample())))
    # Attempts, facts and controls on three models, two groups, and six counts of behaviour on two models.
    assert len(found) == 3 * (6 + 6 + 5) + 2 + 2 * 6
    for rate in found:
        low, high = clopper_pearson(rate["hits"], rate["trials"])
        assert (rate["low"], rate["high"]) == (decimal_text(low), decimal_text(high))


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    body = json.loads(evidence_bytes(sample()))
    change(body)
    return rfc8785.dumps(body)


def set_interval(body: dict[str, Any], key: str, value: object) -> None:
    body["batteries"]["before"]["rows"][0]["outcome"]["attempts"][key] = value


BROKEN: dict[str, bytes] = {
    "not JSON": b"not json",
    "not UTF-8": b"\xff\xfe",
    "empty": b"",
    "another kind of JSON": b"[]",
    "interval that is not of its counts": changed(lambda body: set_interval(body, "low", "0.9999")),
    "interval that is missing": changed(
        lambda body: body["batteries"]["before"]["rows"][0]["outcome"]["attempts"].pop("high")
    ),
    "counts that cannot be": changed(lambda body: set_interval(body, "hits", 241)),
    "a count that is a text": changed(lambda body: set_interval(body, "hits", "231")),
    "a count that is true": changed(lambda body: set_interval(body, "hits", True)),
    "unknown key": changed(lambda body: body.update(extra=1)),
    "another schema": changed(lambda body: body.update(schema_id="erasure-console/evidence/2")),
    "a date that is none": changed(lambda body: body["request"].update(received_on="2026-02-30")),
    "an instant that is none": changed(lambda body: body.update(created_at="2026-11-25T25:00:00Z")),
    "an instant without a zone": changed(lambda body: body.update(created_at="2026-11-25T09:12:31")),
    "nothing was left unchecked": changed(lambda body: body.update(not_checked=[])),
    "white space": evidence_bytes(sample()).replace(b":", b": ", 1),
    "a key twice": evidence_bytes(sample()).replace(b'{"approvals"', b'{"approvals":[],"approvals"', 1),
    "1.0 for 1": evidence_bytes(sample()).replace(b'"index":1194', b'"index":1194.0', 1),
    "deep nesting": b"[" * 100_000,
}


@pytest.mark.parametrize("reason", BROKEN)
def test_reading_says_no(reason: str) -> None:
    with pytest.raises(InputError):
        parse_evidence(BROKEN[reason])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 1000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_any_count_survives(counted: tuple[int, int]) -> None:
    first, *rest = rows_before()
    evidence = sample(before=(row("direct", *counted, (min(1, counted[0]), 20)), *rest))
    assert first.attack == "direct"
    assert counted in counts(parse_evidence(evidence_bytes(evidence)))


def test_a_battery_must_have_run_on_the_named_model() -> None:
    body = sample().model_dump()
    body["model_after"]["tree_hash"] = "0" * 64
    with pytest.raises(ValidationError, match="another model"):
        Evidence.model_validate(body)


def test_a_battery_must_stand_in_its_own_place() -> None:
    body = sample().model_dump()
    body["batteries"]["after"] = battery(Stage.BEFORE, "after", rows_before()).model_dump()
    with pytest.raises(ValidationError, match="says it is 'before'"):
        Evidence.model_validate(body)


def test_an_attack_stands_in_a_battery_once() -> None:
    body = sample().model_dump()
    body["batteries"]["before"] = battery(Stage.BEFORE, "before", rows_before() + rows_before()[:1]).model_dump()
    with pytest.raises(ValidationError, match="twice"):
        Evidence.model_validate(body)


def test_behaviour_after_needs_the_attacks_after() -> None:
    body = sample().model_dump()
    body["batteries"]["after"] = None
    with pytest.raises(ValidationError, match="without attacks"):
        Evidence.model_validate(body)


def test_a_record_without_behaviour_has_the_form_that_it_was_signed_in() -> None:
    old = sample().model_copy(update={"behaviour_before": None, "behaviour_after": None})
    assert b"behaviour" not in evidence_bytes(old)
    assert parse_evidence(evidence_bytes(old)) == old
    null = evidence_bytes(old)[:-1] + b',"behaviour_after":null}'
    with pytest.raises(InputError):
        parse_evidence(rfc8785.dumps(json.loads(null)))


def test_behaviour_is_counted_and_no_part_of_the_verdict() -> None:
    evidence = sample()
    assert {(18, 20), (13, 20), (7, 20), (14, 16), (3, 16), (9, 16)} <= counts(evidence)
    bare = evidence.model_copy(update={"behaviour_before": None, "behaviour_after": None})
    assert recomputed_verdict(bare) == recomputed_verdict(evidence)


def test_a_change_without_a_rank_has_the_form_that_it_was_signed_in() -> None:
    run = sample().method
    assert run is not None
    bare = tuple(tensor.model_copy(update={"effective_rank": None}) for tensor in run.changed)
    old = sample().model_copy(update={"method": run.model_copy(update={"changed": bare})})
    data = evidence_bytes(old)
    assert b"effective_rank" not in data and parse_evidence(data) == old
    assert evidence_bytes(sample()).count(b"effective_rank") == len(run.changed) - 1
    null = data.replace(b'{"relative_norm"', b'{"effective_rank":null,"relative_norm"', 1)
    with pytest.raises(InputError, match="canonical"):
        parse_evidence(null)


@pytest.mark.parametrize("rank", ["many", "", "1e3", 3])
def test_a_rank_is_decimal_text(rank: object) -> None:
    with pytest.raises(InputError):
        parse_evidence(changed(lambda body: body["method"]["changed"][0].update(effective_rank=rank)))


def test_an_attack_that_only_ran_after_is_not_forgotten() -> None:
    evidence = sample(before=rows_before()[:2])
    assert [found.attack for found in evidence.attack_rows()] == [found.attack for found in rows_before()]


@pytest.mark.parametrize(
    ("make", "word"),
    [(sample, Word.SUPPRESSED), (removed, Word.REMOVED), (not_located, Word.NOT_LOCATED)],
)
def test_the_verdict_can_be_reached_again(make: Callable[[], Evidence], word: Word) -> None:
    evidence = make()
    assert evidence.verdict.word is word
    assert recomputed_verdict(parse_evidence(evidence_bytes(evidence))) == evidence.verdict


def test_evidence_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        sample().report_id = "other"  # type: ignore[misc]
