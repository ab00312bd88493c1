"""Small building blocks of every page: text that wraps, icons that follow the palette, cards, chips."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFont, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from console.gui.keyboard import can_be_walked_to, controls
from console.gui.theme import GRID, PADDING, blend, icon, icon_size, pixmap, tone_color
from console.gui.tones import Tone


def monospace(base: QFont) -> QFont:
    """``base`` in the system's fixed-width family."""
    font = QFont(base)
    font.setFamilies(["monospace"])
    font.setStyleHint(QFont.StyleHint.Monospace)
    return font


class Text(QLabel):
    """A text that wraps, in a tone, ``scale`` times the system's size."""

    def __init__(
        self, text: str = "", *, tone: Tone = Tone.PLAIN, scale: float = 1.0, bold: bool = False, mono: bool = False
    ) -> None:
        super().__init__(text)
        self._tone = tone
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        font = monospace(self.font()) if mono else QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * scale)
        font.setBold(bold)
        self.setFont(font)
        self._tint()

    def set_tone(self, tone: Tone) -> None:
        self._tone = tone
        self._tint()

    def say(self, text: str) -> None:
        """Show ``text``; an empty one takes no room."""
        self.setText(text)
        self.setVisible(bool(text))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._tint()

    def _tint(self) -> None:
        own = QPalette()
        own.setColor(QPalette.ColorRole.WindowText, tone_color(self._tone, QApplication.palette()))
        self.setPalette(own)


class Line(Text):
    """A text on one line that ends in dots where there is no room; its tooltip has the whole of it."""

    def __init__(self, text: str = "", *, tone: Tone = Tone.PLAIN) -> None:
        super().__init__(text, tone=tone)
        self.setWordWrap(False)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)

    def minimumSizeHint(self) -> QSize:
        return QSize(self.fontMetrics().averageCharWidth() * 6, super().minimumSizeHint().height())

    def paintEvent(self, _event: QPaintEvent) -> None:
        shown = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        with QPainter(self) as painter:
            painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
            painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft), shown)
        self.setToolTip(self.text() if shown != self.text() else "")


class IconMark(QLabel):
    """A drawing in a tone, as tall as the text beside it."""

    def __init__(self, name: str = "", tone: Tone = Tone.PLAIN, scale: float = 1.0) -> None:
        super().__init__()
        self._name, self._tone, self._scale = name, tone, scale
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._draw()

    def show_mark(self, name: str, tone: Tone) -> None:
        self._name, self._tone = name, tone
        self._draw()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._draw()

    def _draw(self) -> None:
        size = max(16, round(self.fontMetrics().height() * self._scale))
        self.setFixedSize(size, size)
        if self._name:
            self.setPixmap(pixmap(self._name, tone_color(self._tone, QApplication.palette()), size))


