"""Ask for the passphrase of the ledger."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QDialogButtonBox, QHBoxLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from console.gui.keyboard import KeyboardDialog
from console.gui.pieces import IconMark, Text
from console.gui.theme import GRID
from console.gui.tones import Tone


class UnlockDialog(KeyboardDialog):
    """A passphrase field; what was wrong the last time stands under it."""

    def __init__(self, parent: QWidget | None, wrong: str) -> None:
        super().__init__(parent)
        self.setWindowTitle("Unlock the ledger")
        title = QHBoxLayout()
        title.setSpacing(GRID)
        title.addWidget(IconMark("lock", Tone.INFO, scale=1.6))
        title.addWidget(Text("The ledger is locked", scale=1.3, bold=True), 1)
        self.passphrase = QLineEdit()
        self.passphrase.setEchoMode(QLineEdit.EchoMode.Password)
        self.passphrase.setAccessibleName("Passphrase")
        self.passphrase.setMinimumWidth(self.fontMetrics().averageCharWidth() * 44)
        label = QLabel("&Passphrase")
        label.setBuddy(self.passphrase)
        self.wrong = Text(tone=Tone.BAD)
        self.wrong.say(wrong)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.unlock = buttons.addButton("Unlock", QDialogButtonBox.ButtonRole.AcceptRole)
        self.unlock.setProperty("primary", True)
        self.unlock.setDefault(True)
        self.default_button = self.unlock
        self.last_stops = (self.unlock, buttons.button(QDialogButtonBox.StandardButton.Cancel))
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        for button in buttons.buttons():
            button.setAccessibleName(button.text().replace("&", ""))
        self.unlock.setEnabled(False)
        self.passphrase.textChanged.connect(lambda text: self.unlock.setEnabled(bool(text)))
        column = QVBoxLayout(self)
        column.setContentsMargins(2 * GRID, 2 * GRID, 2 * GRID, 2 * GRID)
        column.setSpacing(GRID)
        column.addLayout(title)
        column.addWidget(label)
        column.addWidget(self.passphrase)
        column.addWidget(self.wrong)
        column.addWidget(buttons)


def ask_passphrase(parent: QWidget | None, wrong: str) -> str | None:
    """Ask once; None if the person gives up."""
    dialog = UnlockDialog(parent, wrong)
    try:
        return dialog.passphrase.text() if dialog.exec() == QDialog.DialogCode.Accepted else None
    finally:
        dialog.deleteLater()
