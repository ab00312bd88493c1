"""The first screen of an empty office: two ways to begin."""

from __future__ import annotations

from console.gui.action_button import ActionButton
from console.gui.actions import ActionRegistry
from console.gui.flow_box import FlowBox
from console.gui.pieces import Card, IconMark, Page, Text
from console.gui.progress import JobView
from console.gui.theme import GRID
from console.gui.tones import Tone


class WelcomePage(Page):
    """Load the sample office, or register the first request."""

    def __init__(self, actions: ActionRegistry) -> None:
        super().__init__("Welcome")
        self.column.addStretch(1)
        self.column.addWidget(IconMark("app", Tone.INFO, scale=3))
        self.column.addWidget(Text("Welcome", scale=2.0, bold=True))
        self.column.addWidget(
            Text(
                "This console finds a person's data in a language model, erases it, attacks the result, "
                "and writes a signed report that anybody can check.",
                scale=1.15,
            )
        )
        choices = FlowBox(spacing=2 * GRID, fill=True)
        choices.add(
            _Choice(
                actions,
                "office.sample",
                "Look around first",
                "Eight invented requests and a small model that was taught invented facts. Takes a few minutes.",
                primary=True,
            )
        )
        choices.add(
            _Choice(
                actions,
                "request.new",
                "Begin with your own",
                "Register the first request. A model can be added before or after it.",
                primary=False,
            )
        )
        self.column.addWidget(choices)
        self.job = Text(tone=Tone.INFO)
        self.job.hide()
        self.column.addWidget(self.job)
        self.column.addWidget(
            Text(
                "Everything stays on this computer, in an encrypted record whose key file only you can read.",
                tone=Tone.QUIET,
            )
        )
        self.column.addStretch(2)

    def show_job(self, view: JobView | None) -> None:
        """Say what is being prepared, so that the first minutes are not silent."""
        self.job.say(f"{view.words} — {view.label}" if view is not None else "")


class _Choice(Card):
    """A way to begin: title, what happens, the button."""

    def __init__(self, actions: ActionRegistry, id: str, title: str, sentence: str, *, primary: bool) -> None:
        super().__init__(title)
        self.column.addWidget(Text(sentence, tone=Tone.QUIET))
        self.column.addStretch(1)
        self.column.addWidget(FlowBox(ActionButton(actions, id, primary=primary)))
        self.setMinimumWidth(self.fontMetrics().averageCharWidth() * 36)
