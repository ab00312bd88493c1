"""What is done on one case: the small steps, the jobs, the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QDialog

from console.casework import cases, exporting
from console.casework.views import models
from console.domain.engine_names import EngineName
from console.domain.exports import ExportForm
from console.domain.suites import SUITES
from console.gui import road
from console.gui.case_dialogs import AnswerDialog, DecisionDialog, EraseDialog, IdentityDialog
from console.gui.case_page import CaseView
from console.gui.deployment import engine_cards, export_words, why_no_adapter
from console.gui.desk import Desk
from console.gui.export_dialog import ExportDialog
from console.gui.locate_dialog import LocateDialog
from console.gui.presenter import file_words, method_cards
from console.gui.tones import Tone

if TYPE_CHECKING:
    from console.casework.views import CasePage
    from console.gui.window import MainWindow


def open_with_desktop(path: Path) -> bool:
    """Open a file with the program that the desk uses for it."""
    return QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))


class CaseCommands(QObject):
    """The actions on the request that is on the screen.

    Attributes:
        table: what each action's id stands for.
        open_file: opens a report; tests bring their own.
    """

    def __init__(self, window: MainWindow, desk: Desk, case: CaseView) -> None:
        super().__init__(window)
        self._window, self._desk, self._case = window, desk, case
        self.open_file: Callable[[Path], bool] = open_with_desktop
        self._report_to_open: Path | None = None
        self.table: dict[str, Callable[[], None]] = {
            "request.identity": self.settle_identity,
            "request.decide": self.decide,
            "request.locate": self.locate,
            "request.erase": self.erase,
            "request.export": self.export,
            "request.verify": self.verify,
            "request.report": self.write_report,
            "request.open_report": self.open_report,
            "request.answer": self.record_answer,
            "request.resume": lambda: self._step(road.resume),
        }

    @property
    def _page(self) -> CasePage:
        page = self._case.page
        assert page is not None, "the action is greyed while no request is shown"
        return page

    def _step(self, step: Callable[[Any, str], None]) -> None:
        number = self._page.line.number
        self._desk.do(lambda: step(self._desk.office, number))

    def _open(self, dialog: QDialog) -> None:
        dialog.accepted.connect(self._desk.changed)
        dialog.open()

    def settle_identity(self) -> None:
        office, number = self._desk.office, self._page.line.number

        def save(sure: bool) -> None:
            (road.settle_identity if sure else road.ask_for_proof)(office, number)

        is_asked = self._page.line.status.value == "identity_pending"
        self._open(IdentityDialog(self._window, is_asked=is_asked, save=save))

    def decide(self) -> None:
        office, number = self._desk.office, self._page.line.number
        known = tuple(ground.split(":", 1)[0] for ground in self._page.grounds)
        self._open(
            DecisionDialog(
                self._window,
                known,
                lambda grounds: road.grant_request(office, number, grounds),
                lambda basis, reason, exceptions: road.refuse_request(office, number, basis, reason, exceptions),
            )
        )

    def record_answer(self) -> None:
        office, number = self._desk.office, self._page.line.number
        self._open(AnswerDialog(self._window, lambda: road.record_answer(office, number)))

    def locate(self) -> None:
        """Search the case's model; ask how hard, and in which where there are several and none was searched yet."""
        page = self._page
        assert page.model is not None, "the action is greyed while no model is registered"
        number = page.line.number
        open_choice = page.models if len(page.models) > 1 and not page.attacks else (page.model,)
        LocateDialog(
            self._window,
            open_choice,
            tuple(SUITES.values()),
            lambda model: engine_cards(self._desk.office, model),
            lambda model, suite, engine: self._locate(number, model, suite, engine),
        ).open()

    def _locate(self, number: str, model: str, suite: str, engine: EngineName | None) -> None:
        office = self._desk.office
        self._desk.run(
            lambda: cases.locate(office, number, model, suite_name=suite, engine=engine), number, self._located
        )

    def _located(self, result: cases.LocateResult) -> None:
        if result.found:
            self._window.notice.tell(f"The model “{result.model}” holds data of this person.", Tone.WARN)
        elif result.unanswered:
            self._window.notice.tell(
                f"No attack found data of this person in “{result.model}”, but some of its answers were cut off while "
                "it was thinking: it is not decided.",
                Tone.WARN,
            )
        else:
            self._window.notice.tell(f"No attack found data of this person in “{result.model}”.", Tone.GOOD)

    def erase(self) -> None:
        page, office = self._page, self._desk.office
        number, model = page.line.number, page.model
        assert model is not None, "the action is greyed while no model was searched"
        snapshot = any(line.name == model and line.snapshot for line in models(office))

        def start(method: str, reason: str) -> None:
            self._desk.run(
                lambda: cases.erase(office, number, model, method, approval_reason=reason),
                number,
                lambda result: self._erased(number, result),
            )

        EraseDialog(self._window, model, method_cards(snapshot), cases.ONE_PERSON, start).open()

    def _erased(self, number: str, result: cases.EraseResult) -> None:
        is_due = exporting.export_outlook(self._desk.office, number).is_due
        then = "Write it as a file, then verify it" if is_due else "Verify it"
        self._window.notice.tell(f"A new model was written: “{result.artefact}”. {then} before it is used.", Tone.GOOD)

    def export(self) -> None:
        """Write the newest erased folder as the file that goes into service."""
        office, number, outlook = self._desk.office, self._page.line.number, self._case.outlook
        source, base = outlook.source, outlook.base
        assert source is not None and base is not None, "the action is greyed while there is nothing to write"

        def start(form: ExportForm, kind: str | None) -> None:
            settings = {} if kind is None else {"higher_type": kind}
            self._desk.run(
                lambda: exporting.export_model(office, source, form, base=base, settings=settings),
                number,
                self._exported,
            )

        ExportDialog(self._window, source, file_words(office, base), why_no_adapter(outlook), start).open()

    def _exported(self, result: exporting.ExportResult) -> None:
        words = export_words(result)
        self._window.notice.tell(words.sentence, words.tone, details=words.details)

    def verify(self) -> None:
        page, office = self._page, self._desk.office
        number, artefact = page.line.number, page.artefact
        assert artefact is not None, "the action is greyed while there is no erased model"
        self._desk.run(lambda: cases.attack(office, number, artefact), number, self._verified)

    def _verified(self, outcome: cases.AttackOutcome) -> None:
        self._case.tabs.setCurrentIndex(1)
        tone = Tone.GOOD if outcome.verdict.word.value == "removed" else Tone.WARN
        self._window.notice.tell(f"Verdict: {outcome.verdict.word.value}. {outcome.verdict.reasons[0]}", tone)

    # -- reports ------------------------------------------------------------------------------

    def write_report(self) -> None:
        office, number = self._desk.office, self._page.line.number
        path = _free_path(office.places.reports, number)

        def work() -> Path:
            from console.casework.reporting import make_report  # brings in the PDF libraries, seconds after the start

            make_report(office, number, path)
            return path

        self._desk.do_after_paint("Writing the report…", work, self._report_written)

    def _report_written(self, path: Path) -> None:
        self._report_to_open = path
        self._window.notice.tell(f"The report was signed and written: {path.name}.", Tone.GOOD, action="Open it again")
        self._show_file(path)

    def show_last_report(self) -> None:
        """Open the report that was written last."""
        if self._report_to_open is not None:
            self._show_file(self._report_to_open)

    def open_report(self) -> None:
        _id, path = self._page.reports[-1]
        self._show_file(Path(path))

    def _show_file(self, path: Path) -> None:
        if not path.is_file():
            self._window.notice.tell(f"The report is no longer where it was written: {path}.", Tone.BAD)
        elif not self.open_file(path):
            self._window.notice.tell(
                f"No program on this computer opens PDF files; the report is at {path}.", Tone.WARN
            )


def _free_path(folder: Path, number: str) -> Path:
    """Where the next report of a case goes; an earlier one is never written over."""
    path, count = folder / f"{number}.pdf", 1
    while path.exists():
        count += 1
        path = folder / f"{number}-{count}.pdf"
    return path
