"""The bundled typefaces, and text that never loses a letter.

Noto Sans and Noto Sans Mono (SIL Open Font License) are embedded in every report. A character that
neither of them has is printed as its code point, because a report that silently drops letters of an
organisation's name is wrong, not just ugly.
"""

from __future__ import annotations

import io
from functools import cache
from xml.sax.saxutils import escape

from reportlab.lib.fonts import addMapping
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from console.paths import resource

SANS = "NotoSans"
BOLD = "NotoSans-Bold"
ITALIC = "NotoSans-Italic"
MONO = "NotoSansMono"

_FILES = {
    SANS: "NotoSans-Regular.ttf",
    BOLD: "NotoSans-Bold.ttf",
    ITALIC: "NotoSans-Italic.ttf",
    MONO: "NotoSansMono-Regular.ttf",
}


@cache
def register_fonts() -> None:
    """Tell reportlab about the bundled fonts; its registry is one a process, so once is enough.

    Raises:
        OSError: the installation lacks the font files.
    """
    for name, file in _FILES.items():
        pdfmetrics.registerFont(TTFont(name, io.BytesIO(resource("fonts", file).read_bytes())))
    for family in (SANS, MONO):
        bold, italic = (BOLD, ITALIC) if family == SANS else (MONO, MONO)
        addMapping(family, 0, 0, family)
        addMapping(family, 1, 0, bold)
        addMapping(family, 0, 1, italic)
        addMapping(family, 1, 1, bold)


@cache
def _characters(font: str) -> frozenset[int]:
    register_fonts()
    return frozenset(pdfmetrics.getFont(font).face.charToGlyph)


def _has(font: str, character: str) -> bool:
    return ord(character) in _characters(font) and ord(character) >= 0x20


def plain(text: str, font: str = SANS) -> str:
    """Text for a line drawn in one font: what the font lacks is spelled as ``[U+4E2D]``."""
    return "".join(character if _has(font, character) else f"[U+{ord(character):04X}]" for character in text)


def markup(text: str, font: str = SANS) -> str:
    """Foreign text as safe paragraph markup: escaped, line breaks kept, missing letters taken from
    the monospaced face or spelled as a code point."""
    parts: list[str] = []
    for character in text.replace("\r\n", "\n"):
        if character == "\n":
            parts.append("<br/>")
        elif _has(font, character):
            parts.append(escape(character))
        elif _has(MONO, character):
            parts.append(f'<font name="{MONO}">{escape(character)}</font>')
        else:
            parts.append(f"[U+{ord(character):04X}]")
    return "".join(parts)
