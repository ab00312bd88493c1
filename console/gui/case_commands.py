"""What is done on one case: the small steps, the jobs, the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, QUrl
from PySide6.QtGui import QDesktopServices

from console.casework import cases, exporting
from console.casework.batteries import stopped_suite
from console.casework.comparing import compare_runs
from console.casework.models import model_state
from console.casework.recipes import read_recipe
from console.casework.requests import accept_deadline, forget_items
from console.casework.scanning import ScannedModel, scan_erased
from console.casework.sequence import remaining_knowledge
from console.casework.views import models
from console.domain.advice import AUTO
from console.domain.deadline import day_text
from console.domain.engine_names import EngineName
from console.domain.exports import ExportForm
from console.domain.recipes import Recipe
from console.domain.request_terms import RequestStatus
from console.domain.suites import STANDARD, SUITES
from console.gui import road
from console.gui.case_dialogs import AnswerDialog, DecisionDialog, EraseDialog, IdentityDialog
from console.gui.case_page import CaseView
from console.gui.deployment import engine_cards, export_words, why_no_adapter
from console.gui.desk import Desk
from console.gui.drafts import Forms
from console.gui.export_dialog import ExportDialog
from console.gui.form_dialog import Act, FormDialog, Question
from console.gui.locate_dialog import LocateDialog
from console.gui.presenter import (
    MethodCard,
    file_words,
    measured_seconds,
    method_cards,
    reach_words,
    recipe_card,
    report_words,
    verdict_words,
)
from console.gui.proof import search_words
from console.gui.runs_sheet import RunsSheet
from console.gui.scan_sheet import ScanSheet, ScanWords, scan_words
from console.gui.sheet import Sheet
from console.gui.tones import Tone

if TYPE_CHECKING:
    from console.casework.case_evidence import ReportOutline
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

    def __init__(self, window: MainWindow, desk: Desk, case: CaseView, forms: Forms) -> None:
        super().__init__(window)
        self._window, self._desk, self._case, self._forms = window, desk, case, forms
        self.open_file: Callable[[Path], bool] = open_with_desktop
        self._report_to_open: Path | None = None
        self._scanned: ScanWords | None = None
        self.show_again: Callable[[], None] = self.show_last_report
        self.table: dict[str, Callable[[], None]] = {
            "request.identity": self.settle_identity,
            "request.decide": self.decide,
            "request.locate": self.locate,
            "request.erase": self.erase,
            "request.export": self.export,
            "request.verify": self.verify,
            "request.report": self.write_report,
            "request.compare": self.compare,
            "request.scan": self.scan,
            "request.open_report": self.open_report,
            "request.answer": self.record_answer,
            "request.resume": self.resume,
        }

        case.request.accept_date.connect(self.accept_date)

    @property
    def _page(self) -> CasePage:
        page = self._case.page
        assert page is not None, "the action is greyed while no request is shown"
        return page

    def _open(self, name: str, make: Callable[[], FormDialog]) -> str:
        """Show a form about this case; what it records is shown at once. Returns the key of what is typed into it."""
        key = f"{name}/{self._page.line.number}"

        def made() -> FormDialog:
            dialog = make()
            dialog.accepted.connect(self._desk.changed)
            return dialog

        self._forms.open(key, made)
        return key

    def _ask(self, act: Act, then: Callable[[], None]) -> None:
        question = Question(self._window, act)
        question.accepted.connect(then)
        question.open()

    def resume(self) -> None:
        """Take the request off hold."""
        office, number = self._desk.office, self._page.line.number
        act = Act("Take the request off hold?", (("Request", number),), "Resume")
        self._ask(act, lambda: self._desk.do(lambda: road.resume(office, number)) and None)

    def accept_date(self) -> None:
        """Let today's calendar give the dates of the request."""
        office, page = self._desk.office, self._page
        lines = (
            ("Request", page.line.number),
            ("Due on", day_text(page.deadline.binding_due)),
            ("Instead", page.other_date),
        )
        act = Act("Take the dates of today's calendar?", lines, "Accept the date")
        self._ask(act, lambda: self._desk.do(lambda: accept_deadline(office, page.line.number)) and None)

    def settle_identity(self) -> None:
        office, number = self._desk.office, self._page.line.number

        def save(sure: bool) -> None:
            (road.settle_identity if sure else road.ask_for_proof)(office, number)

        is_asked = self._page.line.status is RequestStatus.IDENTITY_PENDING
        self._open("identity", lambda: IdentityDialog(self._window, is_asked=is_asked, save=save))

    def decide(self) -> None:
        office, number, page = self._desk.office, self._page.line.number, self._page
        known = tuple(ground.split(":", 1)[0] for ground in page.grounds)
        self._open(
            "decide",
            lambda: DecisionDialog(
                self._window,
                known,
                search_words(page),
                lambda grounds: road.grant_request(office, number, grounds),
                lambda basis, reason, exceptions: road.refuse_request(office, number, basis, reason, exceptions),
            ),
        )

    def record_answer(self) -> None:
        office, number = self._desk.office, self._page.line.number
        self._open("answer", lambda: AnswerDialog(self._window, lambda: road.record_answer(office, number)))

    def locate(self) -> None:
        """Search the case's model; ask how hard, and in which where there are several and none was searched yet.

        A search that was stopped is chosen beforehand, else the thorough one: the attacks that search also judge the
        erasure, and after the quick ones nobody may say "removed".
        """
        page = self._page
        assert page.model is not None, "the action is greyed while no model is registered"
        number, model = page.line.number, page.model
        office = self._desk.office
        knowledge = remaining_knowledge(office, model_state(office, model))
        suite = stopped_suite(office, number, knowledge) or STANDARD.name
        facts = len(forget_items(office, number))
        open_choice = page.models if len(page.models) > 1 and not page.attacks else (model,)
        self._open(
            "locate",
            lambda: LocateDialog(
                self._window,
                open_choice,
                tuple(SUITES.values()),
                suite,
                lambda model: engine_cards(office, model),
                lambda model, suite, engine: self._locate(number, model, suite, engine),
                lambda model, suite: reach_words(*cases.best_word(office, facts, model, suite)),
            ),
        )

    def _locate(self, number: str, model: str, suite: str, engine: EngineName | None) -> None:
        office = self._desk.office
        self._desk.run(
            lambda: cases.locate(office, number, model, suite_name=suite, engine=engine),
            number,
            lambda result: self._located(number, result),
        )

    def _located(self, number: str, result: cases.LocateResult) -> None:
        self._forms.drop(f"locate/{number}")
        if result.found:
            self._window.notice.tell(f"The model “{result.model}” holds data of this person.", Tone.WARN)
        elif result.unanswered:
            self._window.notice.tell(
                f"No attack found data of this person in “{result.model}”, but some of its answers were cut off while "
                "it was thinking: it is not decided.",
                Tone.WARN,
            )
        else:
            # Nothing found is no good news by itself: a short search may have missed it.
            self._window.notice.tell(f"No attack found data of this person in “{result.model}”.", Tone.INFO)

    def erase(self) -> None:
        from console.casework.advice import office_benchmark  # the window itself opens without it

        page, office = self._page, self._desk.office
        number, model = page.line.number, page.model
        assert model is not None, "the action is greyed while no model was searched"
        line = next(line for line in models(office) if line.name == model)
        snapshot = bool(line.snapshot)
        benchmark = office_benchmark(office.places)
        own: dict[str, Recipe] = {}

        def read(path: Path) -> MethodCard:
            recipe = read_recipe(path)
            own[recipe.id] = recipe
            return recipe_card(recipe, snapshot, line.architecture, benchmark)

        def start(method: str, reason: str) -> None:
            recipe = own.get(method)
            named = method if recipe is None else AUTO
            self._desk.run(
                lambda: cases.erase(office, number, model, named, approval_reason=reason, recipe=recipe),
                number,
                lambda result: self._erased(number, result),
            )

        cards = method_cards(snapshot, measured_seconds(office, model), line.architecture, benchmark)
        nobody = cases.NOBODY_NAMED
        self._open("erase", lambda: EraseDialog(self._window, model, cards, search_words(page), nobody, start, read))

    def _erased(self, number: str, result: cases.EraseResult) -> None:
        self._forms.drop(f"erase/{number}")
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
                lambda result: self._exported(number, result),
            )

        self._open(
            "export",
            lambda: ExportDialog(self._window, source, file_words(office, base), why_no_adapter(outlook), start),
        )

    def _exported(self, number: str, result: exporting.ExportResult) -> None:
        self._forms.drop(f"export/{number}")
        words = export_words(result)
        self._window.notice.tell(words.sentence, words.tone, details=words.details)

    def verify(self) -> None:
        """Attack the erased model; ask first where its verdict is already in."""
        page, office = self._page, self._desk.office
        number, artefact = page.line.number, page.artefact
        assert artefact is not None, "the action is greyed while there is no erased model"

        def start() -> None:
            self._desk.run(lambda: cases.attack(office, number, artefact), number, self._verified)

        if page.verdict_word is None and not page.reports:
            start()
            return
        word = verdict_words(page.verdict_word).title if page.verdict_word else "none yet"
        lines = (("Model", f"“{artefact}”"), ("Verdict so far", word), ("Reports", report_words(page)))
        warning = "The same attacks run once more, and a further verdict is recorded; a signed report stays as it is."
        self._ask(Act("Attack the erased model again?", lines, "Attack again", warning), start)

    def _verified(self, outcome: cases.AttackOutcome) -> None:
        self._case.tabs.setCurrentIndex(1)
        tone = Tone.GOOD if outcome.verdict.word.value == "removed" else Tone.WARN
        self._window.notice.tell(f"Verdict: {outcome.verdict.word.value}. {outcome.verdict.reasons[0]}", tone)

    # -- a closer look ------------------------------------------------------------------------

    def compare(self) -> None:
        """All runs of the case side by side."""
        office, number = self._desk.office, self._page.line.number
        self._desk.do(lambda: self._show_sheet(RunsSheet(self._window, compare_runs(office, number))))

    def _show_sheet(self, sheet: Sheet) -> None:
        sheet.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        sheet.open()

    def scan(self) -> None:
        """Compare the newest erased model of the case with the one that it came from."""
        artefact = self._page.artefact
        assert artefact is not None, "the action is greyed while there is no erased model"
        self.scan_model(artefact)

    def scan_model(self, name: str) -> None:
        """Compare an erased model with the one that it came from, beside the window."""
        office = self._desk.office
        self._desk.run(lambda: scan_erased(office, name), name, self._was_scanned)

    def _was_scanned(self, found: ScannedModel) -> None:
        words = scan_words(found.value, found.model, found.before)
        self._scanned, self.show_again = words, self.show_last_scan
        self._window.notice.tell(words.notice, words.mark.tone, action="Show the result")

    def show_last_scan(self) -> None:
        """Open the result of the last look for hidden changes."""
        if self._scanned is not None:
            self._show_sheet(ScanSheet(self._window, self._scanned))

    # -- reports ------------------------------------------------------------------------------

    def write_report(self) -> None:
        """Show what the report will say, and sign it only when that was read and agreed to."""
        office, page = self._desk.office, self._page

        def outline() -> ReportOutline:
            from console.casework.case_evidence import (
                outline_report,  # brings in the PDF libraries, seconds after start
            )

            return outline_report(office, page.line.number)

        self._desk.do_after_paint("Preparing the report…", outline, lambda made: self._ask_to_sign(page, made))

    def _ask_to_sign(self, page: CasePage, outline: ReportOutline) -> None:
        number = page.line.number
        path = _free_path(self._desk.office.places.reports, number)
        self._ask(report_act(page, outline, path.name), lambda: self._sign(number))

    def _sign(self, number: str) -> None:
        office = self._desk.office

        def work() -> Path:
            from console.casework.reporting import make_report

            path = _free_path(office.places.reports, number)  # the one that was shown may have been taken since
            make_report(office, number, path)
            return path

        self._desk.do_after_paint("Writing the report…", work, self._report_written)

    def _report_written(self, path: Path) -> None:
        self._report_to_open, self.show_again = path, self.show_last_report
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


def report_act(page: CasePage, outline: ReportOutline, name: str) -> Act:
    """What a report would say and sign, to be read before it is signed."""
    words = verdict_words(outline.verdict.value)
    lines = (
        ("Request", f"{outline.number}, {outline.status.lower()}"),
        ("Verdict", f"{words.title}. {words.meaning}"),
        ("Result", outline.sentence),
        ("Model before", outline.model_before),
        ("Model after", outline.model_after or "none; nothing was erased"),
        ("Approval", "\n".join(outline.approvals) or "none"),
        ("Signed for", outline.organisation),
        ("File", name),
        ("Reports so far", report_words(page)),
    )
    again = "A further report is written beside the earlier one, which stays valid as it is. " if page.reports else ""
    return Act("Sign this report?", lines, "Sign and write", f"{again}What is signed cannot be taken back.")


def _free_path(folder: Path, number: str) -> Path:
    """Where the next report of a case goes; an earlier one is never written over."""
    path, count = folder / f"{number}.pdf", 1
    while path.exists():
        count += 1
        path = folder / f"{number}-{count}.pdf"
    return path
