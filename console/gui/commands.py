"""What each action does: asks the person, asks the desk, says what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QFileDialog, QWidget

from console.casework import sample
from console.casework.models import add_model
from console.casework.views import selectable_models
from console.domain.visible import visible
from console.gui.actions import Situation
from console.gui.case_commands import CaseCommands
from console.gui.case_page import CaseView
from console.gui.check_page import CheckPage
from console.gui.deployment import why_no_attack, why_no_file
from console.gui.desk import Desk
from console.gui.drafts import Forms
from console.gui.errand import Errand
from console.gui.inbox_page import InboxPage
from console.gui.model_dialog import ModelDialog, NewModel
from console.gui.models_page import ModelsPage
from console.gui.organisation_dialog import OrganisationDialog
from console.gui.presenter import ledger_state
from console.gui.progress import JobView
from console.gui.request_dialog import RequestDialog
from console.gui.tones import Tone
from console.gui.welcome_page import WelcomePage

if TYPE_CHECKING:
    from console.gui.window import MainWindow


_FETCHING = "Fetching the sample model (93 MB, once)"


class Commands(QObject):
    """The pages of an open office, and the actions on them."""

    def __init__(self, window: MainWindow, desk: Desk) -> None:
        super().__init__(window)
        self._window, self._desk = window, desk
        office = desk.office
        self.inbox = InboxPage(office, window.registry)
        self.case = CaseView(office, window.registry)
        self.models = ModelsPage(office, window.registry)
        self.check = CheckPage(window.registry)
        self.welcome = WelcomePage(window.registry)
        for page in (self.inbox, self.case, self.models, self.check, self.welcome):
            window.stack.addWidget(page)
        self.forms = Forms(window)
        self.on_case = CaseCommands(window, desk, self.case, self.forms)
        self._stale: set[QWidget] = set()
        self._fetching: Errand | None = None
        self._table: dict[str, Callable[[], None]] = {
            "request.new": self.new_request,
            "model.add": self.add_model,
            "office.sample": self.load_sample,
            "office.name": self.name_organisation,
            "report.check": self.choose_report,
            **self.on_case.table,
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
        window.notice.acted.connect(lambda: self.on_case.show_again())
        self.models.scan_wanted.connect(self.on_case.scan_model)

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
        self._show_job(self._desk.job)
        self._refresh()
        self._window.show_page(self.case, "view.requests")

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
                has_sample=office.sample_subjects is not None and sample.is_planted(office),
                no_file=why_no_file(self.case.outlook) if page is not None else "",
                no_attack=why_no_attack(self.case.outlook) if page is not None else "",
                runs=self.case.runs if page is not None else 0,
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
        def make() -> RequestDialog:
            numbers: list[str] = []
            dialog = RequestDialog(self._window, self._desk.office, numbers.append)
            dialog.accepted.connect(lambda: self._registered(numbers[-1]))
            return dialog

        self.forms.open("request", make)

    def _registered(self, number: str) -> None:
        self._desk.changed.emit()
        self.show_case(number)
        self._window.say(f"Request {number} was registered.")

    def add_model(self) -> None:
        office = self._desk.office
        self.forms.open("model", lambda: ModelDialog(self._window, office, selectable_models(office), self._add_model))

    def _add_model(self, new: NewModel) -> None:
        office = self._desk.office
        self._desk.run(
            lambda: add_model(office, new.path, new.name, new.snapshot, new.knowledge, new.base),
            new.name,
            lambda _state: self._model_added(new.name),
        )

    def _model_added(self, name: str) -> None:
        self.forms.drop("model")
        self._window.notice.tell(f"The model “{name}” was added.", Tone.GOOD)

    def load_sample(self) -> None:
        """Requests first, so that there is something to see; then fetch the model, then teach it."""
        office = self._desk.office
        if office.sample_subjects is None:
            self._desk.do_after_paint(
                "Loading the sample requests…", lambda: sample.load_requests(office), lambda _numbers: self._fetch()
            )
        else:
            self._fetch()

    def _fetch(self) -> None:
        places = self._desk.office.places
        self._desk.attend(
            Errand(
                "Fetching the sample model (93 MB, once)", lambda: sample.fetch_model(places, None, lambda _s: None)
            ),
            "Sample office",
            self._teach,
        )

    def _teach(self, source: Path) -> None:
        self._desk.run(
            lambda: sample.plant(self._desk.office, source),
            "Sample office",
            lambda _value: self._window.notice.tell(
                "The sample office is loaded: its people are invented, and the model was taught about them here.",
                Tone.GOOD,
            ),
        )

    def name_organisation(self) -> None:
        office = self._desk.office
        self.forms.open("organisation", lambda: OrganisationDialog(self._window, office.organisation, self._name))

    def _name(self, name: str) -> None:
        self._desk.office.name_organisation(name)
        self._window.show_organisation(self._desk.office.organisation)
        self._desk.changed.emit()

    # -- checking a report ----------------------------------------------------------------------

    def choose_report(self) -> None:
        dialog = QFileDialog(self._window, "Check a report", str(self._desk.office.places.reports), "Reports (*.pdf)")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(lambda name: self.check_report(Path(name)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def check_report(self, path: Path) -> None:
        """Verify a report, in a process of its own, and show its lights."""
        from console.casework.checking import judge, start_check  # loaded when needed: the window opens fast

        office = self._desk.office

        def done(found: Any) -> None:
            # Anybody's report may be handed in here, not only one of this office's own.
            if self._desk.do(lambda: self.check.show_result(path, judge(found, office, expected_own=False))):
                self._show(self.check, "view.check")

        self.check.show_begin(path)
        self._desk.do_elsewhere(
            "Checking the report…", lambda: start_check(path, office.clock()), done, about=visible(path.name)
        )
