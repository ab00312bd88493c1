"""Check boxes and radio buttons whose words wrap, which Qt's own do not."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QApplication, QCheckBox, QHBoxLayout, QRadioButton, QVBoxLayout, QWidget

from console.domain.request_terms import Exception17, Ground
from console.gui.pieces import Text
from console.gui.theme import GRID, accent, edge_color, icon_size, on_accent, pixmap
from console.gui.tones import Tone


class _Words(Text):
    """The words beside a button; a click on them is a click on it."""

    def __init__(self, text: str, button: QAbstractButton) -> None:
        super().__init__(text)
        self._button = button
        self.setBuddy(button)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            self._button.click()


def _draw_mark(button: QAbstractButton, *, is_round: bool) -> None:
    """Draw a box or ring as large as the text, with an edge that is seen on dark ground, too."""
    palette = QApplication.palette()
    side = button.height() - 2
    place = QRectF(1, 1, side, side)
    ground = accent(palette) if button.isChecked() and button.isEnabled() else palette.base().color()
    edge = ground if button.isChecked() and button.isEnabled() else edge_color(palette)
    with QPainter(button) as painter:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setOpacity(1.0 if button.isEnabled() else 0.5)
        painter.setPen(QPen(edge, 1.4))
        painter.setBrush(ground)
        painter.drawRoundedRect(place, *([side / 2] * 2 if is_round else [3, 3]))
        if button.isChecked():
            mark = place.adjusted(*(side * share for share in (0.2, 0.2, -0.2, -0.2)))
            if is_round:
                painter.setBrush(on_accent(palette))
                painter.drawEllipse(place.center(), side / 4.5, side / 4.5)
            else:
                size = round(mark.width())
                painter.drawPixmap(mark.topLeft(), pixmap("tick", on_accent(palette), size))
        if button.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(palette.text().color(), 1.6))
            painter.drawRoundedRect(place, *([side / 2] * 2 if is_round else [3, 3]))


class _Box(QCheckBox):
    def paintEvent(self, _event: QPaintEvent) -> None:
        _draw_mark(self, is_round=False)

    def sizeHint(self) -> QSize:
        return icon_size(self)


class _Ring(QRadioButton):
    def paintEvent(self, _event: QPaintEvent) -> None:
        _draw_mark(self, is_round=True)

    def sizeHint(self) -> QSize:
        return icon_size(self)


class Choice(QWidget):
    """A button and its words; ``button`` is the Qt button, named by the words."""

    def __init__(self, button: QAbstractButton, text: str) -> None:
        super().__init__()
        self.button = button
        self.words = _Words(text, button)
        button.setAccessibleName(text)
        button.setFixedSize(button.sizeHint())
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(GRID)
        line.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(self.words, 1)


def check_box(text: str) -> Choice:
    """A choice that stands for itself."""
    return Choice(_Box(), text)


def radio_button(text: str) -> Choice:
    """A choice of which one holds; put the buttons of a question into one QButtonGroup."""
    return Choice(_Ring(), text)


class Option(QWidget):
    """One of several ways, with a sentence under its words; greyed with the reason where it cannot be taken."""

    def __init__(self, title: str, sentence: str = "") -> None:
        super().__init__()
        self._choice = radio_button(title)
        self.button = self._choice.button
        self._sentence = Text(tone=Tone.QUIET)
        under = QHBoxLayout()
        under.addSpacing(self.button.sizeHint().width() + GRID)
        under.addWidget(self._sentence, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GRID // 2)
        column.addWidget(self._choice)
        column.addLayout(under)
        self.say(sentence)

    @property
    def sentence(self) -> str:
        return self._sentence.text()

    def say(self, sentence: str, missing: str = "") -> None:
        """Show what the choice means, or why it cannot be taken."""
        self._sentence.setText(missing or sentence)
        self._choice.words.set_tone(Tone.QUIET if missing else Tone.PLAIN)
        self.button.setEnabled(not missing)
        self.button.setToolTip(missing)
        self.button.setAccessibleDescription(missing or sentence)


def ground_words(ground: Ground) -> str:
    """``The person withdrew their consent (b)``."""
    return f"{ground.label} {ground.value.removeprefix('17(1)')}"


def exception_words(exception: Exception17) -> str:
    """``Legal claims (e)``."""
    return f"{exception.label} {exception.value.removeprefix('17(3)')}"
