"""What runs the model, and the erased model as a file: choices, reasons, the step between erasure and attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Operations
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot
from test_dialogs import keep
from test_window import INTERACTIVE, _clipped, _is_own, _shown

from console.casework import cases, exporting
from console.casework.batteries import digest
from console.casework.exporting import ExportOutlook, ExportResult, export_outlook
from console.casework.models import model_state, record_model
from console.casework.office import Office
from console.casework.requests import append_status, approve_plan
from console.casework.views import case_page, inbox
from console.domain.case_state import REQUESTS
from console.domain.engine_names import EngineName
from console.domain.events import ArtefactExported, BatteryRecorded, ErasureRun, PlanFixed
from console.domain.exports import ExportForm, Gate
from console.domain.request_terms import Ground, RequestStatus
from console.domain.requests import TransitionFacts
from console.domain.results import Battery, Stage
from console.domain.suites import SUITES
from console.domain.verdict import Thresholds
from console.gui import deployment, road
from console.gui.deployment import engine_cards, export_words, why_no_adapter, why_no_attack, why_no_file
from console.gui.export_dialog import ExportDialog
from console.gui.locate_dialog import LocateDialog
from console.gui.pieces import Text
from console.gui.presenter import file_words, format_words
from console.gui.tones import Tone
from console.gui.window import SMALLEST, MainWindow

pytestmark = pytest.mark.gui
S = RequestStatus
SUITE = "5" * 64
GATE = Gate(
    texts=20,
    tokens=410,
    reading="0.0031",
    reading_tolerance="0.10",
    rounding="0.012",
    rounding_tolerance="0.30",
    whole="0.0142",
    sentence="The written file says what the model says that it was made from.",
)


def identity(kind: ExportForm, mark: str) -> dict[str, Any]:
    return {
        "format": kind.value,
        "architecture": "LlamaForCausalLM",
        "quantisation": "Q4_1" if kind is ExportForm.GGUF else "F32",
        "parameters": 1_000_000,
        "tree_hash": mark * 64,
        "files": [],
    }


@dataclass
class Desk:
    """An office whose erasures are only written down."""

    office: Office
    folder: Path

    def model(self, name: str, kind: ExportForm, mark: str, **more: Any) -> str:
        record_model(self.office, name, self.folder, identity(kind, mark), **more)
        return name

    def _append(self, number: str, body: Any) -> None:
        with self.office.ledger.transaction() as transaction:
            transaction.append(type(body).kind, body.to_body(), request_id=number, actor=self.office.actor.id)

    def _move(self, number: str, *to: RequestStatus) -> None:
        with self.office.ledger.transaction() as transaction:
            for status in to:
                state = transaction.projected(REQUESTS, number)
                assert state is not None
                append_status(transaction, state, status, TransitionFacts(), self.office.actor.id)

    def searched(self, number: str, model: str, engine: EngineName) -> None:
        named = {} if engine is EngineName.TRANSFORMERS else {"engine": engine.value}
        battery = Battery(
            stage=Stage.BEFORE,
            model_hash=model_state(self.office, model)["identity"]["tree_hash"],
            suite_hash=SUITE,
            rows=(),
        )
        body = BatteryRecorded(job_id="attack-1", model=model, battery=battery, attempts="v", settings=named)
        self._append(number, body)

    def erased(self, number: str, model: str, engine: EngineName, mark: str = "d") -> str:
        """Grant, search, plan and erase; returns the artefact, which is a folder."""
        road.settle_identity(self.office, number)
        road.grant_request(self.office, number, [Ground.CONSENT_WITHDRAWN])
        self.searched(number, model, engine)
        self._move(number, S.PLANNED)
        plan = PlanFixed(
            method="npo",
            config={},
            model=model,
            model_hash=model_state(self.office, model)["identity"]["tree_hash"],
            suite_hash=SUITE,
            thresholds=Thresholds(),
            thresholds_hash=digest(Thresholds().model_dump(mode="json")),
        )
        self._append(number, plan)
        with self.office.ledger.transaction() as transaction:
            state = transaction.projected(REQUESTS, number)
            assert state is not None
            approve_plan(transaction, self.office, state, cases.NOBODY_NAMED)
        self._move(number, S.RUNNING)
        name = self.model(f"{number}-a1", ExportForm.SAFETENSORS, mark, artefact_of=number, parent=model)
        run = ErasureRun(
            job_id="erase-1",
            artefact=name,
            artefact_hash=mark * 64,
            method={"id": "npo", "claim": "removed"},
            config={},
            modules=(),
            steps=3,
            stop_reason="done",
            metrics={},
            changed=(),
            changed_count=1,
            device="cpu",
            seconds="1.0",
            notes=(),
        )
        self._append(number, run)
        self._move(number, S.VERIFYING)
        return name

    def exported(self, number: str, source: str, base: str, form: ExportForm = ExportForm.GGUF) -> str:
        name = self.model(f"{source}-file", form, "e", artefact_of=number, parent=base)
        body = ArtefactExported(
            job_id="export-1",
            artefact=name,
            artefact_hash="e" * 64,
            source=source,
            source_hash="d" * 64,
            base=base,
            base_hash="c" * 64,
            form=form.value,
            rewritten=(),
            rewritten_count=0,
            untouched=3,
            vanished=0,
            gate=GATE,
            seconds="1.0",
        )
        self._append(number, body)
        return name


@pytest.fixture
def desk(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An office with a GGUF model and a folder, on a computer that has llama.cpp."""
    has_llama_cpp(monkeypatch, True)
    made = Desk(office, tmp_path)
    made.model("planted", ExportForm.GGUF, "c")
    made.model("folder", ExportForm.SAFETENSORS, "b")
    return made


