"""The inbox: model, drawers, search, selection."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.modeltest import ModelTester
from pytestqt.qtbot import QtBot

from console.casework.office import Office
from console.casework.requests import change_status, confirm_identity
from console.casework.views import inbox
from console.domain.request_terms import RequestStatus
from console.gui.inbox_model import Column, InboxModel, InboxProxy
from console.gui.presenter import Drawer
from console.gui.window import MainWindow

pytestmark = pytest.mark.gui


@pytest.fixture
def numbers(office: Office, add_request: Callable[..., str]) -> dict[str, str]:
    """Requests of every urgency, registered in an order that is not the order of due dates."""
    made = {"fresh": add_request(2), "overdue": add_request(40), "soon": add_request(28), "withdrawn": add_request(5)}
    change_status(office, made["withdrawn"], RequestStatus.WITHDRAWN)
    return made


def test_model_keeps_qts_rules(
    qtmodeltester: ModelTester, office: Office, numbers: dict[str, str], qapp: QApplication
) -> None:
    model = InboxModel()
    proxy = InboxProxy(model)
    qtmodeltester.check(model, force_py=False)
    qtmodeltester.check(proxy, force_py=False)
    model.show_lines(inbox(office))
    proxy.show_drawer(Drawer.ALL)
    assert model.rowCount() == proxy.rowCount() == len(numbers)
    model.show_lines(inbox(office)[1:])
    assert model.rowCount() == len(numbers) - 1


def test_rows_are_sorted_by_due_date_with_answered_ones_last(office: Office, numbers: dict[str, str]) -> None:
    model = InboxModel()
    proxy = InboxProxy(model)
    model.show_lines(inbox(office))
    proxy.show_drawer(Drawer.ALL)
    shown = [proxy.index(row, Column.NUMBER).data() for row in range(proxy.rowCount())]
    assert shown == [numbers[name] for name in ("overdue", "soon", "fresh", "withdrawn")]


def test_due_cell_says_the_urgency_in_words_and_icon(office: Office, numbers: dict[str, str]) -> None:
    model = InboxModel()
    model.show_lines(inbox(office))
    row = model.row_of(numbers["soon"])
    assert row is not None
    cell = model.index(row, Column.DUE)
    assert cell.data().startswith(("Due soon · ", "Critical · "))
    assert not cell.data(Qt.ItemDataRole.DecorationRole).isNull()
    assert "overdue" in model.index(model.row_of(numbers["overdue"]), Column.DUE).data()


def test_no_cell_shows_the_name(office: Office, numbers: dict[str, str]) -> None:
    model = InboxModel()
    model.show_lines(inbox(office))
    roles = (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole)
    texts = [
        str(model.index(row, column).data(role))
        for row in range(model.rowCount())
        for column in Column
        for role in roles
    ]
    assert "M… O…" in texts
    assert not any("Okonjo" in text for text in texts)


def test_chips_filter_and_count(window: MainWindow, numbers: dict[str, str]) -> None:
    page = window.commands.inbox
    window.commands.reload()
    assert page._chips[Drawer.DUE_SOON].text() == "Due soon 2"
    assert page._chips[Drawer.OPEN].text() == "Open 3"
    page._chips[Drawer.DUE_SOON].click()
    assert page.proxy.rowCount() == 2
    page._chips[Drawer.ALL].click()
    assert page.proxy.rowCount() == 4


def test_search_narrows_and_escape_clears_it(window: MainWindow, numbers: dict[str, str], qtbot: QtBot) -> None:
    page = window.commands.inbox
    window.commands.reload()
    window.registry.action("view.find").trigger()
    qtbot.keyClicks(page.search, numbers["soon"])
    assert page.proxy.rowCount() == 1
    qtbot.keyClicks(page.search, " nobody")
    assert page.proxy.rowCount() == 0
    assert page._empty.isVisible() and not page.preview.isVisible()
    qtbot.keyClick(page.search, Qt.Key.Key_Escape)
    assert page.search.text() == "" and page.proxy.rowCount() == 3


def test_reload_keeps_the_selection(window: MainWindow, office: Office, numbers: dict[str, str]) -> None:
    page = window.commands.inbox
    window.commands.reload()
    page._select(numbers["fresh"])
    confirm_identity(office, numbers["fresh"])
    window.desk.changed.emit()
    assert page.selected() == numbers["fresh"]
    assert page.preview.status.text == "Checked, not yet searched"


def test_enter_opens_the_selected_request(window: MainWindow, numbers: dict[str, str], qtbot: QtBot) -> None:
    page = window.commands.inbox
    window.commands.reload()
    page._select(numbers["soon"])
    qtbot.keyClick(page.table, Qt.Key.Key_Return)
    assert window.stack.currentWidget() is window.commands.case
    assert window.commands.case.page.line.number == numbers["soon"]
    window.registry.action("view.back").trigger()
    assert window.stack.currentWidget() is page


def test_badge_counts_open_requests(window: MainWindow, numbers: dict[str, str]) -> None:
    window.commands.reload()
    item = window.side_bar.item(0)
    assert item.data(Qt.ItemDataRole.UserRole) == "3"
    assert item.data(Qt.ItemDataRole.AccessibleTextRole) == "Requests, 3 open, 2 due soon"


def test_a_request_that_ended_without_an_answer_is_not_called_answered(office: Office, numbers: dict[str, str]) -> None:
    line = next(line for line in inbox(office) if line.number == numbers["withdrawn"])
    assert line.due_text == "no longer due"
