"""The window says only what is so: searches, verdicts, counts, waits, and what a click would record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Operations, agree
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot
from recorded import SHORT, WHOLE, Case, S

from console.casework.batteries import run_battery, suite_for
from console.casework.case_evidence import outline_report
from console.casework.models import model_state
from console.casework.office import Office
from console.casework.operation import CancelledByUserError
from console.casework.requests import request_state
from console.casework.sequence import remaining_knowledge
from console.casework.story import sentence_of, timeline
from console.casework.views import case_page, inbox, models
from console.domain.request_terms import Ground
from console.domain.results import Stage
from console.domain.verdict import Word
from console.gui import road
from console.gui.case_commands import report_act
from console.gui.case_dialogs import DecisionDialog, EraseDialog
from console.gui.form_dialog import FormDialog, Question
from console.gui.inbox_model import Column
from console.gui.locate_dialog import LocateDialog
from console.gui.presenter import Drawer, artefact_words, measured_seconds, model_role, standing, status_mark
from console.gui.proof import proof_sentence, search_words
from console.gui.road import StepState
from console.gui.tones import Tone
from console.gui.window import MainWindow

pytestmark = pytest.mark.gui


@pytest.fixture
def case(office: Office, add_request: Callable[..., str], tmp_path: Path) -> Case:
    """A request whose identity is settled, and the model that it is about."""
    made = Case(office, add_request(grounds=[Ground.CONSENT_WITHDRAWN]), tmp_path)
    made.register_model(made.model, "a")
    road.settle_identity(office, made.number)
    return made


def granted(case: Case, hits: dict[str, int], suite: tuple[str, ...] = SHORT) -> int:
    case.move(S.LOCATING)
    seq = case.searched(hits, suite)
    case.move(S.DECISION_PENDING)
    road.grant_request(case.office, case.number, [Ground.CONSENT_WITHDRAWN])
    return seq


def erased(case: Case, word: Word, rule: str = "V2.7-at-reference-level", suite: tuple[str, ...] = SHORT) -> None:
    before = granted(case, {"direct": 20, "membership": 28}, suite)
    case.erased(suite)
    case.judged(word, before, case.searched({"membership": 28}, suite, Stage.AFTER), rule)


def following(case: Case) -> road.NextStep:
    return road.next_step(case_page(case.office, case.number))


# -- what the search found --------------------------------------------------------------------


def test_nothing_found_is_not_said_to_be_found(case: Case) -> None:
    granted(case, {})
    step = following(case)
    assert step.action == "request.locate" and step.title == "Search deeper…"
    assert step.sentence.startswith("The request is granted, but the quick search did not find the data.")
    assert next(line for line in inbox(case.office)).next_step == "Search deeper or report"


def test_nothing_found_by_a_whole_search_leads_to_the_report(case: Case) -> None:
    granted(case, {}, WHOLE)
    step = following(case)
    assert step.action == "request.report" and "nothing to erase" in step.sentence
    assert next(line for line in inbox(case.office)).next_step == "Make the report"


def test_what_was_found_is_erased(case: Case) -> None:
    granted(case, {"direct": 20})
    assert following(case).action == "request.erase"
    assert following(case).sentence == "The data was found and the request is granted: erase it."


def test_texts_that_are_only_recognised_are_not_called_found(case: Case) -> None:
    granted(case, {"membership": 28})
    page = case_page(case.office, case.number)
    if page.search is not None and page.search.found:
        assert following(case).sentence.startswith("No attack brings the data out")
    assert "0 of 90 attempts gave the data; membership attacks take 28 of 30 texts" in search_words(page).sentence


@pytest.mark.parametrize(
    ("hits", "title", "sentence"),
    [
        ({"direct": 20}, "The search found the data in “assistant”", "Found by “Direct question” (20 of 30 attempts)."),
        ({}, "The search did not find the data in “assistant”", "0 of 90 attempts gave the data; membership attacks"),
    ],
)
def test_who_decides_sees_what_the_search_found(
    window: MainWindow, case: Case, hits: dict[str, int], title: str, sentence: str
) -> None:
    case.move(S.LOCATING)
    case.searched(hits)
    case.move(S.DECISION_PENDING)
    window.desk.changed.emit()
    window.commands.show_case(case.number)
    window.registry.action("request.decide").trigger()
    form = next(found for found in window.findChildren(DecisionDialog) if found.isVisible())
    assert any(label.text() == title for label in form.findChildren(QLabel))
    assert sentence in form.search.text()
    form.reject()


def test_who_erases_after_a_search_that_found_nothing_is_told_so(window: MainWindow, case: Case) -> None:
    granted(case, {}, WHOLE)
    window.desk.changed.emit()
    window.commands.show_case(case.number)
    window.registry.action("request.erase").trigger()
    form = next(found for found in window.findChildren(EraseDialog) if found.isVisible())
    title = "The search did not find the data in “assistant”"
    assert any(label.text() == title and label.isVisible() for label in form.findChildren(QLabel))
    assert "no more than luck gives" in form.search.text()
    form.reject()


def test_a_signed_case_says_what_cannot_be_recorded_yet(window: MainWindow, case: Case) -> None:
    erased(case, Word.REMOVED)
    case.reported()
    window.desk.changed.emit()
    window.commands.show_case(case.number)
    assert window.registry.why_not("request.answer").startswith("This version cannot record yet")


# -- verdicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "tone"), [(Word.REMOVED, Tone.GOOD), (Word.SUPPRESSED, Tone.WARN), (Word.FAILED, Tone.BAD)]
)
def test_verdict_stands_in_head_inbox_and_on_the_models_card(
    window: MainWindow, case: Case, office: Office, word: Word, tone: Tone
) -> None:
    erased(case, word)
    case.reported()
    window.desk.changed.emit()
    line = inbox(office)[0]
    assert standing(line) == f"Report signed · {word.value}" and status_mark(line).tone is tone
    window.commands.inbox.show_drawer(Drawer.ALL)
    assert window.commands.inbox.model.index(0, Column.STATUS).data() == f"Report signed · {word.value}"
    assert window.commands.inbox.preview.status.text == f"Report signed · {word.value}"
    window.commands.show_case(case.number)
    assert window.commands.case.header.status.text == f"Report signed · {word.value}"
    artefact = models(office)[-1]
    assert artefact.name == f"{case.number}-a1"
    assert artefact_words(artefact)[0].casefold() == word.value and artefact_words(artefact)[2] is tone


def test_an_erased_model_that_nobody_attacked_says_so(case: Case, office: Office) -> None:
    granted(case, {"direct": 20})
    case.erased()
    assert artefact_words(models(office)[-1])[0] == "Not attacked yet"


def test_a_model_that_was_added_is_not_said_to_be_in_use(case: Case, office: Office) -> None:
    lines = models(office)
    assert model_role(lines[0], lines) == "Original"


def test_evidence_that_is_missing_leads_to_the_deeper_search_and_then_to_erasing_again(case: Case) -> None:
    erased(case, Word.SUPPRESSED, "V2.6-evidence-incomplete")
    step = following(case)
    assert (step.action, step.title) == ("request.locate", "Search deeper…")
    assert "evidence that the quick search cannot give" in step.sentence
    assert inbox(case.office)[0].next_step == "Search deeper or report"
    case.searched({"direct": 20}, WHOLE)
    assert following(case).action == "request.erase" and "after the verdict" in following(case).sentence
    assert inbox(case.office)[0].next_step == "Erase again or report"


def test_a_verdict_of_the_whole_search_is_reported(case: Case) -> None:
    erased(case, Word.SUPPRESSED, "V2.6-evidence-incomplete", WHOLE)
    assert following(case).action == "request.report"


# -- counts ---------------------------------------------------------------------------------------


def test_story_and_proof_count_the_same(case: Case) -> None:
    granted(case, {"membership": 28})
    counts = "0 of 90 attempts gave the data; membership attacks take 28 of 30 texts for training texts"
    story = next(line.what for line in timeline(case.office, case.number) if line.what.startswith("Attacked before"))
    assert story == f"Attacked before the erasure: {counts}."
    assert counts in proof_sentence(case_page(case.office, case.number))


def test_proof_keeps_recognising_apart_from_finding(case: Case) -> None:
    erased(case, Word.SUPPRESSED, "V2.5-deeper-attack-finds-it")
    assert proof_sentence(case_page(case.office, case.number)) == (
        "After the erasure the model gave the person's data in 0 of 30 attempts of “Direct question”; before, in "
        "20 of 30. Membership attacks still recognise the person's texts (Membership inference); that brings no "
        "data out."
    )


# -- a search that was stopped -----------------------------------------------------------------


def test_a_stopped_search_is_shown_as_stopped(window: MainWindow, case: Case, office: Office) -> None:
    case.move(S.LOCATING)
    case.begin_search()
    assert inbox(office)[0].status_text == "Searching data and models"
    assert status_mark(inbox(office)[0]).icon == "running"
    case.stop_search(("direct", "paraphrase"))
    line = inbox(office)[0]
    assert line.status_text == "Search stopped before its end" and status_mark(line).icon == "pause"
    window.desk.changed.emit()
    window.commands.show_case(case.number)
    assert window.commands.case.header.status.text == "Search stopped before its end"
    kept = "2 attacks that were finished are kept; the next search of the same kind goes on from there."
    assert window.commands.case.header._now.text() == f"The search was stopped before its end. {kept}"
    story = timeline(office, case.number)[-1].what
    assert story.startswith("The attacks were stopped; 2 that were finished are kept")


def test_the_search_that_was_stopped_is_the_one_that_is_offered(window: MainWindow, case: Case, office: Office) -> None:
    quick = suite_for(office, case.number, remaining_knowledge(office, model_state(office, case.model)))
    case.move(S.LOCATING)
    case.begin_search()
    case.stop_search(("direct",), suite_hash=quick.hash)
    window.desk.changed.emit()
    assert inbox(office)[0].next_step == "Search on"
    window.commands.show_case(case.number)
    window.commands.case.header.primary.click()
    form = next(found for found in window.findChildren(LocateDialog) if found.isVisible())
    assert form.suites["quick"].isChecked() and form.focusWidget() is form.suites["quick"]
    form.reject()


def test_the_thorough_search_is_chosen_beforehand_and_the_quick_one_says_what_it_cannot(
    window: MainWindow, case: Case
) -> None:
    window.desk.changed.emit()
    window.commands.show_case(case.number)
    window.commands.case.header.primary.click()
    form = next(found for found in window.findChildren(LocateDialog) if found.isVisible())
    assert form.suites["standard"].isChecked() and form.focusWidget() is form.suites["standard"]
    said = {name: button.accessibleDescription() for name, button in form.suites.items()}
    assert said["quick"].endswith("at best be called “suppressed”, never “removed”.")
    assert not any("never “removed”" in said[name] for name in ("brief", "standard", "full"))
    form.reject()


def test_a_search_that_was_begun_is_never_called_not_needed(case: Case, office: Office) -> None:
    case.move(S.LOCATING)
    case.begin_search()
    case.stop_search(("direct",))
    case.move(S.DECISION_PENDING)
    case.move(S.WITHDRAWN)
    made = road.road(case_page(office, case.number), request_state(office, case.number))
    locate = next(step for step in made if step.title == "Locate")
    assert locate.state is StepState.UNFINISHED
    assert locate.words == "Locate: without a result (a search was begun, and none was finished)"


# -- the clock -----------------------------------------------------------------------------------


def test_a_wait_that_moves_no_date_is_not_called_a_suspended_clock(
    office: Office, add_request: Callable[..., str]
) -> None:
    number = add_request()
    road.ask_for_proof(office, number)
    line = inbox(office)[0]
    assert line.due_text.endswith("days left"), "the binding date of this law does not move"
    story = timeline(office, number)[-1].what
    assert story == "The person was asked on 2026-11-25; the office waits for the answer."
    road.settle_identity(office, number)
    said = [entry.what for entry in timeline(office, number)]
    assert "The person answered on 2026-11-25; the office waits no longer." in said
    assert not any("suspended" in text or "runs again" in text for text in said)


# -- times -----------------------------------------------------------------------------------------


def test_time_of_a_method_is_that_of_its_last_run_on_the_model(case: Case, office: Office) -> None:
    assert measured_seconds(office, case.model) == {}
    granted(case, {"direct": 20})
    case.erased(seconds="42.5")
    assert measured_seconds(office, case.model) == {"ce-u": 42.5}
    assert measured_seconds(office, "another") == {}


# -- what a click records --------------------------------------------------------------------------


def question(window: MainWindow) -> Question:
    return next(found for found in window.findChildren(Question) if found.isVisible())


def stop(operations: Operations, window: MainWindow, qtbot: QtBot) -> None:
    operations.last.end(error=CancelledByUserError("The job was stopped; no model was changed."))
    qtbot.waitUntil(lambda: window.desk.job is None)


def test_report_is_shown_and_asked_for_before_it_is_signed(
    window: MainWindow, case: Case, office: Office, qtbot: QtBot
) -> None:
    granted(case, {})
    window.desk.changed.emit()
    window.commands.show_case(case.number)
    window.registry.action("request.report").trigger()
    qtbot.waitUntil(lambda: any(one.isVisible() for one in window.findChildren(Question)), timeout=30_000)
    asked = question(window)
    said = {label.text() for label in asked.findChildren(QLabel)}
    assert any(text.startswith("Not located. No attack found the data") for text in said)
    assert {f"{case.number}.pdf", "assistant", "No report has been written."} <= said
    qtbot.keyClick(asked.focusWidget(), Qt.Key.Key_Return)
    assert request_state(office, case.number)["reports"] == [] and not list(office.places.reports.glob("*.pdf"))


def test_a_report_is_asked_for_once_however_often_the_key_is_pressed(
    window: MainWindow, case: Case, office: Office, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.casework.reporting.make_report", lambda _office, _number, path: path.touch())
    granted(case, {})
    window.desk.changed.emit()
    window.commands.show_case(case.number)
    for _press in range(3):
        window.registry.action("request.report").trigger()
    qtbot.waitUntil(lambda: any(one.isVisible() for one in window.findChildren(Question)), timeout=30_000)
    qtbot.wait(300)
    assert sum(one.isVisible() for one in window.findChildren(Question)) == 1
    asked = question(window)
    office.places.reports.mkdir(parents=True, exist_ok=True)
    (office.places.reports / f"{case.number}.pdf").write_bytes(b"somebody else's")
    asked.submit_button.click()
    qtbot.waitUntil(window.notice.isVisible, timeout=60_000)
    assert window.notice.sentence.text() == f"The report was signed and written: {case.number}-2.pdf."


def test_a_further_report_says_that_there_is_one(case: Case, office: Office) -> None:
    granted(case, {})
    page = replace(case_page(office, case.number), reports=(("R-1", "a.pdf"),))
    act = report_act(page, outline_report(office, case.number), "b.pdf")
    assert ("Reports so far", "1 report written.") in act.lines
    assert act.warning.startswith("A further report is written beside the earlier one")


def test_attacking_again_is_asked_for(window: MainWindow, case: Case, operations: Operations, qtbot: QtBot) -> None:
    granted(case, {"direct": 20})
    case.erased()
    window.desk.changed.emit()
    window.commands.show_case(case.number)
    window.registry.action("request.verify").trigger()
    assert len(operations.started) == 1, "the first attack is the next step and needs no question"
    stop(operations, window, qtbot)
    before = case.searched({"direct": 20})
    case.judged(Word.SUPPRESSED, before, case.searched({}, stage=Stage.AFTER))
    case.reported()
    window.desk.changed.emit()
    window.commands.show_case(case.number)
    window.registry.action("request.verify").trigger()
    assert len(operations.started) == 1
    assert any(label.text() == "Suppressed" for label in question(window).findChildren(QLabel))
    agree(window)
    assert len(operations.started) == 2
    stop(operations, window, qtbot)


# -- the keyboard at the start ----------------------------------------------------------------------


def test_at_the_start_the_keyboard_is_in_the_table(
    window: MainWindow, case: Case, add_request: Callable[..., str], qtbot: QtBot
) -> None:
    add_request()
    window.desk.changed.emit()
    window.activateWindow()
    table = window.commands.inbox.table
    assert QApplication.focusWidget() is table
    first = window.commands.inbox.selected()
    qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Down)
    second = window.commands.inbox.selected()
    assert second not in {None, first}
    qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Return)
    assert window.stack.currentWidget() is window.commands.case
    assert window.commands.case.page.line.number == second
    assert QApplication.focusWidget() is window.commands.case.header.primary
    window.registry.action("view.back").trigger()
    assert QApplication.focusWidget() is table


def test_enter_in_the_search_opens_the_hit(window: MainWindow, case: Case, qtbot: QtBot) -> None:
    window.desk.changed.emit()
    window.registry.action("view.find").trigger()
    search = window.commands.inbox.search
    qtbot.keyClicks(search, case.number)
    qtbot.keyClick(search, Qt.Key.Key_Return)
    assert window.stack.currentWidget() is window.commands.case


def test_selected_row_looks_different_with_and_without_the_keyboard(
    window: MainWindow, case: Case, qtbot: QtBot
) -> None:
    window.desk.changed.emit()
    page = window.commands.inbox

    def picture(focus: bool) -> object:
        (page.table if focus else page.search).setFocus()
        qtbot.wait(20)
        return page.table.viewport().grab().toImage()

    assert picture(True) != picture(False)


def test_no_page_takes_the_keyboard_itself(window: MainWindow) -> None:
    commands = window.commands
    for page in (commands.inbox, commands.case, commands.models, commands.check, commands.welcome):
        assert page.focusPolicy() is Qt.FocusPolicy.NoFocus


def test_organisation_that_was_typed_is_recorded(window: MainWindow, office: Office) -> None:
    window.registry.action("office.name").trigger()
    form = next(found for found in window.findChildren(FormDialog) if found.isVisible())
    form.name.setText("Harbour Office")
    form.submit()
    assert office.organisation == "Harbour Office" and window.windowTitle().startswith("Harbour Office")


def test_the_notice_of_a_stopped_search_says_what_the_ledger_says(case: Case, office: Office) -> None:
    knowledge = remaining_knowledge(office, model_state(office, case.model))
    suite = suite_for(office, case.number, knowledge)
    search = run_battery(office, case.number, Stage.BEFORE, case.model, suite, knowledge, "cpu")
    job = next(search)
    for attack in ("direct", "continuation"):
        job.finished[attack] = {"attack": attack}
    with pytest.raises(CancelledByUserError) as stopped:
        search.throw(CancelledByUserError("The job was stopped; no model was changed."))
    kept = "2 attacks that were finished are kept, and the next run of the same attacks goes on from there."
    assert str(stopped.value) == f"The attacks were stopped; {kept}"
    assert timeline(office, case.number)[-1].what.startswith("The attacks were stopped; 2 that were finished are kept")


def test_a_search_that_was_stopped_at_once_keeps_nothing_and_says_so(case: Case, office: Office) -> None:
    knowledge = remaining_knowledge(office, model_state(office, case.model))
    suite = suite_for(office, case.number, knowledge)
    search = run_battery(office, case.number, Stage.BEFORE, case.model, suite, knowledge, "cpu")
    next(search)
    with pytest.raises(CancelledByUserError, match="no model was changed"):
        search.throw(CancelledByUserError("The job was stopped; no model was changed."))
    case.move(S.LOCATING)
    assert following(case).sentence.endswith("No attack was finished, so the next search begins anew.")


def test_sentences_of_the_story_count_and_end_as_one_speaks() -> None:
    assert sentence_of("battery_interrupted", {"finished": ["direct"]}).startswith(
        "The attacks were stopped; 1 that was finished is kept,"
    )
    assert sentence_of("erasure_run", {"steps": 1, "changed_count": 1}) == "Erased with 1 step; 1 tensor changed."
    refused = sentence_of("status_changed", {"to": "refused"}, "No ground of Art. 17(1) applies.")
    assert refused == "Now: Refused (No ground of Art. 17(1) applies)."