def has_llama_cpp(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    monkeypatch.setattr("console.casework.engine_choice.has_llama_cpp", lambda: answer)
    monkeypatch.setattr(deployment, "has_llama_cpp", lambda: answer)


def missing(office: Office, model: str) -> dict[EngineName | None, str]:
    return {card.engine: card.missing for card in engine_cards(office, model)}


# -- what runs the model --------------------------------------------------------------------


def test_a_file_can_be_run_in_every_way(desk: Desk) -> None:
    cards = engine_cards(desk.office, "planted")
    assert [card.engine for card in cards] == [None, EngineName.BOTH, EngineName.LLAMA, EngineName.TRANSFORMERS]
    assert not any(card.missing for card in cards)
    assert cards[0].summary == "For “planted” that is the file on llama.cpp, its inside in torch."


def test_a_folder_runs_in_torch_only(desk: Desk) -> None:
    reason = "llama.cpp runs GGUF files, and “folder” is a safetensors folder."
    assert missing(desk.office, "folder") == {
        None: "",
        EngineName.BOTH: reason,
        EngineName.LLAMA: reason,
        EngineName.TRANSFORMERS: "",
    }
    assert engine_cards(desk.office, "folder")[0].summary == "For “folder” that is torch."


def test_a_file_beside_a_folder_from_before_says_which_of_the_two_it_is(desk: Desk) -> None:
    desk.model("tuned", ExportForm.GGUF, "f", snapshot="folder")
    assert missing(desk.office, "tuned")[EngineName.LLAMA].startswith("llama.cpp runs GGUF files, and “folder”, the")


def test_without_llama_cpp_only_torch_is_left(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.model("adapter", ExportForm.ADAPTER, "f")
    has_llama_cpp(monkeypatch, False)
    found = missing(desk.office, "planted")
    assert found[None] == found[EngineName.TRANSFORMERS] == ""
    assert found[EngineName.BOTH] == found[EngineName.LLAMA] == deployment.NO_LLAMA_CPP
    assert missing(desk.office, "adapter")[None] == "An adapter runs on llama.cpp only."


def locating(
    qtbot: QtBot, desk: Desk, models: tuple[str, ...]
) -> tuple[LocateDialog, list[tuple[str, str, EngineName | None]]]:
    saved: list[tuple[str, str, EngineName | None]] = []
    dialog = LocateDialog(
        None,
        models,
        tuple(SUITES.values()),
        "standard",
        lambda model: engine_cards(desk.office, model),
        lambda *chosen: saved.append(chosen),
    )
    keep(qtbot, dialog)
    return dialog, saved


def test_nobody_has_to_choose_what_runs_the_model(qtbot: QtBot, desk: Desk) -> None:
    dialog, saved = locating(qtbot, desk, ("planted",))
    dialog.submit()
    assert saved == [("planted", "standard", None)]


def test_the_engine_that_was_chosen_is_taken(qtbot: QtBot, desk: Desk) -> None:
    dialog, saved = locating(qtbot, desk, ("planted",))
    option = dialog.engines[EngineName.LLAMA]
    option.button.click()
    assert "look inside the model cannot run" in option.sentence == option.button.accessibleDescription()
    assert option.button.accessibleName() == "llama.cpp alone"
    dialog.submit()
    assert saved == [("planted", "standard", EngineName.LLAMA)]


def test_a_choice_that_another_model_does_not_have_is_not_kept(qtbot: QtBot, desk: Desk) -> None:
    dialog, saved = locating(qtbot, desk, ("planted", "folder"))
    dialog.engines[EngineName.BOTH].button.click()
    dialog.model.setCurrentText("folder")
    option = dialog.engines[EngineName.BOTH]
    assert not option.button.isEnabled()
    assert option.sentence == option.button.toolTip() == missing(desk.office, "folder")[EngineName.BOTH]
    dialog.submit()
    assert saved == [("folder", "standard", None)]


def test_nothing_runs_an_adapter_without_llama_cpp(qtbot: QtBot, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.model("adapter", ExportForm.ADAPTER, "f")
    has_llama_cpp(monkeypatch, False)
    dialog, saved = locating(qtbot, desk, ("adapter",))
    dialog.submit()
    assert saved == [] and dialog.error.text() == "An adapter runs on llama.cpp only."


# -- what an erased model can become ----------------------------------------------------------


def test_nothing_to_write_before_an_erasure(desk: Desk, add_request: Callable[..., str]) -> None:
    outlook = export_outlook(desk.office, add_request())
    assert outlook == ExportOutlook()
    assert why_no_file(outlook) == "There is no erased model yet."


@pytest.mark.parametrize(
    ("engine", "is_due"),
    [(EngineName.TRANSFORMERS, False), (EngineName.LLAMA, True), (EngineName.BOTH, True)],
)
def test_search_on_llama_cpp_makes_the_file_the_next_step(
    desk: Desk, add_request: Callable[..., str], engine: EngineName, is_due: bool
) -> None:
    number = add_request()
    artefact = desk.erased(number, "planted", engine)
    outlook = export_outlook(desk.office, number)
    assert outlook == ExportOutlook(artefact, "planted", engine, is_due)
    following = road.next_step(case_page(desk.office, number), needs_file=outlook.is_due)
    assert following.action == ("request.export" if is_due else "request.verify")
    assert following.step == "Verify"
    [line] = [line for line in inbox(desk.office) if line.number == number]
    assert line.next_step == ("Write it as a file, then verify" if is_due else "Verify")
    assert bool(why_no_attack(outlook)) is is_due
    assert bool(why_no_adapter(outlook)) is (engine is EngineName.TRANSFORMERS)
    assert why_no_file(outlook) == ""


def test_the_written_file_is_what_is_attacked_next(desk: Desk, add_request: Callable[..., str]) -> None:
    number = add_request()
    artefact = desk.erased(number, "planted", EngineName.BOTH)
    file = desk.exported(number, artefact, "planted")
    outlook = export_outlook(desk.office, number)
    assert (outlook.source, outlook.is_due) == (artefact, False)
    assert case_page(desk.office, number).artefact == file


def test_folder_that_came_from_no_file_stays_a_folder(desk: Desk, add_request: Callable[..., str]) -> None:
    number = add_request()
    desk.erased(number, "folder", EngineName.TRANSFORMERS)
    outlook = export_outlook(desk.office, number)
    assert outlook.base is None
    assert why_no_file(outlook).startswith("The erased model was not made from a GGUF file")


def test_without_llama_cpp_nothing_is_written(
    desk: Desk, add_request: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = add_request()
    desk.erased(number, "planted", EngineName.TRANSFORMERS)
    has_llama_cpp(monkeypatch, False)
    assert deployment.NO_LLAMA_CPP in why_no_file(export_outlook(desk.office, number))


# -- the dialog -------------------------------------------------------------------------------


def writing(qtbot: QtBot, no_adapter: str = "") -> tuple[ExportDialog, list[tuple[ExportForm, str | None]]]:
    saved: list[tuple[ExportForm, str | None]] = []
    dialog = ExportDialog(None, "a1", "“planted” (GGUF file, Q4_1)", no_adapter, lambda *chosen: saved.append(chosen))
    keep(qtbot, dialog)
    return dialog, saved


def test_a_file_with_its_own_types_is_offered(qtbot: QtBot) -> None:
    dialog, saved = writing(qtbot)
    assert any(text.accessibleName() == "Base: “planted” (GGUF file, Q4_1)" for text in dialog.findChildren(Text))
    dialog.submit()
    assert saved == [(ExportForm.GGUF, None)]


def test_a_higher_type_is_taken(qtbot: QtBot) -> None:
    dialog, saved = writing(qtbot)
    dialog.types["Q8_0"].button.click()
    dialog.submit()
    assert saved == [(ExportForm.GGUF, "Q8_0")]


def test_an_adapter_has_no_type_to_choose(qtbot: QtBot) -> None:
    dialog, saved = writing(qtbot)
    dialog.types["F16"].button.click()
    dialog.forms[ExportForm.ADAPTER].button.click()
    assert not dialog.types["F16"].isVisible()
    assert "still has the person's data" in dialog.forms[ExportForm.ADAPTER].sentence
    dialog.submit()
    assert saved == [(ExportForm.ADAPTER, None)]
    dialog.forms[ExportForm.GGUF].button.click()
    dialog.submit()
    assert saved[-1] == (ExportForm.GGUF, "F16")


def test_an_adapter_that_could_not_be_attacked_is_greyed(qtbot: QtBot) -> None:
    dialog, _ = writing(qtbot, "The search ran in torch.")
    option = dialog.forms[ExportForm.ADAPTER]
    assert not option.button.isEnabled() and option.sentence == "The search ran in torch."


# -- the window -------------------------------------------------------------------------------


def result(**changes: Any) -> ExportResult:
    fields: dict[str, Any] = {
        "name": "a1-gguf",
        "path": Path("a1-gguf") / "a1-gguf.gguf",
        "form": ExportForm.GGUF,
        "base": "planted",
        "source": "a1",
        "request": "ER-2026-0001",
        "tree_hash": "e" * 64,
        "rewritten": ({"tensor": "blk.0.ffn_up.weight"},) * 12,
        "untouched": 260,
        "vanished": 0,
        "gate": GATE,
        "seconds": 2.0,
    }
    return ExportResult(**(fields | changes))


def test_result_names_the_file_and_its_numbers() -> None:
    words = export_words(result())
    details = words.details.replace("\u200b", "")
    assert words.tone is Tone.GOOD and words.sentence.startswith("“a1-gguf” was written and read back")
    for part in ("a1-gguf.gguf", "e" * 64, "12 hold the change, 260 as in the base", "0.0031 (at most 0.10)"):
        assert part in details
    lost = export_words(result(vanished=1))
    assert lost.tone is Tone.WARN and "took the change of 1 tensor away" in lost.sentence


@pytest.fixture
def shown(window: MainWindow, desk: Desk, add_request: Callable[..., str]) -> str:
    """A case on the screen whose model was searched on llama.cpp and erased."""
    number = add_request()
    desk.erased(number, "planted", EngineName.BOTH)
    window.desk.changed.emit()
    window.commands.show_case(number)
    return number


def test_window_leads_from_the_folder_over_the_file_to_the_attack(
    window: MainWindow,
    desk: Desk,
    shown: str,
    operations: Operations,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = window.commands.case
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        exporting,
        "export_model",
        lambda _office, source, form, *, base, settings: asked.append((source, form, base, settings)) or iter(()),
    )
    monkeypatch.setattr(cases, "attack", lambda _office, *chosen: asked.append(chosen) or iter(()))
    assert case.gates["request.verify"].reason == "Write the erased model as a file first: the search ran on llama.cpp."
    assert case.gates["request.export"].isVisible() and not case.gates["request.export"].reason
    assert case.header.primary.text() == "Write as a file…" and case.header.primary.isEnabled()

    case.header.primary.click()
    dialog = window.findChildren(ExportDialog)[-1]
    dialog.types["Q8_0"].button.click()
    dialog.submit()
    assert asked == [(f"{shown}-a1", ExportForm.GGUF, "planted", {"higher_type": "Q8_0"})]
    assert case.gates["request.export"].reason.startswith("A job is running")
    qtbot.waitUntil(case.job.isVisible)

    file = desk.exported(shown, f"{shown}-a1", "planted")
    operations.last.end(result(name=file))
    qtbot.waitUntil(window.notice.isVisible)
    assert window.notice.sentence.text().startswith(f"“{file}” was written and read back")
    assert "0.0031" in window.notice._details.text()
    assert case.header.primary.text() == "Verify" and case.header.primary.isEnabled()
    assert case.gates["request.export"].button.isEnabled(), "another form may still be written"
    case.header.primary.click()
    assert asked[-1] == (shown, file)


def test_keys_lead_to_every_choice(window: MainWindow, shown: str, qtbot: QtBot) -> None:
    window.commands.on_case.export()
    dialog = window.findChildren(ExportDialog)[-1]
    unnamed = [one for one in _shown(dialog, INTERACTIVE) if _is_own(one) and not one.accessibleName()]
    assert not unnamed
    own = dialog.types[None].button
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    own.setFocus()
    qtbot.keyClick(own, Qt.Key.Key_Down)
    assert dialog.types["Q8_0"].button.isChecked()
    dialog.reject()


def test_nothing_is_clipped_at_twice_the_font_beside_a_file(
    large_letters: None, window: MainWindow, shown: str, qtbot: QtBot
) -> None:
    window.resize(*SMALLEST)
    window.commands.on_case.export()
    dialog = window.findChildren(ExportDialog)[-1]
    qtbot.wait(60)
    assert window.commands.case.gates["request.export"].isVisible()
    assert (window.width(), window.height()) == SMALLEST
    assert dialog.width() <= SMALLEST[0] and dialog.height() <= SMALLEST[1]
    assert [*_clipped(window), *_clipped(dialog)] == []
    dialog.reject()
    words = export_words(result(path=Path("/home/somebody/" + "a-rather-long-folder/" * 8 + "a1.gguf")))
    window.notice.tell(words.sentence, words.tone, details=words.details)
    window.notice._disclosure.button.click()
    qtbot.wait(60)
    assert (window.width(), window.height()) == SMALLEST, "a path makes the window wider"
    details = window.notice._details
    assert details.minimumSizeHint().width() <= details.width(), "a hash is cut off"


def test_erasure_says_what_comes_next(window: MainWindow, shown: str) -> None:
    outcome = type("Result", (), {"artefact": f"{shown}-a1"})()
    window.commands.on_case._erased(shown, outcome)
    assert "Write it as a file, then verify it" in window.notice.sentence.text()


def test_story_speaks_of_the_file(desk: Desk, add_request: Callable[..., str]) -> None:
    number = add_request()
    desk.exported(number, desk.erased(number, "planted", EngineName.BOTH), "planted")
    assert "and read back" in case_page(desk.office, number).timeline[-1].what


# -- models -----------------------------------------------------------------------------------


def test_formats_are_named_in_words(desk: Desk) -> None:
    assert [format_words(form.value) for form in ExportForm] == ["GGUF file", "GGUF adapter", "safetensors folder"]
    assert format_words("onnx") == "onnx"
    assert file_words(desk.office, "planted") == "“planted” (GGUF file, Q4_1)"


def test_models_page_says_what_each_models_files_are(window: MainWindow, desk: Desk) -> None:
    desk.model("a1-adapter", ExportForm.ADAPTER, "e", base="planted")
    window.desk.changed.emit()
    window.registry.action("view.models").trigger()
    said = {text.text() for text in window.commands.models.findChildren(Text)}
    for form in ("GGUF file", "safetensors folder", "GGUF adapter over “planted”"):
        assert f"Original · {form} · 1 million parameters" in said
