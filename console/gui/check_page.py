"""Check a report that somebody hands in: a headline, and a light for each question with its sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout

from console.domain.visible import visible
from console.gui.action_button import ActionButton
from console.gui.actions import ActionRegistry
from console.gui.flow_box import FlowBox
from console.gui.pieces import Card, Disclosure, IconMark, Page, Text
from console.gui.theme import GRID
from console.gui.tones import Mark, Tone

_LIGHTS = {
    "integrity": ("Integrity", "Is the file exactly what was signed?"),
    "signer": ("Signer", "Who signed it, and do we know the key?"),
    "time": ("Time", "When was it signed?"),
    "content": ("Content", "Does anything in the file act by itself?"),
    "fields": ("Fields", "Has everybody signed who should?"),
    "evidence": ("Evidence", "Do the pages say what was measured?"),
    "ledger": ("Ledger", "Is it the report that this office recorded, and the newest?"),
}
_MARKS = {
    "ok": Mark("done", Tone.GOOD),
    "warning": Mark("soon", Tone.WARN),
    "failed": Mark("failed", Tone.BAD),
    "not judged": Mark("open-circle", Tone.QUIET),
}
_WORDS = {"ok": "in order", "warning": "with a reservation", "failed": "not in order", "not judged": "not judged"}


class Light(Protocol):
    """What is read of a report's light."""

    @property
    def state(self) -> str: ...

    @property
    def sentence(self) -> str: ...


class Headline(Protocol):
    """What is read of a headline."""

    @property
    def sentence(self) -> str: ...

    @property
    def accepted(self) -> bool: ...


class Verification(Protocol):
    """What is read of :func:`console.casework.checking.judge`'s answer."""

    sha256: str
    size: int
    evidence: Any

    @property
    def headline(self) -> Headline: ...

    @property
    def lights(self) -> Mapping[Any, Light]: ...


class _Marked(Card):
    """An icon and a bold word that wraps, with a sentence below."""

    def __init__(self, word: str, sentence: str, *, scale: float = 1.0) -> None:
        super().__init__()
        self._mark = IconMark("open-circle", Tone.QUIET, scale=1.8)
        self.word = Text(word, bold=True, scale=scale)
        self.sentence = Text(sentence, tone=Tone.QUIET)
        line = QHBoxLayout()
        line.setSpacing(GRID)
        line.addWidget(self._mark, 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(self.word, 1)
        self.column.addLayout(line)
        self.column.addWidget(self.sentence)

    def show_mark(self, mark: Mark, word: str, sentence: str) -> None:
        self._mark.show_mark(mark.icon, mark.tone)
        self.word.setText(word)
        self.word.set_tone(mark.tone)
        self.sentence.say(visible(sentence))
        self.sentence.set_tone(Tone.PLAIN)


class LightCard(_Marked):
    """One light: icon, word, sentence."""

    def __init__(self, title: str, question: str) -> None:
        super().__init__(title, question)
        self._title, self._question = title, question

    def clear(self) -> None:
        """Ask the question again, unanswered."""
        self.show_mark(Mark("open-circle", Tone.PLAIN), self._title, self._question)
        self.show()

    def show_light(self, light: Light) -> None:
        state = str(light.state)
        self.show_mark(_MARKS[state], f"{self._title}: {_WORDS[state]}", light.sentence)


class CheckPage(Page):
    """Where a PDF is dropped or chosen, and what was found."""

    def __init__(self, actions: ActionRegistry) -> None:
        super().__init__("Check a report")
        self.column.addWidget(Text("Check a report", scale=1.6, bold=True))
        self.column.addWidget(
            Text("Drop a PDF anywhere on this window, or choose one. Nothing leaves this computer.", tone=Tone.QUIET)
        )
        self.column.addWidget(FlowBox(ActionButton(actions, "report.check", primary=True)))
        self.file = Text(bold=True)
        self.headline = _Marked("", "", scale=1.2)
        self.column.addWidget(self.file)
        self.column.addWidget(self.headline)
        self.lights = {name: LightCard(title, question) for name, (title, question) in _LIGHTS.items()}
        for card in self.lights.values():
            self.column.addWidget(card)
        self._technical = Text(tone=Tone.QUIET, scale=0.9)
        self.details = Disclosure("Details", self._technical)
        self.column.addWidget(self.details)
        self.column.addStretch(1)
        for widget in (self.file, self.headline, self.details):
            widget.hide()

    def show_begin(self, path: Path) -> None:
        """Name the file that is checked now; nothing that was found in another one stays."""
        self.file.say(visible(path.name))
        self.headline.hide()
        self.details.hide()
        for card in self.lights.values():
            card.clear()

    def show_result(self, path: Path, found: Verification) -> None:
        """Show what was found in a file."""
        self.file.say(visible(path.name))
        headline = found.headline
        lights = {str(name): light for name, light in found.lights.items()}
        green = all(str(light.state) == "ok" for light in lights.values())
        state = "failed" if not headline.accepted else "ok" if green else "warning"
        self.headline.show_mark(_MARKS[state], headline.sentence, _subject(found.evidence))
        self.headline.show()
        for name, card in self.lights.items():
            card.setVisible(name in lights)
            if name in lights:
                card.show_light(lights[name])
        halves = (found.sha256[:32], found.sha256[32:])
        self._technical.setText(f"SHA-256 {' '.join(halves)}\n{found.size} bytes")
        self.details.show()


def _subject(evidence: Any) -> str:
    """The case and the verdict that the file states; empty where none could be read."""
    if evidence is None:
        return ""
    from console.casework.checking import subject_words  # loaded when needed: the window opens fast

    return subject_words(evidence)
