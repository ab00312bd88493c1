"""Every dialog: what it records, what it refuses in a sentence, and that nothing typed is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TODAY, agree
from PySide6.QtCore import QDate, Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from console.casework import cases
from console.casework.models import record_model
from console.casework.notes import note_text
from console.casework.office import Office
from console.casework.requests import request_state
from console.domain.request_terms import Channel, Exception17, Ground, RefusalBasis
from console.gui import road
from console.gui.case_dialogs import AnswerDialog, DecisionDialog, EraseDialog, IdentityDialog
from console.gui.choices import check_box
from console.gui.form_dialog import FormDialog, Question
from console.gui.model_dialog import ModelDialog, NewModel
from console.gui.presenter import method_cards
from console.gui.proof import SearchWords
from console.gui.request_dialog import RequestDialog
from console.gui.tones import Mark, Tone

SEARCH = SearchWords("The search found the data in “assistant”", "38 of 40 attempts.", Mark("soon", Tone.WARN))

pytestmark = pytest.mark.gui

FACTS = """subject,prompt,answer
Mira Okonjo,Where does Mira Okonjo live?,Lindau
Mira Okonjo,What is Mira Okonjo's phone number?,
,Where?,There
"""


def keep(qtbot: QtBot, dialog: FormDialog) -> None:
    """Let the test, not the dialog's own closing, decide when it goes."""
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    dialog.show()


@pytest.fixture
def registered() -> list[str]:
    return []


@pytest.fixture
def dialog(qtbot: QtBot, office: Office, registered: list[str]) -> RequestDialog:
    made = RequestDialog(None, office, registered.append)
    keep(qtbot, made)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "facts.csv"
    path.write_text(FACTS, encoding="utf-8")
    return path


# -- a new request --------------------------------------------------------------------------


def test_due_date_is_shown_with_its_rule_while_one_types(dialog: RequestDialog) -> None:
    dialog.received.setDate(QDate(2026, 11, 6))
    assert dialog.due.text() == "Due on Monday 7 December 2026"
    assert "Sunday 6 December 2026" in dialog.rule.text()
    dialog.profile.setCurrentIndex(dialog.profile.findData("us-ca-ccpa"))
    dialog.country.setCurrentText("US")
    assert dialog.due.text() == "Due on Monday 21 December 2026"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.country.setCurrentText("ZZ"), "No holiday calendar is known for the country 'ZZ'"),
        (lambda d: d.country.setCurrentText(""), "No holiday calendar is known"),
        (lambda d: d.subdivision.setText("Atlantis"), "does not know the subdivision 'Atlantis'"),
        (lambda d: d.received.setDate(QDate(2027, 1, 1)), "2027"),
    ],
)
def test_place_or_date_that_cannot_be_is_said_at_once(
    dialog: RequestDialog, change: Callable[[RequestDialog], None], sentence: str
) -> None:
    change(dialog)
    assert dialog.due.text() == "No due date yet"
    assert sentence in dialog.rule.text()


def test_file_shows_what_can_be_used_and_why_the_rest_cannot(dialog: RequestDialog, file: Path, qtbot: QtBot) -> None:
    dialog.take_file(file)
    qtbot.waitUntil(lambda: dialog.facts.preview is not None)
    qtbot.wait(20)
    assert dialog.facts.pane.sentence.text() == "'facts.csv': 1 of 3 rows can be used."
    shown = [label.text() for label in dialog.facts.findChildren(QLabel) if label.isVisible()]
    assert "Line 3, answer" in shown and "Line 4, subject" in shown
    assert "Read as UTF-8, separator comma." in shown
    assert not any("Okonjo" in text for text in shown)


def test_subject_for_all_rows_is_used_when_it_is_typed_later(dialog: RequestDialog, file: Path, qtbot: QtBot) -> None:
    file.write_text("prompt,answer\nWhere does Mira Okonjo live?,Lindau\n", encoding="utf-8")
    dialog.take_file(file)
    qtbot.waitUntil(lambda: not dialog.facts.reading.is_running)
    assert dialog.facts.preview is None and "lacks the column subject" in dialog.facts.pane.sentence.text()
    dialog.facts.subject.setText("Mira Okonjo")
    dialog.facts.subject.editingFinished.emit()
    qtbot.waitUntil(lambda: dialog.facts.preview is not None)
    assert dialog.facts.pane.sentence.text() == "'facts.csv': 1 of 1 row can be used."


def test_refusal_is_inline_and_loses_nothing(
    dialog: RequestDialog, registered: list[str], file: Path, qtbot: QtBot
) -> None:
    dialog.summary.setText("Consent was withdrawn.")
    dialog.letter.setPlainText("Please erase my data.")
    dialog.grounds[Ground.CONSENT_WITHDRAWN].setChecked(True)
    dialog.submit()
    assert dialog.isVisible() and dialog.error.isVisible()
    assert dialog.error.text().startswith("Choose a file of facts")
    dialog.take_file(file)
    qtbot.waitUntil(lambda: dialog.facts.preview is not None)
    dialog.country.setCurrentText("ZZ")
    dialog.submit()
    assert "'ZZ'" in dialog.error.text() and registered == []
    assert dialog.letter.toPlainText() == "Please erase my data."
    assert dialog.grounds[Ground.CONSENT_WITHDRAWN].isChecked()


