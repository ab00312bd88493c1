"""The report's icons, drawn as paths: they need no icon font and print the same everywhere.

Each icon fills a square whose lower left corner is ``(x, y)``; sizes are in points.
"""

from __future__ import annotations

from collections.abc import Callable

from reportlab.lib.colors import Color
from reportlab.pdfgen.canvas import Canvas

Draw = Callable[[Canvas, float, float, float], None]


def _stroke(canvas: Canvas, size: float, points: list[tuple[float, float]]) -> None:
    canvas.setLineWidth(size * 0.15)
    path = canvas.beginPath()
    path.moveTo(*points[0])
    for point in points[1:]:
        path.lineTo(*point)
    canvas.drawPath(path, stroke=1, fill=0)


def _check(canvas: Canvas, x: float, y: float, size: float) -> None:
    _stroke(
        canvas,
        size,
        [(x + 0.12 * size, y + 0.5 * size), (x + 0.4 * size, y + 0.2 * size), (x + 0.9 * size, y + 0.82 * size)],
    )


def _cross(canvas: Canvas, x: float, y: float, size: float) -> None:
    near, far = 0.18 * size, 0.82 * size
    _stroke(canvas, size, [(x + near, y + near), (x + far, y + far)])
    _stroke(canvas, size, [(x + near, y + far), (x + far, y + near)])


def _half(canvas: Canvas, x: float, y: float, size: float) -> None:
    canvas.setLineWidth(size * 0.1)
    radius = 0.42 * size
    canvas.circle(x + size / 2, y + size / 2, radius, stroke=1, fill=0)
    path = canvas.beginPath()
    path.arc(x + size / 2 - radius, y + size / 2 - radius, x + size / 2 + radius, y + size / 2 + radius, 90, 180)
    path.close()
    canvas.drawPath(path, stroke=0, fill=1)


def _triangle(canvas: Canvas, x: float, y: float, size: float) -> None:
    canvas.setLineWidth(size * 0.1)
    path = canvas.beginPath()
    path.moveTo(x + 0.5 * size, y + 0.94 * size)
    path.lineTo(x + 0.98 * size, y + 0.08 * size)
    path.lineTo(x + 0.02 * size, y + 0.08 * size)
    path.close()
    canvas.drawPath(path, stroke=1, fill=0)
    canvas.setLineWidth(size * 0.11)
    canvas.line(x + 0.5 * size, y + 0.36 * size, x + 0.5 * size, y + 0.64 * size)
    canvas.circle(x + 0.5 * size, y + 0.22 * size, size * 0.06, stroke=0, fill=1)


def _down(canvas: Canvas, x: float, y: float, size: float) -> None:
    _stroke(canvas, size, [(x + 0.5 * size, y + 0.92 * size), (x + 0.5 * size, y + 0.12 * size)])
    _stroke(
        canvas,
        size,
        [(x + 0.18 * size, y + 0.44 * size), (x + 0.5 * size, y + 0.12 * size), (x + 0.82 * size, y + 0.44 * size)],
    )


def _search(canvas: Canvas, x: float, y: float, size: float) -> None:
    canvas.setLineWidth(size * 0.12)
    canvas.circle(x + 0.42 * size, y + 0.58 * size, 0.3 * size, stroke=1, fill=0)
    canvas.setLineWidth(size * 0.16)
    canvas.line(x + 0.64 * size, y + 0.36 * size, x + 0.92 * size, y + 0.08 * size)


def _clock(canvas: Canvas, x: float, y: float, size: float) -> None:
    canvas.setLineWidth(size * 0.1)
    canvas.circle(x + size / 2, y + size / 2, 0.42 * size, stroke=1, fill=0)
    _stroke(
        canvas,
        size * 0.7,
        [(x + 0.5 * size, y + 0.76 * size), (x + 0.5 * size, y + 0.5 * size), (x + 0.7 * size, y + 0.38 * size)],
    )


_ICONS: dict[str, Draw] = {
    "check": _check,
    "cross": _cross,
    "half": _half,
    "triangle": _triangle,
    "down": _down,
    "search": _search,
    "clock": _clock,
}


def draw_icon(canvas: Canvas, name: str, x: float, y: float, size: float, colour: Color) -> None:
    """Draw one icon in one colour.

    Raises:
        KeyError: there is no icon of that name.
    """
    canvas.saveState()
    canvas.setStrokeColor(colour)
    canvas.setFillColor(colour)
    canvas.setLineCap(1)
    canvas.setLineJoin(1)
    _ICONS[name](canvas, x, y, size)
    canvas.restoreState()
