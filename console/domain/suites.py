"""Suites: which attacks run together, and how many attempts each may make.

A suite is fixed before the search and bound to the request; the same one runs on the model before, on the
model after and on the reference, or the counts could not be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SuitePlan:
    """Attack ids, in the order in which they run, and what changes in the attacks' default settings."""

    attacks: tuple[str, ...]
    settings: Mapping[str, Any]


QUICK = SuitePlan(
    ("direct", "continuation", "paraphrase", "few-shot", "head-projection", "membership"),
    {"samples": 2},
)
