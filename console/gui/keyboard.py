"""How the keyboard walks through a dialog: fields first, then the buttons, and Enter never leaves a form unsaved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QDialog,
    QLayout,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QToolButton,
    QWidget,
)


def _laid_out(layout: QLayout) -> Iterator[QWidget]:
    for place in range(layout.count()):
        entry = layout.itemAt(place)
        if entry.widget() is not None:
            yield entry.widget()
        elif entry.layout() is not None:
            yield from _laid_out(entry.layout())


def controls(root: QWidget) -> Iterator[QWidget]:
    """Everything inside ``root`` that takes the keyboard, as one reads it; hidden parts too.

    Scroll areas are walked through: what scrolls shows the control that has the focus by itself.
    """
    layout = root.layout()
    inside = _laid_out(layout) if layout is not None else (kid for kid in root.children() if isinstance(kid, QWidget))
    for widget in inside:
        if isinstance(widget, QScrollArea):
            yield from controls(widget.widget())
        elif widget.focusPolicy() is Qt.FocusPolicy.NoFocus:
            yield from controls(widget)
        else:
            yield widget


def can_be_walked_to(widget: QWidget, root: QWidget) -> bool:
    """Whether Tab stops at the control now."""
    return bool(widget.focusPolicy() & Qt.FocusPolicy.TabFocus) and widget.isEnabled() and widget.isVisibleTo(root)


def _chosen_of(stop: QWidget) -> QWidget:
    """The chosen answer of a question, where the stop is one of its answers; a space bar must not change it."""
    group = stop.group() if isinstance(stop, QRadioButton) else None
    return group.checkedButton() or stop if group is not None else stop


class KeyboardDialog(QDialog):
    """A dialog whose keys are set once, as it is shown first.

    Tab takes the controls as they are read, the buttons of :attr:`last_stops` at the end. Enter presses the button
    that has the focus, else the default button; a button becomes no default by being walked over, which is how Qt
    lets Enter in a field cancel a form. Page Up and Page Down scroll.

    Attributes:
        last_stops: buttons that come after everything else, in this order.
        default_button: what Enter in a field presses; None where Enter alone must do nothing.
    """

    def __init__(self, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.last_stops: tuple[QPushButton, ...] = ()
        self.default_button: QPushButton | None = None
        self._is_prepared = False

    def setVisible(self, visible: bool) -> None:
        first = visible and not self._is_prepared
        if first:
            self._prepare()
        super().setVisible(visible)
        if first:
            stops = [stop for stop in self._stops() if can_be_walked_to(stop, self)]
            if stops:
                # Without a field the way back has the focus, so that a second Enter does nothing that nobody meant.
                is_field = stops[0] not in self.last_stops
                _chosen_of(stops[0 if is_field else -1]).setFocus(Qt.FocusReason.TabFocusReason)

    def _stops(self) -> list[QWidget]:
        fields = [control for control in controls(self) if control not in self.last_stops]
        return [*fields, *self.last_stops]

    def _prepare(self) -> None:
        self._is_prepared = True
        for area in self.findChildren(QScrollArea):
            area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(False)
        for first, second in pairwise(self._stops()):
            QWidget.setTabOrder(first, second)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            focused = self.focusWidget()
            pressed = focused if isinstance(focused, QPushButton | QToolButton) else self.default_button
            if isinstance(pressed, QAbstractButton) and not event.isAutoRepeat():
                pressed.click()
            return
        if event.key() in (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown):
            self._scroll_a_page(down=event.key() == Qt.Key.Key_PageDown)
            return
        super().keyPressEvent(event)

    def _scroll_a_page(self, *, down: bool) -> None:
        for area in self.findChildren(QScrollArea):
            bar = area.verticalScrollBar()
            bar.setValue(bar.value() + (bar.pageStep() if down else -bar.pageStep()))
