"""The keyboard shortcuts, as one sheet made from the action registry."""

from __future__ import annotations

from PySide6.QtWidgets import QDialogButtonBox, QGridLayout, QVBoxLayout, QWidget

from console.gui.actions import ActionRegistry
from console.gui.flow_box import FlowBox
from console.gui.keyboard import KeyboardDialog
from console.gui.pieces import Card, Page, Text
from console.gui.theme import GRID, PADDING
from console.gui.tones import Tone


class ShortcutSheet(KeyboardDialog):
    """Every action that has a key, by menu."""

    def __init__(self, parent: QWidget | None, actions: ActionRegistry) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard shortcuts")
        page = Page("Keyboard shortcuts")
        page.column.addWidget(Text("Keyboard shortcuts", scale=1.4, bold=True))
        groups = (_group(title, keys) for title, keys in actions.shortcuts())
        page.column.addWidget(FlowBox(*groups, spacing=PADDING, fill=True))
        page.column.addWidget(
            Text(
                "Tab walks on, Shift+Tab back, Enter opens the selected request, Esc clears the search.",
                tone=Tone.QUIET,
            )
        )
        page.column.addStretch(1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        buttons.setContentsMargins(PADDING, 0, PADDING, PADDING)
        close = buttons.button(QDialogButtonBox.StandardButton.Close)
        close.setAccessibleName("Close")
        self.last_stops = (close,)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(page, 1)
        column.addWidget(buttons)
        metrics = self.fontMetrics()
        self.resize(min(960, metrics.averageCharWidth() * 100), min(560, metrics.height() * 36))


def _group(title: str, keys: list[tuple[str, str]]) -> Card:
    card = Card(title)
    grid = QGridLayout()
    grid.setHorizontalSpacing(2 * PADDING)
    grid.setVerticalSpacing(GRID // 2)
    grid.setColumnStretch(0, 1)
    for row, (name, key) in enumerate(keys):
        grid.addWidget(Text(name), row, 0)
        pressed = Text(key, tone=Tone.QUIET, mono=True)
        pressed.setWordWrap(False)
        grid.addWidget(pressed, row, 1)
    card.column.addLayout(grid)
    card.column.addStretch(1)
    return card
