"""Suites: which attacks run together, and how many attempts each may make.

A suite is fixed before the search and bound to the request; the same one runs on the model before, on the
model after and on the reference, or the counts could not be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from console.errors import InputError

_CORE = ("direct", "continuation", "paraphrase", "few-shot", "head-projection", "membership")


@dataclass(frozen=True)
class SuitePlan:
    """A named suite.

    Attributes:
        summary: what an officer is told about it.
        attacks: ids, in the order in which they run.
        settings: what it changes in the attacks' default settings.
    """

    id: str
    summary: str
    attacks: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


SUITES = {
    plan.id: plan
    for plan in (
        SuitePlan("quick", "The six attacks that say most, three answers to each question.", _CORE, {"samples": 2}),
        SuitePlan("standard", "The same attacks, five answers to each question.", _CORE, {"samples": 4}),
    )
}
DEFAULT_SUITE = "quick"


def suite_named(name: str) -> SuitePlan:
    """Look a suite up.

    Raises:
        InputError: no such suite.
    """
    if name not in SUITES:
        raise InputError(f"There is no suite '{name}'; known are {', '.join(SUITES)}.")
    return SUITES[name]