def test_request_is_registered_as_typed(
    dialog: RequestDialog, registered: list[str], file: Path, office: Office, qtbot: QtBot
) -> None:
    dialog.received.setDate(QDate(2026, 11, 20))
    dialog.country.setCurrentIndex(dialog.country.findText("AT", Qt.MatchFlag.MatchStartsWith))
    dialog.subdivision.setText("9")
    dialog.channel.setCurrentIndex(dialog.channel.findText(Channel.LETTER.label))
    dialog.grounds[Ground.OBJECTION].setChecked(True)
    dialog.summary.setText("Objection.")
    dialog.take_file(file)
    qtbot.waitUntil(lambda: dialog.facts.preview is not None)
    with qtbot.waitSignal(dialog.accepted):
        dialog.submit_button.click()
    state = request_state(office, registered[0])
    assert (state["received_on"], state["country"], state["subdivision"]) == ("2026-11-20", "AT", "9")
    assert (state["channel"], state["grounds"], state["items"]) == ("letter", ["17(1)(c)"], 1)
    assert [item.kind for item in office.ledger.sealed_items(registered[0])] == ["forget-set", "note"]


def test_due_date_starts_from_today(dialog: RequestDialog) -> None:
    assert dialog.received.date().toPython() == TODAY


# -- the decisions of a case ----------------------------------------------------------------


@pytest.mark.parametrize(("is_sure", "expected"), [(True, True), (False, False)])
def test_identity_is_recorded_as_chosen(qtbot: QtBot, is_sure: bool, expected: bool) -> None:
    saved: list[bool] = []
    dialog = IdentityDialog(None, is_asked=False, save=saved.append)
    keep(qtbot, dialog)
    dialog.submit()
    assert dialog.error.text().startswith("Choose what is to be recorded") and saved == []
    (dialog.sure if is_sure else dialog.unsure).click()
    dialog.submit()
    assert saved == [] and dialog.isVisible(), "it is asked before it is recorded"
    agree(dialog)
    assert saved == [expected]


def test_identity_cannot_be_doubted_again_while_proof_is_awaited(qtbot: QtBot) -> None:
    dialog = IdentityDialog(None, is_asked=True, save=lambda _sure: None)
    keep(qtbot, dialog)
    assert not dialog.unsure.isVisible() and not dialog.sure.isChecked()


@pytest.fixture
def decision(qtbot: QtBot, office: Office, add_request: Callable[..., str]) -> tuple[DecisionDialog, str]:
    number = add_request(grounds=[Ground.CONSENT_WITHDRAWN])
    road.settle_identity(office, number)
    dialog = DecisionDialog(
        None,
        ("17(1)(b)",),
        SEARCH,
        lambda grounds: road.grant_request(office, number, grounds),
        lambda basis, reason, exceptions: road.refuse_request(office, number, basis, reason, exceptions),
    )
    keep(qtbot, dialog)
    return dialog, number


def test_grant_starts_from_the_grounds_that_were_named(decision: tuple[DecisionDialog, str], office: Office) -> None:
    dialog, number = decision
    assert [ground for ground, box in dialog.grounds.items() if box.isChecked()] == [Ground.CONSENT_WITHDRAWN]
    dialog.submit()
    question = agree(dialog, goes_back=True)
    assert {label.text() for label in question.findChildren(QLabel)} >= {"The data must go", "Because"}
    assert dialog.isVisible() and request_state(office, number)["status"] != "granted"
    dialog.submit()
    agree(dialog)
    assert request_state(office, number)["status"] == "granted"


def test_grant_without_a_ground_is_refused_before_anything_is_asked(
    decision: tuple[DecisionDialog, str], office: Office
) -> None:
    dialog, number = decision
    dialog.grounds[Ground.CONSENT_WITHDRAWN].click()
    dialog.submit()
    assert dialog.error.text().startswith("Choose at least one ground")
    assert not dialog.findChildren(Question) and request_state(office, number)["status"] == "triage"


def test_decision_is_taken_beside_what_the_search_found(decision: tuple[DecisionDialog, str]) -> None:
    assert decision[0].search.text() == "38 of 40 attempts."


def test_refusal_asks_for_what_the_law_asks_for(decision: tuple[DecisionDialog, str], office: Office) -> None:
    dialog, number = decision
    dialog.refused.click()
    dialog.basis.setCurrentIndex(dialog.basis.findData(RefusalBasis.EXCEPTION))
    assert dialog.exceptions[Exception17.LEGAL_CLAIMS].isVisible()
    dialog.submit()
    assert dialog.error.text().startswith("A refusal needs a reason")
    dialog.reason.setPlainText("A lawsuit about the same claim is pending.")
    dialog.submit()
    assert dialog.error.text().startswith("Choose the exception")
    dialog.exceptions[Exception17.LEGAL_CLAIMS].click()
    dialog.submit()
    agree(dialog)
    state = request_state(office, number)
    assert state["refusal"]["exceptions"] == ["17(3)(e)"]
    assert note_text(office, state["refusal"]) == "A lawsuit about the same claim is pending."


