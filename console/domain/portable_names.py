"""Names that become files and folders, on every system that an office may move to.

Windows keeps some names for devices, whatever follows a dot, drops dots and spaces at a name's end, and holds two names
that differ in case for one (Microsoft, "Naming Files, Paths, and Namespaces"); macOS does the last as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from console.domain.visible import quoted

_USABLE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.IGNORECASE)
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
)


def why_not_a_name(name: str, taken: Iterable[str] = ()) -> str | None:
    """Why this cannot name a model and its folder, in a sentence; None where it can.

    Args:
        taken: names that are used already.
    """
    if not name:
        return "Give the model a name: letters, digits, dots and dashes (64 at most)."
    if not _USABLE.fullmatch(name):
        return f"{quoted(name)} cannot name a model; use letters, digits, dots and dashes (64 at most)."
    if name.endswith("."):
        return f"{quoted(name)} cannot name a model: Windows drops a dot at a name's end; leave it out."
    if name.split(".")[0].lower() in _DEVICES:
        return f"{quoted(name)} cannot name a model: Windows keeps this name for a device; choose another name."
    for other in taken:
        if other == name:
            return f"A model named {quoted(name)} is already registered; choose another name."
        if other.casefold() == name.casefold():
            return (
                f"A model named {quoted(other)} is already registered, and a file system may hold {quoted(name)} for "
                "the same name; choose another name."
            )
    return None
