"""The attacks that this installation knows; other packages add theirs as entry points."""

from __future__ import annotations

from importlib.metadata import entry_points

from console.attacks.protocol import Attack
from console.errors import InputError

GROUP = "erasure_console.attacks"


def available() -> dict[str, Attack]:
    """All attacks by id, in the order of their entry points' names."""
    return {entry.name: entry.load()() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def chosen(ids: tuple[str, ...]) -> list[Attack]:
    """The named attacks, in the given order.

    Raises:
        InputError: an unknown id.
    """
    known = available()
    missing = [attack for attack in ids if attack not in known]
    if missing:
        raise InputError(f"There is no attack '{missing[0]}'; known are {', '.join(known)}.")
    return [known[attack] for attack in ids]
