"""The frame of every dialog: what it is for, the fields, one sentence where something is wrong, the buttons."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from console.errors import ConsoleError
from console.gui.pieces import IconMark, ScrolledBody, Text
from console.gui.theme import GRID, PADDING
from console.gui.tones import Tone

_LARGEST = QSize(980, 560)  # fits the smallest window, 1024 × 600


def narrow_combo() -> QComboBox:
    """A combo box that may be narrower than its longest entry, which its list shows in full."""
    combo = QComboBox()
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(16)
    return combo


class FormDialog(QDialog):
    """Fields that scroll, over a sentence and buttons that do not.

    Args:
        save: does the work; a :class:`ConsoleError` from it is shown and the dialog stays as it is.
    """

    def __init__(self, parent: QWidget | None, title: str, lead: str, button: str, save: Callable[[], None]) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._save = save
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        body = ScrolledBody()
        self.body = QVBoxLayout(body)
        self.body.setContentsMargins(2 * GRID, 2 * GRID, 2 * GRID, GRID)
        self.body.setSpacing(PADDING)
        self.body.addWidget(Text(title, scale=1.4, bold=True))
        if lead:
            self.body.addWidget(Text(lead, tone=Tone.QUIET))
        self.form = QFormLayout()
        self.form.setHorizontalSpacing(2 * PADDING)
        self.form.setVerticalSpacing(PADDING)
        self.form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.body.addLayout(self.form)
        self._scroll.setWidget(body)
        self.error = Text(tone=Tone.BAD)
        self._error_mark = IconMark("failed", Tone.BAD)
        wrong = QHBoxLayout()
        wrong.setContentsMargins(2 * GRID, 0, 2 * GRID, 0)
        wrong.addWidget(self._error_mark, 0, Qt.AlignmentFlag.AlignTop)
        wrong.addWidget(self.error, 1)
        self.submit_button = QPushButton(button)
        self.submit_button.setAccessibleName(button)
        self.submit_button.setProperty("primary", True)
        self.submit_button.setDefault(True)
        self.submit_button.clicked.connect(self.submit)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.buttons.addButton(self.submit_button, QDialogButtonBox.ButtonRole.ActionRole)
        self.buttons.rejected.connect(self.reject)
        self.buttons.setContentsMargins(2 * GRID, 0, 2 * GRID, PADDING)
        for standard in self.buttons.buttons():
            standard.setAccessibleName(standard.text().replace("&", ""))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._scroll, 1)
        column.addLayout(wrong)
        column.addWidget(self.buttons)
        self.show_error("")

    def field(self, label: str, widget: QWidget, hint: str = "") -> None:
        """A row with a label that belongs to its field."""
        name = QLabel(label)
        name.setBuddy(widget)
        widget.setAccessibleName(label)
        if hint:
            widget.setAccessibleDescription(hint)
        self.form.addRow(name, widget)

    def show_error(self, sentence: str) -> None:
        self.error.say(sentence)
        self._error_mark.setVisible(bool(sentence))

    def submit(self) -> None:
        """Do the work; stay open, with everything that was typed, where it cannot be done."""
        try:
            self._save()
        except ConsoleError as error:
            self.show_error(str(error))
            return
        self.accept()

    def sizeHint(self) -> QSize:
        wanted = self._scroll.widget().sizeHint()
        metrics = self.fontMetrics()
        width = max(wanted.width() + 4 * GRID, metrics.averageCharWidth() * 78)
        width = min(width, _LARGEST.width())
        height = self._scroll.widget().heightForWidth(width - 2 * GRID)
        height = (height if height > 0 else wanted.height()) + self.buttons.sizeHint().height() + metrics.height() * 3
        return QSize(width, min(height, _LARGEST.height()))
