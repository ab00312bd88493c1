"""How a text or a list of texts is written into one cell of a CSV file, and read back unchanged."""

from __future__ import annotations

import re
from collections.abc import Sequence

# A spreadsheet runs a cell that begins like this (OWASP, CSV injection); the last four are the full-width
# forms. Apostrophes may stand before it, so that a text that already has one survives the round trip.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_LIST_ENTRY = re.compile(r"(?:[^|\\]|\\.|\\\Z)+", re.DOTALL)


def escape_formula(text: str) -> str:
    """The text with an apostrophe in front if a spreadsheet would run it as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unescape_formula(text: str) -> str:
    """The text without the apostrophe that :func:`escape_formula` has put in front."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def join_list(entries: Sequence[str]) -> str:
    """Entries with bars between them; a bar or backslash inside an entry gets a backslash in front."""
    return "|".join(entry.replace("\\", "\\\\").replace("|", "\\|") for entry in entries)


def split_list(cell: str) -> list[str]:
    """The entries of a cell that :func:`join_list` or a person has written; blank ones are left out."""
    entries = (re.sub(r"\\([|\\])", r"\1", entry) for entry in _LIST_ENTRY.findall(cell))
    return [entry for entry in entries if entry.strip()]
