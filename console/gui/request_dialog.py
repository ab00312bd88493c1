"""A new request: when, where, on what ground, and a file of facts; the due date is shown while one types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QDate, QLocale
from PySide6.QtWidgets import (
    QAbstractButton,
    QDateEdit,
    QFileDialog,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QWidget,
)

from console.casework.office import Office
from console.casework.requests import deadline_for, register
from console.domain.deadline import day_text
from console.domain.forget_set import ForgetItem
from console.domain.request_terms import Channel, Ground
from console.errors import ConsoleError, InputError
from console.gui.choices import check_box, ground_words
from console.gui.facts_preview import FactsPane
from console.gui.flow_box import FlowBox
from console.gui.forget_file import SUFFIXES, read_facts, save_empty_form
from console.gui.form_dialog import FormDialog, narrow_combo
from console.gui.pieces import Card, IconMark, Text
from console.gui.theme import GRID
from console.gui.tones import Tone

# Codes of places whose laws the shipped profiles know; any other two-letter code can be typed.
_COUNTRIES = (
    "AT", "BE", "BG", "BR", "CA", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GR", "HR", "HU", "IE", "IN",
    "IS", "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK", "US",
)  # fmt: skip
Registered = Callable[[str], None]


class RequestDialog(FormDialog):
    """Registers a request; whatever is wrong is said under the fields and nothing typed is lost."""

    def __init__(self, parent: QWidget | None, office: Office, registered: Registered) -> None:
        super().__init__(
            parent,
            "New request",
            "The facts and the letter are sealed; the record itself holds no name.",
            "Register the request",
            self._register,
        )
        self._office, self._registered = office, registered
        self._add_when_and_where()
        self._add_due()
        self._add_grounds()
        self._add_facts()
        self._add_texts()
        self.body.addStretch(1)
        self._show_due()
        self.received.setFocus()

    # -- building -----------------------------------------------------------------------------

    def _add_when_and_where(self) -> None:
        today = self._office.today()
        self.received = QDateEdit(QDate(today.year, today.month, today.day))
        self.received.setCalendarPopup(True)
        self.received.setDisplayFormat("d MMMM yyyy")
        self.country = narrow_combo()
        self.country.setEditable(True)
        for code in _COUNTRIES:
            self.country.addItem(f"{code}  {QLocale.territoryToString(QLocale.codeToTerritory(code))}")
        self.country.setCurrentIndex(_COUNTRIES.index("DE"))
        self.subdivision = QLineEdit()
        self.subdivision.setPlaceholderText("optional, such as BY or HH: its holidays count")
        self.profile = narrow_combo()
        for id, profile in self._office.profiles.items():
            self.profile.addItem(profile.title, id)
        self.profile.setCurrentIndex(max(0, self.profile.findData("eu-gdpr")))
        self.channel = narrow_combo()
        for channel in Channel:
            self.channel.addItem(channel.label, channel)
        self.field("Received on", self.received)
        self.field("Country", self.country, "two-letter code, such as DE")
        self.field("Part of the country", self.subdivision)
        self.field("Law", self.profile)
        self.field("Came by", self.channel)
        self.received.dateChanged.connect(self._show_due)
        self.country.currentTextChanged.connect(self._show_due)
        self.subdivision.textChanged.connect(self._show_due)
        self.profile.currentIndexChanged.connect(self._show_due)

    def _add_due(self) -> None:
        card = Card()
        self._due_mark = IconMark("clock")
        self.due = Text(bold=True)
        self.due.setWordWrap(False)
        self.rule = Text(tone=Tone.QUIET)
        card.column.addWidget(FlowBox(self._due_mark, self.due))
        card.column.addWidget(self.rule)
        self.body.addWidget(card)

    def _add_grounds(self) -> None:
        card = Card("What the person relies on (Art. 17(1)); may stay empty")
        self.grounds: dict[Ground, QAbstractButton] = {}
        for ground in Ground:
            choice = check_box(ground_words(ground))
            card.column.addWidget(choice)
            self.grounds[ground] = choice.button
        self.body.addWidget(card)

    def _add_facts(self) -> None:
        card = Card("Facts to look for")
        card.column.addWidget(
            Text("A CSV or JSON-lines file with one fact a row: subject, prompt, answer.", tone=Tone.QUIET)
        )
        self.subject = QLineEdit()
        self.subject.setPlaceholderText("the person, for rows that name nobody (optional)")
        self.subject.setAccessibleName("The person, for rows that name nobody")
        self.subject.editingFinished.connect(self._read_again)
        self.choose = QPushButton("Choose a file…")
        self.choose.setAccessibleName("Choose a file of facts")
        self.choose.clicked.connect(self._choose)
        form = QPushButton("Save an empty form…")
        form.setAccessibleName("Save an empty form for a spreadsheet")
        form.clicked.connect(self._save_form)
        for button in (self.choose, form):
            button.setAutoDefault(False)
        self.facts = FactsPane()
        self._path: Path | None = None
        for part in (self.subject, FlowBox(self.choose, form), self.facts):
            card.column.addWidget(part)
        self.body.addWidget(card)

    def _add_texts(self) -> None:
        card = Card("Notes")
        self.summary = QLineEdit()
        self.summary.setPlaceholderText("one line for the inbox, without names or other personal data")
        self.summary.setAccessibleName("Summary without personal data")
        self.letter = QPlainTextEdit()
        self.letter.setPlaceholderText("the person's letter (optional, sealed)")
        self.letter.setAccessibleName("The person's letter")
        self.letter.setTabChangesFocus(True)
        self.letter.setFixedHeight(self.letter.fontMetrics().height() * 4 + 2 * GRID)
        card.column.addWidget(self.summary)
        card.column.addWidget(self.letter)
        self.body.addWidget(card)

    # -- reacting -----------------------------------------------------------------------------

    def _where(self) -> tuple[str, str | None]:
        code = self.country.currentText().split(maxsplit=1)
        return code[0] if code else "", self.subdivision.text().strip() or None

    def _show_due(self) -> None:
        country, subdivision = self._where()
        try:
            deadline = deadline_for(
                self._office, self.received.date().toPython(), country, subdivision, self.profile.currentData()
            )
        except ConsoleError as error:
            self._due_mark.show_mark("failed", Tone.BAD)
            self.due.setText("No due date yet")
            self.due.set_tone(Tone.BAD)
            self.rule.setText(str(error))
            return
        self._due_mark.show_mark("clock", Tone.PLAIN)
        self.due.setText(f"Due on {day_text(deadline.binding_due)}")
        self.due.set_tone(Tone.PLAIN)
        self.rule.setText(deadline.rule)

    def _choose(self) -> None:
        pattern = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        name, _ = QFileDialog.getOpenFileName(self, "Choose a file of facts", "", f"Facts ({pattern})")
        if name:
            self.take_file(Path(name))

    def take_file(self, path: Path) -> None:
        """Look at a file and show what it would give."""
        self._path = path
        try:
            self.facts.show_preview(read_facts(path, self.subject.text()))
        except InputError as error:
            self.facts.show_refusal(str(error))

    def _read_again(self) -> None:
        if self._path is not None:
            self.take_file(self._path)

    def _save_form(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save an empty form", "facts.csv", "CSV (*.csv)")
        if not name:
            return
        try:
            save_empty_form(Path(name), self._office.places)
        except ConsoleError as error:
            self.show_error(str(error))

    def _items(self) -> tuple[ForgetItem, ...]:
        if self.facts.preview is None:
            raise InputError("Choose a file of facts: without one there is nothing to look for.")
        return self.facts.preview.items

    def _register(self) -> None:
        country, subdivision = self._where()
        number = register(
            self._office,
            received=self.received.date().toPython(),
            country=country,
            subdivision=subdivision,
            profile_id=self.profile.currentData(),
            channel=Channel(self.channel.currentData()),  # Qt keeps the text of the entry, not the entry
            grounds=[ground for ground, box in self.grounds.items() if box.isChecked()],
            items=self._items(),
            letter=self.letter.toPlainText().strip(),
            summary=self.summary.text().strip(),
        )
        self._registered(number)
