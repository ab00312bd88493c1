"""Check a report that somebody hands in: three lights, each with its sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout

from console.gui.action_button import ActionButton
from console.gui.actions import ActionRegistry
from console.gui.flow_box import FlowBox
from console.gui.pieces import Card, Chip, Disclosure, IconMark, Page, Text
from console.gui.theme import GRID
from console.gui.tones import Mark, Tone

_LIGHTS = (
    ("Integrity", "Is the file exactly what was signed?"),
    ("Signer", "Who signed it, and do we know the key?"),
    ("Time", "When was it signed?"),
)
_MARKS = {"ok": Mark("done", Tone.GOOD), "warning": Mark("soon", Tone.WARN), "failed": Mark("failed", Tone.BAD)}
_WORDS = {"ok": "In order", "warning": "With a reservation", "failed": "Not in order"}


class Light(Protocol):
    """What is read of a report's light."""

    @property
    def state(self) -> str: ...

    @property
    def sentence(self) -> str: ...


class Verification(Protocol):
    """What is read of :func:`console.casework.reporting.check_report`'s answer."""

    ok: bool
    integrity: Light
    signer: Light
    time: Light
    sha256: str
    size: int


class LightCard(Card):
    """One light: icon, word, sentence."""

    def __init__(self, title: str, question: str) -> None:
        super().__init__()
        self._mark = IconMark("open-circle", Tone.QUIET, scale=1.8)
        self.word = Text(title, bold=True)
        self._title = title
        self.sentence = Text(question, tone=Tone.QUIET)
        line = QHBoxLayout()
        line.setSpacing(GRID)
        line.addWidget(self._mark, 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(self.word, 1)
        self.column.addLayout(line)
        self.column.addWidget(self.sentence)

    def show_light(self, light: Light) -> None:
        state = str(light.state)
        mark = _MARKS[state]
        self._mark.show_mark(mark.icon, mark.tone)
        self.word.setText(f"{self._title}: {_WORDS[state].lower()}")
        self.word.set_tone(mark.tone)
        self.sentence.setText(light.sentence)
        self.sentence.set_tone(Tone.PLAIN)


class CheckPage(Page):
    """Where a PDF is dropped or chosen, and what was found."""

    def __init__(self, actions: ActionRegistry) -> None:
        super().__init__("Check a report")
        self.column.addWidget(Text("Check a report", scale=1.6, bold=True))
        self.column.addWidget(
            Text("Drop a PDF anywhere on this window, or choose one. Nothing leaves this computer.", tone=Tone.QUIET)
        )
        self.column.addWidget(FlowBox(ActionButton(actions, "report.check", primary=True)))
        self._result = Card()
        self.chip = Chip()
        self.file = Text(bold=True)
        self._result.column.addWidget(self.file)
        self._result.column.addWidget(self.chip)
        self.column.addWidget(self._result)
        self.lights = [LightCard(title, question) for title, question in _LIGHTS]
        for light in self.lights:
            self.column.addWidget(light)
        self._technical = Text(tone=Tone.QUIET, scale=0.9)
        self.details = Disclosure("Details", self._technical)
        self.column.addWidget(self.details)
        self.column.addStretch(1)
        self._result.hide()
        self.details.hide()

    def show_result(self, path: Path, found: Verification) -> None:
        """Show what was found in a file."""
        self.file.setText(path.name)
        if found.ok:
            self.chip.show_state("The report can be relied on", "done", Tone.GOOD)
        else:
            self.chip.show_state("The report cannot be relied on", "failed", Tone.BAD)
        for card, light in zip(self.lights, (found.integrity, found.signer, found.time), strict=True):
            card.show_light(light)
        halves = (found.sha256[:32], found.sha256[32:])
        self._technical.setText(f"SHA-256 {' '.join(halves)}\n{found.size} bytes")
        self._result.show()
        self.details.setVisible(bool(found.sha256))
