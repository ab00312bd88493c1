"""From the painted frame to the open office, without holding the window up for the imports."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal

from console.errors import ConsoleError
from console.paths import Places

if TYPE_CHECKING:
    from console.casework.office import Office

_LOOK_MS = 20
_NEEDED = ("console.gui.unlocking", "console.gui.commands")

Ask = Callable[[str], str | None]


class Opening(QObject):
    """Imports what the office needs on a thread, then opens the ledger on the window's own thread.

    The ledger stays on one thread; only the imports, most of the time of a start, run beside the window.

    Signals:
        opened: the office.
        refused: the sentence why it cannot be opened.
        left: the person gave up unlocking it.
        absent: there is no office in the folder, and never was one; ``make`` makes it.
        not_made: the sentence why it could not be made.
    """

    opened = Signal(object)
    refused = Signal(str)
    left = Signal()
    absent = Signal()
    not_made = Signal(str)

    def __init__(self, places: Places, ask: Ask, parent: QObject, env: Mapping[str, str] | None = None) -> None:
        super().__init__(parent)
        self._places, self._ask, self._env = places, ask, env
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._import, name="imports", daemon=True)
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)

    def begin(self) -> None:
        self._thread.start()
        self._timer.start()

    def _import(self) -> None:
        try:
            for name in _NEEDED:
                importlib.import_module(name)
        except BaseException as error:  # raised again on the window's thread, where somebody sees it
            self._error = error

    def _look(self) -> None:
        if self._thread.is_alive():
            return
        self._timer.stop()
        if self._error is not None:
            raise self._error
        self._open()

    def _open(self) -> None:
        from console.casework.office import is_absent
        from console.gui.unlocking import open_office

        try:
            if is_absent(self._places):
                self.absent.emit()
                return
            office: Office | None = open_office(self._places, self._ask, self._env)
        except ConsoleError as error:
            self.refused.emit(str(error))
            return
        if office is None:
            self.left.emit()
        else:
            self.opened.emit(office)

    def make(self, organisation: str) -> None:
        """Make the office that is absent, because the person asked for it."""
        from console.gui.unlocking import make_office

        try:
            office = make_office(self._places, organisation, self._env)
        except ConsoleError as error:
            self.not_made.emit(str(error))
            return
        self.opened.emit(office)
