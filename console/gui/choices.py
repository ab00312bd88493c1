"""Check boxes and radio buttons whose words wrap, which Qt's own do not."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QAbstractButton, QCheckBox, QHBoxLayout, QRadioButton, QWidget

from console.domain.request_terms import Exception17, Ground
from console.gui.pieces import Text
from console.gui.theme import GRID


class _Words(Text):
    """The words beside a button; a click on them is a click on it."""

    def __init__(self, text: str, button: QAbstractButton) -> None:
        super().__init__(text)
        self._button = button
        self.setBuddy(button)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            self._button.click()


class Choice(QWidget):
    """A button and its words; ``button`` is the Qt button, named by the words."""

    def __init__(self, button: QAbstractButton, text: str) -> None:
        super().__init__()
        self.button = button
        button.setAccessibleName(text)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(GRID)
        line.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(_Words(text, button), 1)


def check_box(text: str) -> Choice:
    """A choice that stands for itself."""
    return Choice(QCheckBox(), text)


def radio_button(text: str) -> Choice:
    """A choice of which one holds; put the buttons of a question into one QButtonGroup."""
    return Choice(QRadioButton(), text)


def ground_words(ground: Ground) -> str:
    """``The person withdrew their consent (b)``."""
    return f"{ground.label} {ground.value.removeprefix('17(1)')}"


def exception_words(exception: Exception17) -> str:
    """``Legal claims (e)``."""
    return f"{exception.label} {exception.value.removeprefix('17(3)')}"
