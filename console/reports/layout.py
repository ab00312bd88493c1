"""The pieces a page is made of: headings, tables that break, hash lines, the verdict panel.

Everything that prints foreign text goes through :func:`console.reports.fonts.markup`. Tables repeat
their header on every page, and rows that are too tall become several, so that no text, however long, is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reportlab.lib.colors import Color
from reportlab.platypus import CondPageBreak, Flowable, LongTable, Paragraph, Spacer, Table, TableStyle
from reportlab.platypus.flowables import ListFlowable, ListItem

from console.reports.fonts import BOLD, MONO, SANS, markup, plain
from console.reports.icons import draw_icon
from console.reports.style import (
    ACCENT,
    ACCENT_TINT,
    CONTENT_WIDTH,
    GRID,
    MUTED,
    PAPER,
    RULE,
    STRIPE,
    VerdictLook,
    styles,
)

Cell = Flowable | list[Flowable]
_ROOM_UNDER_HEADING = 16 * GRID
# A cell of plain text, even an empty one, would otherwise pull in reportlab's default face, which is not embedded.
_CELLS: tuple[tuple[object, ...], ...] = (("FONTNAME", (0, 0), (-1, -1), SANS), ("VALIGN", (0, 0), (-1, -1), "TOP"))
_TALLEST_ROW = 30 * GRID


class SectionHeading(Flowable):
    """A section's heading. The document numbers it, and makes it an entry of the outline."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self.number = 0
        self.spaceBefore = styles().section.spaceBefore
        self.spaceAfter = styles().section.spaceAfter

    @property
    def numbered_title(self) -> str:
        return f"{self.number}  {self.title}"

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        self._paragraph = Paragraph(f"{self.number}\u00a0\u00a0\u00a0{markup(self.title)}", styles().section)
        self.width, self.height = self._paragraph.wrap(available_width, available_height)
        return self.width, self.height

    def draw(self) -> None:
        self._paragraph.drawOn(self.canv, 0, 0)


def heading(title: str, room: float = _ROOM_UNDER_HEADING) -> list[Flowable]:
    """A section heading that never stands alone at the foot of a page; ``room`` in points."""
    return [CondPageBreak(room), SectionHeading(title)]


def subheading(title: str, room: float = 14 * GRID) -> list[Flowable]:
    """A heading inside a section."""
    return [CondPageBreak(room), Paragraph(markup(title), styles().subsection)]


def text(content: str) -> Paragraph:
    """A paragraph of body text."""
    return Paragraph(markup(content), styles().body)


def note(content: str) -> Paragraph:
    """A quiet explanatory line."""
    return Paragraph(markup(content), styles().note)


def small(content: str, *, bold: bool = False, greyed: bool = False) -> Paragraph:
    """Text of a table cell."""
    look = styles().small_muted if greyed else styles().small_bold if bold else styles().small
    return Paragraph(markup(content), look)


def mono(content: str) -> Paragraph:
    """A hash, name or command: wraps between any two characters, never hyphenated, never cut."""
    return Paragraph(markup(content, MONO), styles().mono)


def hash_lines(digest: str) -> Paragraph:
    """A SHA-256 in two lines of 32 digits, for narrow columns."""
    half = len(digest) // 2
    return Paragraph(f"{markup(digest[:half], MONO)}<br/>{markup(digest[half:], MONO)}", styles().mono)


def gap(units: float = 1) -> Spacer:
    """Vertical room in grid units of 8 points."""
    return Spacer(1, units * GRID)


def bullets(items: Iterable[str]) -> ListFlowable:
    """A plain list."""
    return ListFlowable(
        [Paragraph(markup(item), styles().body) for item in items],
        bulletType="bullet", start="•", bulletFontName=SANS, bulletFontSize=9, bulletColor=ACCENT, leftIndent=14,
    )  # fmt: skip


def numbered(items: Iterable[Cell]) -> ListFlowable:
    """Numbered steps."""
    entries = [ListItem(item, leftIndent=18) for item in items]
    return ListFlowable(
        entries,
        bulletType="1",
        bulletFormat="%s.",
        bulletFontName=BOLD,
        bulletFontSize=9,
        bulletColor=ACCENT,
        leftIndent=18,
    )


def _pieces(cell: Cell, width: float) -> list[list[Flowable]]:
    """A cell's flowables, cut into pieces that each fit a fraction of a page.

    reportlab can split a table inside a row, but loses lines of spanned cells when it does; rows that are
    small enough never have to be split.
    """
    waiting = list(cell) if isinstance(cell, list) else [cell]
    pieces: list[list[Flowable]] = [[]]
    room = _TALLEST_ROW
    while waiting:
        flowable = waiting.pop(0)
        height = flowable.wrap(width, _TALLEST_ROW)[1]
        if height > room:
            parts = flowable.split(width, room)
            if len(parts) > 1:
                pieces[-1].append(parts[0])
                waiting = parts[1:] + waiting
            else:
                waiting.insert(0, flowable)
            pieces.append([])
            room = _TALLEST_ROW
            continue
        pieces[-1].append(flowable)
        room -= height
    return [piece for piece in pieces if piece]


