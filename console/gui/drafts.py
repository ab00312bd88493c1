"""Forms of one window: opened in one place, and what was typed into one that was left is there again the next time.

Drafts may hold personal data, so they live in memory, never on disk, and go with the window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QDialog

from console.gui.form_dialog import Act, FormDialog, Question

if TYPE_CHECKING:
    from console.gui.window import MainWindow

KEPT = "What you typed is kept until the console is closed: open the form again to go on."


@dataclass(frozen=True)
class _Draft:
    """What a form was left with; ``is_typed`` where a text is among it, not only a choice."""

    values: dict[str, Any]
    is_typed: bool


class Forms:
    """Opens forms and keeps what was typed into them, by the key that names the form and its case."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self._drafts: dict[str, _Draft] = {}
        self._shown: dict[FormDialog, dict[str, str]] = {}  # open forms, with the texts that they opened with

    def open(self, key: str, make: Callable[[], FormDialog]) -> FormDialog:
        """Show a new form with what was typed into it before."""
        dialog = make()
        untouched, self._shown[dialog] = dialog.draft(), dialog.typed()
        if key in self._drafts:
            dialog.restore(self._drafts[key].values)
        dialog.finished.connect(lambda result: self._left(key, dialog, untouched, result))
        dialog.wants_new.connect(lambda: self._ask_anew(key, dialog, make))
        dialog.open()
        return dialog

    @property
    def has_drafts(self) -> bool:
        """Whether something that was typed would be lost with the window; what was only chosen is chosen again."""
        return any(draft.is_typed for draft in self._drafts.values()) or any(
            dialog.typed() != before for dialog, before in self._shown.items()
        )

    def drop(self, key: str) -> None:
        """Forget what was typed: the work that the form began is done."""
        self._drafts.pop(key, None)

    def _left(self, key: str, dialog: FormDialog, untouched: dict[str, Any], result: int) -> None:
        left, is_typed = dialog.draft(), dialog.typed() != self._shown.pop(dialog)
        is_done = result == QDialog.DialogCode.Accepted and not dialog.starts_job
        if is_done or left == untouched:
            self.drop(key)
            return
        self._drafts[key] = _Draft(left, is_typed)
        if is_typed and result != QDialog.DialogCode.Accepted:
            self._window.say(KEPT)

    def _ask_anew(self, key: str, dialog: FormDialog, make: Callable[[], FormDialog]) -> None:
        act = Act("Start with an empty form?", (), "Empty the form", "What you entered before is gone for good then.")
        question = Question(dialog, act)
        question.accepted.connect(lambda: self._anew(key, dialog, make))
        question.open()

    def _anew(self, key: str, dialog: FormDialog, make: Callable[[], FormDialog]) -> None:
        dialog.reject()
        self.drop(key)
        self._window.say("")
        self.open(key, make)
