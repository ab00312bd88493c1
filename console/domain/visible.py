"""Text that somebody else wrote, made safe to show: on a terminal, in a sentence, in a log.

A name, a file name or a certificate can hold escape sequences that recolour or clear a terminal, line breaks that
forge a second line, and bidirectional marks that show letters in another order than they stand (Boucher and Anderson
2021, "Trojan Source"). Shown text has each of them as a visible escape instead.
"""

from __future__ import annotations

import unicodedata

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSAFE = frozenset({"Cc", "Cs", "Zl", "Zp"})
LONGEST_QUOTE = 80  # characters of a foreign text inside a sentence


def visible(text: str, *, keep: str = "") -> str:
    """The text with control characters, line separators, lone surrogates and bidirectional marks escaped.

    Args:
        keep: characters that are left as they are, such as a line break in a text that may have lines.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(sign if sign in keep or not _is_unsafe(sign) else _escape(sign) for sign in text)


def visible_json(text: str) -> str:
    """JSON text in which the same signs stand as JSON escapes: still the same value for whoever reads it."""
    if text.isascii() and "\x7f" not in text:
        return text  # json writes ASCII control characters as escapes already
    return "".join(f"\\u{ord(sign):04x}" if sign != "\n" and _is_unsafe(sign) else sign for sign in text)


def quoted(text: str, limit: int = LONGEST_QUOTE) -> str:
    """A foreign text as it may stand inside a sentence: escaped, cut to ``limit`` characters, in single quotes."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return f"'{visible(cut)}'"


def _is_unsafe(sign: str) -> bool:
    return sign in _BIDI or unicodedata.category(sign) in _UNSAFE


def _escape(sign: str) -> str:
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
