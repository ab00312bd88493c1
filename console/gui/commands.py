"""What each action does: asks the person, asks the desk, says what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QDialog, QFileDialog, QInputDialog, QWidget

from console.casework import cases
from console.casework.models import add_model
from console.casework.views import models, selectable_models
from console.gui import road
from console.gui.actions import Situation
from console.gui.case_dialogs import AnswerDialog, DecisionDialog, EraseDialog, IdentityDialog
from console.gui.case_page import CaseView
from console.gui.check_page import CheckPage
from console.gui.desk import Desk
from console.gui.inbox_page import InboxPage
from console.gui.model_dialog import ModelDialog, NewModel
from console.gui.models_page import ModelsPage
from console.gui.presenter import ledger_state, method_cards
from console.gui.progress import JobView
from console.gui.request_dialog import RequestDialog
from console.gui.tones import Tone
from console.gui.welcome_page import WelcomePage

if TYPE_CHECKING:
    from console.casework.views import CasePage
    from console.gui.window import MainWindow


def open_with_desktop(path: Path) -> bool:
    """Open a file with the program that the desk uses for it."""
    return QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))


class Commands(QObject):
    """The pages of an open office, and the actions on them."""

    def __init__(self, window: MainWindow, desk: Desk) -> None:
        super().__init__(window)
        self._window, self._desk = window, desk
        self.open_file: Callable[[Path], bool] = open_with_desktop
        office = desk.office
        self.inbox = InboxPage(office, window.registry)
        self.case = CaseView(office, window.registry)
        self.models = ModelsPage(office, window.registry)
        self.check = CheckPage(window.registry)
        self.welcome = WelcomePage(window.registry)
        for page in (self.inbox, self.case, self.models, self.check, self.welcome):
            window.stack.addWidget(page)
        self._report_to_open: Path | None = None
        self._stale: set[QWidget] = set()
        self._table: dict[str, Callable[[], None]] = {
            "request.new": self.new_request,
            "model.add": self.add_model,
            "office.sample": self.load_sample,
            "office.name": self.name_organisation,
            "report.check": self.choose_report,
            "request.identity": self.settle_identity,
            "request.decide": self.decide,
            "request.locate": self.locate,
            "request.erase": self.erase,
            "request.verify": self.verify,
            "request.report": self.write_report,
            "request.open_report": self.open_report,
            "request.answer": self.record_answer,
            "request.resume": lambda: self._step(road.resume),
            "request.again": lambda: self._step(road.plan_again),
            "job.cancel": desk.cancel,
            "view.requests": self.show_requests,
            "view.models": lambda: self._show(self.models, "view.models"),
            "view.check": lambda: self._show(self.check, "view.check"),
            "view.back": self.show_requests,
            "view.find": self.find,
        }
        self._connect()

    def _connect(self) -> None:
        desk, window = self._desk, self._window
        desk.changed.connect(self.reload)
        desk.failed.connect(lambda sentence, details: window.notice.tell(sentence, Tone.BAD, details=details))
        desk.stopped.connect(lambda sentence: window.notice.tell(sentence, Tone.INFO))
        desk.job_changed.connect(self._show_job)
        desk.busy.connect(window.show_busy)
        window.job_strip.cancelled.connect(desk.cancel)
        self.case.job.cancelled.connect(desk.cancel)
        self.inbox.opened.connect(self.show_case)
        self.inbox.counted.connect(self._count)
        window.notice.acted.connect(self._act_on_notice)

    def run(self, id: str) -> None:
        """Do what an action stands for."""
        self._table[id]()

    # -- showing ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Show the first page of the office."""
        self.reload()
        self.show_requests()

    def reload(self) -> None:
        """Read what is shown again now, and the other pages when they are shown."""
        self._stale = {self.inbox, self.models, self.case}
        current = self._window.stack.currentWidget()
        self._freshen(self.inbox if current is self.welcome else current)
        state = ledger_state(self._desk.office)
        words = "entry" if state.entries == 1 else "entries"
        if state.trouble:
            self._window.show_ledger("The ledger does not continue as it should", Tone.BAD)
            self._window.notice.tell(state.trouble, Tone.BAD)
        else:
            self._window.show_ledger(f"Ledger open · {state.entries:,} {words}", Tone.QUIET)
        self._refresh()
        if current is self.welcome and not self._is_empty():
            self.show_requests()

    def _freshen(self, page: QWidget) -> None:
        """Read a page again if something was recorded since it last was."""
        if page in self._stale:
            self._stale.discard(page)
            page.reload()

    def _show(self, page: QWidget, entry: str) -> None:
        """Show a page that is not about one request."""
        self.case.leave()
        self._freshen(page)
        self._window.show_page(page, entry)
        self._refresh()

    def show_requests(self) -> None:
        """The inbox, or the welcome of an empty office."""
        self._freshen(self.inbox)
        self._show(self.welcome if self._is_empty() else self.inbox, "view.requests")

    def show_case(self, number: str) -> None:
        """The page of one request."""
        self._stale.discard(self.case)
        self.case.show_case(number)
        self._window.show_page(self.case, "view.requests")
        self._show_job(self._desk.job)
        self._refresh()

    def find(self) -> None:
        self.show_requests()
        self.inbox.focus_search()

    def _is_empty(self) -> bool:
        return self.inbox.model.rowCount() == 0

    def _refresh(self) -> None:
        job, page = self._desk.job, self.case.page
        office = self._desk.office
        self._window.show_situation(
            Situation(
                is_open=True,
                job=job.title if job is not None else "",
                page=page,
                next_action=self.case.next.action if page is not None else "",
                has_sample=office.sample_subjects is not None and bool(models(office)) and not self._is_empty(),
            )
        )

    def _show_job(self, view: JobView | None) -> None:
        self._window.show_job(view)
        self.case.show_job(view)
        self.welcome.show_job(view)
        if (view.title if view is not None else "") != self._window.registry.situation.job:
            self._refresh()

    def _count(self, opened: int, pressing: int) -> None:
        words = f"{opened} open" + (f", {pressing} due soon" if pressing else "")
        self._window.side_bar.show_badge("view.requests", opened, words)

    # -- the office ---------------------------------------------------------------------------

    def new_request(self) -> None:
        numbers: list[str] = []
        dialog = RequestDialog(self._window, self._desk.office, numbers.append)
        dialog.accepted.connect(lambda: self._registered(numbers[-1]))
        dialog.open()

    def _registered(self, number: str) -> None:
        self._desk.changed.emit()
        self.show_case(number)
        self._window.say(f"Request {number} was registered.")

    def add_model(self) -> None:
        office = self._desk.office
        dialog = ModelDialog(self._window, office, selectable_models(office), self._add_model)
        dialog.open()

    def _add_model(self, new: NewModel) -> None:
        office = self._desk.office
        self._desk.run(
            lambda: add_model(office, new.path, new.name, new.snapshot, new.knowledge),
            new.name,
            lambda _state: self._window.notice.tell(f"The model “{new.name}” was added.", Tone.GOOD),
        )

    def load_sample(self) -> None:
        from console.casework import sample  # brings in the importer of the sample model, which nobody else needs

        self._desk.run(
            lambda: sample.plant(self._desk.office),
            "Sample office",
            lambda _value: self._window.notice.tell(
                "The sample office is loaded: its people are invented, and the model was taught about them here.",
                Tone.GOOD,
            ),
        )

    def name_organisation(self) -> None:
        office = self._desk.office
        dialog = QInputDialog(self._window)
        dialog.setWindowTitle("Name of the organisation")
        dialog.setLabelText("This name stands on every report.")
        dialog.setTextValue(office.organisation)
        dialog.textValueSelected.connect(self._name)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _name(self, name: str) -> None:
        if self._desk.do(lambda: self._desk.office.name_organisation(name)):
            self._window.show_organisation(self._desk.office.organisation)

    # -- the case -----------------------------------------------------------------------------

    @property
    def _page(self) -> CasePage:
        page = self.case.page
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
        page, office = self._page, self._desk.office
        model = self._choose_model(page)
        if model is not None:
            number = page.line.number
            self._desk.run(lambda: cases.locate(office, number, model), number, self._located)

    def _choose_model(self, page: CasePage) -> str | None:
        """The case's model; asks where there are several and none was searched yet."""
        if len(page.models) < 2 or page.attacks:
            return page.model
        name, chosen = QInputDialog.getItem(
            self._window, "Locate the data", "In which model?", list(page.models), 0, False
        )
        return name if chosen else None

    def _located(self, result: cases.LocateResult) -> None:
        if result.found:
            self._window.notice.tell(f"The model “{result.model}” holds data of this person.", Tone.WARN)
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
                lambda result: self._window.notice.tell(
                    f"A new model was written: “{result.artefact}”. Verify it before it is used.", Tone.GOOD
                ),
            )

        EraseDialog(self._window, model, method_cards(snapshot), cases.ONE_PERSON, start).open()

    def verify(self) -> None:
        page, office = self._page, self._desk.office
        number, artefact = page.line.number, page.artefact
        assert artefact is not None, "the action is greyed while there is no erased model"
        self._desk.run(lambda: cases.attack(office, number, artefact), number, self._verified)

    def _verified(self, outcome: cases.AttackOutcome) -> None:
        self.case.tabs.setCurrentIndex(1)
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

    def _act_on_notice(self) -> None:
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

    def choose_report(self) -> None:
        dialog = QFileDialog(self._window, "Check a report", str(self._desk.office.places.reports), "Reports (*.pdf)")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(lambda name: self.check_report(Path(name)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def check_report(self, path: Path) -> None:
        """Verify a report and show its three lights."""
        office = self._desk.office

        def work() -> Any:
            from console.casework.reporting import check_report  # as above

            return check_report(path, office)

        def done(found: Any) -> None:
            self.check.show_result(path, found)
            self._show(self.check, "view.check")

        self._desk.do_after_paint("Checking the report…", work, done)


def _free_path(folder: Path, number: str) -> Path:
    """Where the next report of a case goes; an earlier one is never written over."""
    path, count = folder / f"{number}.pdf", 1
    while path.exists():
        count += 1
        path = folder / f"{number}-{count}.pdf"
    return path
