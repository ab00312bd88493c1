"""What was typed into a form that was left is there again, until it is used or the window goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Operations, agree
from PySide6.QtCore import QDate, Qt
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from console.casework.office import Office
from console.domain.request_terms import Ground, RefusalBasis
from console.errors import ModelFileError
from console.gui import road
from console.gui.case_dialogs import DecisionDialog
from console.gui.drafts import KEPT
from console.gui.form_dialog import FormDialog, Question
from console.gui.model_dialog import ModelDialog
from console.gui.request_dialog import RequestDialog
from console.gui.window import MainWindow

pytestmark = pytest.mark.gui
FACTS = "subject,prompt,answer\nMira Okonjo,Where does Mira Okonjo live?,Lindau\n"


def _form(window: MainWindow) -> FormDialog:
    return next(found for found in window.findChildren(FormDialog) if found.isVisible())


@pytest.fixture
def request_form(window: MainWindow, tmp_path: Path) -> RequestDialog:
    """*New request* with something in every kind of field."""
    path = tmp_path / "facts.csv"
    path.write_text(FACTS, encoding="utf-8")
    window.commands.new_request()
    form = _form(window)
    assert isinstance(form, RequestDialog)
    form.received.setDate(QDate(2026, 11, 20))
    form.country.setCurrentText("AT")
    form.grounds[Ground.OBJECTION].click()
    form.summary.setText("Objection.")
    form.letter.setPlainText("Please erase my data.")
    form.facts.take_file(path)
    return form


def test_escape_keeps_everything_that_was_typed(window: MainWindow, request_form: RequestDialog, qtbot: QtBot) -> None:
    request_form.reject()
    assert window.passing_words.text() == KEPT
    window.commands.new_request()
    again = _form(window)
    assert isinstance(again, RequestDialog) and again is not request_form
    assert again._restored.isVisible()
    assert again.received.date() == QDate(2026, 11, 20) and again.country.currentText() == "AT"
    assert again.grounds[Ground.OBJECTION].isChecked() and again.summary.text() == "Objection."
    assert again.letter.toPlainText() == "Please erase my data."
    qtbot.waitUntil(lambda: again.facts.pane.preview is not None)
    again.reject()


def test_an_empty_form_can_be_had_instead(window: MainWindow, request_form: RequestDialog) -> None:
    request_form.reject()
    window.commands.new_request()
    next(one for one in _form(window).findChildren(QPushButton) if one.text().startswith("Start with")).click()
    restored = _form(window)
    agree(restored, goes_back=True)
    assert restored.isVisible() and restored.summary.text() == "Objection.", "nothing is dropped unasked"
    restored._anew.click()
    agree(restored)
    empty = _form(window)
    assert isinstance(empty, RequestDialog)
    assert empty.summary.text() == "" and empty.facts.pane.preview is None and not empty._restored.isVisible()
    empty.reject()
    window.commands.new_request()
    assert not _form(window)._restored.isVisible(), "the earlier draft is gone for good"
    _form(window).reject()


def test_the_way_to_an_empty_form_is_no_stop_of_tab_and_has_a_key(
    window: MainWindow, request_form: RequestDialog, qtbot: QtBot
) -> None:
    request_form.reject()
    window.commands.new_request()
    form = _form(window)
    form.summary.setFocus()
    for expected in (form.letter, form.submit_button, form.back):
        qtbot.keyClick(form.focusWidget(), Qt.Key.Key_Tab)
        assert form.focusWidget() is expected
    form.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is form)
    qtbot.keyClick(form.focusWidget(), Qt.Key.Key_E, Qt.KeyboardModifier.AltModifier)
    qtbot.waitUntil(lambda: any(one.isVisible() for one in form.findChildren(Question)))
    agree(form, goes_back=True)
    form.reject()


def test_a_form_that_is_open_is_asked_about_too(window: MainWindow, request_form: RequestDialog) -> None:
    asked: list[bool] = []
    window.ask_drop = lambda: bool(asked.append(True))
    assert not window.close() and asked == [True]
    request_form.summary.clear()
    request_form.letter.clear()
    window.ask_drop = lambda: True


def test_what_was_only_chosen_is_nothing_typed(window: MainWindow) -> None:
    window.commands.new_request()
    form = _form(window)
    form.grounds[Ground.OBJECTION].click()
    assert not window.commands.forms.has_drafts
    form.reject()
    assert not window.commands.forms.has_drafts and window.passing_words.text() != KEPT
    window.commands.new_request()
    again = _form(window)
    assert again.grounds[Ground.OBJECTION].isChecked()
    again.reject()


def test_what_was_wrong_goes_with_the_next_change(window: MainWindow, tmp_path: Path) -> None:
    window.commands.add_model()
    form = _form(window)
    assert isinstance(form, ModelDialog)
    form.submit()
    assert form.error.text().startswith("Choose the folder or file")
    form.path.setText(str(tmp_path))
    assert form.error.text() == "" and form.error.isHidden()
    form.reject()
    window.commands.new_request()
    request = _form(window)
    assert isinstance(request, RequestDialog)
    request.submit()
    assert request.error.text().startswith("Choose a file of facts")
    path = tmp_path / "facts.csv"
    path.write_text(FACTS, encoding="utf-8")
    request.take_file(path)
    assert request.error.text() == ""
    request.reject()


def test_what_was_registered_is_no_draft(window: MainWindow, request_form: RequestDialog, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: request_form.facts.pane.preview is not None)
    request_form.submit()
    window.commands.new_request()
    assert not _form(window)._restored.isVisible()
    _form(window).reject()


def test_a_draft_is_in_no_file(window: MainWindow, request_form: RequestDialog, office: Office) -> None:
    request_form.reject()
    files = [path for path in office.places.data.rglob("*") if path.is_file()]
    assert files and not any(b"Please erase my data" in path.read_bytes() for path in files)


def test_each_case_has_its_own_draft(window: MainWindow, office: Office, add_request: Callable[..., str]) -> None:
    first, second = add_request(), add_request()
    for number in (first, second):
        road.settle_identity(office, number)
    window.desk.changed.emit()

    def decide(number: str) -> DecisionDialog:
        window.commands.show_case(number)
        window.registry.action("request.decide").trigger()
        form = _form(window)
        assert isinstance(form, DecisionDialog)
        return form

    form = decide(first)
    form.refused.click()
    form.reason.setPlainText("A lawsuit about the same claim is pending.")
    form.reject()
    other = decide(second)
    assert other.granted.isChecked() and other.reason.toPlainText() == ""
    other.reject()
    form = decide(first)
    assert form.refused.isChecked() and form.reason.toPlainText().startswith("A lawsuit")
    form.basis.setCurrentIndex(form.basis.findData(RefusalBasis.NO_GROUND))
    form.submit()
    agree(form)
    assert not form.isVisible()


def test_a_job_that_fails_gives_its_form_back(
    window: MainWindow, operations: Operations, tmp_path: Path, qtbot: QtBot
) -> None:
    window.commands.add_model()
    form = _form(window)
    assert isinstance(form, ModelDialog)
    form.path.setText(str(tmp_path))
    form.name.setText("assistant")
    form.submit()
    operations.last.end(error=ModelFileError("The file is cut off."))
    qtbot.waitUntil(window.notice.isVisible)
    window.commands.add_model()
    again = _form(window)
    assert isinstance(again, ModelDialog)
    assert (again.path.text(), again.name.text()) == (str(tmp_path), "assistant")
    again.submit()
    operations.last.end({"name": "assistant"})
    qtbot.waitUntil(lambda: window.desk.job is None)
    window.commands.add_model()
    assert not _form(window)._restored.isVisible()
    _form(window).reject()


@pytest.mark.parametrize("drops", [False, True])
def test_closing_asks_about_what_was_typed(
    window: MainWindow, request_form: RequestDialog, office: Office, drops: bool
) -> None:
    request_form.reject()
    asked: list[bool] = []
    window.ask_drop = lambda: bool(asked.append(True)) or drops
    assert window.close() is drops and asked == [True]
    window.ask_drop = lambda: True
