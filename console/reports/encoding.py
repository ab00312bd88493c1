"""Evidence as bytes: canonical JSON (RFC 8785) in which every rate carries its interval.

A reader without our code must see how uncertain a rate is, so each ``{hits, trials}`` is written
with ``low`` and ``high``, the exact 95 % interval as decimal text. Reading checks that they agree
with the counts, and that the bytes are exactly the ones this module would write.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import rfc8785
from pydantic import ValidationError

from console.domain.intervals import clopper_pearson
from console.domain.results import decimal_text
from console.errors import InputError
from console.reports.evidence import SCHEMA_ID, Evidence

EVIDENCE_NAME = "evidence.json"
_COUNTS = {"hits", "trials"}
_INTERVAL = {"low", "high"}
_OF_A_FACT = _COUNTS | {"fact"}  # the parts of a rate: the whole has the interval
# Fields that came after the first reports were signed are left out where they say nothing: those reports keep the
# one canonical form that they were signed in.
_LATER: dict[str, Any] = {
    "chance": None,
    "not_counted": [],
    "behaviour_before": None,
    "behaviour_after": None,
    "effective_rank": None,
    "leak_gains": [],
    "by_seed": [],
    "suppressed": None,
    "earlier_requests": [],
}


def _interval(hits: int, trials: int) -> dict[str, str]:
    low, high = clopper_pearson(hits, trials)
    return {"low": decimal_text(low), "high": decimal_text(high)}


def _with_intervals(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_intervals(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.keys() == _COUNTS:
        return node | _interval(node["hits"], node["trials"])
    return {key: _with_intervals(value) for key, value in node.items() if not (key in _LATER and value == _LATER[key])}


def _without_intervals(node: Any) -> Any:
    """The record as the domain knows it.

    Raises:
        ValueError: an interval is missing or is not the one of its counts.
    """
    if isinstance(node, list):
        return [_without_intervals(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.keys() == _OF_A_FACT:
        return node
    if node.keys() >= _COUNTS:
        hits, trials = node["hits"], node["trials"]
        if type(hits) is not int or type(trials) is not int:
            raise ValueError("a count is not a whole number")
        stated = {key: node[key] for key in _INTERVAL if key in node}
        if stated != _interval(hits, trials):
            raise ValueError(f"the stated interval of {hits} of {trials} is not the interval of these counts")
        return {key: value for key, value in node.items() if key not in _INTERVAL}
    return {key: _without_intervals(value) for key, value in node.items()}


def evidence_bytes(evidence: Evidence) -> bytes:
    """The canonical bytes of a record; equal records have equal bytes on every machine.

    Raises:
        InputError: the record holds a text that UTF-8 cannot carry.
    """
    try:
        return rfc8785.dumps(_with_intervals(evidence.model_dump(mode="json")))
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise InputError("The evidence holds a text or number that cannot be written; correct the case.") from error


def evidence_sha256(evidence: Evidence) -> str:
    """Lower-case hex SHA-256 of the canonical bytes."""
    return hashlib.sha256(evidence_bytes(evidence)).hexdigest()


def parse_evidence(data: bytes) -> Evidence:
    """The record in ``data``.

    Raises:
        InputError: not a record of this schema, an interval that contradicts its counts, or bytes that
            are not in the one canonical form.
    """
    try:
        body = json.loads(data.decode("utf-8"))
        evidence = Evidence.model_validate_json(json.dumps(_without_intervals(body)), strict=True)
    except (UnicodeError, ValueError, RecursionError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(f"The evidence file cannot be read ({reason}); ask for the report again.") from error
    # Also catches duplicate keys, 1.0 for 1, other spellings of a date and left-out defaults.
    if evidence_bytes(evidence) != data:
        raise InputError("The evidence file is not in its canonical form; ask for the report again.")
    return evidence


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the evidence file, rates with their intervals."""
    body = Evidence.model_json_schema(mode="serialization")
    rate = body["$defs"]["Rate"]
    decimal = {"type": "string", "pattern": r"^[01]\.\d{4}$"}
    rate["properties"] |= {
        "low": decimal | {"description": "lower end of the exact 95 % interval"},
        "high": decimal | {"description": "upper end of the exact 95 % interval"},
    }
    rate["required"] = ["hits", "trials", "low", "high"]
    for definition in body["$defs"].values():
        if "required" in definition:
            definition["required"] = [field for field in definition["required"] if field not in _LATER]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **body}


def schema_text() -> str:
    """The schema as the file ``resources/report/evidence.schema.json`` holds it."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