class Chip(QWidget):
    """An icon and a word on a rounded ground of the same tone."""

    def __init__(self, text: str = "", mark: str = "open-circle", tone: Tone = Tone.PLAIN) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.show_state(text, mark, tone)

    def show_state(self, text: str, mark: str, tone: Tone) -> None:
        self._text, self._mark, self._tone = text, mark, tone
        self.setAccessibleName(text)
        self.updateGeometry()
        self.update()

    @property
    def text(self) -> str:
        return self._text

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(metrics.horizontalAdvance(self._text) + metrics.height() + 3 * GRID, metrics.height() + GRID)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, _event: QPaintEvent) -> None:
        palette = QApplication.palette()
        color = tone_color(self._tone, palette)
        size = self.fontMetrics().height()
        with QPainter(self) as painter:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(blend(palette.base().color(), color, 0.45))
            painter.setBrush(blend(palette.base().color(), color, 0.08))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 8, 8)
            painter.drawPixmap(GRID, (self.height() - size) // 2, pixmap(self._mark, color, size))
            painter.setPen(color)
            left = GRID + size + GRID // 2
            painter.drawText(self.rect().adjusted(left, 0, 0, 0), int(Qt.AlignmentFlag.AlignVCenter), self._text)


class Card(QFrame):
    """A framed group with a column inside."""

    def __init__(self, title: str = "") -> None:
        super().__init__()
        self.setProperty("card", True)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(PADDING, PADDING, PADDING, PADDING)
        self.column.setSpacing(GRID)
        if title:
            self.column.addWidget(Text(title, bold=True))


class ScrolledBody(QWidget):
    """The inside of a scroll area, as tall as its texts are at the width that it gets.

    A layout's least height counts every text at its narrowest, which would leave a gap below them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("plain", True)

    def minimumSizeHint(self) -> QSize:
        return QSize(super().minimumSizeHint().width(), 0)


class Page(QScrollArea):
    """A screen: one column that scrolls when the window is small or the letters are large.

    It takes no focus itself, or the keyboard would be dead on it; :meth:`first_stop` says where the focus goes.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setAccessibleName(name)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        body = ScrolledBody()
        self.column = QVBoxLayout(body)
        self.column.setContentsMargins(2 * GRID, 2 * GRID, 2 * GRID, 2 * GRID)
        self.column.setSpacing(PADDING)
        self.setWidget(body)

    def first_stop(self) -> QWidget | None:
        """What has the keyboard when the page comes to the front: the first control that one can walk to."""
        return next((stop for stop in controls(self.widget()) if can_be_walked_to(stop, self)), None)


class DisclosureButton(QToolButton):
    """Shows and hides what lies behind a word; hidden at first."""

    def __init__(self, title: str, content: QWidget) -> None:
        super().__init__()
        self._content = content
        self.setProperty("quiet", True)
        self.setText(title)
        self.setAccessibleName(title)
        self.setCheckable(True)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setIconSize(icon_size(self))
        self.toggled.connect(self._toggle)
        self._toggle(False)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._draw()

    def _toggle(self, opened: bool) -> None:
        self._content.setVisible(opened)
        self._draw()

    def _draw(self) -> None:
        self.setIcon(icon("opened" if self.isChecked() else "closed", QApplication.palette()))


class Disclosure(QWidget):
    """Technical lines under the word that shows them."""

    def __init__(self, title: str, content: QWidget) -> None:
        super().__init__()
        self.button = DisclosureButton(title, content)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GRID)
        column.addWidget(self.button, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(content)


class Notice(QFrame):
    """A sentence above the page: what went wrong or what was done, and one thing to do about it."""

    acted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("notice", True)
        self.setAccessibleName("Message")
        self._stays = False
        self._mark = IconMark("info", Tone.INFO)
        self.sentence = Text()
        self.action = QPushButton()
        self.action.clicked.connect(self.acted)
        self._details = Text(tone=Tone.QUIET, mono=True, scale=0.9)
        self._disclosure = Disclosure("Details", self._details)
        self.dismiss = QPushButton("Dismiss")
        self.dismiss.setAccessibleName("Dismiss the message")
        self.dismiss.clicked.connect(self.hide)
        line = QHBoxLayout()
        line.setSpacing(GRID)
        line.addWidget(self._mark, 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(self.sentence, 1)
        line.addWidget(self.action, 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(self.dismiss, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(PADDING, GRID, PADDING, GRID)
        column.addLayout(line)
        column.addWidget(self._disclosure)
        self.hide()

    def tell(self, sentence: str, tone: Tone, *, action: str = "", details: str = "") -> None:
        """Show a sentence until it is dismissed or the next one comes."""
        marks = {Tone.GOOD: "done", Tone.WARN: "soon", Tone.BAD: "failed"}
        self._mark.show_mark(marks.get(tone, "info"), tone)
        self.sentence.setText(sentence)
        self.action.setText(action)
        self.action.setAccessibleName(action)
        self.action.setVisible(bool(action))
        self._details.setText(details)
        self._disclosure.setVisible(bool(details))
        self._disclosure.button.setChecked(False)
        self._stays = tone is Tone.BAD
        self.show()

    def pass_by(self) -> None:
        """Go away with the page it belongs to, unless it says that something went wrong."""
        if not self._stays:
            self.hide()


def primary_button(text: str = "") -> QPushButton:
    """The one button of a page that stands for the next step."""
    button = QPushButton(text)
    button.setProperty("primary", True)
    button.setAccessibleName(text)
    return button


def clear(layout: QLayout) -> None:
    """Take everything out of a layout and delete its widgets."""
    while layout.count():
        entry = layout.takeAt(0)
        if entry.widget() is not None:
            entry.widget().hide()
            entry.widget().deleteLater()
        elif entry.layout() is not None:
            clear(entry.layout())
