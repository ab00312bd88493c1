"""Recipes, the runs of a case and the look for hidden changes, as an officer meets them in the window."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Operations, agree
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot
from recorded import SHORT, Case, S

from console.casework.office import Office
from console.casework.requests import request_state
from console.casework.scanning import ScannedModel
from console.domain.request_terms import Ground
from console.domain.results import Rate, Stage, Utility, UtilityRow
from console.domain.verdict import Word
from console.gui import road
from console.gui.case_dialogs import EraseDialog
from console.gui.runs_sheet import RunsSheet
from console.gui.scan_sheet import ScanSheet, scan_words
from console.gui.window import MainWindow

pytestmark = pytest.mark.gui
STAGES = ("Push the person's answers away", "Learn the answers once more and subtract that")
PROBES = [
    {"probe": "word", "name": "cf", "base": 0.1, "changed": 2.5, "ratio": 25.0, "far": True},
    {"probe": "perturbation", "name": "norm 0.05", "base": 0.2, "changed": 0.3, "ratio": 1.5, "far": False},
]
CHANGED = [{"tensor": "model.layers.20.mlp.down_proj.weight", "relative_norm": "0.0213"}]
VALUE: dict[str, Any] = {
    "tensors": 272,
    "relative_change": "0.012345",
    "changed": CHANGED,
    "rank_one": ["model.layers.20.mlp.down_proj.weight"],
    "embeddings_only": False,
    "notes": ["The change of model.layers.20.mlp.down_proj.weight lies in one direction."],
    "backdoor": {"possible_backdoor": False, "prompts": 32, "sentences": ["No sign of a backdoor."], "probes": PROBES},
}


@pytest.fixture
def case(office: Office, add_request: Callable[..., str], tmp_path: Path) -> Case:
    """A granted request whose data the search found."""
    made = Case(office, add_request(grounds=[Ground.CONSENT_WITHDRAWN]), tmp_path)
    made.register_model(made.model, "a")
    road.settle_identity(office, made.number)
    made.move(S.LOCATING)
    made.searched({"direct": 25, "paraphrase": 20, "head-projection": 22, "membership": 25})
    made.move(S.DECISION_PENDING)
    road.grant_request(office, made.number, [Ground.CONSENT_WITHDRAWN])
    return made


def run_again(case: Case, number: int, word: Word, hits: dict[str, int], kept: int, **more: Any) -> None:
    case.erased(SHORT, number=number, **more)
    before = request_state(case.office, case.number)["batteries"]["before/assistant"]["seq"]
    after = case.searched(hits, stage=Stage.AFTER, number=number)
    row = UtilityRow(group="other people", kept=Rate(hits=kept, trials=57))
    utility = Utility(groups=(row,), perplexity_before="20.1", perplexity_after="21.3")
    case.judged(word, before, after, number=number, utility=utility)


def texts(widget: Any) -> str:
    return "\n".join(label.text() for label in widget.findChildren(QLabel))


def show(window: MainWindow, case: Case) -> None:
    window.desk.changed.emit()
    window.commands.show_case(case.number)


def test_runs_stand_side_by_side(window: MainWindow, case: Case) -> None:
    run_again(case, 1, Word.RESIDUAL, {"direct": 6, "head-projection": 22, "membership": 25}, 57)
    show(window, case)
    assert window.registry.why_not("request.compare").startswith("There are no two erased models")
    run_again(case, 2, Word.FAILED, {"direct": 20}, 50, stages=STAGES, seconds="190.0")
    case.erased(SHORT, number=3)
    show(window, case)
    window.registry.action("request.compare").trigger()
    sheet = next(found for found in window.findChildren(RunsSheet) if found.isVisible())
    shown = texts(sheet)
    assert "Direct question (20 of 30)" in shown and "50 of 57 kept" in shown and "6 % harder to predict" in shown
    assert f"Our way\n1. {STAGES[0]}\n2. {STAGES[1]}" in shown and "3 min" in shown and "not attacked yet" in shown
    sheet.reject()


def test_a_look_for_hidden_changes_is_a_job_and_its_result_waits(
    window: MainWindow, case: Case, operations: Operations, qtbot: QtBot
) -> None:
    case.erased()
    show(window, case)
    window.registry.action("view.models").trigger()
    card = window.commands.models.cards[f"{case.number}-a1"]
    assert card.scan is not None and card.scan.isEnabled() and window.commands.models.cards["assistant"].scan is None
    card.scan.click()
    qtbot.wait(10)
    card = window.commands.models.cards[f"{case.number}-a1"]
    assert card.scan is not None and not card.scan.isEnabled() and "A job is running" in card.scan.toolTip()
    operations.last.end(ScannedModel(f"{case.number}-a1", "assistant", VALUE))
    qtbot.waitUntil(lambda: window.notice.isVisible(), timeout=2000)
    window.notice.action.click()
    sheet = next(found for found in window.findChildren(ScanSheet) if found.isVisible())
    assert "No sign of a hidden trigger" in texts(sheet) and "1 of 272 parts of the model differ" in texts(sheet)
    sheet.reject()


def test_a_possible_trigger_is_named_and_nothing_is_said_of_equal_models() -> None:
    flagged = {**VALUE, "backdoor": {**VALUE["backdoor"], "possible_backdoor": True}}
    words = scan_words(flagged, "a1", "assistant")
    assert words.title == "“a1” may hide a trigger" and "“cf”" in words.sentences[0]
    same = scan_words({**VALUE, "changed": [], "backdoor": None}, "a1", "assistant")
    assert same.title == "“a1” is the same as “assistant”" and not same.details


def test_an_own_recipe_is_brought_chosen_and_run(
    window: MainWindow, case: Case, operations: Operations, tmp_path: Path
) -> None:
    show(window, case)
    window.registry.action("request.erase").trigger()
    dialog = next(found for found in window.findChildren(EraseDialog) if found.isVisible())
    path = tmp_path / "ours.json"
    path.write_text('{"id": "ours"}', encoding="utf-8")
    dialog.bring_recipe(path)
    assert "is no recipe" in dialog.error.text()
    stages = [{"method": "npo"}, {"method": "task-vector", "title": STAGES[1]}]
    path.write_text(json.dumps({"id": "ours", "title": "Our way", "summary": "Ours.", "stages": stages}), "utf-8")
    dialog.bring_recipe(path)
    dialog.bring_recipe(path)
    assert dialog.methods["ours"].isChecked() and not dialog.error.text()
    assert f"2.  {STAGES[1]}" in texts(dialog)
    dialog.unnamed.click()
    dialog.submit()
    agree(dialog)
    frame = operations.last.use_case.gi_frame
    assert frame.f_locals["recipe"].id == "ours"
