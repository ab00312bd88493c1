"""The small decisions of a case: who is asking, grant or refuse, which method, that the person was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QAbstractButton,
    QButtonGroup,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from console.domain.request_terms import Exception17, Ground, RefusalBasis, RequestStatus
from console.domain.requests import TransitionFacts, check_transition
from console.domain.verdict import Thresholds
from console.errors import ConsoleError, InputError
from console.gui.choices import check_box, exception_words, ground_words, radio_button
from console.gui.form_dialog import Act, FormDialog, narrow_combo
from console.gui.pieces import Card, Disclosure, IconMark, Text
from console.gui.presenter import MethodCard
from console.gui.proof import SearchWords
from console.gui.theme import GRID, PADDING
from console.gui.tones import Tone

_STAYS = "The record is added to, never changed: what is recorded now can be followed by more, not taken back."


class IdentityDialog(FormDialog):
    """Is there reasonable doubt about who is asking (Art. 12(6))?"""

    def __init__(self, parent: QWidget | None, *, is_asked: bool, save: Callable[[bool], None]) -> None:
        super().__init__(
            parent,
            "Who is asking?",
            "More may only be asked where there is reasonable doubt (Art. 12(6)).",
            "Record…",
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
        doubted.setVisible(not is_asked)  # nothing is chosen beforehand: Enter must not settle who somebody is
        self.body.addStretch(1)

    def act(self) -> Act:
        chosen = next((button for button in (self.sure, self.unsure) if button.isChecked()), None)
        if chosen is None:
            raise InputError("Choose what is to be recorded about the person's identity.")
        return Act("Record this about the identity?", (("Identity", chosen.accessibleName()),), "Record it", _STAYS)


class _SearchCard(Card):
    """What the search found, for whoever decides or erases."""

    def __init__(self, search: SearchWords) -> None:
        super().__init__()
        line = QHBoxLayout()
        line.setSpacing(GRID)
        line.addWidget(IconMark(search.mark.icon, search.mark.tone), 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(Text(search.title, bold=True), 1)
        self.column.addLayout(line)
        self._sentence = Text(search.sentence)
        self.column.addWidget(self._sentence)

    def text(self) -> str:
        return self._sentence.text()


class DecisionDialog(FormDialog):
    """Grant or refuse, with what the law asks for, beside what the search found."""

    def __init__(
        self,
        parent: QWidget | None,
        grounds: tuple[str, ...],
        search: SearchWords,
        grant: Callable[[list[Ground]], None],
        refuse: Callable[[RefusalBasis, str, list[Exception17]], None],
    ) -> None:
        super().__init__(
            parent, "Decide the request", "The decision and its reason go into the record.", "Record…", self._decide
        )
        self._grant, self._refuse = grant, refuse
        self.search = _SearchCard(search)
        self.body.addWidget(self.search)
        granting, refusing = radio_button("Grant: the data must go"), radio_button("Refuse: the data stays")
        self.granted, self.refused = granting.button, refusing.button
        group = QButtonGroup(self)
        for button in (self.granted, self.refused):
            group.addButton(button)
        self.granted.setChecked(True)  # a form needs a part to show; the question before the record names it
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

    @property
    def _chosen_grounds(self) -> list[Ground]:
        return [ground for ground, box in self.grounds.items() if box.isChecked()]

    @property
    def _chosen_refusal(self) -> tuple[RefusalBasis, str, list[Exception17]]:
        basis = RefusalBasis(self.basis.currentData())
        chosen = [exception for exception, box in self.exceptions.items() if box.isChecked()]
        return basis, self.reason.toPlainText().strip(), chosen if basis is RefusalBasis.EXCEPTION else []

    def act(self) -> Act:
        if self.granted.isChecked():
            facts = TransitionFacts(identity_settled=True, grounds=tuple(self._chosen_grounds))
            check_transition(RequestStatus.DECISION_PENDING, RequestStatus.GRANTED, facts)
            because = "\n".join(map(ground_words, self._chosen_grounds))
            return Act("Grant the request?", (("Decision", "The data must go"), ("Because", because)), "Grant", _STAYS)
        basis, reason, exceptions = self._chosen_refusal
        facts = TransitionFacts(identity_settled=True, refusal_basis=basis, reason=reason, exceptions=tuple(exceptions))
        check_transition(RequestStatus.DECISION_PENDING, RequestStatus.REFUSED, facts)
        because = "\n".join((basis.label, *map(exception_words, exceptions)))
        lines = (("Decision", "The data stays"), ("Because", because), ("Reason", reason))
        return Act("Refuse the request?", lines, "Refuse", _STAYS)

    def _decide(self) -> None:
        if self.granted.isChecked():
            self._grant(self._chosen_grounds)
        else:
            self._refuse(*self._chosen_refusal)


class EraseDialog(FormDialog):
    """Which method, and why one person approves; the limits that decide are fixed before anything runs.

    Args:
        search: what the search found; it may have found nothing that an erasure could be judged by.
        nobody: the sentence of the record where nobody gives a reason of their own.
        save: gets the method and the reason.
        read: an office's own recipe from a file, as a card; without it none can be brought.
    """

    starts_job = True

    def __init__(
        self,
        parent: QWidget | None,
        model: str,
        cards: tuple[MethodCard, ...],
        search: SearchWords,
        nobody: str,
        save: Callable[[str, str], None],
        read: Callable[[Path], MethodCard] | None = None,
    ) -> None:
        super().__init__(
            parent,
            "Erase",
            f"From the model “{model}”. The model itself stays as it is; the erasure writes a new one beside it.",
            "Approve and erase…",
            self._approve,
        )
        self._done, self._model, self._nobody, self._read = save, model, nobody, read
        self.search = _SearchCard(search)
        self.body.addWidget(self.search)
        self.methods: dict[str, QAbstractButton] = {}
        self._group = QButtonGroup(self)
        self._cards = QVBoxLayout()
        self._cards.setSpacing(PADDING)
        self.body.addLayout(self._cards)
        for card in cards:
            self._cards.addWidget(self._method(card))
        self.bring = QPushButton("A recipe of your own, from a file…")
        self.bring.setAccessibleName("A recipe of your own, from a file")
        self.bring.clicked.connect(self._choose_recipe)
        self.bring.setVisible(read is not None)
        self.body.addWidget(self.bring, 0, Qt.AlignmentFlag.AlignLeft)
        first = next((button for button in self.methods.values() if button.isEnabled()), None)
        if first is not None:
            first.setChecked(True)
        self.body.addWidget(self._approval())
        details = "\n".join((*(card.technical for card in cards), _limits()))
        self.body.addWidget(Disclosure("Details: methods and limits", Text(details, tone=Tone.QUIET)))
        self.body.addStretch(1)

    def _approval(self) -> Card:
        """Nothing is chosen beforehand: what the report prints about the approval is the person's own statement."""
        frame, group = Card("Who approves"), QButtonGroup(self)
        frame.column.addWidget(
            Text(
                "You prepare and approve in one person. The report prints what you choose here; words of yours that "
                "tell of the person stay in the vault.",
                tone=Tone.QUIET,
            )
        )
        unnamed, own = radio_button(self._nobody), radio_button("For a reason of my own:")
        self.unnamed, self.own = unnamed.button, own.button
        self.reason = QLineEdit()
        self.reason.setPlaceholderText("why nobody else approves; sealed, printed unless it names the person")
        self.reason.setAccessibleName("Why nobody else approves")
        self.reason.textEdited.connect(lambda _text: self.own.setChecked(True))
        for part in (unnamed, own, self.reason):
            frame.column.addWidget(part)
        for button in (self.unnamed, self.own):
            group.addButton(button)
        return frame

    def _choose_recipe(self) -> None:
        dialog = QFileDialog(self, "A recipe of your own", "", "Recipes (*.json)")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(lambda name: self.bring_recipe(Path(name)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def bring_recipe(self, path: Path) -> None:
        """Add an office's own recipe to what can be chosen, and choose it."""
        assert self._read is not None, "the button is hidden where none can be brought"
        try:
            card = self._read(path)
        except ConsoleError as error:
            self.show_error(str(error))
            return
        self.show_error("")
        known = self.methods.pop(card.id, None)
        if known is not None:  # the file was changed and is brought again
            known.parentWidget().parentWidget().deleteLater()
            self._group.removeButton(known)
        frame = self._method(card)
        self._cards.addWidget(frame)
        self.methods[card.id].setChecked(self.methods[card.id].isEnabled())
        # Only once it has been laid out is it known where the new card lies; the button stands right below it.
        self.body.activate()
        QTimer.singleShot(0, frame, lambda: self._scroll.ensureWidgetVisible(self.bring))

    def _method(self, card: MethodCard) -> Card:
        frame = Card()
        choice = radio_button(card.title)
        button = choice.button
        button.setAccessibleDescription(card.missing or f"{card.summary} {card.time}")
        button.setEnabled(not card.missing)
        button.setToolTip(card.missing)
        self._group.addButton(button)
        self.methods[card.id] = button
        frame.column.addWidget(choice)
        frame.column.addWidget(Text(card.missing or f"{card.summary} {card.time}", tone=Tone.QUIET))
        for number, stage in enumerate(card.stages, start=1):
            frame.column.addWidget(Text(f"{number}.  {stage}"))
        return frame

    def _chosen(self) -> tuple[str, str]:
        """Method and reason of the approval.

        Raises:
            InputError: one of them is missing.
        """
        method = next((id for id, button in self.methods.items() if button.isChecked()), None)
        if method is None:
            raise InputError("No method can be used on this model.")
        if self.unnamed.isChecked():
            return method, self._nobody
        if not self.own.isChecked():
            raise InputError("Choose why one person prepares and approves; the report prints it.")
        if not self.reason.text().strip():
            raise InputError("Write down why nobody else approves, or choose the other answer.")
        return method, self.reason.text().strip()

    def act(self) -> Act:
        method, reason = self._chosen()
        lines = (
            ("Model", f"“{self._model}”; a new model is written beside it"),
            ("Method", self.methods[method].accessibleName()),
            ("Approved by", f"you, who prepared it. {reason}"),
            ("Judged by", _limits()),
        )
        return Act("Approve the plan and erase?", lines, "Approve and erase", _STAYS)

    def _approve(self) -> None:
        self._done(*self._chosen())


def _limits() -> str:
    """The thresholds in sentences; their hash goes into the record before the run."""
    limits = Thresholds.current()
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
        super().__init__(parent, "Record the answer", "", "Record…", save)
        reasons = check_box("The answer gives the reasons")
        remedies = check_box("It names the complaint to a supervisory authority and the judicial remedy")
        self.told, self.remedies = reasons.button, remedies.button
        for choice in (reasons, remedies):
            self.body.addWidget(choice)
        self.body.addStretch(1)

    def act(self) -> Act:
        if not (self.told.isChecked() and self.remedies.isChecked()):
            raise InputError("The answer must give the reasons and name the complaint and the judicial remedy.")
        lines = (("Answer", "The person was told the decision, its reasons, the complaint and the remedy."),)
        return Act("Record that the person was answered?", lines, "Record it", _STAYS)
