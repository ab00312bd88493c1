"""The keyboard shortcuts, as one sheet made from the action registry."""

from __future__ import annotations

from PySide6.QtWidgets import QGridLayout, QWidget

from console.gui.actions import ActionRegistry
from console.gui.flow_box import FlowBox
from console.gui.pieces import Card, Text
from console.gui.sheet import Sheet
from console.gui.theme import GRID, PADDING
from console.gui.tones import Tone


class ShortcutSheet(Sheet):
    """Every action that has a key, by menu."""

    def __init__(self, parent: QWidget | None, actions: ActionRegistry) -> None:
        super().__init__(parent, "Keyboard shortcuts")
        groups = (_group(title, keys) for title, keys in actions.shortcuts())
        self.page.column.addWidget(FlowBox(*groups, spacing=PADDING, fill=True))
        self.page.column.addWidget(
            Text(
                "Tab walks on, Shift+Tab back, Enter opens the selected request, Esc clears the search.",
                tone=Tone.QUIET,
            )
        )
        self.page.column.addStretch(1)


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
