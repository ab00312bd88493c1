"""What was asked: grounds, facts by kind, and how the due date was reached."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from console.casework.office import Office
from console.casework.views import CasePage
from console.domain.deadline import day_text
from console.gui.pieces import Card, Text, clear
from console.gui.presenter import file_words, profile_title, report_words
from console.gui.theme import GRID, PADDING
from console.gui.tones import Tone


class RequestTab(QWidget):
    """Three cards: the request, its facts (counts only; the facts are sealed), the due date.

    Signals:
        accept_date: the dates by today's calendar are to take the place of the recorded ones.
    """

    accept_date = Signal()

    def __init__(self, office: Office) -> None:
        super().__init__()
        self._office = office
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(PADDING)
        self._request = _Facts("The request")
        self._facts = _Facts("What to look for")
        self._due = _Facts("The due date")
        for card in (self._request, self._facts, self._due):
            column.addWidget(card)
        self._other_date = Text()
        self.accept = QPushButton("Accept today's date")
        self.accept.setAccessibleName("Accept the date by today's calendar")
        self.accept.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.accept.clicked.connect(self.accept_date)
        self._due.column.addWidget(self._other_date)
        self._due.column.addWidget(self.accept)
        column.addStretch(1)

    def show_page(self, page: CasePage) -> None:
        deadline = page.deadline
        self._request.show_rows(
            [
                ("Received", f"{day_text(page.deadline.received)}, by {page.channel.lower()}"),
                ("Grounds", "\n".join(page.grounds) or "None named yet; people need not name one."),
                ("Law", profile_title(self._office, page.line.number)),
                ("Model", page.model or "No model is registered yet."),
                ("Erased model", file_words(self._office, page.artefact) if page.artefact else "None yet."),
                ("Reports", report_words(page)),
            ]
        )
        total = sum(count for _, count in page.facts)
        rows = [(kind.replace("_", " ").capitalize(), str(count)) for kind, count in page.facts]
        self._facts.show_rows([*rows, ("Together", f"{total}, sealed in the vault")])
        steps = [(f"Step {number}", step) for number, step in enumerate(deadline.steps, start=1)]
        self._due.show_rows(
            [
                ("Due on", day_text(deadline.binding_due)),
                ("Why", deadline.rule),
                *steps,
                ("Calendar", deadline.calendar),
            ]
        )
        self._other_date.say(page.other_date)
        self.accept.setVisible(bool(page.other_date))


class _Facts(Card):
    """A titled list of names and texts."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(2 * PADDING)
        self._grid.setVerticalSpacing(GRID // 2)
        self._grid.setColumnStretch(1, 1)
        self.column.addLayout(self._grid)

    def show_rows(self, rows: list[tuple[str, str]]) -> None:
        clear(self._grid)
        for row, (name, value) in enumerate(rows):
            label = Text(name, tone=Tone.QUIET)
            label.setWordWrap(False)
            label.setSizePolicy(label.sizePolicy().Policy.Fixed, label.sizePolicy().Policy.Preferred)
            self._grid.addWidget(label, row, 0)
            self._grid.addWidget(Text(value), row, 1)
