"""The page of one request: where it is, what to do now, and everything that is known."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QTabBar, QWidget

from console.casework.exporting import ExportOutlook, export_outlook
from console.casework.office import Office
from console.casework.requests import request_state
from console.casework.views import CasePage, case_page
from console.gui.action_button import ActionButton, GatedButton
from console.gui.actions import ActionRegistry
from console.gui.flow_box import FlowBox
from console.gui.job_card import JobCard
from console.gui.pieces import Card, Chip, DisclosureButton, IconMark, Page, Text, primary_button
from console.gui.presenter import due_mark, due_words, standing, status_mark
from console.gui.progress import JobView
from console.gui.proof_tab import ProofTab
from console.gui.request_tab import RequestTab
from console.gui.road import NextStep, next_step, road
from console.gui.stepper import Stepper
from console.gui.story_tab import StoryTab
from console.gui.theme import GRID
from console.gui.tones import Tone

_TABS = ("Story", "Proof", "Request")
GATED = ("request.locate", "request.erase", "request.export", "request.verify", "request.report")
FURTHER = ("request.compare", "request.scan")


class CaseHeader(Card):
    """Number, masked person, state, due date with its reason, and the one next step."""

    def __init__(self, actions: ActionRegistry) -> None:
        super().__init__()
        self._actions = actions
        self.number = Text(scale=1.5, bold=True)
        self.person = Text(scale=1.5, tone=Tone.QUIET)
        for text in (self.number, self.person):
            text.setWordWrap(False)
            text.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.status = Chip()
        head = FlowBox(self.number, self.person, self.status, spacing=2 * GRID)
        self._due_mark = IconMark()
        self.due = Text()
        self.due.setWordWrap(False)
        self._why = Text(tone=Tone.QUIET)
        self.why = DisclosureButton("Why this date?", self._why)
        due = FlowBox(self._due_mark, self.due, self.why)
        self._summary = Text()
        self.primary = primary_button()
        self.primary.clicked.connect(lambda: actions.action(self._next.action).trigger())
        self._now = Text()
        self._next = NextStep("", "", "", "")
        step_line = QHBoxLayout()
        step_line.setSpacing(2 * GRID)
        step_line.addWidget(self.primary, 0, Qt.AlignmentFlag.AlignTop)
        step_line.addWidget(self._now, 1)
        self.column.addWidget(head)
        self.column.addWidget(self._summary)
        self.column.addWidget(due)
        self.column.addWidget(self._why)
        self.column.addLayout(step_line)
        actions.refreshed.connect(self._refresh_primary)

    def show_page(self, page: CasePage, following: NextStep) -> None:
        line = page.line
        self.number.setText(line.number)
        self.person.setText(line.person)
        mark, due = status_mark(line), due_mark(line.urgency)
        self.status.show_state(standing(line), mark.icon, mark.tone)
        self._due_mark.show_mark(due.icon, due.tone)
        self.due.setText(due_words(line))
        self.due.set_tone(due.tone)
        self.due.setToolTip(page.deadline.rule)
        self._why.setText("\n".join((page.deadline.rule, *(f"•  {step}" for step in page.deadline.steps))))
        self._summary.say(line.summary)
        self._next = following
        self.primary.setText(self._next.title)
        self.primary.setAccessibleName(self._next.title.removesuffix("…"))
        self.primary.setVisible(bool(self._next.action))
        self._refresh_primary()

    def _refresh_primary(self) -> None:
        reason = self._actions.why_not(self._next.action) if self._next.action else ""
        self.primary.setEnabled(not reason)
        self.primary.setToolTip(reason)
        self._now.setText(reason or self._next.sentence)


class CaseView(Page):
    """Header, road, job, the buttons, and the tabs.

    Attributes:
        outlook: what the erased model of the shown case can become.
        runs: how many erased models the shown case has.
    """

    def __init__(self, office: Office, actions: ActionRegistry) -> None:
        super().__init__("Request")
        self._office = office
        self.page: CasePage | None = None
        self.next = NextStep("", "", "", "")
        self.outlook = ExportOutlook()
        self.runs = 0
        back = ActionButton(actions, "view.back")
        back.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.header = CaseHeader(actions)
        self.stepper = Stepper()
        self.job = JobCard()
        self.column.addWidget(back)
        self.column.addWidget(self.header)
        self.column.addWidget(self.stepper)
        self.column.addWidget(self.job)
        self.column.addWidget(self._gates(actions))
        self.story, self.proof, self.request = StoryTab(office), ProofTab(), RequestTab(office)
        self.tabs = QTabBar()
        self.tabs.setAccessibleName("Parts of the case")
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        for title in _TABS:
            self.tabs.addTab(title)
        self.tabs.currentChanged.connect(self._show_tab)
        self.column.addWidget(self.tabs)
        self._parts = (self.story, self.proof, self.request)
        for part in self._parts:
            self.column.addWidget(part)
        self.column.addStretch(1)
        self._show_tab(0)

    def show_case(self, number: str) -> None:
        """Show a request from its top."""
        if self.page is None or self.page.line.number != number:
            self.verticalScrollBar().setValue(0)
            self.header.why.setChecked(False)
        self._load(number)

    def reload(self) -> None:
        """Read the case again, where one is shown."""
        if self.page is not None:
            self._load(self.page.line.number)

    def leave(self) -> None:
        self.page = None

    def first_stop(self) -> QWidget:
        """The next step, or the parts of the case where nothing is left to do."""
        primary = self.header.primary
        return primary if primary.isVisibleTo(self) and primary.isEnabled() else self.tabs

    def show_job(self, view: JobView | None) -> None:
        """Show the running job, if it works on this case."""
        own = view is not None and self.page is not None and view.about == self.page.line.number
        self.job.show_job(view if own else None)

    def _load(self, number: str) -> None:
        page = case_page(self._office, number)
        self.outlook = export_outlook(self._office, number)
        self.page, self.next = page, next_step(page, needs_file=self.outlook.is_due)
        self.header.show_page(page, self.next)
        # Most offices run no GGUF files; the button comes with a folder that could become one.
        self.gates["request.export"].setVisible(self.outlook.source is not None)
        state = request_state(self._office, number)
        self.runs = len(state["runs"])
        self.gates["request.compare"].setVisible(self.runs > 1)
        self.gates["request.scan"].setVisible(self.runs > 0)
        self.stepper.show_road(road(page, state))
        self._parts[self.tabs.currentIndex()].show_page(page)

    def _gates(self, actions: ActionRegistry) -> QWidget:
        self.gates = {id: GatedButton(actions, id) for id in (*GATED, *FURTHER)}
        return FlowBox(*self.gates.values(), fill=True)

    def _show_tab(self, shown: int) -> None:
        if self.page is not None:
            self._parts[shown].show_page(self.page)
        for index, part in enumerate(self._parts):
            part.setVisible(index == shown)
