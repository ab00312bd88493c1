"""What a file of facts would give: how many rows can be used, and for each other row its line and what to do."""

from __future__ import annotations

from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from console.domain.importers import RowError
from console.gui.forget_file import FactsPreview
from console.gui.pieces import IconMark, Text, clear
from console.gui.theme import GRID, PADDING
from console.gui.tones import Tone

_ERRORS_SHOWN = 12


class FactsPane(QWidget):
    """The verdict on a file, and the rows that were left out."""

    def __init__(self) -> None:
        super().__init__()
        self.preview: FactsPreview | None = None
        self._mark = IconMark()
        self.sentence = Text()
        self._notes = Text(tone=Tone.QUIET)
        self._errors = QGridLayout()
        self._errors.setHorizontalSpacing(PADDING)
        self._errors.setVerticalSpacing(GRID // 2)
        self._errors.setColumnStretch(1, 1)
        line = QHBoxLayout()
        line.setSpacing(GRID // 2)
        line.addWidget(self._mark)
        line.addWidget(self.sentence, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(line)
        column.addLayout(self._errors)
        column.addWidget(self._notes)
        self._show("info", Tone.QUIET, "No file has been chosen.")

    def show_preview(self, preview: FactsPreview) -> None:
        self.preview = preview
        sentence = f"{preview.name}: {preview.sentence}"
        if preview.errors:
            self._show("soon", Tone.WARN, sentence, preview.errors, preview.notes)
        else:
            self._show("done", Tone.GOOD, sentence, notes=preview.notes)

    def show_refusal(self, sentence: str) -> None:
        """The file as a whole cannot be used."""
        self.preview = None
        self._show("failed", Tone.BAD, sentence)

    def _show(
        self,
        mark: str,
        tone: Tone,
        sentence: str,
        errors: tuple[RowError, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        self._mark.show_mark(mark, tone)
        self.sentence.setText(sentence)
        self.sentence.set_tone(tone)
        clear(self._errors)
        for row, error in enumerate(errors[:_ERRORS_SHOWN]):
            where = Text(f"Line {error.line}, {error.field}", tone=Tone.QUIET)
            where.setWordWrap(False)
            self._errors.addWidget(where, row, 0)
            self._errors.addWidget(Text(error.message), row, 1)
        more = len(errors) - _ERRORS_SHOWN
        rest = (f"{more} more lines cannot be used.",) if more > 0 else ()
        self._notes.say("\n".join((*rest, *notes)))
