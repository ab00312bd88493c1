"""The side bar: the pages, each with its icon and, where something waits, a number."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QApplication,
    QListWidget,
    QListWidgetItem,
    QSizePolicy,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from console.gui.theme import GRID, ROW, accent, icon, icon_size, on_accent

_BADGE = Qt.ItemDataRole.UserRole
PAGES = (
    ("view.requests", "Requests", "requests"),
    ("view.models", "Models", "model"),
    ("view.check", "Check", "check"),
)


class _BadgeDelegate(QStyledItemDelegate):
    """Draws the native item and, at its right end, the number."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        size = super().sizeHint(option, index)
        return QSize(size.width() + 5 * GRID, max(ROW + GRID // 2, option.fontMetrics.height() + 2 * GRID))

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        super().paint(painter, option, index)
        badge = index.data(_BADGE)
        if not badge:
            return
        palette = QApplication.palette()
        width = max(option.fontMetrics.horizontalAdvance(badge) + GRID, option.fontMetrics.height() + 2)
        height = option.fontMetrics.height() + 2
        place = QRectF(option.rect.right() - width - GRID, option.rect.center().y() - height / 2 + 0.5, width, height)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(palette.base() if index.row() == self.parent().currentRow() else accent(palette))
        painter.drawRoundedRect(place, height / 2, height / 2)
        painter.setPen(palette.text().color() if index.row() == self.parent().currentRow() else on_accent(palette))
        painter.drawText(place, int(Qt.AlignmentFlag.AlignCenter), badge)
        painter.restore()


class SideBar(QListWidget):
    """One entry a page.

    Signals:
        chosen: id of the action that shows the page.
    """

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("sideBar")
        self.setAccessibleName("Pages")
        self.setItemDelegate(_BadgeDelegate(self))
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self.setIconSize(icon_size(self) * 1.2)
        for _id, title, _icon in PAGES:
            self.addItem(QListWidgetItem(title))
        self._retint()
        self.setFixedWidth(self.sizeHintForColumn(0) + 3 * GRID)
        self.currentRowChanged.connect(self._choose)

    def show_current(self, id: str) -> None:
        """Mark a page as the current one, without asking for it."""
        self.blockSignals(True)
        self.setCurrentRow(next(row for row, page in enumerate(PAGES) if page[0] == id))
        self.blockSignals(False)

    def show_badge(self, id: str, count: int, words: str) -> None:
        """A number at the end of an entry; ``words`` says what it counts."""
        row = next(row for row, page in enumerate(PAGES) if page[0] == id)
        item = self.item(row)
        item.setData(_BADGE, str(count) if count else "")
        item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{item.text()}, {words}" if count else item.text())
        item.setToolTip(words if count else "")

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._retint()

    def _retint(self) -> None:
        for row, (_id, _title, name) in enumerate(PAGES):
            self.item(row).setIcon(icon(name, QApplication.palette()))

    def _choose(self, row: int) -> None:
        if row >= 0:
            self.chosen.emit(PAGES[row][0])
