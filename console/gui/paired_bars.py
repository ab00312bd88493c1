"""The picture of a proof: the same attack before, after and on a model that never knew, as bars with intervals.

Readable without colour: *before* is solid, *after* hatched, *never knew* an outline, and each bar has its
name and its counts. Membership is an area under a curve, so it is a point on the same axis, with the
line of guessing at one half.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QFont, QFontMetrics, QHelpEvent, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QApplication, QSizePolicy, QToolTip, QWidget

from console.gui.proof import STAGES, Bar, BarGroup
from console.gui.theme import GRID, accent, blend, line_color, tone_color
from console.gui.tones import Tone

_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_GROUP_GAP = 2 * GRID
_PAD = GRID + GRID // 2


class PairedBars(QWidget):
    """Draws the groups it is given; its accessible description reads them out."""

    def __init__(self) -> None:
        super().__init__()
        self._groups: tuple[BarGroup, ...] = ()
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setAccessibleName("Attacks before and after the erasure")

    def show_groups(self, groups: tuple[BarGroup, ...]) -> None:
        self._groups = groups
        self.setAccessibleDescription(" ".join(group.words for group in groups))
        self.updateGeometry()
        self.update()

    # -- measures -----------------------------------------------------------------------------

    @property
    def _pitch(self) -> int:
        return self.fontMetrics().height() + GRID // 2

    @property
    def _axis(self) -> int:
        return self.fontMetrics().height() + GRID

    def _columns(self) -> tuple[int, int]:
        """Left edge of the bars, and of the counts."""
        metrics = self.fontMetrics()
        names = max(metrics.horizontalAdvance(stage) for stage in STAGES) + _PAD
        labels = [bar.label for group in self._groups for bar in group.bars]
        counts = max((metrics.horizontalAdvance(label) for label in labels), default=0) + _PAD
        return names, max(names + 4 * GRID, self.width() - counts)

    def _bold(self) -> QFont:
        font = QFont(self.font())
        font.setBold(True)
        return font

    def _heading_height(self, group: BarGroup, width: int) -> int:
        text = group.reason or group.subtitle
        bounds = self.fontMetrics().boundingRect(0, 0, max(1, width), 10_000, int(Qt.TextFlag.TextWordWrap), text)
        return QFontMetrics(self._bold()).height() + bounds.height() + GRID // 2

    def _group_height(self, group: BarGroup, width: int) -> int:
        return self._heading_height(group, width) + self._pitch * len(group.bars) + _GROUP_GAP

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        if not self._groups:
            return 0
        return self._axis + sum(self._group_height(group, width) for group in self._groups)

    def sizeHint(self) -> QSize:
        width = self.fontMetrics().averageCharWidth() * 80
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        return QSize(self.fontMetrics().averageCharWidth() * 30, self._axis)

    # -- drawing ------------------------------------------------------------------------------

    def paintEvent(self, _event: QPaintEvent) -> None:
        if not self._groups:
            return
        palette = QApplication.palette()
        with QPainter(self) as painter:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            self._draw_axis(painter, palette)
            top = self._axis
            for group in self._groups:
                self._draw_group(painter, palette, group, top)
                top += self._group_height(group, self.width())

    def _x(self, share: float) -> float:
        left, right = self._columns()
        return left + share * (right - _PAD - left)

    def _draw_axis(self, painter: QPainter, palette: QPalette) -> None:
        painter.setPen(tone_color(Tone.QUIET, palette))
        height = self.fontMetrics().height()
        for tick in _TICKS:
            text = f"{tick:.0%}".replace("%", " %")
            width = self.fontMetrics().horizontalAdvance(text)
            left = min(max(self._x(tick) - width / 2, 0), self.width() - width)
            painter.drawText(QRectF(left, 0, width + 2, height), int(Qt.AlignmentFlag.AlignCenter), text)

    def _draw_group(self, painter: QPainter, palette: QPalette, group: BarGroup, top: int) -> None:
        heading = self._heading_height(group, self.width())
        title_height = QFontMetrics(self._bold()).height()
        painter.setFont(self._bold())
        painter.setPen(tone_color(Tone.QUIET if group.reason else Tone.PLAIN, palette))
        painter.drawText(QRectF(0, top, self.width(), title_height), int(Qt.AlignmentFlag.AlignLeft), group.title)
        painter.setFont(self.font())
        painter.setPen(tone_color(Tone.QUIET, palette))
        text = f"Not counted: {group.reason}" if group.reason else group.subtitle
        under = QRectF(0, top + title_height, self.width(), heading - title_height)
        painter.drawText(under, int(Qt.TextFlag.TextWordWrap), text)
        bars_top = top + heading
        self._draw_grid(painter, palette, bars_top, len(group.bars), points=any(bar.is_point for bar in group.bars))
        for index, bar in enumerate(group.bars):
            self._draw_bar(painter, palette, bar, bars_top + index * self._pitch, greyed=bool(group.reason))

    def _draw_grid(self, painter: QPainter, palette: QPalette, top: int, count: int, *, points: bool) -> None:
        bottom = top + count * self._pitch
        for tick in _TICKS:
            pen = QPen(line_color(palette), 1)
            if points and tick == 0.5:
                pen = QPen(tone_color(Tone.QUIET, palette), 1.5, Qt.PenStyle.DashLine)
            painter.setPen(pen)
            painter.drawLine(QPointF(self._x(tick), top), QPointF(self._x(tick), bottom))

    def _draw_bar(self, painter: QPainter, palette: QPalette, bar: Bar, top: int, *, greyed: bool) -> None:
        height = self.fontMetrics().height()
        middle = top + height / 2
        quiet = tone_color(Tone.QUIET, palette)
        painter.setPen(quiet if greyed else palette.text().color())
        names, counts = self._columns()
        painter.drawText(QRectF(0, top, names, height), int(Qt.AlignmentFlag.AlignVCenter), STAGES[bar.stage])
        painter.drawText(
            QRectF(counts, top, self.width() - counts, height), int(Qt.AlignmentFlag.AlignVCenter), bar.label
        )
        color = quiet if greyed else accent(palette)
        if bar.is_point:
            self._draw_point(painter, palette, bar, middle, color)
        else:
            self._fill(painter, palette, bar, QRectF(self._x(0), top + 3, self._x(bar.value) - self._x(0), height - 6))
        self._draw_interval(painter, palette, bar, middle, height)

    def _fill(self, painter: QPainter, palette: QPalette, bar: Bar, place: QRectF) -> None:
        color = accent(palette)
        light = blend(palette.base().color(), color, 0.18)
        painter.setPen(QPen(color if bar.stage < 2 else tone_color(Tone.QUIET, palette), 1.2))
        if bar.stage == 0:
            painter.setBrush(color)
        elif bar.stage == 1:
            painter.setBrush(light)
            painter.drawRect(place)
            painter.setBrush(QBrush(color, Qt.BrushStyle.BDiagPattern))
        else:
            painter.setBrush(palette.base())
        painter.drawRect(place)

    def _draw_point(self, painter: QPainter, palette: QPalette, bar: Bar, middle: float, color: QColor) -> None:
        x, half = self._x(bar.value), self.fontMetrics().height() / 2.6
        painter.setPen(QPen(color, 1.5))
        painter.setBrush(color if bar.stage == 0 else palette.base())
        diamond = [QPointF(x, middle - half), QPointF(x + half, middle), QPointF(x, middle + half)]
        painter.drawPolygon([*diamond, QPointF(x - half, middle)])

    def _draw_interval(self, painter: QPainter, palette: QPalette, bar: Bar, middle: float, height: int) -> None:
        cap = height / 5
        low, high = self._x(bar.low), self._x(bar.high)
        # A halo in the ground's colour keeps the line visible on a solid bar.
        for color, width in ((palette.base().color(), 3.0), (palette.text().color(), 1.3)):
            painter.setPen(QPen(color, width))
            painter.drawLine(QPointF(low, middle), QPointF(high, middle))
            for end in (low, high):
                painter.drawLine(QPointF(end, middle - cap), QPointF(end, middle + cap))

    def event(self, event: QEvent) -> bool:
        if event.type() is QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            QToolTip.showText(event.globalPos(), self.words_at(event.pos().y()), self)
            return True
        return super().event(event)

    def words_at(self, y: int) -> str:
        """What is drawn at a height, in words: a bar with its interval, or a group."""
        top = self._axis
        for group in self._groups:
            height = self._group_height(group, self.width())
            if top <= y < top + height:
                index = (y - top - self._heading_height(group, self.width())) // self._pitch
                if 0 <= index < len(group.bars):
                    bar = group.bars[index]
                    return f"{group.title}, {STAGES[bar.stage].lower()}: {bar.label}, {bar.interval}"
                return group.words
            top += height
        return ""
