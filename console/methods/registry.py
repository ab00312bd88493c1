"""The methods that this installation knows; other packages add theirs as entry points."""

from __future__ import annotations

from importlib.metadata import entry_points

from console.errors import InputError
from console.methods.protocol import Method

GROUP = "erasure_console.methods"


def available() -> dict[str, Method]:
    """All methods by id, in the order of their entry points' names."""
    return {entry.name: entry.load()() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def method_named(method_id: str) -> Method:
    """One method.

    Raises:
        InputError: an unknown id.
    """
    known = available()
    if method_id not in known:
        raise InputError(f"There is no method '{method_id}'; known are {', '.join(known)}.")
    return known[method_id]
