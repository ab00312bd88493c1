"""The proof of a case: the verdict in words, the attacks as paired bars, the numbers behind a disclosure."""

from __future__ import annotations

from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from console.casework.views import CasePage
from console.gui.flow_box import FlowBox
from console.gui.paired_bars import PairedBars
from console.gui.pieces import Card, Chip, Disclosure, Text, clear
from console.gui.presenter import verdict_words
from console.gui.proof import (
    bar_groups,
    behaviour_note,
    behaviour_rows,
    in_words,
    number_rows,
    proof_sentence,
)
from console.gui.theme import GRID, PADDING
from console.gui.tones import Tone

_HEADINGS = ("Attack", "Model", "Attempts", "95 % interval", "Facts", "Answers allowed")


class ProofTab(QWidget):
    """Sentence, verdict, bars, behaviour, numbers."""

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(PADDING)
        self.sentence = Text(scale=1.15)
        column.addWidget(self.sentence)
        self._verdict = Card()
        self.chip = Chip()
        self._rule = Text(tone=Tone.QUIET)
        self._rule.setWordWrap(False)
        head = FlowBox(self.chip, self._rule)
        self._meaning = Text()
        self._reasons = QVBoxLayout()
        self._reasons.setSpacing(GRID // 2)
        self._caps = Text(tone=Tone.QUIET)
        self.caps = Disclosure("What is missing or weak", self._caps)
        self._excluded = Text(tone=Tone.QUIET)
        self.excluded = Disclosure("The smallest leak that is excluded (95 % confidence)", self._excluded)
        self._verdict.column.addWidget(head)
        self._verdict.column.addWidget(self._meaning)
        self._verdict.column.addLayout(self._reasons)
        self._verdict.column.addWidget(self.caps)
        self._verdict.column.addWidget(self.excluded)
        column.addWidget(self._verdict)
        self._picture = Card()
        self.bars = PairedBars()
        self._picture.column.addWidget(self.bars)
        column.addWidget(self._picture)
        self.behaviour = Card()
        self.behaviour.column.addWidget(Text("How the model behaves besides, before → after", bold=True))
        self._behaviour = QGridLayout()
        self._behaviour.setHorizontalSpacing(PADDING)
        self._behaviour.setVerticalSpacing(GRID // 2)
        self._behaviour.setColumnStretch(0, 1)
        self.behaviour.column.addLayout(self._behaviour)
        self._behaviour_note = Text(tone=Tone.QUIET)
        self.behaviour.column.addWidget(self._behaviour_note)
        column.addWidget(self.behaviour)
        table = QWidget()
        self._numbers = QGridLayout(table)
        self._numbers.setContentsMargins(0, 0, 0, 0)
        self._numbers.setHorizontalSpacing(PADDING)
        self._numbers.setVerticalSpacing(GRID // 2)
        self.numbers = Disclosure("Details: every number", table)
        self.numbers.button.toggled.connect(self._show_numbers)
        self._page: CasePage | None = None
        column.addWidget(self.numbers)
        column.addStretch(1)

    def show_page(self, page: CasePage) -> None:
        if self._page is not None and _evidence(page) == _evidence(self._page):
            return
        self.sentence.setText(proof_sentence(page))
        self._show_verdict(page)
        groups = bar_groups(page)
        self._picture.setVisible(bool(groups))
        self.bars.show_groups(groups)
        self._show_behaviour(page)
        self.numbers.setVisible(bool(groups))
        self._page = page
        self._show_numbers(self.numbers.button.isChecked())

    def _show_verdict(self, page: CasePage) -> None:
        self._verdict.setVisible(page.verdict_word is not None)
        if page.verdict_word is None:
            return
        words = verdict_words(page.verdict_word)
        self.chip.show_state(words.title, words.mark.icon, words.mark.tone)
        self._rule.setText(f"Rule {page.verdict_rule}{_compared(page)}")
        self._meaning.setText(words.meaning)
        clear(self._reasons)
        for reason in page.verdict_reasons:
            self._reasons.addWidget(Text(f"•  {in_words(reason, page)}"))
        self._caps.setText("\n".join(f"•  {in_words(cap, page)}" for cap in page.verdict_caps))
        self.caps.setVisible(bool(page.verdict_caps))
        self._excluded.setText("\n".join(f"•  {in_words(line, page)}" for line in page.verdict_excluded))
        self.excluded.setVisible(bool(page.verdict_excluded))

    def _show_behaviour(self, page: CasePage) -> None:
        rows = behaviour_rows(page)
        self.behaviour.setVisible(bool(rows))
        clear(self._behaviour)
        for index, row in enumerate(rows):
            title, change = Text(row.title, tone=Tone.QUIET), Text(row.change)
            change.setAccessibleName(row.words)
            self._behaviour.addWidget(title, index, 0)
            self._behaviour.addWidget(change, index, 1)
        self._behaviour_note.setText(behaviour_note(page))

    def _show_numbers(self, opened: bool) -> None:
        """Fill the table when somebody looks: a hundred labels take longer than the rest of the page."""
        clear(self._numbers)
        if not opened or self._page is None:
            return
        for column, heading in enumerate(_HEADINGS):
            self._numbers.addWidget(Text(heading, bold=True), 0, column)
        for index, row in enumerate(number_rows(self._page), start=1):
            cells = (row.attack, row.stage, row.counts, row.interval, row.facts, row.budget)
            for column, cell in enumerate(cells):
                self._numbers.addWidget(Text(cell, tone=Tone.QUIET), index, column)


def _compared(page: CasePage) -> str:
    return f" · compared with {page.verdict_compared}" if page.verdict_compared else ""


def _evidence(page: CasePage) -> tuple[object, ...]:
    """Everything of a page that the proof shows."""
    return (
        page.attacks,
        page.verdict_word,
        page.verdict_rule,
        page.verdict_reasons,
        page.verdict_caps,
        page.verdict_excluded,
        page.behaviour,
    )
