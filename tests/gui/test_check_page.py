"""The page for reports that somebody hands in: no more is said than the weakest light allows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from console.gui.check_page import CheckPage
from console.gui.window import MainWindow
from console.reports.lights import ledger_light, signer_light
from console.reports.verification import RecordedReport, ReportVerification, Trust
from console.reports.verify import verify_report

NOW = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
REPORT = Path(__file__).parents[1] / "golden" / "reports" / "evidence-1-approved.pdf"


@pytest.fixture
def found() -> ReportVerification:
    return verify_report(REPORT, now=NOW)


@pytest.fixture
def page(window: MainWindow) -> CheckPage:
    return window.commands.check


def test_case_verdict_and_the_weakest_light_are_named(page: CheckPage, found: ReportVerification) -> None:
    page.show_result(REPORT, found)
    assert page.headline.word.text() == "Intact; the signer is not confirmed on this machine"
    assert page.headline.sentence.text().startswith("Case ER-2026-0042, report RP-2026-0042-1 of 25 November 2026")
    assert page.headline.sentence.text().endswith("Verdict: Suppressed.")
    assert page.lights["signer"].word.text() == "Signer: with a reservation"
    assert page.lights["ledger"].isHidden()  # no office was asked


def test_a_newer_report_of_the_case_is_said(page: CheckPage, found: ReportVerification) -> None:
    assert found.evidence is not None
    recorded = [
        RecordedReport(found.evidence.report_id, found.sha256, 7, NOW),
        RecordedReport("R-2", "0" * 64, 9, NOW),
    ]
    known = Trust({found.signatures[0].ca_fingerprint: "this office's own"})
    judged = replace(found, ledger=ledger_light(found, recorded), signer=signer_light(found.signatures, known))
    page.show_result(REPORT, judged)
    assert not page.lights["ledger"].isHidden()
    assert "A newer report of the case, R-2" in page.lights["ledger"].sentence.text()
    assert page.headline.word.text().startswith("Intact and signed by a known key")
    assert "relied on" not in page.headline.word.text()


def test_a_name_cannot_draw_on_the_page(page: CheckPage, found: ReportVerification) -> None:
    page.show_result(Path("ro\u202efdp.pdf"), found)
    assert page.file.text() == "ro\\u202efdp.pdf"


def test_what_is_no_pdf_is_said_to_be_none(window: MainWindow, tmp_path: Path, qtbot: QtBot) -> None:
    letter = tmp_path / "letter.pdf"
    letter.write_text("Dear Madam", encoding="utf-8")
    window.commands.check_report(letter)
    assert window.busy_words.text() == "Checking the report…"
    qtbot.waitUntil(window.notice.isVisible, timeout=60_000)
    assert window.notice.sentence.text() == "letter.pdf: The file is not a PDF; choose the report's PDF file."
    assert window.commands.check.headline.isHidden()


def test_nothing_of_the_file_before_stays_when_the_next_is_refused(
    window: MainWindow, page: CheckPage, found: ReportVerification, tmp_path: Path, qtbot: QtBot
) -> None:
    page.show_result(REPORT, found)
    letter = tmp_path / "letter.pdf"
    letter.write_text("Dear Madam", encoding="utf-8")
    window.commands.check_report(letter)
    assert page.file.text() == "letter.pdf"
    assert page.headline.isHidden() and page.details.isHidden()
    assert {card.word.text() for card in page.lights.values()} >= {"Integrity", "Signer", "Ledger"}
    qtbot.waitUntil(window.notice.isVisible, timeout=60_000)
    assert page.headline.isHidden() and not page.lights["ledger"].isHidden()


def test_a_report_of_another_office_is_not_confirmed_and_not_refused(
    window: MainWindow, page: CheckPage, qtbot: QtBot
) -> None:
    window.commands.check_report(REPORT)
    qtbot.waitUntil(lambda: not page.headline.isHidden(), timeout=60_000)
    assert page.lights["signer"].word.text() == "Signer: with a reservation"
    said = page.lights["signer"].sentence.text()
    assert said.startswith("Not one of this office's reports; the signer is not confirmed.")
    assert page.lights["ledger"].word.text() == "Ledger: not judged"


def test_closing_ends_a_check(window: MainWindow) -> None:
    """The fixture finds a process or a thread that is left behind."""
    window.commands.check_report(REPORT)
    window.close()
    assert window.busy_words.text() == ""
