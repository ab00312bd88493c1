"""Live measures of a running method as small curves, for the engineer."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QApplication, QSizePolicy, QWidget

from console.gui.progress import CURVE_WORDS
from console.gui.theme import GRID, accent, line_color, tone_color
from console.gui.tones import Tone

_PLOT_LINES = 3  # height of a curve, in lines of text


class LiveCurves(QWidget):
    """One small plot a measure, each on its own scale from zero to its largest value."""

    def __init__(self) -> None:
        super().__init__()
        self._curves: Mapping[str, tuple[float, ...]] = {}
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Live measures")

    def show_curves(self, curves: Mapping[str, tuple[float, ...]]) -> None:
        if len(curves) != len(self._curves):
            self.updateGeometry()
        self._curves = dict(curves)
        words = (f"{CURVE_WORDS.get(name, name)} {values[-1]:.3g}" for name, values in self._curves.items())
        self.setAccessibleDescription(", ".join(words))
        self.update()

    @property
    def _row(self) -> int:
        return self.fontMetrics().height() * (_PLOT_LINES + 1) + GRID

    def sizeHint(self) -> QSize:
        return QSize(self.fontMetrics().averageCharWidth() * 50, self._row * len(self._curves))

    def minimumSizeHint(self) -> QSize:
        return QSize(self.fontMetrics().averageCharWidth() * 20, self._row * len(self._curves))

    def paintEvent(self, _event: QPaintEvent) -> None:
        palette = QApplication.palette()
        height = self.fontMetrics().height()
        with QPainter(self) as painter:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            for index, (name, values) in enumerate(self._curves.items()):
                top = index * self._row
                painter.setPen(tone_color(Tone.QUIET, palette))
                text = f"{CURVE_WORDS.get(name, name)}: {values[-1]:.3g}"
                painter.drawText(QRectF(0, top, self.width(), height), int(Qt.AlignmentFlag.AlignLeft), text)
                plot = QRectF(1, top + height + 2, self.width() - 2, height * _PLOT_LINES - 4)
                painter.setPen(QPen(line_color(palette), 1))
                painter.drawLine(plot.bottomLeft(), plot.bottomRight())
                painter.setPen(QPen(accent(palette), 1.6))
                painter.drawPath(_curve(values, plot))


def _curve(values: tuple[float, ...], plot: QRectF) -> QPainterPath:
    top = max(*values, 1e-9) if len(values) > 1 else max(values[0], 1e-9)
    pitch = plot.width() / max(1, len(values) - 1)
    path = QPainterPath()
    for index, value in enumerate(values):
        point = QPointF(plot.left() + index * pitch, plot.bottom() - plot.height() * min(1.0, max(0.0, value) / top))
        if index:
            path.lineTo(point)
        else:
            path.moveTo(point)
    return path
