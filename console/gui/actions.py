"""Every action of the window: id, title, shortcut, and when it cannot be done.

Menus, the toolbar, the buttons of a case and the shortcut sheet are all made from this table, so that a
reason reads the same wherever the action is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QApplication, QMenuBar, QToolBar

from console.gui.theme import icon

if TYPE_CHECKING:
    from console.casework.views import CasePage

MENUS = ("Office", "Request", "View", "Help")


@dataclass(frozen=True)
class Situation:
    """What decides whether an action can be done.

    Attributes:
        is_open: the ledger is open.
        job: title of the running job, or empty.
        page: the case on the screen, or None.
        next_action: id of the case's next step.
        has_sample: the sample office is loaded.
        no_file: why the case's erased model cannot be written as a file, or empty.
        no_attack: why the case's erased model cannot be attacked as it is, or empty.
        runs: how many erased models the case has.
    """

    is_open: bool = False
    job: str = ""
    page: CasePage | None = None
    next_action: str = ""
    has_sample: bool = False
    no_file: str = ""
    no_attack: str = ""
    runs: int = 0


Reason = Callable[[Situation], str]
"""Why an action cannot be done now, or an empty text."""


def _always(_now: Situation) -> str:
    return ""


def _when_open(now: Situation) -> str:
    return "" if now.is_open else "The ledger is not open yet."


def _when_idle(now: Situation) -> str:
    return _when_open(now) or (f"A job is running ({now.job}): wait for it or stop it." if now.job else "")


def _when_loaded(now: Situation) -> str:
    return "The sample office is already loaded." if now.has_sample else _when_idle(now)


def _when_running(now: Situation) -> str:
    return "" if now.job else "No job is running."


def _on_case(now: Situation) -> str:
    return _when_open(now) or ("" if now.page is not None else "Open a request first.")


def _case_job(gate: str) -> Reason:
    def reason(now: Situation) -> str:
        if now.page is None:
            return _on_case(now)
        return now.page.blocked[gate] or _when_idle(now)

    return reason


def _when_writable(now: Situation) -> str:
    return _on_case(now) or now.no_file or _when_idle(now)


def _when_attackable(now: Situation) -> str:
    return _on_case(now) or now.no_attack or _case_job("verify")(now)


def _when_several(now: Situation) -> str:
    return _on_case(now) or ("" if now.runs > 1 else "There are no two erased models of this request to compare.")


def _when_erased(now: Situation) -> str:
    return _on_case(now) or ("" if now.runs else "There is no erased model yet.") or _when_idle(now)


def _next_is(action: str, otherwise: str) -> Reason:
    def reason(now: Situation) -> str:
        return _on_case(now) or (_when_idle(now) if now.next_action == action else otherwise)

    return reason


def _when_answerable(now: Situation) -> str:
    status = now.page.line.status.value if now.page is not None else ""
    if status in {"report_signed", "report_countersigned", "recipients_notified"}:
        return (
            "This version cannot record yet that a report was countersigned and the person answered: have both done, "
            "and keep a note of it with the report."
        )
    if status in {"subject_informed", "closed"}:
        return "The person has been answered."
    return _next_is("request.answer", "There is no answer to record yet.")(now)


def _when_decidable(now: Situation) -> str:
    if now.page is None:
        return _on_case(now)
    if now.page.line.status.value in {"triage", "locating", "decision_pending"}:
        return _when_idle(now)
    return "The request is not waiting for a decision."


def _when_reported(now: Situation) -> str:
    if now.page is None:
        return _on_case(now)
    return "" if now.page.reports else "No report has been written yet."


@dataclass(frozen=True)
class ActionSpec:
    """One action. ``why_not`` gives the reason why it is greyed."""

    id: str
    title: str
    menu: str
    icon: str
    shortcut: str = ""
    why_not: Reason = _when_open
    on_toolbar: bool = False
    starts_group: bool = False


SPECS = (
    ActionSpec("request.new", "New request…", "Office", "plus", "Ctrl+N", on_toolbar=True),
    ActionSpec("model.add", "Add model…", "Office", "model", "Ctrl+M", _when_idle, on_toolbar=True),
    ActionSpec("report.check", "Check a report…", "Office", "check", "Ctrl+K", on_toolbar=True),
    ActionSpec("office.sample", "Load the sample office", "Office", "sample", "", _when_loaded, starts_group=True),
    ActionSpec("office.name", "Name of the organisation…", "Office", "office"),
    ActionSpec("app.quit", "Quit", "Office", "quit", "Ctrl+Q", _always, starts_group=True),
    ActionSpec(
        "request.identity",
        "Confirm identity…",
        "Request",
        "identity",
        "Ctrl+I",
        _next_is("request.identity", "The person's identity is settled."),
    ),
    ActionSpec("request.decide", "Decide…", "Request", "decide", "Ctrl+D", _when_decidable),
    ActionSpec("request.locate", "Locate", "Request", "locate", "Ctrl+L", _case_job("locate"), starts_group=True),
    ActionSpec("request.erase", "Erase…", "Request", "erase", "Ctrl+E", _case_job("erase")),
    ActionSpec("request.export", "Write as a file…", "Request", "folder", "Ctrl+Shift+E", _when_writable),
    ActionSpec("request.verify", "Verify", "Request", "verify", "Ctrl+Shift+V", _when_attackable),
    ActionSpec("request.report", "Report", "Request", "report", "Ctrl+R", _case_job("report")),
    ActionSpec("request.compare", "Compare the runs…", "Request", "compare", "", _when_several, starts_group=True),
    ActionSpec("request.scan", "Look for hidden changes", "Request", "search", "", _when_erased),
    ActionSpec(
        "request.open_report", "Open the report", "Request", "open", "Ctrl+O", _when_reported, starts_group=True
    ),
    ActionSpec(
        "request.answer",
        "Answer the person…",
        "Request",
        "answer",
        "",
        _when_answerable,
    ),
    ActionSpec(
        "request.resume", "Resume", "Request", "running", "", _next_is("request.resume", "The request is not on hold.")
    ),
    ActionSpec("job.cancel", "Stop the running job", "Request", "stop", "Ctrl+.", _when_running, starts_group=True),
    ActionSpec("view.requests", "Requests", "View", "requests", "Ctrl+1"),
    ActionSpec("view.models", "Models", "View", "model", "Ctrl+2"),
    ActionSpec("view.check", "Check a report", "View", "check", "Ctrl+3"),
    ActionSpec("view.back", "Back to the requests", "View", "back", "Alt+Left", _on_case, starts_group=True),
    ActionSpec("view.find", "Find in the requests", "View", "search", "Ctrl+F"),
    ActionSpec("help.shortcuts", "Keyboard shortcuts", "Help", "keyboard", "Ctrl+/", _always),
)


class ActionRegistry(QObject):
    """The actions of one window.

    Signals:
        triggered: id of the action that was chosen.
        refreshed: the reasons may have changed.
    """

    triggered = Signal(str)
    refreshed = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.situation = Situation()
        self._actions: dict[str, QAction] = {}
        for spec in SPECS:
            action = QAction(spec.title, self)
            if spec.shortcut:
                action.setShortcut(QKeySequence(spec.shortcut))
            action.triggered.connect(lambda _checked=False, id=spec.id: self.triggered.emit(id))
            self._actions[spec.id] = action
        self.retint()
        self.refresh(self.situation)

    def action(self, id: str) -> QAction:
        return self._actions[id]

    def why_not(self, id: str) -> str:
        """Why the action cannot be done now, or an empty text."""
        spec = next(spec for spec in SPECS if spec.id == id)
        return spec.why_not(self.situation)

    def refresh(self, situation: Situation) -> None:
        """Enable what can be done in this situation."""
        self.situation = situation
        for spec in SPECS:
            reason = spec.why_not(situation)
            action = self._actions[spec.id]
            action.setEnabled(not reason)
            hint = f"{spec.title.removesuffix('…')} ({spec.shortcut})" if spec.shortcut else spec.title
            action.setToolTip(reason or hint)
        self.refreshed.emit()

    def retint(self) -> None:
        """Draw the icons for the palette as it is now."""
        for spec in SPECS:
            self._actions[spec.id].setIcon(icon(spec.icon, QApplication.palette()))

    def fill_menus(self, bar: QMenuBar) -> None:
        for title in MENUS:
            menu = bar.addMenu(f"&{title}")
            menu.setToolTipsVisible(True)
            for spec in _of_menu(title):
                if spec.starts_group:
                    menu.addSeparator()
                menu.addAction(self._actions[spec.id])

    def fill_toolbar(self, bar: QToolBar) -> None:
        for spec in SPECS:
            if spec.on_toolbar:
                bar.addAction(self._actions[spec.id])
                bar.widgetForAction(self._actions[spec.id]).setAccessibleName(spec.title.removesuffix("…"))

    def shortcuts(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """For each menu, titles and keys of its actions, as the desk writes keys."""
        for title in MENUS:
            keys = [
                (spec.title.removesuffix("…"), self._actions[spec.id].shortcut().toString(_NATIVE))
                for spec in _of_menu(title)
                if spec.shortcut
            ]
            if keys:
                yield title, keys


_NATIVE = QKeySequence.SequenceFormat.NativeText


def _of_menu(title: str) -> Iterator[ActionSpec]:
    return (spec for spec in SPECS if spec.menu == title)
