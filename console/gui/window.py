"""The main window: frame first, pages when the ledger is open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QPaintEvent
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QMessageBox,
    QStackedWidget,
    QToolBar,
    QVBoxLayout,
    QWidget,
)

from console.gui.actions import ActionRegistry, Situation
from console.gui.job_card import STOPPED_MEANS, JobStrip
from console.gui.pieces import IconMark, Line, Notice, Page, Text
from console.gui.progress import JobView
from console.gui.shortcut_sheet import ShortcutSheet
from console.gui.side_bar import SideBar
from console.gui.theme import GRID, PADDING, icon_size
from console.gui.tones import Tone

if TYPE_CHECKING:
    from console.casework.office import Office
    from console.gui.desk import StartOperation

TITLE = "Erasure Console"
SMALLEST = (1024, 600)
_MESSAGE_MS = 8000


class OpeningPage(Page):
    """What is seen until the ledger is open."""

    def __init__(self) -> None:
        super().__init__("Opening")
        self.column.addStretch(1)
        self.column.addWidget(Text("Opening the ledger…", scale=1.3, tone=Tone.QUIET))
        self.column.addStretch(2)


class MainWindow(QMainWindow):
    """Side bar, pages, messages, status bar.

    Signals:
        painted: the window was drawn for the first time.
        recoloured: the desk changed its palette.
        installed: the office's pages are there.
    """

    painted = Signal()
    recoloured = Signal()
    installed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setWindowTitle(TITLE)
        self.setMinimumSize(*SMALLEST)
        self.resize(1200, 760)
        self.setAcceptDrops(True)
        self.desk = None
        self._was_painted = False
        self.ask_stop: Callable[[str], bool] = self._ask_stop
        self.ask_drop: Callable[[], bool] = self._ask_drop
        self.registry = ActionRegistry(self)
        self.registry.triggered.connect(self._triggered)
        self.registry.fill_menus(self.menuBar())
        self.addToolBar(self._toolbar())
        self.side_bar = SideBar()
        self.side_bar.chosen.connect(lambda id: self.registry.action(id).trigger())
        self.notice = Notice()
        self.stack = QStackedWidget()
        self._opening: QWidget = OpeningPage()
        self.stack.addWidget(self._opening)
        self.setCentralWidget(self._frame())
        self._build_status_bar()
        self.side_bar.setEnabled(False)

    # -- the frame ----------------------------------------------------------------------------

    def _toolbar(self) -> QToolBar:
        bar = QToolBar("Tools")
        bar.setObjectName("tools")
        bar.setMovable(False)
        bar.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        bar.setIconSize(icon_size(bar) * 1.2)
        self.registry.fill_toolbar(bar)
        return bar

    def _frame(self) -> QWidget:
        frame = QWidget()
        row = QHBoxLayout(frame)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.side_bar)
        column = QVBoxLayout()
        column.setSpacing(0)
        band = QVBoxLayout()
        band.setContentsMargins(2 * GRID, GRID, 2 * GRID, 0)
        band.addWidget(self.notice)
        column.addLayout(band)
        column.addWidget(self.stack, 1)
        row.addLayout(column, 1)
        return frame

    def _build_status_bar(self) -> None:
        bar = self.statusBar()
        bar.setSizeGripEnabled(False)
        self._ledger_mark = IconMark("ledger", Tone.QUIET)
        self.ledger_words = QLabel("Opening the ledger…")
        self.busy_words = Line(tone=Tone.INFO)
        self.busy_words.hide()
        self.job_strip = JobStrip()
        bar.addWidget(self._ledger_mark)
        bar.addWidget(self.ledger_words)
        self.passing_words = Line(tone=Tone.QUIET)
        self.passing_words.hide()
        self._passing = QTimer(self)
        self._passing.setSingleShot(True)
        self._passing.setInterval(_MESSAGE_MS)
        self._passing.timeout.connect(lambda: self.passing_words.say(""))
        bar.addPermanentWidget(self.passing_words, 2)
        bar.addPermanentWidget(self.busy_words, 1)
        bar.addPermanentWidget(self.job_strip, 2)
        bar.setContentsMargins(PADDING, 0, PADDING, 0)

    # -- the office ---------------------------------------------------------------------------

    def install(self, office: Office, *, start: StartOperation | None = None) -> None:
        """Show an open office. The window closes it when it closes."""
        from console.gui.commands import Commands
        from console.gui.desk import Desk, start_operation

        self.desk = Desk(office, self, start=start or start_operation)
        self.commands = Commands(self, self.desk)
        self.side_bar.setEnabled(True)
        self.show_organisation(office.organisation)
        self.commands.begin()
        self.stack.removeWidget(self._opening)
        self._opening.deleteLater()
        self.installed.emit()

    def show_start(self, page: QWidget, words: str) -> None:
        """Show a page in place of the one that waits for the ledger; ``words`` go into the status bar."""
        self.stack.addWidget(page)
        self.stack.setCurrentWidget(page)
        self.stack.removeWidget(self._opening)
        self._opening.deleteLater()
        self._opening = page
        self.show_ledger(words, Tone.QUIET)

    def show_organisation(self, name: str) -> None:
        self.setWindowTitle(f"{name} — {TITLE}")

    def show_page(self, page: Page, entry: str) -> None:
        """Bring a page to the front and mark its entry in the side bar."""
        arrives = self.stack.currentWidget() is not page
        if arrives:
            self.notice.pass_by()
        self.stack.setCurrentWidget(page)
        self.side_bar.show_current(entry)
        stop = page.first_stop() if arrives and not self.side_bar.hasFocus() else None
        if stop is not None:
            stop.setFocus(Qt.FocusReason.OtherFocusReason)

    def show_situation(self, situation: Situation) -> None:
        self.registry.refresh(situation)

    def show_ledger(self, words: str, tone: Tone) -> None:
        """State of the record, in the status bar."""
        self.ledger_words.setText(words)
        self._ledger_mark.show_mark("ledger" if tone is not Tone.BAD else "overdue", tone)

    def show_job(self, view: JobView | None) -> None:
        self.job_strip.show_job(view)

    def show_busy(self, words: str) -> None:
        """A sentence for work that holds the window up; empty when it is over."""
        self.busy_words.say(words)
        if words:
            QApplication.setOverrideCursor(Qt.CursorShape.WaitCursor)
        else:
            QApplication.restoreOverrideCursor()

    def say(self, words: str) -> None:
        """A passing remark in the status bar, beside what stands there; Qt's own messages would hide the ledger."""
        self.passing_words.say(words)
        self._passing.start()

    def show_shortcuts(self) -> None:
        sheet = ShortcutSheet(self, self.registry)
        sheet.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        sheet.open()

    def _triggered(self, id: str) -> None:
        if id == "app.quit":
            self.close()
        elif id == "help.shortcuts":
            self.show_shortcuts()
        elif self.desk is not None:
            self.commands.run(id)

    # -- events -------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if not self._was_painted:
            self._was_painted = True
            QTimer.singleShot(0, self, self.painted.emit)

    def event(self, event: QEvent) -> bool:
        if event.type() is QEvent.Type.ApplicationPaletteChange:
            self.recoloured.emit()
        return super().event(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self.registry.retint()
            self.registry.refresh(self.registry.situation)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if self.desk is not None and _dropped_pdf(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = _dropped_pdf(event)
        if path is not None and self.desk is not None:
            event.acceptProposedAction()
            self.commands.check_report(path)

    def closeEvent(self, event: QCloseEvent) -> None:
        if self.desk is not None:
            job = self.desk.job
            if (job is not None and not self.ask_stop(job.title)) or (
                self.commands.forms.has_drafts and not self.ask_drop()
            ):
                event.ignore()
                return
            self.desk.close()
        self._passing.stop()
        event.accept()

    def _ask_stop(self, title: str) -> bool:
        """Ask what is to become of the running job; True to stop it and close."""
        return self._ask_closing(
            "A job is running",
            f"A job is still running: {title}.",
            f"{STOPPED_MEANS} It can be started again.",
            ("Keep it running", "Stop and close"),
        )

    def _ask_drop(self) -> bool:
        """Ask what is to become of what was typed and not recorded; True to drop it and close."""
        return self._ask_closing(
            "Something was typed",
            "Something was typed into a form and not recorded.",
            "It is kept in memory only, because it may hold personal data, and is gone when the console closes.",
            ("Keep the console open", "Drop it and close"),
        )

    def _ask_closing(self, title: str, text: str, meaning: str, answers: tuple[str, str]) -> bool:
        box = QMessageBox(self)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle(title)
        box.setText(text)
        box.setInformativeText(meaning)
        keep = box.addButton(answers[0], QMessageBox.ButtonRole.RejectRole)
        leave = box.addButton(answers[1], QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(keep)
        box.setEscapeButton(keep)
        for button in (keep, leave):
            button.setAccessibleName(button.text())
        box.exec()
        return box.clickedButton() is leave


def _dropped_pdf(event: QDropEvent) -> Path | None:
    """The first PDF among what is dragged."""
    paths = (Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile())
    return next((path for path in paths if path.suffix.lower() == ".pdf"), None)
