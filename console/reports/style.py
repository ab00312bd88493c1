"""How a report looks: one accent colour, an 8-point grid, five sizes of type.

Lengths are in points. Every pair of text and ground has a contrast of at least 4.5 to 1, and every
colour that carries a meaning stands beside an icon and a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from reportlab.lib.colors import Color, HexColor, white
from reportlab.lib.enums import TA_LEFT, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle

from console.domain.verdict import Word
from console.domain.verdict_words import WORDS
from console.reports.fonts import BOLD, ITALIC, MONO, SANS, register_fonts

GRID = 8.0
PAGE_WIDTH, PAGE_HEIGHT = A4
MARGIN = 7 * GRID
MARGIN_TOP = 8 * GRID
MARGIN_BOTTOM = 8 * GRID
CONTENT_WIDTH = PAGE_WIDTH - 2 * MARGIN

ACCENT = HexColor("#0B5C6B")
ACCENT_TINT = HexColor("#E6F0F2")
INK = HexColor("#1C2730")
MUTED = HexColor("#55626D")
RULE = HexColor("#CBD3D9")
STRIPE = HexColor("#F6F8F9")
PAPER = white
GREYED = HexColor("#63707A")

GOOD = HexColor("#1B6B3A")
CAUTION = HexColor("#8A5300")
BAD = HexColor("#A01C26")


@dataclass(frozen=True)
class VerdictLook:
    """Chip colour, tint of the panel behind it, and the icon's name (drawn, not a glyph)."""

    colour: Color
    tint: Color
    icon: str


VERDICT_LOOKS: dict[Word, VerdictLook] = {
    word: VerdictLook(HexColor(entry.colour), HexColor(entry.tint), entry.icon) for word, entry in WORDS.items()
}


@dataclass(frozen=True)
class Styles:
    """Paragraph styles; ``small`` is for tables, ``mono`` for hashes (it breaks between any two characters)."""

    title: ParagraphStyle
    overline: ParagraphStyle
    lead: ParagraphStyle
    section: ParagraphStyle
    subsection: ParagraphStyle
    body: ParagraphStyle
    note: ParagraphStyle
    small: ParagraphStyle
    small_bold: ParagraphStyle
    small_right: ParagraphStyle
    small_muted: ParagraphStyle
    header: ParagraphStyle
    mono: ParagraphStyle
    quote: ParagraphStyle


@cache
def styles() -> Styles:
    """The styles; made on first use, because they need the registered fonts."""
    register_fonts()
    base = ParagraphStyle(
        "base", fontName=SANS, fontSize=9, leading=13, textColor=INK, alignment=TA_LEFT, bulletFontName=SANS,
        splitLongWords=1, allowWidows=0, allowOrphans=0,
    )  # fmt: skip
    small = ParagraphStyle("small", base, fontSize=8, leading=11)
    mono = ParagraphStyle("mono", base, fontName=MONO, fontSize=7.5, leading=11, wordWrap="CJK")
    return Styles(
        title=ParagraphStyle("title", base, fontName=BOLD, fontSize=22, leading=27),
        overline=ParagraphStyle("overline", base, fontName=BOLD, fontSize=8, leading=12, textColor=ACCENT),
        lead=ParagraphStyle("lead", base, fontSize=12, leading=17),
        section=ParagraphStyle(
            "section", base, fontName=BOLD, fontSize=14, leading=20, textColor=ACCENT, spaceBefore=16, spaceAfter=8
        ),
        subsection=ParagraphStyle(
            "subsection", base, fontName=BOLD, fontSize=9.5, leading=13, spaceBefore=8, spaceAfter=4
        ),
        body=ParagraphStyle("body", base, spaceAfter=6),
        note=ParagraphStyle("note", small, fontName=ITALIC, textColor=MUTED, spaceBefore=4, spaceAfter=6),
        small=small,
        small_bold=ParagraphStyle("small-bold", small, fontName=BOLD),
        small_right=ParagraphStyle("small-right", small, alignment=TA_RIGHT),
        small_muted=ParagraphStyle("small-muted", small, textColor=GREYED),
        header=ParagraphStyle("header", small, fontName=BOLD, fontSize=7.5, leading=10, textColor=ACCENT),
        mono=mono,
        quote=ParagraphStyle("quote", mono, leading=11.5),
    )
