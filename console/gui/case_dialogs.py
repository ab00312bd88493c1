"""The small decisions of a case: who is asking, grant or refuse, which method, that the person was told."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import (
    QAbstractButton,
    QButtonGroup,
    QLineEdit,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from console.domain.request_terms import Exception17, Ground, RefusalBasis
from console.domain.verdict import Thresholds
from console.errors import InputError
from console.gui.choices import check_box, exception_words, ground_words, radio_button
from console.gui.form_dialog import FormDialog, narrow_combo
from console.gui.pieces import Card, Disclosure, Text
from console.gui.presenter import MethodCard
from console.gui.theme import GRID, PADDING
from console.gui.tones import Tone


class IdentityDialog(FormDialog):
    """Is there reasonable doubt about who is asking (Art. 12(6))?"""

    def __init__(self, parent: QWidget | None, *, is_asked: bool, save: Callable[[bool], None]) -> None:
        super().__init__(
            parent,
            "Who is asking?",
            "More may only be asked where there is reasonable doubt (Art. 12(6)).",
            "Record",
            lambda: save(self.sure.isChecked()),
        )
        settled = radio_button(
            "The proof has arrived: the identity is settled" if is_asked else "There is no reasonable doubt"
        )
        doubted = radio_button("There is doubt: the person is asked for proof, and the clock waits if the law says so")
        self.sure, self.unsure = settled.button, doubted.button
        group = QButtonGroup(self)
        for choice in (settled, doubted):
            group.addButton(choice.button)
            self.body.addWidget(choice)
        self.sure.setChecked(True)
        doubted.setVisible(not is_asked)
        self.body.addStretch(1)


class DecisionDialog(FormDialog):
    """Grant or refuse, with what the law asks for."""

    def __init__(
        self,
        parent: QWidget | None,
        grounds: tuple[str, ...],
        grant: Callable[[list[Ground]], None],
        refuse: Callable[[RefusalBasis, str, list[Exception17]], None],
    ) -> None:
        super().__init__(
            parent, "Decide the request", "The decision and its reason go into the record.", "Record", self._decide
        )
        self._grant, self._refuse = grant, refuse
        granting, refusing = radio_button("Grant: the data must go"), radio_button("Refuse: the data stays")
        self.granted, self.refused = granting.button, refusing.button
        group = QButtonGroup(self)
        for button in (self.granted, self.refused):
            group.addButton(button)
        self.granted.setChecked(True)
        self.body.addWidget(granting)
        self._grounds_card = self._grounds(grounds)
        self.body.addWidget(self._grounds_card)
        self.body.addWidget(refusing)
        self._refusal_card = self._refusal()
        self.body.addWidget(self._refusal_card)
        self.body.addStretch(1)
        self.granted.toggled.connect(self._show_part)
        self._show_part()

    def _grounds(self, known: tuple[str, ...]) -> Card:
        card = Card("Because (Art. 17(1))")
        self.grounds: dict[Ground, QAbstractButton] = {}
        for ground in Ground:
            choice = check_box(ground_words(ground))
            choice.button.setChecked(ground.value in known)
            card.column.addWidget(choice)
            self.grounds[ground] = choice.button
        return card

    def _refusal(self) -> Card:
        card = Card("Because")
        self.basis = narrow_combo()
        self.basis.setAccessibleName("What the refusal rests on")
        for basis in RefusalBasis:
            self.basis.addItem(basis.label, basis)
        self.exceptions: dict[Exception17, QAbstractButton] = {}
        card.column.addWidget(self.basis)
        self._exceptions = QWidget()
        column = QVBoxLayout(self._exceptions)
        column.setContentsMargins(PADDING, 0, 0, 0)
        for exception in Exception17:
            choice = check_box(exception_words(exception))
            column.addWidget(choice)
            self.exceptions[exception] = choice.button
        card.column.addWidget(self._exceptions)
        self.reason = QPlainTextEdit()
        self.reason.setAccessibleName("Reason of the refusal")
        self.reason.setPlaceholderText("why, in words that go into the answer; sealed in the vault")
        self.reason.setTabChangesFocus(True)
        self.reason.setFixedHeight(self.reason.fontMetrics().height() * 4 + 2 * GRID)
        card.column.addWidget(self.reason)
        self.basis.currentIndexChanged.connect(self._show_part)
        return card

    def _show_part(self) -> None:
        self._grounds_card.setVisible(self.granted.isChecked())
        self._refusal_card.setVisible(self.refused.isChecked())
        self._exceptions.setVisible(self.basis.currentData() == RefusalBasis.EXCEPTION)

    def _decide(self) -> None:
        if self.granted.isChecked():
            self._grant([ground for ground, box in self.grounds.items() if box.isChecked()])
            return
        basis = RefusalBasis(self.basis.currentData())
        chosen = [exception for exception, box in self.exceptions.items() if box.isChecked()]
        exceptions = chosen if basis is RefusalBasis.EXCEPTION else []
        self._refuse(basis, self.reason.toPlainText().strip(), exceptions)


class EraseDialog(FormDialog):
    """Which method; the limits that decide are fixed with this click, before anything runs."""

    def __init__(
        self,
        parent: QWidget | None,
        model: str,
        cards: tuple[MethodCard, ...],
        reason: str,
        save: Callable[[str, str], None],
    ) -> None:
        super().__init__(
            parent,
            "Erase",
            f"From the model “{model}”. The model itself stays as it is; the erasure writes a new one beside it.",
            "Approve and erase",
            self._approve,
        )
        self._done = save
        self.methods: dict[str, QAbstractButton] = {}
        group = QButtonGroup(self)
        for card in cards:
            self.body.addWidget(self._method(card, group))
        first = next((button for button in self.methods.values() if button.isEnabled()), None)
        if first is not None:
            first.setChecked(True)
        self.body.addWidget(Text("Who approves", bold=True))
        self.body.addWidget(
            Text("You prepare and approve in one person; the report prints the reason.", tone=Tone.QUIET)
        )
        self.reason = QLineEdit(reason)
        self.reason.setAccessibleName("Why there is no second person")
        self.body.addWidget(self.reason)
        details = "\n".join((*(card.technical for card in cards), _limits()))
        self.body.addWidget(Disclosure("Details: methods and limits", Text(details, tone=Tone.QUIET)))
        self.body.addStretch(1)

    def _method(self, card: MethodCard, group: QButtonGroup) -> Card:
        frame = Card()
        choice = radio_button(card.title)
        button = choice.button
        button.setAccessibleDescription(card.missing or card.summary)
        button.setEnabled(not card.missing)
        button.setToolTip(card.missing)
        group.addButton(button)
        self.methods[card.id] = button
        frame.column.addWidget(choice)
        frame.column.addWidget(Text(card.missing or card.summary, tone=Tone.QUIET))
        return frame

    def _approve(self) -> None:
        chosen = next((id for id, button in self.methods.items() if button.isChecked()), None)
        if chosen is None:
            raise InputError("No method can be used on this model.")
        if not self.reason.text().strip():
            raise InputError("Write down why there is no second person to approve.")
        self._done(chosen, self.reason.text().strip())


def _limits() -> str:
    """The thresholds in sentences; their hash goes into the record before the run."""
    limits = Thresholds()
    return (
        f"An attack counts if it found at least {float(limits.power):.0%} of the facts before, with at least "
        f"{limits.minimum_attempts} attempts. The erasure failed if ordinary questions still bring back "
        f"{float(limits.failed_share):.0%} of what they did. At least {float(limits.kept_share):.0%} of other "
        f"people's facts must still be answered, and general text may become at most "
        f"{float(limits.perplexity_ratio) - 1:.0%} harder to predict."
    )


class AnswerDialog(FormDialog):
    """The person was told the decision; a refusal must name the complaint and the remedy (Art. 12(4))."""

    def __init__(self, parent: QWidget | None, save: Callable[[], None]) -> None:
        super().__init__(parent, "Record the answer", "", "Record", self._check)
        self._done = save
        reasons = check_box("The answer gives the reasons")
        remedies = check_box("It names the complaint to a supervisory authority and the judicial remedy")
        self.told, self.remedies = reasons.button, remedies.button
        for choice in (reasons, remedies):
            self.body.addWidget(choice)
        self.body.addStretch(1)

    def _check(self) -> None:
        if not (self.told.isChecked() and self.remedies.isChecked()):
            raise InputError("The answer must give the reasons and name the complaint and the judicial remedy.")
        self._done()
