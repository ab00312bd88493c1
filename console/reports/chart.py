"""The picture of a report: the same attack before, after and on a model that never knew, as paired bars.

Readable without colour: *before* is solid, *after* is hatched, *reference* is an outline, and every bar
is labelled with its counts. A line with end caps is the exact 95 % interval. Membership inference has
no rate but an area under a curve, so it has a panel and an axis of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reportlab.graphics.shapes import Circle, Drawing, Group, Line, Rect, String
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase.pdfmetrics import stringWidth

from console.domain.results import AttackRow, Outcome, Stage, Status
from console.reports.evidence import Evidence
from console.reports.fonts import BOLD, ITALIC, SANS, plain
from console.reports.style import ACCENT, CONTENT_WIDTH, GREYED, INK, MUTED, PAPER, RULE
from console.reports.wording import count_text

ROWS_IN_ONE_DRAWING = 7
_TITLE_WIDTH = 144.0
_LABEL_WIDTH = 104.0
_PLOT_LEFT = _TITLE_WIDTH + 8
_BAR = 7.0
_PITCH = 9.5
_ROW_GAP = 8.5
_LEGEND = 20.0
_AXIS = 24.0
_TITLE_LEADING = 10.0
_NOTE_SIZE = 7.0


@dataclass(frozen=True)
class Bar:
    """One bar or point on an axis from 0 to 1: value and interval, and the label with its counts."""

    stage: Stage
    value: float
    low: float
    high: float
    label: str


@dataclass(frozen=True)
class ChartRow:
    """One attack. ``note`` says which bars are missing, or warns about weak ones; ``greyed`` rows carry no claim."""

    title: str
    bars: tuple[Bar, ...]
    note: str = ""
    greyed: bool = False


def _bar(stage: Stage, outcome: Outcome) -> Bar:
    if outcome.area is not None:
        area = outcome.area
        label = f"{float(area.value):.2f} ({area.members} / {area.non_members} texts)"
        return Bar(stage, float(area.value), float(area.low), float(area.high), label)
    rate = outcome.attempts
    return Bar(stage, rate.share, rate.low, rate.high, count_text(rate))


def _row(evidence: Evidence, row: AttackRow) -> ChartRow:
    batteries = (evidence.batteries.before, evidence.batteries.after, evidence.batteries.reference)
    bars: list[Bar] = []
    missing: list[str] = []
    weak = False
    for battery in batteries:
        if battery is None:
            continue
        found = battery.row(row.attack)
        if found is None or found.outcome is None or found.status is Status.NOT_APPLICABLE:
            missing.append(battery.stage.value)
            continue
        weak = weak or found.status is Status.NOT_POWERED
        bars.append(_bar(battery.stage, found.outcome))
    title = evidence.attack_title(row.attack)
    if not bars:
        return ChartRow(title, (), "not applicable: reason in the table of attacks", greyed=True)
    notes = ["not powered"] if weak else []
    notes += [f"{' and '.join(missing)}: no result"] if missing else []
    note = f"{'; '.join(notes)} (reason in the table of attacks)" if notes else ""
    return ChartRow(title, tuple(bars), note, greyed=weak)


def _severity(row: ChartRow) -> tuple[bool, float, float]:
    """Worst case first: what is found now, then what was found before; rows without bars last."""
    by_stage = {bar.stage: bar.value for bar in row.bars}
    return (not row.bars, -by_stage.get(Stage.AFTER, 0.0), -by_stage.get(Stage.BEFORE, 0.0))


def chart_rows(evidence: Evidence) -> tuple[tuple[ChartRow, ...], tuple[ChartRow, ...]]:
    """Rows of the extraction chart, worst case first, and rows of the membership panel."""
    extraction: list[ChartRow] = []
    membership: list[ChartRow] = []
    for row in evidence.attack_rows():
        has_area = row.outcome is not None and row.outcome.area is not None
        (membership if has_area else extraction).append(_row(evidence, row))
    return tuple(sorted(extraction, key=_severity)), tuple(membership)


def _hatch(x: float, y: float, width: float, height: float) -> Iterator[Line]:
    """45-degree lines clipped to a rectangle (a drawing cannot clip)."""
    step = 3.5
    start = x - height
    while start < x + width:
        first, last = max(0.0, x - start), min(height, x + width - start)
        if last > first:
            yield Line(start + first, y + first, start + last, y + last, strokeColor=PAPER, strokeWidth=1.0)
        start += step


def _filled(stage: Stage, x: float, y: float, width: float, height: float) -> Group:
    group = Group()
    fill = {Stage.BEFORE: INK, Stage.AFTER: ACCENT, Stage.REFERENCE: PAPER}[stage]
    group.add(Rect(x, y, width, height, fillColor=fill, strokeColor=None))
    if stage is Stage.AFTER:
        for line in _hatch(x, y, width, height):
            group.add(line)
    edge = {Stage.BEFORE: INK, Stage.AFTER: ACCENT, Stage.REFERENCE: MUTED}[stage]
    group.add(Rect(x, y, width, height, fillColor=None, strokeColor=edge, strokeWidth=0.8))
    return group


def _whisker(left: float, right: float, y: float) -> Group:
    """The interval, with a light edge so that it stays visible on a dark bar."""
    group = Group()
    for colour, width in ((PAPER, 2.6), (MUTED, 1.0)):
        group.add(Line(left, y, right, y, strokeColor=colour, strokeWidth=width))
        for x in (left, right):
            group.add(Line(x, y - 2.5, x, y + 2.5, strokeColor=colour, strokeWidth=width))
    return group


def _point(stage: Stage, x: float, y: float) -> Group:
    group = Group()
    fill = {Stage.BEFORE: INK, Stage.AFTER: ACCENT, Stage.REFERENCE: PAPER}[stage]
    edge = {Stage.BEFORE: INK, Stage.AFTER: ACCENT, Stage.REFERENCE: MUTED}[stage]
    if stage is Stage.BEFORE:
        group.add(Rect(x - 3, y - 3, 6, 6, fillColor=fill, strokeColor=edge, strokeWidth=0.8))
    else:
        group.add(Circle(x, y, 3.4, fillColor=fill, strokeColor=edge, strokeWidth=1.0))
    return group


def _text(
    x: float, y: float, text: str, *, font: str = SANS, size: float = 7.5, colour=INK, anchor: str = "start"
) -> String:
    return String(x, y, plain(text, font), fontName=font, fontSize=size, fillColor=colour, textAnchor=anchor)


def _title_lines(row: ChartRow) -> list[str]:
    return simpleSplit(plain(row.title, BOLD), BOLD, 8, _TITLE_WIDTH)


def _row_height(row: ChartRow) -> float:
    lines = len(_title_lines(row)) * _TITLE_LEADING
    bars = len(row.bars) * _PITCH + (_TITLE_LEADING if row.note else 0.0)
    return max(lines, bars) + _ROW_GAP


def _legend(y: float, stages: Sequence[Stage], points: bool) -> Iterator[Group | String]:
    x = _PLOT_LEFT
    for stage in stages:
        yield _point(stage, x + 7, y + 4) if points else _filled(stage, x, y, 14, _BAR)
        name = {"before": "before", "after": "after", "reference": "never knew the data"}[stage]
        yield _text(x + 19, y + 1, name, size=7.5, colour=MUTED)
        x += 66
    x += 34 if Stage.REFERENCE in stages else 0
    yield _whisker(x, x + 16, y + 4)
    yield _text(x + 21, y + 1, "95 % interval", size=7.5, colour=MUTED)


def _axis(plot_width: float, top: float, membership: bool) -> Iterator[Line | String]:
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _PLOT_LEFT + tick * plot_width
        chance = membership and tick == 0.5
        yield Line(
            x, _AXIS - 4, x, top, strokeColor=MUTED if chance else RULE, strokeWidth=0.8 if chance else 0.5,
            strokeDashArray=[3, 2] if chance else None,
        )  # fmt: skip
        label = f"{tick:.2f}" if membership else f"{tick:.0%}".replace("%", " %")
        yield _text(x, _AXIS - 13, label, size=7, colour=MUTED, anchor="middle")
    unit = "area under the curve (0.50 is guessing)" if membership else "share of attempts that gave the data"
    yield _text(_PLOT_LEFT + plot_width / 2, 1, unit, size=7, colour=MUTED, anchor="middle")


def _row_shapes(row: ChartRow, top: float, plot_width: float, membership: bool) -> Iterator[Group | Rect | String]:
    for number, line in enumerate(_title_lines(row)):
        yield _text(
            0,
            top - 8 - number * _TITLE_LEADING,
            line,
            font=SANS if row.greyed else BOLD,
            colour=GREYED if row.greyed else INK,
        )
    y = top - _BAR
    for bar in row.bars:
        left, right = (_PLOT_LEFT + share * plot_width for share in (bar.low, bar.high))
        at = _PLOT_LEFT + bar.value * plot_width
        if membership:
            yield _whisker(left, right, y + _BAR / 2)
            yield _point(bar.stage, at, y + _BAR / 2)
        else:
            # A bar of nothing still has an edge, so that "0 of 240" is seen as measured, not as absent.
            yield _filled(bar.stage, _PLOT_LEFT, y, max(at - _PLOT_LEFT, 0.6), _BAR)
            yield _whisker(left, right, y + _BAR / 2)
        yield _text(_PLOT_LEFT + plot_width + 10, y + 0.5, bar.label, colour=GREYED if row.greyed else INK)
        y -= _PITCH
    if row.note:
        width = stringWidth(row.note, ITALIC, _NOTE_SIZE)
        yield Rect(_PLOT_LEFT + 2, y - 2, width + 6, _PITCH, fillColor=PAPER, strokeColor=None)
        yield _text(_PLOT_LEFT + 5, y + 0.5, row.note, font=ITALIC, size=_NOTE_SIZE, colour=GREYED)


def _drawing(rows: Sequence[ChartRow], membership: bool) -> Drawing:
    plot_width = CONTENT_WIDTH - _PLOT_LEFT - _LABEL_WIDTH
    plot_height = sum(_row_height(row) for row in rows)
    height = _LEGEND + plot_height + _AXIS
    # Without this, reportlab starts every drawing in a face that is not embedded.
    drawing = Drawing(CONTENT_WIDTH, height, initialFontName=SANS)
    stages = [stage for stage in Stage if any(bar.stage is stage for row in rows for bar in row.bars)]
    for shape in _axis(plot_width, _AXIS + plot_height, membership):
        drawing.add(shape)
    if stages:
        for shape in _legend(height - _BAR - 4, stages, membership):
            drawing.add(shape)
    top = _AXIS + plot_height - _ROW_GAP / 2
    for row in rows:
        for shape in _row_shapes(row, top, plot_width, membership):
            drawing.add(shape)
        top -= _row_height(row)
    return drawing


def charts(rows: Sequence[ChartRow], *, membership: bool = False) -> list[Drawing]:
    """Drawings of the content's width, at most :data:`ROWS_IN_ONE_DRAWING` attacks each, so that each fits a page."""
    return [
        _drawing(rows[start : start + ROWS_IN_ONE_DRAWING], membership)
        for start in range(0, len(rows), ROWS_IN_ONE_DRAWING)
    ]
