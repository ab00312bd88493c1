"""The screen of a folder without an office: nothing is made until the person asks for it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QLineEdit

from console.domain.visible import visible
from console.gui.flow_box import FlowBox
from console.gui.pieces import Card, IconMark, Page, Text, primary_button
from console.gui.theme import GRID
from console.gui.tones import Tone


class FirstRunPage(Page):
    """Where the office would be, whose it is, and the button that makes it.

    Signals:
        chosen: make the office; the name of the organisation, which may be empty.
    """

    chosen = Signal(str)

    def __init__(self, folder: Path) -> None:
        super().__init__("No office yet")
        self.column.addStretch(1)
        self.column.addWidget(IconMark("app", Tone.INFO, scale=3))
        self.column.addWidget(Text("There is no office here yet", scale=2.0, bold=True))
        self.column.addWidget(
            Text(
                "An office is an encrypted record of requests, models and decisions, kept in one folder of this "
                "computer. Nothing has been written so far.",
                scale=1.15,
            )
        )
        card = Card("Make a new office")
        card.column.addWidget(Text(f"In the folder {visible(str(folder))}", tone=Tone.QUIET))
        self.organisation = QLineEdit()
        self.organisation.setPlaceholderText("May be given later")
        self.organisation.setAccessibleName("Name of the organisation")
        self.organisation.returnPressed.connect(self._choose)
        label = QLabel("&Name of the organisation, as it stands on every report")
        label.setBuddy(self.organisation)
        card.column.addWidget(label)
        card.column.addWidget(self.organisation)
        card.column.addSpacing(GRID)
        self.make = primary_button("Make the office")
        self.make.clicked.connect(self._choose)
        card.column.addWidget(FlowBox(self.make))
        self.refused = Text(tone=Tone.BAD)
        self.refused.hide()
        card.column.addWidget(self.refused)
        self.column.addWidget(card)
        self.column.addWidget(
            Text(
                "Was there an office? Then close this window and open the folder that it is in, with --data-dir.",
                tone=Tone.QUIET,
            )
        )
        self.column.addStretch(2)

    def refuse(self, sentence: str) -> None:
        """Say why the office could not be made; it can be tried again."""
        self.refused.say(sentence)

    def _choose(self) -> None:
        self.refused.say("")
        self.chosen.emit(self.organisation.text())
