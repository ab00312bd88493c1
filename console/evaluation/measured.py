"""A number, or the reason why there is none: a metric that lacks its input is never a blank or a zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Measured(Generic[T]):
    """Either a value or the reason why it was not measured.

    Attributes:
        value: what was measured; None when it was not.
        reason: why there is no value, as a sentence; empty when there is one.
        note: what a reader must know about a value that is there (an assumed reference, for example).
    """

    value: T | None = None
    reason: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.reason):
            raise ValueError("a measurement has either a value or the reason why it has none")


def not_measured(reason: str) -> Measured:
    """A measurement that is missing, with its reason."""
    return Measured(reason=reason)
