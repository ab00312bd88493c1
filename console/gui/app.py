"""The application: palette, window, ledger, in this order, so that something is seen within a second."""

from __future__ import annotations

import locale
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from PySide6.QtWidgets import QApplication, QMessageBox, QWidget

from console.gui.first_run_page import FirstRunPage
from console.gui.opening import Opening
from console.gui.theme import forget_icons, harmonise, icon, style_sheet
from console.gui.tones import Tone
from console.gui.unlock_dialog import ask_passphrase
from console.gui.window import TITLE, MainWindow
from console.paths import APP_NAME, Places

CANNOT_OPEN = 2


class Look:
    """Keeps palette and style sheet in step with the desk: light, dark, high contrast."""

    def __init__(self, app: QApplication) -> None:
        self._app = app
        self._applying = False
        self.apply()

    def apply(self) -> None:
        """Take the accent and the computed colours from the palette as it is now."""
        if self._applying:
            return
        self._applying = True
        try:
            self._app.setPalette(harmonise(self._app.palette()))
            self._app.setStyleSheet(style_sheet(self._app.palette()))
        finally:
            self._applying = False


def _application(argv: Sequence[str]) -> QApplication:
    app = QApplication.instance() or QApplication([APP_NAME, *argv])
    assert isinstance(app, QApplication)
    # Qt takes the desk's locale for the whole process, but the record and its sentences are English everywhere.
    locale.setlocale(locale.LC_TIME, "C")
    locale.setlocale(locale.LC_NUMERIC, "C")
    app.setApplicationName(APP_NAME)
    app.setApplicationDisplayName(TITLE)
    app.setDesktopFileName(APP_NAME)
    return app


def _say_refusal(window: QWidget, sentence: str) -> None:
    box = QMessageBox(window)
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle("The ledger cannot be opened")
    box.setText(sentence)
    box.setStandardButtons(QMessageBox.StandardButton.Close)
    box.exec()


def _watch_errors(window: MainWindow) -> None:
    """Show what nobody expected: kind and place, never the message, which may hold personal data."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        where = traceback.extract_tb(trace)[-3:]
        places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(where))
        window.notice.tell(
            "Something happened that the console did not expect. What was recorded is safe; try again.",
            Tone.BAD,
            details=f"{kind.__name__} at {places}",
        )
        print(f"{kind.__name__} at {places}", file=sys.stderr)

    sys.excepthook = hook


def main(
    places: Places, *, argv: Sequence[str] = (), prepare: Callable[[MainWindow], None] = lambda _window: None
) -> int:
    """Open the window on an office and stay until it is closed.

    Args:
        argv: arguments for Qt, such as ``-style``.
        prepare: gets the window before it is shown.

    Returns:
        0, or 2 where the ledger cannot be opened.
    """
    app = _application(argv)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl+C in the terminal; the ledger survives a kill at any point
    look = Look(app)
    window = MainWindow()
    window.recoloured.connect(look.apply)
    window.setWindowIcon(icon("app", app.palette(), Tone.INFO))
    opening = Opening(places, lambda wrong: ask_passphrase(window, wrong), window)

    def refuse(sentence: str) -> None:
        _say_refusal(window, sentence)
        app.exit(CANNOT_OPEN)

    def first_run() -> None:
        page = FirstRunPage(places.data)
        page.chosen.connect(opening.make)
        opening.not_made.connect(page.refuse)
        window.show_start(page, "No office yet")
        page.organisation.setFocus()

    opening.opened.connect(window.install)
    opening.absent.connect(first_run)
    opening.refused.connect(refuse)
    opening.left.connect(window.close)
    window.painted.connect(opening.begin)
    _watch_errors(window)
    prepare(window)
    window.show()
    try:
        return app.exec()
    finally:
        sys.excepthook = sys.__excepthook__
        forget_icons()
