"""The picture of a bench of methods: forgetting against utility, and below it what each method cost.

Readable without colour: methods are dots, the two models that no method made are a square and a ring, the acceptable
corner is shaded and says what it means. Pale lines through a point are its 95 % intervals. Every point has its name;
where points crowd, a thin line leads to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from xml.sax.saxutils import unescape

from reportlab.graphics import renderPDF, renderSVG
from reportlab.graphics.shapes import Circle, Drawing, Group, Line, Rect, Shape, String
from reportlab.lib.colors import Color
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase.pdfmetrics import stringWidth

from console.domain.bench_results import Axis, Baseline, Interval, MethodLine, MethodsBench
from console.errors import InputError
from console.out_file import OutFile
from console.reports.fonts import BOLD, SANS, plain, register_fonts
from console.reports.style import ACCENT, ACCENT_TINT, BAD, CAUTION, INK, MUTED, PAPER, RULE

SUFFIXES = (".svg", ".pdf")
WIDTH = 680.0
_LEFT, _RIGHT = 58.0, 18.0
_PLOT_HEIGHT = 380.0
# Room inside the frame, most where good methods crowd, so that their names fit.
_PAD_LEFT, _PAD_RIGHT, _PAD_BOTTOM, _PAD_TOP = 14.0, 96.0, 14.0, 46.0
_HEADER = 54.0
_AXIS = 40.0
_ROW = 14.0
_COST_HEADER = 34.0
_FOOT = 12.0
_SIZE = 8.0
_LABEL_HEIGHT = 10.0
_MARKER = 3.6
_NAME_SIGNS = 26
_CLOSE = 24.0  # so far a name may move away from a pale line
_LOWEST_P = 1e-12  # smaller p-values differ in nothing that a reader could use


@dataclass(frozen=True)
class _Box:
    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def within(self, other: _Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )

    def holds(self, x: float, y: float) -> bool:
        return self.left <= x <= self.right and self.bottom <= y <= self.top

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of the box that lies closest."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


@dataclass(frozen=True)
class Point:
    """A named point of the plot, in points of the drawing."""

    name: str
    x: float
    y: float
    baseline: Baseline | None = None


@dataclass(frozen=True)
class Label:
    """Where a point's name stands."""

    point: Point
    box: _Box

    @property
    def gap(self) -> float:
        """From the point to the nearest edge of the name."""
        x, y = self.box.nearest(self.point.x, self.point.y)
        return math.hypot(x - self.point.x, y - self.point.y)

    @property
    def led(self) -> bool:
        """Whether a line must lead from the name to the point."""
        return self.gap > 2 * _MARKER + 1

    @property
    def line(self) -> list[tuple[float, float]]:
        """Places along the line that leads to the name, none where there is no line."""
        if not self.led:
            return []
        x, y = self.box.nearest(self.point.x, self.point.y)
        shares = [step / 40 for step in range(41)]
        return [(self.point.x + (x - self.point.x) * part, self.point.y + (y - self.point.y) * part) for part in shares]

    def clear_of(self, others: Sequence[Label]) -> bool:
        """Whether neither's line runs through the other's name."""
        return not any(
            any(other.box.holds(*place) for place in self.line) or any(self.box.holds(*place) for place in other.line)
            for other in others
        )


