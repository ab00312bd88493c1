"""A file that a form asks for, read beside the window: on a thread, so that a large one keeps nobody waiting."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QComboBox

from console.domain.text_file import ENCODINGS
from console.errors import ConsoleError, InputError
from console.gui.errand import Errand
from console.gui.form_dialog import narrow_combo

_EVERY_MS = 15  # between two looks whether the thread is done
_TURN_S = 0.0005
_AT_ONCE_S = 0.02  # a small file is shown at once; nobody notices so short a wait


def _gently(work: Callable[[], Any]) -> Any:
    """Work beside a window that must go on answering within 50 ms.

    Python runs one thread at a time. The window asks for its turn many times for one repaint, so turns are made short;
    and one look for cycles among the objects of a large file would take longer than all of them.
    """
    turn = sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(min(turn, _TURN_S))
    try:
        return work()
    finally:
        sys.setswitchinterval(turn)
        gc.enable()


class Reading(QObject):
    """One file at a time; a new one takes the place of one that is still being read.

    Signals:
        done: what the work gave.
        failed: the sentence of its refusal.
    """

    done = Signal(object)
    failed = Signal(str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._errand: Errand | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self._look)

    @property
    def is_running(self) -> bool:
        return self._errand is not None

    def start(self, work: Callable[[], Any]) -> None:
        """Do ``work`` on a thread; it must touch no widget."""
        self.stop()
        self._errand = Errand("Reading a file", lambda: _gently(work))
        self._timer.start()
        self.settle()

    def settle(self) -> None:
        """Give a reading that is nearly done the moment that it needs."""
        if self._errand is not None:
            self._errand.wait(_AT_ONCE_S)
            self._look()

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._timer.stop()
        self._errand = None

    def require_done(self, what: str) -> None:
        """Raises:
        InputError: the file is still being read.
        """
        self.settle()
        if self.is_running:
            raise InputError(f"{what} is still being read: wait until it is shown, then try again.")

    def _look(self) -> None:
        errand = self._errand
        if errand is None:
            return
        errand.poll()
        if not errand.finished:
            return
        self.stop()
        if isinstance(errand.error, ConsoleError):
            self.failed.emit(str(errand.error))
        else:
            self.done.emit(errand.value)


def encoding_choice(accessible_name: str) -> QComboBox:
    """How a file's letters are stored: found out, or chosen where that went wrong; its data is the encoding or None."""
    combo = narrow_combo()
    combo.setAccessibleName(accessible_name)
    combo.addItem("Encoding: found out", None)
    for name, words in ENCODINGS.items():
        combo.addItem(words, name)
    return combo
