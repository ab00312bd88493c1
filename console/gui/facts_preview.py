"""What a file of facts would give: how many rows can be used, and for each other row its line and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QGridLayout, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from console.casework.facts_files import save_empty_form
from console.domain.forget_set import ForgetItem
from console.domain.importers import SUFFIXES, RowError
from console.domain.visible import quoted, visible
from console.errors import ConsoleError, InputError
from console.gui.flow_box import FlowBox
from console.gui.forget_file import FactsPreview, read_facts
from console.gui.pieces import Card, IconMark, Text, clear
from console.gui.reading import Reading, encoding_choice
from console.gui.theme import GRID, PADDING
from console.gui.tones import Tone
from console.out_file import OutFile
from console.paths import Places

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

    def show_reading(self, name: str) -> None:
        """Nothing is known of the file yet, and nothing of an earlier one may stay."""
        self.preview = None
        self._show("clock", Tone.QUIET, f"{name} is being read…")

    def show_preview(self, preview: FactsPreview) -> None:
        self.preview = preview
        result = preview.result
        sentence = f"{preview.name}: {preview.sentence}"
        notes = (f"Read as {result.reading}.", *result.notes)
        lines = [(_where(error), error.message) for error in result.errors]
        lines += [(f"{_where(warning)}, kept", warning.message) for warning in result.warnings]
        mark, tone = ("soon", Tone.WARN) if lines else ("done", Tone.GOOD)
        self._show(mark, tone, sentence, lines, notes)

    def show_refusal(self, sentence: str) -> None:
        """The file as a whole cannot be used."""
        self.preview = None
        self._show("failed", Tone.BAD, sentence)

    def _show(
        self,
        mark: str,
        tone: Tone,
        sentence: str,
        lines: Sequence[tuple[str, str]] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        self._mark.show_mark(mark, tone)
        self.sentence.setText(sentence)
        self.sentence.set_tone(tone)
        clear(self._errors)
        for row, (place, message) in enumerate(lines[:_ERRORS_SHOWN]):
            where = Text(place, tone=Tone.QUIET)
            where.setWordWrap(False)
            self._errors.addWidget(where, row, 0)
            self._errors.addWidget(Text(message), row, 1)
        more = len(lines) - _ERRORS_SHOWN
        rest = (f"{more} more lines like these.",) if more > 0 else ()
        self._notes.say("\n".join((*rest, *notes)))


def _where(row: RowError) -> str:
    return f"{row.where.capitalize()}, {visible(row.field)}"


class FactsCard(Card):
    """The file of facts of a new request: chosen, read beside the window, and shown before anything is recorded.

    Args:
        refuse: shows a sentence where saving the empty form went wrong; an empty one takes it away.
        places: of the office, whose own files are never written over.
    """

    def __init__(self, refuse: Callable[[str], None], places: Places) -> None:
        super().__init__("Facts to look for")
        self._places = places
        self._refuse = refuse
        self._path: Path | None = None
        self.column.addWidget(
            Text("A CSV or JSON-lines file with one fact a row: subject, prompt, answer.", tone=Tone.QUIET)
        )
        self.subject = QLineEdit()
        self.subject.setPlaceholderText("the person, for rows that name nobody (optional)")
        self.subject.setAccessibleName("The person, for rows that name nobody")
        self.subject.editingFinished.connect(self._read_for_subject)
        self._subject_read = ""
        self.choose = QPushButton("Choose a file…")
        self.choose.setAccessibleName("Choose a file of facts")
        self.choose.clicked.connect(self._choose)
        form = QPushButton("Save an empty form…")
        form.setAccessibleName("Save an empty form for a spreadsheet")
        form.clicked.connect(self._save_form)
        for button in (self.choose, form):
            button.setAutoDefault(False)
        self.encoding = encoding_choice("How the letters of the file of facts are stored")
        self.encoding.currentIndexChanged.connect(self._read)
        self.pane = FactsPane()
        self.reading = Reading(self)
        self.reading.done.connect(self.pane.show_preview)
        self.reading.failed.connect(self.pane.show_refusal)
        for part in (self.subject, FlowBox(self.choose, form, self.encoding), self.pane):
            self.column.addWidget(part)

    @property
    def path(self) -> Path | None:
        """The file that was chosen."""
        return self._path

    @property
    def preview(self) -> FactsPreview | None:
        """What the file gives; None where none can be used, or while it is read."""
        return self.pane.preview

    def take_file(self, path: Path) -> None:
        """Look at a file and show what it would give."""
        self._path = path
        self._read()

    def items(self) -> tuple[ForgetItem, ...]:
        """The facts of the file that is shown.

        Raises:
            InputError: none was chosen, or it cannot be used, or it is still being read.
        """
        if self._path is None:
            raise InputError("Choose a file of facts: without one there is nothing to look for.")
        if self.subject.text().strip() != self._subject_read:
            self._read()
        self.reading.require_done(quoted(self._path.name))
        if self.pane.preview is None:
            raise InputError("Choose a file of facts: this one cannot be used, for the reason beside it.")
        return self.pane.preview.items

    def _read_for_subject(self) -> None:
        if self.subject.text().strip() != self._subject_read:
            self._read()

    def _read(self) -> None:
        if self._path is None:
            return
        self._refuse("")  # what was refused was another file, or this one read otherwise
        path, subject, encoding = self._path, self.subject.text().strip(), self.encoding.currentData()
        self._subject_read = subject
        self.pane.show_reading(quoted(path.name))
        self.reading.start(lambda: read_facts(path, subject, encoding))

    def _choose(self) -> None:
        pattern = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        name, _ = QFileDialog.getOpenFileName(self, "Choose a file of facts", "", f"Facts ({pattern})")
        if name:
            self.take_file(Path(name))

    def _save_form(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save an empty form", "facts.csv", "CSV (*.csv)")
        if not name:
            return
        try:
            save_empty_form(OutFile.named(Path(name), self._places, replace=True))  # the system's dialog has asked
        except ConsoleError as error:
            self._refuse(str(error))
