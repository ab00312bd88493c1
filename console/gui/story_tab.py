"""The story of a case: what happened, when and by whom, the newest on top."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from console.casework.office import Office
from console.casework.story import TimelineLine
from console.casework.views import CasePage
from console.gui.choices import check_box
from console.gui.pieces import Card, Text, clear
from console.gui.presenter import by_whom, days_of, local_time, technical_line
from console.gui.theme import GRID, PADDING
from console.gui.tones import Tone


class StoryTab(QWidget):
    """The timeline in local time; ids and hashes behind a check box."""

    def __init__(self, office: Office) -> None:
        super().__init__()
        self._office = office
        self._technical: list[Text] = []
        self._shown: tuple[TimelineLine, ...] = ()
        details = check_box("Show entry numbers and hashes")
        self.details = details.button
        self.details.toggled.connect(self._toggle)
        self._days = QVBoxLayout()
        self._days.setSpacing(PADDING)
        card = Card()
        card.column.addLayout(self._days)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(PADDING)
        column.addWidget(card)
        column.addWidget(details)
        column.addStretch(1)

    def show_page(self, page: CasePage) -> None:
        if page.timeline == self._shown:
            return
        self._shown = page.timeline
        clear(self._days)
        self._technical.clear()
        for day, lines in days_of(page.timeline):
            self._days.addWidget(self._day(day, lines))

    def _day(self, day: str, lines: list[TimelineLine]) -> QWidget:
        box = QWidget()
        grid = QGridLayout(box)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(PADDING)
        grid.setVerticalSpacing(GRID // 2)
        grid.setColumnStretch(1, 1)
        grid.addWidget(Text(day, bold=True), 0, 0, 1, 3)
        for index, line in enumerate(lines):
            row = 2 * index + 1
            time = Text(local_time(line.at), tone=Tone.QUIET)
            time.setWordWrap(False)
            who = Text(by_whom(self._office, line), tone=Tone.QUIET)
            who.setWordWrap(False)
            technical = Text(technical_line(line), tone=Tone.QUIET, mono=True, scale=0.85)
            technical.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            technical.setWordWrap(True)
            technical.setVisible(self.details.isChecked())
            self._technical.append(technical)
            top = Qt.AlignmentFlag.AlignTop
            grid.addWidget(time, row, 0, top)
            grid.addWidget(Text(line.what), row, 1)
            grid.addWidget(who, row, 2, top)
            grid.addWidget(technical, row + 1, 1, 1, 2)
        return box

    def _toggle(self, shown: bool) -> None:
        for text in self._technical:
            text.setVisible(shown)
