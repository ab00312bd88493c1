"""The window: first run, running jobs, messages, closing, dropping, keys, names, large letters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Operations
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QTabBar,
    QWidget,
)
from pytestqt.qtbot import QtBot

from console.casework import cases
from console.casework.models import record_model
from console.casework.office import Office
from console.casework.operation import CancelledByUserError
from console.errors import JobFailedError
from console.gui import road
from console.gui.actions import SPECS
from console.gui.case_page import FURTHER, GATED
from console.gui.locate_dialog import LocateDialog
from console.gui.shortcut_sheet import ShortcutSheet
from console.gui.unlock_dialog import UnlockDialog
from console.gui.window import SMALLEST, MainWindow

pytestmark = pytest.mark.gui
INTERACTIVE = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QTabBar,
)
IDENTITY = {
    "format": "safetensors",
    "architecture": "LlamaForCausalLM",
    "quantisation": "F32",
    "parameters": 1_000_000,
    "tree_hash": "b" * 64,
    "files": [],
}


@pytest.fixture
def model(office: Office, tmp_path: Path) -> str:
    record_model(office, "assistant", tmp_path, IDENTITY)
    return "assistant"


@pytest.fixture
def case(window: MainWindow, office: Office, add_request: Callable[..., str], model: str) -> str:
    """A request whose identity is settled, on the screen."""
    number = add_request()
    road.settle_identity(office, number)
    window.desk.changed.emit()
    window.commands.show_case(number)
    return number


# -- pages ----------------------------------------------------------------------------------


def test_empty_office_is_welcomed_and_the_first_request_leads_to_the_inbox(
    window: MainWindow, add_request: Callable[..., str]
) -> None:
    assert window.stack.currentWidget() is window.commands.welcome
    add_request()
    window.desk.changed.emit()
    assert window.stack.currentWidget() is window.commands.inbox


def test_every_action_does_something(window: MainWindow) -> None:
    handled = set(window.commands._table) | {"app.quit", "help.shortcuts"}
    assert handled == {spec.id for spec in SPECS}
    shortcuts = [spec.shortcut for spec in SPECS if spec.shortcut]
    assert len(shortcuts) == len(set(shortcuts))


def test_shortcut_sheet_lists_every_key(window: MainWindow, qtbot: QtBot) -> None:
    sheet = ShortcutSheet(window, window.registry)
    qtbot.addWidget(sheet)
    texts = {label.text() for label in sheet.findChildren(QLabel)}
    for spec in SPECS:
        if spec.shortcut:
            assert spec.title.removesuffix("…") in texts
            assert window.registry.action(spec.id).shortcut().toString() in texts


def test_greyed_button_says_why_in_words_and_tooltip(window: MainWindow, add_request: Callable[..., str]) -> None:
    number = add_request()
    window.desk.changed.emit()
    window.commands.show_case(number)
    gates = dict(window.commands.case.gates)
    assert not gates.pop("request.export").isVisible(), "there is nothing that could become a file"
    assert not any(gates.pop(id).isVisible() for id in FURTHER), "there is no erased model to look at"
    for id, gate in gates.items():
        assert not gate.button.isEnabled(), id
        assert gate.reason == gate.button.toolTip() != ""
        assert gate._reason.isVisible()
    assert gates["request.locate"].reason == "Confirm the person's identity first."


def test_story_shows_local_times_and_hides_hashes(window: MainWindow, case: str) -> None:
    story = window.commands.case.story
    texts = [label.text() for label in story.findChildren(QLabel) if label.isVisible()]
    assert "Now: Checked, not yet searched." in texts and "you" in texts
    assert not any(len(text) > 64 and text.startswith("#") for text in texts)
    story.details.click()
    assert any(text.startswith("#") for text in (label.text() for label in story._technical) if text)
    assert all(label.isVisible() for label in story._technical)


def test_due_date_explains_itself(window: MainWindow, case: str) -> None:
    header = window.commands.case.header
    assert not header._why.isVisible()
    header.why.click()
    assert header._why.isVisible()
    assert header._why.text().startswith("One month from receipt")
    assert header.due.toolTip() == window.commands.case.page.deadline.rule


# -- jobs -----------------------------------------------------------------------------------


def submit_locating(window: MainWindow, suite: str = "standard") -> None:
    """Answer the question that stands before every search."""
    dialog = window.findChildren(LocateDialog)[-1]
    assert dialog.isVisible() and dialog.suites["standard"].isChecked() and dialog.model is None
    dialog.suites[suite].setChecked(True)
    dialog.submit()
    assert not dialog.isVisible()


def locate(window: MainWindow) -> None:
    window.registry.action("request.locate").trigger()
    submit_locating(window)


def test_the_chosen_suite_is_the_one_that_runs(
    window: MainWindow, case: str, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, object]] = []
    monkeypatch.setattr(cases, "locate", lambda *_a, suite_name, engine: asked.append((suite_name, engine)) or iter(()))
    window.registry.action("request.locate").trigger()
    submit_locating(window, "quick")
    assert asked == [("quick", None)], "nobody chose what runs the model"


def test_locate_runs_with_a_live_bar(window: MainWindow, case: str, operations: Operations, qtbot: QtBot) -> None:
    window.commands.case.header.primary.click()
    submit_locating(window)
    operation = operations.last
    operation.progress(30, 120)
    qtbot.waitUntil(lambda: window.job_strip.bar.value() == 25)
    assert window.job_strip.isVisible() and window.commands.case.job.isVisible()
    assert window.job_strip.words.startswith("Looking for the data in the model · 25 %")
    assert "Direct question" in window.commands.case.job.step.text()
    reason = window.registry.why_not("request.locate")
    assert reason.startswith("A job is running (Looking for the data in the model)")
    assert window.commands.case.gates["request.locate"].reason == reason
    operation.measure(still_known=3.0)
    qtbot.waitUntil(lambda: window.commands.case.job.details.isVisible())
    operation.end(type("Result", (), {"found": True, "model": "assistant"})())
    qtbot.waitUntil(lambda: not window.job_strip.isVisible())
    assert window.notice.sentence.text() == "The model “assistant” holds data of this person."
    assert window.registry.why_not("request.locate") == ""


def test_job_of_another_case_is_not_shown_on_this_page(
    window: MainWindow, case: str, operations: Operations, add_request: Callable[..., str], qtbot: QtBot
) -> None:
    other = add_request()
    locate(window)
    window.commands.show_case(other)
    assert window.job_strip.isVisible() and not window.commands.case.job.isVisible()
    window.commands.show_case(case)
    assert window.commands.case.job.isVisible()


def test_cancel_asks_the_job_and_says_when_it_has_stopped(
    window: MainWindow, case: str, operations: Operations, qtbot: QtBot
) -> None:
    locate(window)
    qtbot.mouseClick(window.job_strip.cancel, Qt.MouseButton.LeftButton)
    operation = operations.last
    assert operation.cancelled and not operation.finished
    assert not window.job_strip.cancel.isEnabled()
    assert window.commands.case.job.title.text() == "Stopping…"
    operation.end(error=CancelledByUserError("The job was stopped; no model was changed."))
    qtbot.waitUntil(lambda: not window.job_strip.isVisible())
    assert window.notice.sentence.text() == "The job was stopped; no model was changed."


def test_failure_is_a_sentence_with_the_cause_behind_details(
    window: MainWindow, case: str, operations: Operations, qtbot: QtBot
) -> None:
    locate(window)
    error = JobFailedError("The background job was ended by SIGKILL (often: the machine ran out of memory).")
    error.__cause__ = OSError("secret path")
    operations.last.end(error=error)
    qtbot.waitUntil(window.notice.isVisible)
    assert window.notice.sentence.text() == str(error)
    assert window.notice._details.text() == "JobFailedError: OSError"
    window.registry.action("view.models").trigger()
    assert window.notice.isVisible(), "what went wrong stays until it is dismissed"
    window.notice.dismiss.click()
    assert not window.notice.isVisible()


def test_refusal_of_the_office_is_a_message(window: MainWindow, case: str, office: Office) -> None:
    assert not window.desk.do(lambda: road.resume(office, "ER-1999-0001"))
    assert window.notice.sentence.text().startswith("There is no request 'ER-1999-0001'")


@pytest.mark.parametrize("stops", [False, True])
def test_closing_asks_about_a_running_job(
    window: MainWindow, case: str, operations: Operations, stops: bool, qtbot: QtBot
) -> None:
    locate(window)
    asked: list[str] = []
    window.ask_stop = lambda title: bool(asked.append(title)) or stops
    assert window.close() is stops
    assert asked == ["Looking for the data in the model"]
    assert operations.last.closed is stops
    assert window.isVisible() is not stops
    window.ask_stop = lambda _title: True


def test_closing_without_a_job_asks_nothing(window: MainWindow, office: Office) -> None:
    window.ask_stop = lambda _title: pytest.fail("nothing runs")
    assert window.close()


# -- reports --------------------------------------------------------------------------------


def test_report_that_cannot_be_written_is_a_message(window: MainWindow, case: str, qtbot: QtBot) -> None:
    window.commands.on_case.write_report()
    assert window.busy_words.text() == "Preparing the report…" and window.busy_words.isVisible()
    qtbot.waitUntil(window.notice.isVisible, timeout=30_000)
    assert window.notice.sentence.text().startswith("Nothing has been measured")
    assert not window.busy_words.isVisible()
    assert QApplication.overrideCursor() is None


def test_dropped_pdf_is_checked(window: MainWindow, tmp_path: Path, qtbot: QtBot) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(b"%PDF-1.7 nonsense")
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "note.txt")), QUrl.fromLocalFile(str(path))])
    drop = QDropEvent(
        QPointF(10, 10),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    window.dropEvent(drop)
    check = window.commands.check
    qtbot.waitUntil(lambda: window.stack.currentWidget() is check, timeout=30_000)
    assert check.file.text() == "report.pdf"
    assert check.headline.word.text() == "NOT verified: the file is not intact"
    assert check.lights["integrity"].word.text() == "Integrity: not in order"
    assert check.lights["signer"].word.text() == "Signer: not judged"
    assert all(card.sentence.text() for card in check.lights.values())


# -- unlocking ------------------------------------------------------------------------------


def test_unlock_dialog_shows_what_was_wrong_and_needs_a_passphrase(qtbot: QtBot) -> None:
    dialog = UnlockDialog(None, "The passphrase does not open this ledger.")
    qtbot.addWidget(dialog)
    dialog.show()
    assert dialog.wrong.isVisible() and not dialog.unlock.isEnabled()
    qtbot.keyClicks(dialog.passphrase, "correct horse")
    assert dialog.passphrase.echoMode() is QLineEdit.EchoMode.Password
    with qtbot.waitSignal(dialog.accepted):
        qtbot.keyClick(dialog.passphrase, Qt.Key.Key_Return)


# -- keyboard, names, large letters ---------------------------------------------------------


def _shown(root: QWidget, kinds: type | tuple[type, ...]) -> Iterator[QWidget]:
    for kind in kinds if isinstance(kinds, tuple) else (kinds,):
        yield from (widget for widget in root.findChildren(kind) if widget.isVisibleTo(root))


def _is_own(widget: QWidget) -> bool:
    """Whether the widget is one of ours, not a part that Qt puts inside another (spin arrows, clear buttons)."""
    parent = widget.parentWidget()
    return not widget.objectName().startswith("qt_") and not isinstance(
        parent, QLineEdit | QComboBox | QAbstractSpinBox
    )


def _screens(window: MainWindow, case: str) -> Iterator[tuple[str, QWidget]]:
    commands = window.commands
    commands.show_requests()
    yield "inbox", window
    for index, name in enumerate(("story", "proof", "request")):
        commands.show_case(case)
        commands.case.tabs.setCurrentIndex(index)
        yield name, window
    window.registry.action("view.models").trigger()
    yield "models", window
    window.registry.action("view.check").trigger()
    yield "check", window
    window.stack.setCurrentWidget(commands.welcome)
    yield "welcome", window
    commands.show_case(case)
    for name, show in (
        ("new request", commands.new_request),
        ("add model", commands.add_model),
        ("decide", commands.on_case.decide),
        ("locate", commands.on_case.locate),
        ("erase", commands.on_case.erase),
        ("identity", commands.on_case.settle_identity),
        ("answer", commands.on_case.record_answer),
        ("shortcuts", window.show_shortcuts),
    ):
        show()
        dialog = next(top for top in QApplication.topLevelWidgets() if top is not window and top.isVisible())
        yield name, dialog
        dialog.close()
        QApplication.processEvents()


def test_every_control_has_a_name(window: MainWindow, case: str, qtbot: QtBot) -> None:
    nameless: list[str] = []
    for screen, root in _screens(window, case):
        qtbot.wait(20)
        for widget in _shown(root, INTERACTIVE):
            if _is_own(widget) and not widget.accessibleName():
                nameless.append(f"{screen}: {type(widget).__name__} {getattr(widget, 'text', str)()}")
    assert not nameless


def test_tab_walks_through_the_case_and_comes_back(window: MainWindow, case: str, qtbot: QtBot) -> None:
    window.commands.show_case(case)
    window.activateWindow()
    window.side_bar.setFocus()
    met: list[QWidget] = []
    for _ in range(60):
        qtbot.keyClick(QApplication.focusWidget() or window, Qt.Key.Key_Tab)
        met.append(QApplication.focusWidget())
        if met[-1] is window.side_bar:
            break
    assert met[-1] is window.side_bar, "the walk does not come back"
    page = window.commands.case
    wanted = {page.header.primary, page.header.why, page.tabs, page.story.details}
    wanted |= {page.gates[id].button for id in GATED if page.gates[id].button.isEnabled()}
    assert wanted <= set(met)


def test_letter_field_lets_tab_out(window: MainWindow, case: str, qtbot: QtBot) -> None:
    window.commands.new_request()
    dialog = next(top for top in QApplication.topLevelWidgets() if top is not window and top.isVisible())
    dialog.letter.setFocus()
    qtbot.keyClick(dialog.letter, Qt.Key.Key_Tab)
    assert not dialog.letter.hasFocus()
    dialog.reject()


def _clipped(root: QWidget) -> Iterator[str]:
    for label in _shown(root, QLabel):
        needed = label.heightForWidth(label.width()) if label.wordWrap() else label.minimumSizeHint().height()
        if label.text() and label.height() < needed - 1:
            yield f"text '{label.text()[:40]}' is {label.height()} high and needs {needed}"
        if label.text() and not label.wordWrap() and label.width() < label.minimumSizeHint().width() - 1:
            yield f"text '{label.text()[:40]}' is {label.width()} wide and needs {label.minimumSizeHint().width()}"
    for button in _shown(root, QAbstractButton):
        hint = button.minimumSizeHint()
        if _is_own(button) and button.text() and (button.width() < hint.width() or button.height() < hint.height()):
            yield f"button '{button.text()}' is {button.size()} and needs {hint}"


def test_nothing_is_clipped_at_twice_the_font(
    large_letters: None, window: MainWindow, case: str, operations: Operations, qtbot: QtBot
) -> None:
    window.resize(*SMALLEST)
    qtbot.wait(20)
    assert (window.width(), window.height()) == SMALLEST, "the smallest window cannot hold its own frame"
    clipped: list[str] = []
    for screen, root in _screens(window, case):
        qtbot.wait(40)
        assert root.width() <= SMALLEST[0] and root.height() <= SMALLEST[1], screen
        clipped += [f"{screen}: {what}" for what in _clipped(root)]
    assert not clipped


def test_requests_do_not_pile_up_widgets(window: MainWindow, case: str, qtbot: QtBot) -> None:
    window.commands.show_case(case)
    qtbot.wait(20)
    count = len(QApplication.allWidgets())
    for _ in range(5):
        window.desk.changed.emit()
        window.commands.new_request()
        next(top for top in QApplication.topLevelWidgets() if top is not window and top.isVisible()).reject()
        qtbot.wait(20)
    assert len(QApplication.allWidgets()) <= count + 2


def test_status_bar_counts_the_entries(window: MainWindow, case: str, office: Office) -> None:
    assert window.ledger_words.text() == f"Ledger open · {office.ledger.head().size} entries"


def test_a_passing_remark_has_room_beside_a_job_and_the_ledger(
    window: MainWindow, case: str, operations: Operations, qtbot: QtBot
) -> None:
    window.resize(1024, 600)
    locate(window)
    operations.last.progress(1, 4)
    qtbot.waitUntil(window.job_strip.isVisible)
    remark = "What you typed is kept until the console is closed: open the form again to go on."
    window.say(remark)
    qtbot.wait(50)
    assert window.ledger_words.isVisible() and window.passing_words.isVisible()
    assert window.passing_words.width() >= 20 * window.fontMetrics().averageCharWidth()
    assert window.passing_words.text() == remark and window.passing_words.toolTip() == remark