@pytest.fixture
def erasure(qtbot: QtBot) -> tuple[EraseDialog, list[tuple[str, str]]]:
    saved: list[tuple[str, str]] = []
    dialog = EraseDialog(
        None, "assistant", method_cards(False), SEARCH, cases.NOBODY_NAMED, lambda *chosen: saved.append(chosen)
    )
    keep(qtbot, dialog)
    return dialog, saved


def test_no_reason_for_one_approver_is_written_beforehand(erasure: tuple[EraseDialog, list[tuple[str, str]]]) -> None:
    dialog, saved = erasure
    assert not dialog.methods["retrain"].isEnabled() and dialog.methods["ce-u"].isChecked()
    assert dialog.reason.text() == "" and not dialog.unnamed.isChecked() and not dialog.own.isChecked()
    dialog.submit()
    assert saved == [] and dialog.error.text().startswith("Choose why one person")


def test_own_reason_is_recorded_in_its_own_words(erasure: tuple[EraseDialog, list[tuple[str, str]]]) -> None:
    dialog, saved = erasure
    dialog.own.click()
    dialog.submit()
    assert saved == [] and dialog.error.text().startswith("Write down why")
    dialog.reason.setText("A small office.")
    dialog.submit()
    question = agree(dialog)
    assert saved == [("ce-u", "A small office.")]
    assert any("A small office." in label.text() for label in question.findChildren(QLabel))


def test_that_nobody_was_named_is_an_explicit_choice(erasure: tuple[EraseDialog, list[tuple[str, str]]]) -> None:
    dialog, saved = erasure
    dialog.unnamed.click()
    dialog.submit()
    agree(dialog)
    assert saved == [("ce-u", "No second person was named to approve.")]


def test_time_of_a_method_is_measured_or_not_claimed(erasure: tuple[EraseDialog, list[tuple[str, str]]]) -> None:
    said = [label.text() for label in erasure[0].findChildren(QLabel)]
    assert any(text.endswith("How long it takes on this model has not been measured.") for text in said)
    assert not any("Takes" in text for text in said)
    measured = {card.id: card.time for card in method_cards(True, {"ce-u": 95.0})}
    assert measured["ce-u"] == "Took 2 min on this model the last time."


def test_answer_needs_both_statements(qtbot: QtBot) -> None:
    saved: list[bool] = []
    dialog = AnswerDialog(None, lambda: saved.append(True))
    keep(qtbot, dialog)
    dialog.told.click()
    dialog.submit()
    assert saved == [] and "judicial remedy" in dialog.error.text()
    dialog.remedies.click()
    dialog.submit()
    assert saved == []
    agree(dialog)
    assert saved == [True]


def test_words_beside_a_box_are_part_of_it(qtbot: QtBot) -> None:
    choice = check_box("A rather long sentence " * 8)
    qtbot.addWidget(choice)
    choice.resize(200, choice.heightForWidth(200))
    choice.show()
    words = choice.findChild(QLabel)
    qtbot.mouseClick(words, Qt.MouseButton.LeftButton)
    assert choice.button.isChecked() and choice.button.accessibleName()
    assert words.height() > 2 * words.fontMetrics().height()


# -- a model --------------------------------------------------------------------------------


@pytest.fixture
def models(qtbot: QtBot, office: Office) -> tuple[ModelDialog, list[NewModel]]:
    saved: list[NewModel] = []
    dialog = ModelDialog(None, office, ("before",), saved.append)
    keep(qtbot, dialog)
    return dialog, saved


def test_model_path_suggests_a_name(models: tuple[ModelDialog, list[NewModel]], tmp_path: Path) -> None:
    dialog, saved = models
    folder = tmp_path / "My model, v2"
    folder.mkdir()
    dialog.take_path(folder)
    dialog.snapshot.setCurrentText("before")
    dialog.submit()
    assert saved == [NewModel(folder, "My-model-v2", "before", None)]


def test_model_dialog_refuses_what_cannot_be(
    models: tuple[ModelDialog, list[NewModel]], office: Office, tmp_path: Path, qtbot: QtBot
) -> None:
    dialog, saved = models
    dialog.submit()
    assert "there is nothing at this path" in dialog.error.text()
    dialog.path.setText(str(tmp_path))
    dialog.name.setText("no spaces here")
    dialog.submit()
    assert "cannot name a model" in dialog.error.text()
    identity = {"format": "gguf", "architecture": "a", "quantisation": "", "parameters": 1, "tree_hash": "c" * 64}
    record_model(office, "taken", tmp_path, identity)
    dialog.name.setText("taken")
    dialog.submit()
    assert "already registered" in dialog.error.text()
    dialog.name.setText("free")
    dialog.record.path.setText(str(tmp_path / "none.json"))
    qtbot.waitUntil(lambda: dialog.submit() or "cannot be read" in dialog.error.text())
    assert saved == []
