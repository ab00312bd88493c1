"""A box that sets its widgets side by side and goes to the next line where there is no room."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRect, QSize
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from console.gui.theme import GRID


class FlowBox(QWidget):
    """Left to right, top to bottom; ``fill`` stretches the widgets of a line to its whole width and height."""

    def __init__(self, *widgets: QWidget, spacing: int = GRID, fill: bool = False) -> None:
        super().__init__()
        self._widgets: list[QWidget] = []
        self._spacing, self._fill = spacing, fill
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        for widget in widgets:
            self.add(widget)

    def add(self, widget: QWidget) -> None:
        """Set a widget at the end."""
        widget.setParent(self)
        self._widgets.append(widget)
        self.updateGeometry()

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        places = self._places(width)
        return max((place.bottom() + 1 for place in places), default=0)

    def sizeHint(self) -> QSize:
        sizes = [_wanted(widget) for widget in self._shown()]
        width = sum(size.width() for size in sizes) + self._spacing * max(0, len(sizes) - 1)
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        widest = max((_least(widget) for widget in self._shown()), default=0)
        return QSize(widest, max((_wanted(widget).height() for widget in self._shown()), default=0))

    def showEvent(self, event: QShowEvent) -> None:
        # Qt tells a hidden parent nothing of what became larger inside it.
        super().showEvent(event)
        self._arrange()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    def event(self, event: QEvent) -> bool:
        if event.type() is QEvent.Type.LayoutRequest:
            self._arrange()
            self.updateGeometry()
        return super().event(event)

    def _shown(self) -> list[QWidget]:
        return [widget for widget in self._widgets if not widget.isHidden()]

    def _arrange(self) -> None:
        for widget, place in zip(self._shown(), self._places(self.width()), strict=True):
            widget.setGeometry(place)

    def _lines(self, width: int) -> list[list[QWidget]]:
        lines: list[list[QWidget]] = []
        used = 0
        for widget in self._shown():
            wanted = min(_wanted(widget).width(), width)
            if not lines or used + self._spacing + wanted > width:
                lines.append([])
                used = -self._spacing
            lines[-1].append(widget)
            used += self._spacing + wanted
        return self._balanced(lines, width) if self._fill else lines

    def _balanced(self, lines: list[list[QWidget]], width: int) -> list[list[QWidget]]:
        """The same number of lines with about as many widgets in each, where they fit so."""
        widgets = [widget for line in lines for widget in line]
        share = -(-len(widgets) // max(1, len(lines)))
        even = [widgets[at : at + share] for at in range(0, len(widgets), share)]
        widths = (sum(_wanted(widget).width() for widget in line) + self._spacing * (len(line) - 1) for line in even)
        return even if all(own <= width for own in widths) else lines

    def _places(self, width: int) -> list[QRect]:
        places: list[QRect] = []
        top = 0
        for line in self._lines(width):
            widths = self._widths(line, width)
            heights = [_height(widget, own) for widget, own in zip(line, widths, strict=True)]
            tallest, left = max(heights), 0
            for own, height in zip(widths, heights, strict=True):
                shown = tallest if self._fill else height
                places.append(QRect(left, top + (tallest - shown) // 2, own, shown))
                left += own + self._spacing
            top += tallest + self._spacing
        return places

    def _widths(self, line: list[QWidget], width: int) -> list[int]:
        wanted = [min(_wanted(widget).width(), width) for widget in line]
        if not self._fill:
            return wanted
        room = width - self._spacing * (len(line) - 1)
        equal = room // len(line)
        if max(wanted) <= equal:
            return [equal] * len(line)
        return [own + max(0, room - sum(wanted)) // len(line) for own in wanted]


def _wanted(widget: QWidget) -> QSize:
    return widget.sizeHint().expandedTo(widget.minimumSizeHint()).expandedTo(widget.minimumSize())


def _least(widget: QWidget) -> int:
    return max(widget.minimumSizeHint().width(), widget.minimumWidth())


def _height(widget: QWidget, width: int) -> int:
    return widget.heightForWidth(width) if widget.hasHeightForWidth() else _wanted(widget).height()