@dataclass
class _Grid:
    """Rows for a reportlab table: tall ones cut into several, lines and stripes following the rows as given."""

    widths: Sequence[float]
    padding: float
    striped: bool
    cells: list[list[Cell]] = field(default_factory=list)
    commands: list[tuple[object, ...]] = field(default_factory=list)

    def add(self, row: Sequence[Cell | str], number: int, span_from: int | None) -> None:
        pieces: list[list[list[Flowable]]] = []
        for column, cell in enumerate(row):
            last = len(self.widths) if column == span_from else column + 1
            width = sum(self.widths[column:last]) - 2 * self.padding
            empty = cell == "" or cell == []
            pieces.append([] if empty else _pieces(small(cell) if isinstance(cell, str) else cell, width))
        first = len(self.cells)
        for index in range(max(1, *(len(piece) for piece in pieces))):
            self.cells.append([piece[index] if index < len(piece) else [] for piece in pieces])
            if span_from is not None:
                line = len(self.cells) - 1
                self.commands.append(("SPAN", (span_from, line), (-1, line)))
        last_line = len(self.cells) - 1
        self.commands.append(("LINEBELOW", (0, last_line), (-1, last_line), 0.4, RULE))
        if self.striped and number % 2:
            self.commands.append(("BACKGROUND", (0, first), (-1, last_line), STRIPE))


def data_table(
    header: Sequence[str],
    rows: Sequence[Sequence[Cell | str]],
    widths: Sequence[float],
    *,
    spans: Mapping[int, int] | None = None,
) -> LongTable:
    """A table whose header is repeated on every page.

    Args:
        header: column titles.
        rows: flowables, or plain text for an ordinary cell.
        widths: shares of the content width; scaled to fill it.
        spans: row number to the column from which one cell fills the rest of the row.
    """
    points = [width * CONTENT_WIDTH / sum(widths) for width in widths]
    grid = _Grid(points, padding=6, striped=True)
    grid.cells.append([Paragraph(markup(title), styles().header) for title in header])
    for number, row in enumerate(rows):
        grid.add(row, number, (spans or {}).get(number))
    table = LongTable(grid.cells, colWidths=points, repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                *_CELLS,
                ("LEFTPADDING", (0, 0), (-1, -1), grid.padding),
                ("RIGHTPADDING", (0, 0), (-1, -1), grid.padding),
                ("TOPPADDING", (0, 0), (-1, -1), 4),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
                ("BACKGROUND", (0, 0), (-1, 0), ACCENT_TINT),
                *grid.commands,
                ("LINEBELOW", (0, 0), (-1, 0), 0.8, ACCENT),
            ]
        )
    )
    table.spaceAfter = GRID
    return table


def key_values(pairs: Sequence[tuple[str, Cell | str]], label_width: float = 128.0) -> LongTable:
    """Labels and values, one pair a line; ``label_width`` in points."""
    points = [label_width, CONTENT_WIDTH - label_width]
    grid = _Grid(points, padding=0, striped=False)
    for number, (label, value) in enumerate(pairs):
        grid.add([small(label, greyed=True), value], number, None)
    table = LongTable(grid.cells, colWidths=points)
    table.setStyle(
        TableStyle(
            [
                *_CELLS,
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 3),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
                *grid.commands,
            ]
        )
    )
    table.spaceAfter = GRID
    return table


def framed(content: Sequence[Flowable], *, ground: Color = STRIPE, edge: Color = RULE) -> Table:
    """A box around some flowables; breaks between them over pages when it has to."""
    padding = 12
    rows = [[piece] for piece in _pieces(list(content), CONTENT_WIDTH - 2 * padding)]
    table = Table(rows, colWidths=[CONTENT_WIDTH])
    table.setStyle(
        TableStyle(
            [
                *_CELLS,
                ("BACKGROUND", (0, 0), (-1, -1), ground),
                ("BOX", (0, 0), (-1, -1), 0.6, edge),
                ("LEFTPADDING", (0, 0), (-1, -1), padding),
                ("RIGHTPADDING", (0, 0), (-1, -1), padding),
                ("TOPPADDING", (0, 0), (-1, -1), 10),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 10),
            ]
        )
    )
    table.spaceAfter = GRID
    return table


class VerdictChip(Flowable):
    """The verdict: a coloured chip with icon and word, and the id of the rule that gave it."""

    _HEIGHT = 28.0
    _SIZE = 14.0

    def __init__(self, word: str, rule: str, look: VerdictLook) -> None:
        super().__init__()
        self._word = plain(word.upper(), BOLD)
        self._rule = plain(f"rule {rule}", MONO)
        self._look = look

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        self.width = available_width
        return available_width, self._HEIGHT

    def draw(self) -> None:
        canvas = self.canv
        word_width = canvas.stringWidth(self._word, BOLD, self._SIZE)
        chip_width = 12 + 16 + 8 + word_width + 14
        canvas.saveState()
        canvas.setFillColor(self._look.colour)
        canvas.roundRect(0, 0, chip_width, self._HEIGHT, 4, stroke=0, fill=1)
        draw_icon(canvas, self._look.icon, 12, 6, 16, PAPER)
        canvas.setFillColor(PAPER)
        canvas.setFont(BOLD, self._SIZE)
        canvas.drawString(36, 9, self._word)
        canvas.setFillColor(MUTED)
        canvas.setFont(MONO, 8)
        canvas.drawString(chip_width + 12, 10.5, self._rule)
        canvas.restoreState()


class IconLine(Flowable):
    """A short line led by an icon, such as a due date that was met."""

    _SIZE = 10.0

    def __init__(self, icon: str, colour: Color, content: str) -> None:
        super().__init__()
        self._icon = icon
        self._colour = colour
        self._text = Paragraph(markup(content), styles().small)

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        self.width = available_width
        _, self.height = self._text.wrap(available_width - self._SIZE - 6, available_height)
        return self.width, self.height

    def draw(self) -> None:
        draw_icon(self.canv, self._icon, 0, self.height - self._SIZE - 0.5, self._SIZE, self._colour)
        self._text.drawOn(self.canv, self._SIZE + 6, 0)
