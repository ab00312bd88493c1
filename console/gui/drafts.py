"""Forms of one window: opened in one place, and what was typed into one that was left is there again the next time.

Drafts may hold personal data, so they live in memory, never on disk, and go with the window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QDialog

from console.gui.form_dialog import FormDialog

if TYPE_CHECKING:
    from console.gui.window import MainWindow

KEPT = "What you typed is kept until the console is closed: open the form again to go on."


class Forms:
    """Opens forms and keeps what was typed into them, by the key that names the form and its case."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self._drafts: dict[str, dict[str, Any]] = {}

    def open(self, key: str, make: Callable[[], FormDialog]) -> FormDialog:
        """Show a new form with what was typed into it before."""
        dialog = make()
        untouched = dialog.draft()
        if key in self._drafts:
            dialog.restore(self._drafts[key])
        dialog.finished.connect(lambda result: self._left(key, dialog, untouched, result))
        dialog.wants_new.connect(lambda: self._anew(key, dialog, make))
        dialog.open()
        return dialog

    @property
    def has_drafts(self) -> bool:
        """Whether something that was typed would be lost with the window."""
        return bool(self._drafts)

    def drop(self, key: str) -> None:
        """Forget what was typed: the work that the form began is done."""
        self._drafts.pop(key, None)

    def _left(self, key: str, dialog: FormDialog, untouched: dict[str, Any], result: int) -> None:
        typed = dialog.draft()
        is_done = result == QDialog.DialogCode.Accepted and not dialog.starts_job
        if is_done or typed == untouched:
            self.drop(key)
            return
        self._drafts[key] = typed
        if result != QDialog.DialogCode.Accepted:
            self._window.say(KEPT)

    def _anew(self, key: str, dialog: FormDialog, make: Callable[[], FormDialog]) -> None:
        dialog.reject()
        self.drop(key)
        self._window.say("")
        self.open(key, make)