@dataclass(frozen=True)
class _Scale:
    """From a value to a place along an axis: linear, or by the logarithm."""

    low: float
    high: float
    start: float
    length: float
    log: bool

    def at(self, value: float) -> float:
        bounded = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(bounded / self.low) / math.log(self.high / self.low)
        else:
            share = (bounded - self.low) / (self.high - self.low)
        return self.start + share * self.length

    @property
    def ticks(self) -> list[tuple[float, str]]:
        if self.log:
            decades = round(math.log10(self.high / self.low))
            step = -(-decades // 6)
            marks = [(10.0**-power, f"1e-{power}" if power else "1") for power in range(0, decades + 1, step)]
            # Everything below stands at the edge.
            return [(value, f"< {mark}" if value <= _LOWEST_P else mark) for value, mark in marks]
        span = self.high - self.low
        step = next((one for one in (0.02, 0.05, 0.1) if span / one < 6.5), 0.2)
        values = [self.low + step * number for number in range(int(span / step + 1.001))]
        return [(value, f"{value:.3g}") for value in values]


def _scale(axis: Axis, values: Sequence[float], start: float, length: float) -> _Scale:
    if axis.scale == "log":
        least = max(_LOWEST_P, min((value for value in values if value > 0), default=1.0))
        return _Scale(10.0 ** min(-3, math.floor(math.log10(least))), 1.0, start, length, True)
    # Small models reach a small utility, and good methods crowd near 1: the plot must be empty on neither side.
    most = min(1.0, math.ceil(max((*values, axis.acceptable, 0.1)) * 1.1 * 10) / 10)
    least = max(0.0, math.floor(min((*values, axis.acceptable)) * 10) / 10)
    return _Scale(least if least < most else 0.0, most, start, length, False)


def _text(x: float, y: float, text: str, *, font: str = SANS, size: float = _SIZE, colour: Color = INK,
          anchor: str = "start") -> String:  # fmt: skip
    return String(x, y, plain(text, font), fontName=font, fontSize=size, fillColor=colour, textAnchor=anchor)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_SIGNS else name[: _NAME_SIGNS - 1] + "…"


def placed(points: Sequence[Point], plot: _Box, taken: Sequence[_Box] = (), pale: Sequence[_Box] = ()) -> list[Label]:
    """A place for every name that covers no other name, no point and nothing that is ``taken``.

    Names are tried on growing rings around their point, the nearest free place first; no line leads through a name as
    long as there is another place. With more names than the plot has room for, some stand in the table below it only.

    Args:
        pale: what a name should not cover if there is another place close to its point.
    """
    reach = _MARKER + 1.5
    blocked = [*taken, *(_Box(p.x - reach, p.y - reach, p.x + reach, p.y + reach) for p in points)]
    found: list[Label] = []
    for point in sorted(points, key=lambda one: (-one.y, -one.x)):
        width = stringWidth(plain(_short(point.name), SANS), SANS, _SIZE) + 2
        boxes = [box for box in _places(point, width) if box.within(plot) and not any(map(box.meets, blocked))]
        tried = [Label(point, box) for box in boxes]
        clear = (one for one in tried if one.clear_of(found))
        close = (one for one in tried if one.gap < _CLOSE and not any(map(one.box.meets, pale)) and one.clear_of(found))
        # A line through a name is worse than none, and better than no name.
        free = next(chain(close, clear, tried), None)
        if free is not None:
            blocked.append(free.box)
            found.append(free)
    return found


def _places(point: Point, width: float) -> Iterator[_Box]:
    """Rings of directions: right of the point first, then alternately above and below, left last."""
    half, directions = _LABEL_HEIGHT / 2, 32
    for gap in range(6, 420, 6):
        for step in range(directions):
            angle = 2 * math.pi / directions * ((step + 1) // 2) * (1 if step % 2 else -1)
            x, y = point.x + gap * math.cos(angle), point.y + gap * math.sin(angle)
            left = x - width / 2 + math.cos(angle) * width / 2
            yield _Box(left, y - half, left + width, y + half)


def _marker(point: Point) -> Shape:
    if point.baseline is None:
        return Circle(point.x, point.y, _MARKER, fillColor=ACCENT, strokeColor=PAPER, strokeWidth=0.6)
    if point.baseline.name == "taught":
        size = 2 * _MARKER
        return Rect(point.x - _MARKER, point.y - _MARKER, size, size, fillColor=INK, strokeColor=PAPER, strokeWidth=0.6)
    return Circle(point.x, point.y, _MARKER + 0.6, fillColor=PAPER, strokeColor=INK, strokeWidth=1.4)


def _corner(bench: MethodsBench, across: _Scale, up: _Scale, plot: _Box) -> tuple[Group, list[_Box]]:
    """The acceptable corner with its word, and where no other name may stand."""
    left, bottom = across.at(bench.utility.acceptable), up.at(bench.forgetting.acceptable)
    dashes = {"strokeColor": ACCENT, "strokeWidth": 0.7, "strokeDashArray": [3, 2]}
    word = "acceptable"
    width = stringWidth(word, BOLD, _SIZE) + 8
    group = Group(
        Rect(left, bottom, plot.right - left, plot.top - bottom, fillColor=ACCENT_TINT, strokeColor=None),
        Line(left, bottom, left, plot.top, **dashes),
        Line(left, bottom, plot.right, bottom, **dashes),
        _text(plot.right - 5, plot.top - 11, word, font=BOLD, colour=ACCENT, anchor="end"),
    )
    return group, [
        _Box(plot.right - width, plot.top - 15, plot.right, plot.top),
        _Box(left - 1, bottom, left + 1, plot.top),
        _Box(left, bottom - 1, plot.right, bottom + 1),
    ]


def _axes(bench: MethodsBench, across: _Scale, up: _Scale, plot: _Box) -> Iterator[Shape]:
    for value, label in across.ticks:
        x = across.at(value)
        yield Line(x, plot.bottom, x, plot.top, strokeColor=RULE, strokeWidth=0.35)
        yield _text(x, plot.bottom - 11, label, size=7, colour=MUTED, anchor="middle")
    for value, label in up.ticks:
        y = up.at(value)
        yield Line(plot.left, y, plot.right, y, strokeColor=RULE, strokeWidth=0.35)
        yield _text(plot.left - 5, y - 2.5, label, size=7, colour=MUTED, anchor="end")
    middle = (plot.left + plot.right) / 2
    yield _text(middle, plot.bottom - 25, bench.utility.title, colour=INK, anchor="middle")
    turned = Group(_text(0, 0, bench.forgetting.title, colour=INK, anchor="middle"))
    turned.translate(16, (plot.bottom + plot.top) / 2)
    turned.rotate(90)
    yield turned


def _header(bench: MethodsBench, top: float) -> Iterator[Shape]:
    sets = ", ".join(
        f"{name.replace('_', ' ')} {rows.measured}"
        + (f" of {rows.available}" if rows.measured < rows.available else "")
        for name, rows in bench.sets.items()
    )
    yield _text(_LEFT, top - 14, f"Forgetting against utility: {bench.on}, {bench.model}", font=BOLD, size=11)
    yield _text(_LEFT, top - 27, f"Rows measured: {sets}. Pale lines: 95 % intervals.", size=7.5, colour=MUTED)
    limits = (
        f"Shaded: forgetting at least {bench.forgetting.acceptable:.3g} ({bench.forgetting.why}), "
        f"utility at least {bench.utility.acceptable:.3g} ({bench.utility.why})"
    )
    yield _text(_LEFT, top - 38, limits, size=7.5, colour=MUTED)


def _points(bench: MethodsBench, across: _Scale, up: _Scale) -> list[Point]:
    found = []
    for shown in (*bench.baselines, *bench.lines):
        if shown.forgetting is not None and shown.utility is not None:
            x, y = across.at(shown.utility), up.at(shown.forgetting)
            name = shown.title if isinstance(shown, Baseline) else shown.label
            found.append(Point(name, x, y, shown if isinstance(shown, Baseline) else None))
    return found


def _spreads(bench: MethodsBench, across: _Scale, up: _Scale) -> Iterator[Line]:
    """The interval of every number that has one, through its point."""
    pale = {"strokeColor": RULE, "strokeWidth": 1.2}
    for shown in (*bench.baselines, *bench.lines):
        if shown.forgetting is None or shown.utility is None:
            continue
        x, y = across.at(shown.utility), up.at(shown.forgetting)
        if (wide := shown.utility_interval) is not None:
            yield Line(across.at(wide.low), y, across.at(wide.high), y, **pale)
        if (tall := shown.forgetting_interval) is not None:
            yield Line(x, up.at(tall.low), x, up.at(tall.high), **pale)


def _levels(bench: MethodsBench, up: _Scale, plot: _Box) -> Iterator[tuple[Line, Shape, _Box]]:
    """Models that have no utility of their own: a line across, its name, and where the name stands."""
    for baseline in bench.baselines:
        if baseline.forgetting is None or baseline.utility is not None:
            continue
        y = up.at(baseline.forgetting)
        width = stringWidth(baseline.title, SANS, _SIZE)
        middle = (plot.left + plot.right) / 2  # methods crowd at the ends
        below = y + _LABEL_HEIGHT + 3 > plot.top
        text = y - 9 if below else y + 3
        yield (
            Line(plot.left, y, plot.right, y, strokeColor=INK, strokeWidth=0.9),
            _text(middle, text, baseline.title, anchor="middle"),
            _Box(middle - width / 2 - 4, text - 2, middle + width / 2 + 4, text + _LABEL_HEIGHT),
        )


def _ends(numbers: Iterable[tuple[float | None, Interval | None]]) -> list[float]:
    """Everything that must be inside the plot: each number, and the ends of its interval."""
    found = []
    for value, spread in numbers:
        found += [] if value is None else [value]
        found += [] if spread is None else [spread.low, spread.high]
    return found


def _scatter(bench: MethodsBench, plot: _Box) -> Iterator[Shape]:
    shown = [one for one in (*bench.baselines, *bench.lines) if one.forgetting is not None]
    utilities = _ends((one.utility, one.utility_interval) for one in shown)
    forgettings = _ends((one.forgetting, one.forgetting_interval) for one in shown)
    across = _scale(bench.utility, utilities, plot.left + _PAD_LEFT, plot.right - plot.left - _PAD_LEFT - _PAD_RIGHT)
    up = _scale(
        bench.forgetting, forgettings, plot.bottom + _PAD_BOTTOM, plot.top - plot.bottom - _PAD_BOTTOM - _PAD_TOP
    )
    corner, taken = _corner(bench, across, up, plot)
    yield corner
    yield from _axes(bench, across, up, plot)
    for line, name, box in _levels(bench, up, plot):
        yield line
        yield name
        taken += [box, _Box(plot.left, line.y1 - 1, plot.right, line.y1 + 1)]
    spreads = list(_spreads(bench, across, up))
    yield from spreads
    points = _points(bench, across, up)
    labels = placed(points, plot, taken, [_Box(one.x1 - 1, one.y1 - 1, one.x2 + 1, one.y2 + 1) for one in spreads])
    for label in labels:
        if label.led:
            x, y = label.box.nearest(label.point.x, label.point.y)
            yield Line(label.point.x, label.point.y, x, y, strokeColor=MUTED, strokeWidth=0.5)
    yield from map(_marker, points)
    for label in labels:
        yield _text(label.box.left + 1, label.box.bottom + 2.4, _short(label.point.name))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _cost_rows(bench: MethodsBench, top: float) -> Iterator[Shape]:
    """A table with bars: time of the erasure, its peak memory, and what came out of it."""
    time_left, memory_left, word_left, bar = 170.0, 310.0, 450.0, 72.0
    for x, title in ((_LEFT, "Method"), (time_left, "Time to erase"), (memory_left, "Peak memory")):
        yield _text(x, top - 22, title, font=BOLD)
    yield _text(word_left, top - 22, "Result", font=BOLD)
    yield Line(_LEFT, top - 27, WIDTH - _RIGHT, top - 27, strokeColor=RULE, strokeWidth=0.6)
    costs = [line.cost for line in bench.lines if line.cost is not None]
    longest = max((cost.erase_seconds for cost in costs), default=0) or 1
    largest = max((cost.erase_peak_mb for cost in costs), default=0) or 1
    y = top - _COST_HEADER - _ROW + 4
    for line in bench.lines:
        yield _text(_LEFT, y, _short(line.label))
        if line.cost is not None:
            spent = line.cost.erase_seconds / longest
            held = line.cost.erase_peak_mb / largest
            yield from _bar(time_left, y, bar * spent, _duration(line.cost.erase_seconds))
            yield from _bar(memory_left, y, bar * held, f"{line.cost.erase_peak_mb} MB")
        word, colour = _result(bench, line)
        room = simpleSplit(plain(word, SANS), SANS, _SIZE, WIDTH - _RIGHT - word_left)
        yield _text(word_left, y, room[0] + (" …" if len(room) > 1 else ""), colour=colour)
        y -= _ROW


def _bar(x: float, y: float, length: float, label: str) -> Iterator[Shape]:
    yield Rect(x, y - 1, max(0.6, length), 7.5, fillColor=ACCENT, strokeColor=None)
    yield _text(x + max(0.6, length) + 4, y, label, size=7.5)


def _result(bench: MethodsBench, line: MethodLine) -> tuple[str, Color]:
    if line.status == "failed":
        return f"failed: {line.reason}", BAD
    chance = " (perhaps chance)" if bench.perhaps_chance(line) else ""
    if bench.acceptable(line):
        return f"in the acceptable corner{chance}", ACCENT
    low = [
        name
        for name, value, axis in (
            ("forgetting", line.forgetting, bench.forgetting),
            ("utility", line.utility, bench.utility),
        )
        if value is None or value < axis.acceptable
    ]
    return f"too little {' and '.join(low)}{chance}", CAUTION


def scatter(bench: MethodsBench) -> Drawing:
    """The whole picture."""
    register_fonts()
    costs = _COST_HEADER + _ROW * len(bench.lines) + _FOOT
    height = _HEADER + _PLOT_HEIGHT + _AXIS + costs
    # Without this, reportlab starts every drawing in a face that is not embedded.
    drawing = Drawing(WIDTH, height, initialFontName=SANS)
    drawing.add(Rect(0, 0, WIDTH, height, fillColor=PAPER, strokeColor=None))
    plot = _Box(_LEFT, costs + _AXIS, WIDTH - _RIGHT, costs + _AXIS + _PLOT_HEIGHT)
    for shape in (*_header(bench, height), *_scatter(bench, plot), *_cost_rows(bench, costs)):
        drawing.add(shape)
    return drawing


_SVG_TEXT = re.compile(r'(<text [^>]*?style="font-family: ([^;]+); font-size: ([0-9.]+)px;)([^>]*)>([^<]*)</text>')


def _svg_text(match: re.Match[str]) -> str:
    """With a family that viewers know, and the width that the layout counted on whichever of them is there."""
    start, font, size, rest, content = match.groups()
    family = "'Noto Sans', 'Segoe UI', Helvetica, Arial, sans-serif"
    family += "; font-weight: bold" if font == BOLD else ""
    width = stringWidth(unescape(content), font, float(size))
    start = start.replace(f"font-family: {font};", f"font-family: {family};")
    return f'{start}{rest} textLength="{width:.1f}" lengthAdjust="spacingAndGlyphs">{content}</text>'


def _svg(drawing: Drawing) -> bytes:
    return _SVG_TEXT.sub(_svg_text, renderSVG.drawToString(drawing)).encode("utf-8")


def check_plot_file(path: Path) -> None:
    """Raises:
    InputError: a kind of file that cannot be drawn.
    """
    if path.suffix.casefold() not in SUFFIXES:
        raise InputError(f"A plot is written as {' or '.join(SUFFIXES)}; '{path.name}' is neither.")


def write_plot(bench: MethodsBench, out: OutFile) -> None:
    """The picture as SVG or PDF, by the file's ending.

    Raises:
        InputError, DiskFullError: another ending, or the file cannot be written.
    """
    check_plot_file(out.path)
    drawing = scatter(bench)
    data = _svg(drawing) if out.path.suffix.casefold() == ".svg" else renderPDF.drawToString(drawing)
    out.write(data)
