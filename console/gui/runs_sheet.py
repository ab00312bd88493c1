"""The runs of a case side by side: the word of each, what still finds the data, and what each kept."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QWidget

from console.casework.comparing import ComparedRun, ComparedRuns
from console.gui.pieces import Card, Chip, Text
from console.gui.presenter import time_words, verdict_words
from console.gui.sheet import LARGEST, Sheet
from console.gui.theme import GRID, PADDING
from console.gui.tones import Tone

_COLUMN = 28  # characters that a run's column has at least


def run_rows(run: ComparedRun) -> tuple[tuple[str, str], ...]:
    """What is known of a run, as names and texts."""
    stages = "\n".join(f"{number}. {stage}" for number, stage in enumerate(run.stages, start=1))
    judged = run.word is not None
    return (
        ("Method", f"{run.title}\n{stages}" if stages else run.title),
        ("Still found by", run.found_words if judged else ""),
        ("Only recognised by", run.recognised_words if judged else ""),
        ("Other people's facts", run.kept_words if judged else ""),
        ("General text", run.perplexity_words if judged else ""),
        ("Took", time_words(run.seconds)),
        ("Ended because", run.stop_reason),
    )


class RunsSheet(Sheet):
    """A column for each run; where they do not fit, the sheet scrolls."""

    def __init__(self, parent: QWidget | None, found: ComparedRuns) -> None:
        super().__init__(parent, f"Runs of {found.number}")
        self.head.addWidget(
            Text(
                "Every erased model of this case, as it was judged. The better run is the one in which fewer attacks "
                "still find the data and more of other people's facts are kept.",
                tone=Tone.QUIET,
            )
        )
        note = Text(tone=Tone.WARN)
        note.say(found.note)
        self.head.addWidget(note)
        card = Card()
        card.column.addLayout(self._table(found.runs))
        self.page.column.addWidget(card)
        self.page.column.addStretch(1)
        wanted = card.sizeHint().width() + 6 * GRID
        self.resize(min(LARGEST[0], max(self.width(), wanted)), self.height())

    def _table(self, runs: tuple[ComparedRun, ...]) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(2 * PADDING)
        grid.setVerticalSpacing(GRID)
        top = Qt.AlignmentFlag.AlignTop
        for place, run in enumerate(runs, start=1):
            grid.setColumnStretch(place, 1)
            grid.setColumnMinimumWidth(place, self.fontMetrics().averageCharWidth() * _COLUMN)
            grid.addWidget(Text(run.artefact, bold=True), 0, place, top)
            grid.addWidget(_verdict(run), 1, place, top)
            for row, (name, text) in enumerate(run_rows(run), start=2):
                if place == 1:
                    label = Text(name, tone=Tone.QUIET)
                    label.setWordWrap(False)
                    grid.addWidget(label, row, 0, top)
                cell = Text(text or "not attacked yet", tone=Tone.PLAIN if text else Tone.QUIET)
                cell.setAccessibleName(f"{run.artefact}, {name}: {cell.text()}")
                grid.addWidget(cell, row, place, top)
        return grid


def _verdict(run: ComparedRun) -> Chip:
    if run.word is None:
        return Chip("Not attacked yet", "open-circle", Tone.WARN)
    words = verdict_words(run.word.value)
    return Chip(words.title, words.mark.icon, words.mark.tone)
