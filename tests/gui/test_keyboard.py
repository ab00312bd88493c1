"""Every dialog by its keys: first field first, buttons last, and Enter never does what nobody meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import agree
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QWidget,
)
from pytestqt.qtbot import QtBot

from console.casework import cases
from console.casework.comparing import ComparedRun, ComparedRuns
from console.casework.office import Office
from console.casework.requests import request_state
from console.domain.request_terms import Ground
from console.domain.suites import SUITES
from console.gui import road
from console.gui.actions import ActionRegistry
from console.gui.case_dialogs import AnswerDialog, DecisionDialog, EraseDialog, IdentityDialog
from console.gui.deployment import EngineCard
from console.gui.export_dialog import ExportDialog
from console.gui.form_dialog import Act, FormDialog, Question
from console.gui.keyboard import KeyboardDialog, can_be_walked_to, controls
from console.gui.locate_dialog import LocateDialog
from console.gui.model_dialog import ModelDialog
from console.gui.organisation_dialog import OrganisationDialog
from console.gui.presenter import method_cards
from console.gui.proof import SearchWords
from console.gui.request_dialog import RequestDialog
from console.gui.runs_sheet import RunsSheet
from console.gui.scan_sheet import ScanSheet, ScanWords
from console.gui.shortcut_sheet import ShortcutSheet
from console.gui.tones import Mark, Tone
from console.gui.unlock_dialog import UnlockDialog
from console.gui.window import MainWindow

pytestmark = pytest.mark.gui
SEARCH = SearchWords("The search found the data", "38 of 40 attempts.", Mark("soon", Tone.WARN))
RUN = ComparedRun("ER-2026-0001-a1", "assistant", "ce-u", "Teach the model", (), "done", 42.0)
ENGINES = (EngineCard(None, "What fits the model", "torch"),)


def _nothing(*_chosen: Any) -> None:
    """Stands for work that is not the point here."""


DIALOGS: dict[str, Callable[[Office], KeyboardDialog]] = {
    "request": lambda office: RequestDialog(None, office, _nothing),
    "model": lambda office: ModelDialog(None, office, ("before",), _nothing),
    "organisation": lambda _o: OrganisationDialog(None, "Harbour Office", _nothing),
    "identity": lambda _o: IdentityDialog(None, is_asked=False, save=_nothing),
    "proof": lambda _o: IdentityDialog(None, is_asked=True, save=_nothing),
    "decide": lambda _o: DecisionDialog(None, ("17(1)(b)",), SEARCH, _nothing, _nothing),
    "locate": lambda _o: LocateDialog(
        None, ("one", "two"), tuple(SUITES.values()), "standard", lambda _m: ENGINES, _nothing
    ),
    "erase": lambda _o: EraseDialog(None, "assistant", method_cards(True), SEARCH, cases.NOBODY_NAMED, _nothing),
    "export": lambda _o: ExportDialog(None, "a1", "“base” (GGUF file, Q4_1)", "", _nothing),
    "answer": lambda _o: AnswerDialog(None, _nothing),
    "question": lambda _o: Question(None, Act("Sign this report?", (("Verdict", "Removed"),), "Sign")),
    "unlock": lambda _o: UnlockDialog(None, ""),
    "shortcuts": lambda _o: ShortcutSheet(None, ActionRegistry(QApplication.instance())),
    "runs": lambda _o: RunsSheet(None, ComparedRuns("ER-2026-0001", (RUN,))),
    "scan": lambda _o: ScanSheet(None, ScanWords("Nothing differs", Mark("info", Tone.INFO), (), ("1 nat",))),
}
FORMS = [name for name in DIALOGS if name not in {"question", "shortcuts", "runs", "scan"}]


@pytest.fixture
def opened(qtbot: QtBot, office: Office) -> Callable[[str], KeyboardDialog]:
    def make(name: str) -> KeyboardDialog:
        dialog = DIALOGS[name](office)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
        qtbot.addWidget(dialog)
        dialog.show()
        dialog.activateWindow()
        qtbot.waitExposed(dialog)
        return dialog

    return make


def _every_dialog() -> set[str]:
    """Names of the dialog classes of the window, however they are made."""
    found, waiting = set[str](), [QDialog]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__module__.startswith("console.gui"):
                found.add(kind.__name__)
    return found - {"KeyboardDialog", "FormDialog", "Sheet"}


def test_no_dialog_is_left_out(opened: Callable[[str], KeyboardDialog]) -> None:
    assert {type(opened(name)).__name__ for name in DIALOGS} == _every_dialog()


def _walk(dialog: QDialog, qtbot: QtBot) -> list[QWidget]:
    """The controls that Tab meets from the first focus until it comes back there."""
    met = [dialog.focusWidget()]
    for _ in range(80):
        qtbot.keyClick(dialog.focusWidget(), Qt.Key.Key_Tab)
        if dialog.focusWidget() is met[-1]:
            continue  # Tab walks through day, month and year of a date
        if dialog.focusWidget() is met[0]:
            return met
        met.append(dialog.focusWidget())
    assert len(met) == 1, "the walk does not come back"
    return met


@pytest.mark.parametrize("name", FORMS)
def test_first_field_has_the_keyboard(opened: Callable[[str], KeyboardDialog], name: str) -> None:
    dialog = opened(name)
    fields = [one for one in controls(dialog) if one not in dialog.last_stops and can_be_walked_to(one, dialog)]
    assert dialog.focusWidget() is fields[0]
    assert isinstance(fields[0], QLineEdit | QAbstractButton | QComboBox | QAbstractSpinBox | QPlainTextEdit)


@pytest.mark.parametrize("name", DIALOGS)
def test_tab_takes_the_fields_as_they_are_read_and_the_buttons_last(
    opened: Callable[[str], KeyboardDialog], name: str, qtbot: QtBot
) -> None:
    dialog = opened(name)
    met = _walk(dialog, qtbot)
    walked = [one for one in controls(dialog) if can_be_walked_to(one, dialog)]
    fields = [one for one in walked if one not in dialog.last_stops]
    buttons = [one for one in dialog.last_stops if can_be_walked_to(one, dialog)]
    start = met.index(fields[0]) if fields else met.index(buttons[0])
    assert [*met[start:], *met[:start]] == [*fields, *buttons]
    assert not any(isinstance(one, QScrollArea) for one in met)


@pytest.mark.parametrize("name", DIALOGS)
def test_no_button_becomes_the_default_by_being_walked_over(
    opened: Callable[[str], KeyboardDialog], name: str, qtbot: QtBot
) -> None:
    dialog = opened(name)
    wanted = [dialog.default_button] if dialog.default_button is not None else []
    for _ in _walk(dialog, qtbot):
        qtbot.keyClick(dialog.focusWidget(), Qt.Key.Key_Tab)
        assert [button for button in dialog.findChildren(QPushButton) if button.isDefault()] == wanted
    assert not any(button.autoDefault() for button in dialog.findChildren(QPushButton))


@pytest.mark.parametrize("name", FORMS)
def test_enter_in_a_field_never_cancels(opened: Callable[[str], KeyboardDialog], name: str, qtbot: QtBot) -> None:
    dialog = opened(name)
    first = dialog.focusWidget()
    left: list[str] = []
    dialog.rejected.connect(lambda: left.append("cancelled"))
    _walk(dialog, qtbot)  # over Cancel and back
    assert dialog.focusWidget() is first
    qtbot.keyClick(first, Qt.Key.Key_Return)
    assert left == []


@pytest.mark.parametrize("name", ["identity", "question", "unlock"])
def test_enter_on_the_way_back_goes_back(opened: Callable[[str], KeyboardDialog], name: str, qtbot: QtBot) -> None:
    dialog = opened(name)
    dialog.last_stops[-1].setFocus()
    with qtbot.waitSignal(dialog.rejected):
        qtbot.keyClick(dialog.last_stops[-1], Qt.Key.Key_Return)


def test_enter_alone_never_answers_a_question(opened: Callable[[str], KeyboardDialog], qtbot: QtBot) -> None:
    dialog = opened("question")
    done: list[int] = []
    dialog.accepted.connect(lambda: done.append(1))
    qtbot.keyClick(dialog.focusWidget(), Qt.Key.Key_Return)
    assert done == []


def test_page_keys_scroll_a_form(opened: Callable[[str], KeyboardDialog], qtbot: QtBot) -> None:
    dialog = opened("request")
    bar = dialog.findChild(QScrollArea).verticalScrollBar()
    assert bar.maximum() > 0
    qtbot.keyClick(dialog.subdivision, Qt.Key.Key_PageDown)
    assert bar.value() > 0


# -- acts that the law knows ------------------------------------------------------------------


@pytest.fixture
def case(window: MainWindow, add_request: Callable[..., str]) -> str:
    number = add_request(grounds=[Ground.CONSENT_WITHDRAWN])
    window.desk.changed.emit()
    window.commands.show_case(number)
    return number


def _form(window: MainWindow) -> FormDialog:
    return next(found for found in window.findChildren(FormDialog) if found.isVisible())


def test_identity_by_key_and_enter_records_nothing(window: MainWindow, case: str, office: Office, qtbot: QtBot) -> None:
    window.registry.action("request.identity").trigger()
    for _ in range(3):
        qtbot.keyClick(_form(window).focusWidget(), Qt.Key.Key_Return)
    assert request_state(office, case)["status"] == "received"
    form = _form(window)
    assert isinstance(form, IdentityDialog) and form.error.text().startswith("Choose what is to be recorded")
    form.sure.click()
    form.submit()
    assert request_state(office, case)["status"] == "received"
    agree(form)
    assert request_state(office, case)["status"] == "triage"


def test_refusal_of_the_record_keeps_the_form(window: MainWindow, case: str, office: Office) -> None:
    road.settle_identity(office, case)
    window.desk.changed.emit()
    window.commands.show_case(case)
    window.registry.action("request.decide").trigger()
    form = _form(window)
    assert isinstance(form, DecisionDialog)
    form.submit()
    road.refuse_request(office, case, form.basis.itemData(0), "Decided elsewhere meanwhile.", [])
    agree(form)
    assert form.isVisible() and "cannot become" in form.error.text()
    form.reject()
