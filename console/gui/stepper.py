"""The road of a case, drawn: a mark for each step, joined by a line, on as many lines as the width asks for."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QFont, QFontMetrics, QHelpEvent, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QApplication, QSizePolicy, QToolTip, QWidget

from console.gui.road import Step, StepState
from console.gui.theme import GRID, accent, line_color, on_accent, pixmap, tone_color
from console.gui.tones import Tone


class Stepper(QWidget):
    """Shows where a case is; nothing to click, and its description reads the whole road out."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: tuple[Step, ...] = ()
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setAccessibleName("The road of this case")

    def show_road(self, steps: tuple[Step, ...]) -> None:
        self._steps = steps
        self.setAccessibleDescription(". ".join(step.words for step in steps))
        self.updateGeometry()
        self.update()

    # -- measures -----------------------------------------------------------------------------

    @property
    def _mark(self) -> int:
        return self.fontMetrics().height() + GRID

    def _bold(self) -> QFont:
        font = QFont(self.font())
        font.setBold(True)
        return font

    @property
    def _cell(self) -> QSize:
        metrics = QFontMetrics(self._bold())
        widest = max((metrics.horizontalAdvance(step.title) for step in self._steps), default=0)
        return QSize(widest + 2 * GRID, self._mark + GRID // 2 + metrics.height() + GRID)

    def _columns(self, width: int) -> int:
        return max(1, min(len(self._steps), width // max(1, self._cell.width())))

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        if not self._steps:
            return 0
        return -(-len(self._steps) // self._columns(width)) * self._cell.height()

    def sizeHint(self) -> QSize:
        return QSize(self._cell.width() * max(1, len(self._steps)), self._cell.height())

    def minimumSizeHint(self) -> QSize:
        return self._cell

    def _place(self, index: int) -> QRect:
        columns, cell = self._columns(self.width()), self._cell
        width = self.width() // columns
        row, column = divmod(index, columns)
        return QRect(column * width, row * cell.height(), width, cell.height())

    # -- drawing ------------------------------------------------------------------------------

    def paintEvent(self, _event: QPaintEvent) -> None:
        palette = QApplication.palette()
        with QPainter(self) as painter:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            columns = self._columns(self.width())
            for index, step in enumerate(self._steps):
                place = self._place(index)
                middle = QPointF(place.center().x() + 0.5, place.y() + self._mark / 2 + 0.5)
                if index % columns:
                    self._join(painter, palette, middle, place.width(), reached=step.state is StepState.DONE)
                self._draw_mark(painter, palette, middle, step)
                self._draw_title(painter, palette, place, step)

    def _join(self, painter: QPainter, palette: QPalette, middle: QPointF, pitch: int, *, reached: bool) -> None:
        gap = self._mark / 2 + 4
        painter.setPen(QPen(accent(palette) if reached else line_color(palette), 2))
        painter.drawLine(QPointF(middle.x() - pitch + gap, middle.y()), QPointF(middle.x() - gap, middle.y()))

    def _draw_mark(self, painter: QPainter, palette: QPalette, middle: QPointF, step: Step) -> None:
        radius = self._mark / 2 - 1
        strong, quiet = accent(palette), tone_color(Tone.QUIET, palette)
        filled = step.state in {StepState.DONE, StepState.CURRENT}
        pen = QPen(strong if filled else line_color(palette), 2)
        if step.state in {StepState.SKIPPED, StepState.UNFINISHED}:
            pen.setStyle(Qt.PenStyle.DotLine)
        painter.setPen(pen)
        painter.setBrush(strong if step.state is StepState.CURRENT else palette.base())
        painter.drawEllipse(middle, radius, radius)
        names = {StepState.DONE: "tick", StepState.BLOCKED: "lock"}
        colors = {StepState.DONE: strong, StepState.CURRENT: on_accent(palette)}
        size = round(radius * 1.15)
        drawing = pixmap(names.get(step.state, step.icon), colors.get(step.state, quiet), size)
        painter.drawPixmap(QPointF(middle.x() - size / 2, middle.y() - size / 2), drawing)

    def _draw_title(self, painter: QPainter, palette: QPalette, place: QRect, step: Step) -> None:
        is_current = step.state is StepState.CURRENT
        painter.setFont(self._bold() if is_current else self.font())
        tone = Tone.PLAIN if step.state in {StepState.DONE, StepState.CURRENT} else Tone.QUIET
        painter.setPen(tone_color(tone, palette))
        under = QRectF(place.adjusted(0, self._mark + GRID // 2, 0, 0))
        painter.drawText(under, int(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop), step.title)

    def event(self, event: QEvent) -> bool:
        if event.type() is QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            hit = next(
                (step for index, step in enumerate(self._steps) if self._place(index).contains(event.pos())), None
            )
            QToolTip.showText(event.globalPos(), hit.words if hit else "", self)
            return True
        return super().event(event)
