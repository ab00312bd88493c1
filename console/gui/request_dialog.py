"""A new request: when, where, on what ground, and a file of facts; the due date is shown while one types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QDate, QLocale
from PySide6.QtWidgets import (
    QAbstractButton,
    QDateEdit,
    QLineEdit,
    QPlainTextEdit,
    QSpinBox,
    QWidget,
)

from console.casework.office import Office
from console.casework.requests import register
from console.domain.clock import check_received, compute_deadline
from console.domain.deadline import day_text
from console.domain.jurisdiction import PUBLISHED
from console.domain.place_law import Law, law_of_place
from console.domain.request_terms import Channel, Ground
from console.errors import ConsoleError
from console.gui.choices import check_box, ground_words
from console.gui.facts_preview import FactsCard
from console.gui.flow_box import FlowBox
from console.gui.form_dialog import FormDialog, narrow_combo
from console.gui.pieces import Card, IconMark, Text
from console.gui.theme import GRID
from console.gui.tones import Tone

# Codes of places whose laws the shipped profiles know; for any other two-letter code the law has to be chosen.
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
        self.profile.addItem("The law of the place", None)
        for id, profile in self._office.profiles.items():
            self.profile.addItem(profile.title, id)
        self.own_period = QSpinBox()
        self.own_period.setRange(1, 366)
        self.own_period.setValue(30)
        self.own_period.setSuffix(" days")
        self.channel = narrow_combo()
        for channel in Channel:
            self.channel.addItem(channel.label, channel)
        self.field("Received on", self.received)
        self.today = Text(f"Today is {day_text(today)}, time zone {self._office.timezone_words}.", tone=Tone.QUIET)
        self.form.addRow("", self.today)
        self.field("Country", self.country, "two-letter code, such as DE")
        self.field("Part of the country", self.subdivision)
        self.field("Law", self.profile)
        self.field("Your published period", self.own_period, "the law of this place sets none")
        self.field("Came by", self.channel)
        self.received.dateChanged.connect(self._show_due)
        self.country.currentTextChanged.connect(self._show_due)
        self.subdivision.textChanged.connect(self._show_due)
        self.profile.currentIndexChanged.connect(self._show_due)
        self.own_period.valueChanged.connect(self._show_due)

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
        self.facts = FactsCard(self.show_error, self._office.places)
        self.body.addWidget(self.facts)

    def _add_texts(self) -> None:
        card = Card("Notes")
        self.summary = QLineEdit()
        self.summary.setPlaceholderText("one line for the inbox (optional, sealed)")
        self.summary.setAccessibleName("Summary for the inbox")
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

    def _law(self) -> Law:
        """The law of the fields; the own period is asked for, and taken, only where the law sets none."""
        country, subdivision = self._where()
        chosen = self.profile.currentData()
        law = law_of_place(self._office.profiles, country, subdivision, chosen)
        self.form.setRowVisible(self.own_period, law.profile.period is None)
        if law.profile.period is not None:
            return law
        return law_of_place(self._office.profiles, country, subdivision, chosen, self.own_period.value())

    def _show_due(self) -> None:
        received = self.received.date().toPython()
        try:
            law = self._law()
            check_received(received, self._office.today())
            deadline = compute_deadline(received, law.profile, law.calendar)
        except ConsoleError as error:
            self._due_mark.show_mark("failed", Tone.BAD)
            self.due.setText("No due date yet")
            self.due.set_tone(Tone.BAD)
            self.rule.setText(str(error))
            return
        self._due_mark.show_mark("clock", Tone.PLAIN)
        self.due.setText(f"Due on {day_text(deadline.binding_due)}")
        self.due.set_tone(Tone.PLAIN)
        self.rule.setText(f"{law.profile.title}. {deadline.rule}")

    def take_file(self, path: Path) -> None:
        """Look at a file of facts and show what it would give."""
        self.facts.take_file(path)

    def draft(self) -> dict[str, Any]:
        return {**super().draft(), "file": self.facts.path}

    def restore(self, draft: dict[str, Any]) -> None:
        super().restore(draft)
        if draft["file"] is not None:
            self.take_file(draft["file"])

    def _register(self) -> None:
        country, subdivision = self._where()
        sets_none = self._law().profile.version.endswith(PUBLISHED)
        number = register(
            self._office,
            received=self.received.date().toPython(),
            country=country,
            subdivision=subdivision,
            profile_id=self.profile.currentData(),
            published_days=self.own_period.value() if sets_none else None,
            channel=Channel(self.channel.currentData()),  # Qt keeps the text of the entry, not the entry
            grounds=[ground for ground, box in self.grounds.items() if box.isChecked()],
            items=self.facts.items(),
            letter=self.letter.toPlainText().strip(),
            summary=self.summary.text().strip(),
        )
        self._registered(number)
