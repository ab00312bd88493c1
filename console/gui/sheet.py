"""A dialog that only shows something: one page that scrolls, and a button to close it."""

from __future__ import annotations

from PySide6.QtWidgets import QDialogButtonBox, QVBoxLayout, QWidget

from console.gui.keyboard import KeyboardDialog
from console.gui.pieces import Page, Text
from console.gui.theme import GRID, PADDING

LARGEST = (960, 560)  # fits the smallest window, 1024 × 600


class Sheet(KeyboardDialog):
    """``page.column`` takes what is shown; ``head``, above it, what must not be scrolled away."""

    def __init__(self, parent: QWidget | None, title: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.page = Page(title)
        self.head = QVBoxLayout()
        self.head.setContentsMargins(2 * GRID, 2 * GRID, 2 * GRID, 0)
        self.head.addWidget(Text(title, scale=1.4, bold=True))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        buttons.setContentsMargins(PADDING, 0, PADDING, PADDING)
        close = buttons.button(QDialogButtonBox.StandardButton.Close)
        close.setAccessibleName("Close")
        self.last_stops = (close,)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self.head)
        column.addWidget(self.page, 1)
        column.addWidget(buttons)
        metrics = self.fontMetrics()
        self.resize(min(LARGEST[0], metrics.averageCharWidth() * 110), min(LARGEST[1], metrics.height() * 36))
