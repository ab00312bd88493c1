"""The frame of every dialog: what it is for, the fields, one sentence where something is wrong, the buttons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDateEdit,
    QDialogButtonBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from console.errors import ConsoleError
from console.gui.keyboard import KeyboardDialog, controls
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


@dataclass(frozen=True)
class Act:
    """What is about to be recorded, to be read once more before it is.

    Attributes:
        title: the question.
        lines: what will stand in the record, as names and texts.
        button: what the button says that does it.
        warning: what it cannot take back, or empty.
    """

    title: str
    lines: tuple[tuple[str, str], ...]
    button: str
    warning: str = ""


class FormDialog(KeyboardDialog):
    """Fields that scroll, over a sentence and buttons that do not.

    Args:
        save: does the work; a :class:`ConsoleError` from it is shown and the dialog stays as it is.

    Attributes:
        starts_job: the work goes on after the form is closed, and may fail then; what was typed is kept till it ends.

    Signals:
        wants_new: the person wants an empty form instead of what was typed before.
    """

    starts_job = False
    wants_new = Signal()

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
        self.default_button = self.submit_button
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.back = self.buttons.button(QDialogButtonBox.StandardButton.Cancel)
        self.last_stops = (self.submit_button, self.back)
        self.buttons.addButton(self.submit_button, QDialogButtonBox.ButtonRole.ActionRole)
        self.buttons.rejected.connect(self.reject)
        self.buttons.setContentsMargins(2 * GRID, 0, 2 * GRID, PADDING)
        for standard in self.buttons.buttons():
            standard.setAccessibleName(standard.text().replace("&", ""))
        self._restored = self._restored_line()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._scroll, 1)
        column.addWidget(self._restored)
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

    def _prepare(self) -> None:
        super()._prepare()
        for field in self._fields().values():
            _tell_of_changes(field, self._forget_error)

    def _forget_error(self, *_what: object) -> None:
        """What was wrong was said of the fields as they were."""
        self.show_error("")

    def show_error(self, sentence: str) -> None:
        self.error.say(sentence)
        self._error_mark.setVisible(bool(sentence))

    def act(self) -> Act | None:
        """What to ask before the work is done; None where the form itself is question enough.

        Raises:
            ConsoleError: something is missing; it is shown before anything is asked.
        """
        return None

    def submit(self) -> None:
        """Ask where it must be asked, then do the work; stay open, with everything typed, where it cannot be done."""
        try:
            act = self.act()
        except ConsoleError as error:
            self.show_error(str(error))
            return
        if act is None:
            self._carry_out()
            return
        self.show_error("")
        question = Question(self, act)
        question.accepted.connect(self._carry_out)
        question.open()

    def _carry_out(self) -> None:
        try:
            self._save()
        except ConsoleError as error:
            self.show_error(str(error))
            return
        self.accept()

    # -- what was typed -----------------------------------------------------------------------

    def _restored_line(self) -> QWidget:
        line = QWidget()
        row = QHBoxLayout(line)
        row.setContentsMargins(2 * GRID, 0, 2 * GRID, 0)
        row.addWidget(IconMark("info", Tone.INFO), 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(Text("This is what you entered before.", tone=Tone.INFO), 1)
        self._anew = QPushButton("Start with an &empty form…")
        self._anew.setAccessibleName("Start with an empty form")
        # By its letter (Alt+E) or the mouse: as a stop of Tab it would lie between the last field and the buttons.
        self._anew.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self._anew.clicked.connect(self.wants_new)
        row.addWidget(self._anew)
        line.hide()
        return line

    def _fields(self) -> dict[str, QWidget]:
        """The fields by name; a name that occurs again gets its number."""
        named: dict[str, QWidget] = {}
        for control in controls(self._scroll.widget()):
            name = control.accessibleName()
            again = sum(known.split("#")[0] == name for known in named)
            named[f"{name}#{again}"] = control
        return named

    def draft(self) -> dict[str, Any]:
        """Everything that was typed and chosen, by field."""
        values = {name: _value(field) for name, field in self._fields().items()}
        return {name: value for name, value in values.items() if value is not None}

    def typed(self) -> dict[str, str]:
        """The texts that were written, by field; what was only chosen is not among them."""
        fields = self._fields().items()
        return {name: _value(field) for name, field in fields if isinstance(field, QLineEdit | QPlainTextEdit)}

    def restore(self, draft: dict[str, Any]) -> None:
        """Put back what was typed; a field or choice that is no longer there is passed over."""
        fields = self._fields()
        for name, value in draft.items():
            if name in fields:
                _put(fields[name], value)
        self._restored.show()

    def sizeHint(self) -> QSize:
        wanted = self._scroll.widget().sizeHint()
        metrics = self.fontMetrics()
        width = max(wanted.width() + 4 * GRID, metrics.averageCharWidth() * 78)
        width = min(width, _LARGEST.width())
        height = self._scroll.widget().heightForWidth(width - 2 * GRID)
        height = (height if height > 0 else wanted.height()) + self.buttons.sizeHint().height() + metrics.height() * 3
        if not self._restored.isHidden():
            height += self._restored.sizeHint().height()
        return QSize(width, min(height, _LARGEST.height()))


def _value(field: QWidget) -> Any:
    """What a field holds; None for what is no field, such as a button that only does something."""
    match field:
        case QLineEdit():
            return field.text()
        case QPlainTextEdit():
            return field.toPlainText()
        case QDateEdit():
            return field.date()
        case QSpinBox():
            return field.value()
        case QComboBox():
            return field.currentText()
        case QToolButton():
            return None
        case QAbstractButton() if field.isCheckable():
            return field.isChecked()
    return None


def _tell_of_changes(field: QWidget, tell: Callable[..., None]) -> None:
    match field:
        case QLineEdit() | QPlainTextEdit():
            field.textChanged.connect(tell)
        case QDateEdit():
            field.dateChanged.connect(tell)
        case QSpinBox():
            field.valueChanged.connect(tell)
        case QComboBox():
            field.currentTextChanged.connect(tell)
        case QAbstractButton() if field.isCheckable():
            field.toggled.connect(tell)


def _put(field: QWidget, value: Any) -> None:
    match field:
        case QLineEdit():
            field.setText(value)
        case QPlainTextEdit():
            field.setPlainText(value)
        case QDateEdit():
            field.setDate(value)
        case QSpinBox():
            field.setValue(value)
        case QComboBox() if field.isEditable() or field.findText(value) >= 0:
            field.setCurrentText(value)
        case QRadioButton():
            if value and field.isEnabled():
                field.setChecked(True)
        case QAbstractButton() if field.isCheckable():
            field.setChecked(value)


class Question(FormDialog):
    """What will be recorded, line by line, before it is. Enter alone goes back."""

    def __init__(self, parent: QWidget | None, act: Act) -> None:
        super().__init__(parent, act.title, "", act.button, lambda: None)
        self.default_button = None
        self.submit_button.setDefault(False)
        self.back.setText("Go back")
        self.back.setAccessibleName("Go back")
        for name, value in act.lines:
            self.field(name, Text(value))
        self.warning = Text(tone=Tone.WARN)
        self.warning.say(act.warning)
        self.body.addWidget(self.warning)
        self.body.addStretch(1)
