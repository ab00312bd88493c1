"""Dates in the window: the office's day and law in the form, both dates of a case, and a case without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from conftest import TODAY
from pytestqt.qtbot import QtBot

from console.casework.office import Office
from console.casework.views import case_page, inbox
from console.domain.case_state import CaseProjector
from console.gui.inbox_page import Preview
from console.gui.presenter import due_mark, local_time
from console.gui.request_dialog import RequestDialog
from console.gui.request_tab import RequestTab

pytestmark = pytest.mark.gui


@pytest.fixture
def dialog(qtbot: QtBot, office: Office) -> RequestDialog:
    office.set_timezone("Asia/Tokyo")
    made = RequestDialog(None, office, lambda _number: None)
    qtbot.addWidget(made)
    made.show()
    return made


def test_the_form_says_the_office_s_day_and_takes_the_law_of_the_place(dialog: RequestDialog, office: Office) -> None:
    assert "time zone Asia/Tokyo" in dialog.today.text()
    assert dialog.received.date().toPython() == office.today()
    assert not dialog.own_period.isVisible()
    for country, law in (("DE", "European Union (GDPR)"), ("UK", "United Kingdom (UK GDPR)")):
        dialog.country.setCurrentText(country)
        assert dialog.rule.text().startswith(f"{law}. ")
    dialog.country.setCurrentText("CH")
    assert (dialog.due.text(), "No legal profile is known for CH" in dialog.rule.text()) == ("No due date yet", True)
    dialog.profile.setCurrentIndex(dialog.profile.findData("eu-gdpr"))
    assert dialog.rule.text().startswith("European Union (GDPR). ")


def test_the_form_asks_for_the_office_s_own_period_where_the_law_sets_none(dialog: RequestDialog) -> None:
    dialog.country.setCurrentText("IN")
    assert dialog.own_period.isVisible()
    dialog.own_period.setValue(45)
    assert dialog.rule.text().startswith("India (DPDP). 45 days from receipt")


def test_another_date_is_shown_beside_the_recorded_one_and_can_be_accepted(
    qtbot: QtBot, office: Office, add_request: Callable[..., str]
) -> None:
    page = case_page(office, add_request())
    tab = RequestTab(office)
    qtbot.addWidget(tab)
    tab.show()
    tab.show_page(page)
    assert not tab.accept.isVisible()
    tab.show_page(replace(page, other_date="By today's calendar the due date would be Monday 21 December 2026."))
    assert tab.accept.isVisible() and "21 December" in tab._other_date.text()
    with qtbot.waitSignal(tab.accept_date):
        tab.accept.click()


def test_a_case_without_a_date_is_named_and_not_opened(
    qtbot: QtBot, office: Office, add_request: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = add_request()
    early = {"v": 1, "starts_on": (TODAY - timedelta(days=30)).isoformat(), "reason": "identity"}
    with monkeypatch.context() as older, office.ledger.transaction() as transaction:
        older.setattr(CaseProjector, "check", lambda *_: None)
        transaction.append("clock_suspended", early, request_id=number, actor="p-1")
    (line,) = inbox(office)
    preview = Preview()
    qtbot.addWidget(preview)
    preview.show_line(line, "")
    assert "before the request was received" in preview._summary.text()
    assert not preview.open.isEnabled() and due_mark(line.urgency).icon == "failed"


def test_the_story_is_told_in_the_office_s_time(office: Office, add_request: Callable[..., str]) -> None:
    number = add_request()
    utc = case_page(office, number).timeline[0].at
    office.set_timezone("Asia/Kolkata")
    here = case_page(office, number).timeline[0].at
    assert here == utc and local_time(here) == f"{utc + timedelta(hours=5, minutes=30):%H:%M}"
