"""Buttons that stand for an action of the registry, and say why it cannot be done."""

from __future__ import annotations

from PySide6.QtWidgets import QPushButton, QSizePolicy, QVBoxLayout, QWidget

from console.gui.actions import ActionRegistry
from console.gui.pieces import Text
from console.gui.theme import GRID, icon_size
from console.gui.tones import Tone


class ActionButton(QPushButton):
    """A push button with an action's title, icon and reason."""

    def __init__(self, actions: ActionRegistry, id: str, *, primary: bool = False) -> None:
        super().__init__()
        self._actions, self._id = actions, id
        if primary:
            self.setProperty("primary", True)
        self.setIconSize(icon_size(self))
        self.clicked.connect(lambda: actions.action(id).trigger())
        actions.refreshed.connect(self.refresh)
        self.refresh()

    @property
    def reason(self) -> str:
        return self._actions.why_not(self._id)

    def refresh(self) -> None:
        """Take title, state and reason from the action."""
        action = self._actions.action(self._id)
        self.setText(action.text())
        if not self.property("primary"):
            self.setIcon(action.icon())
        self.setEnabled(action.isEnabled())
        self.setToolTip(action.toolTip())
        self.setAccessibleName(action.text().removesuffix("…"))
        self.setAccessibleDescription(self.reason)


class GatedButton(QWidget):
    """An action button with the reason in words under it, because a tooltip is not always found."""

    def __init__(self, actions: ActionRegistry, id: str) -> None:
        super().__init__()
        self.button = ActionButton(actions, id)
        self._reason = Text(tone=Tone.QUIET, scale=0.9)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GRID // 2)
        column.addWidget(self.button)
        column.addWidget(self._reason)
        column.addStretch(1)
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setMinimumWidth(self.fontMetrics().averageCharWidth() * 20)
        actions.refreshed.connect(self.refresh)
        self.refresh()

    @property
    def reason(self) -> str:
        return self._reason.text()

    def refresh(self) -> None:
        self._reason.say(self.button.reason)
