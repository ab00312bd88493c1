"""The training record of a new model: chosen, read beside the window, and what it holds said before it is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QLineEdit, QPushButton, QVBoxLayout, QWidget

from console.casework.knowledge import Knowledge
from console.casework.text_files import read_text_file
from console.casework.training_record import read_training_record, save_example
from console.domain.visible import quoted
from console.errors import ConsoleError, InputError
from console.gui.flow_box import FlowBox
from console.gui.pieces import Text
from console.gui.reading import Reading, encoding_choice
from console.gui.theme import GRID
from console.gui.tones import Tone
from console.out_file import OutFile
from console.paths import Places


class RecordField(QWidget):
    """A path, and what is found there.

    Args:
        refuse: shows a sentence where saving the example went wrong.
        places: of the office, whose own files are never written over.
    """

    def __init__(self, refuse: Callable[[str], None], places: Places) -> None:
        super().__init__()
        self._places = places
        self._refuse = refuse
        self._knowledge: Knowledge | None = None
        self.path = QLineEdit()
        self.path.setAccessibleName("Training record")
        self.path.setPlaceholderText("optional JSON file: what the model was trained on, and texts it must keep")
        self.path.textChanged.connect(self._forget)
        self.path.editingFinished.connect(self._read)
        choose = QPushButton("Choose a file…")
        choose.setAccessibleName("Choose a training record")
        choose.clicked.connect(self._choose)
        example = QPushButton("Save an example…")
        example.setAccessibleName("Save an example of a training record")
        example.clicked.connect(self._save_example)
        for button in (choose, example):
            button.setAutoDefault(False)
        self.encoding = encoding_choice("How the letters of the training record are stored")
        self.encoding.currentIndexChanged.connect(self._forget)
        self.encoding.currentIndexChanged.connect(self._read)
        self.sentence = Text(tone=Tone.QUIET)
        self.sentence.say("")
        self.reading = Reading(self)
        self.reading.done.connect(self._take)
        self.reading.failed.connect(self._fail)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GRID)
        for part in (self.path, FlowBox(choose, example, self.encoding), self.sentence):
            column.addWidget(part)

    def knowledge(self) -> Knowledge | None:
        """What the record says; None where none was named.

        Raises:
            InputError: it cannot be used, or is still being read.
        """
        if not self.path.text().strip():
            return None
        self._read()
        self.reading.require_done("The training record")
        if self._knowledge is None:
            raise InputError(self.sentence.text())
        return self._knowledge

    def _forget(self) -> None:
        self.reading.stop()
        self._knowledge = None
        self.sentence.say("")

    def _read(self) -> None:
        text = self.path.text().strip()
        if not text or self._knowledge is not None or self.reading.is_running:
            return
        path, encoding = Path(text), self.encoding.currentData()
        self._say(f"{quoted(path.name)} is being read…", Tone.QUIET)
        self.reading.start(lambda: read_training_record(read_text_file(path, encoding)))

    def _take(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._say(
            f"{len(knowledge.teaching)} facts that were taught, {len(knowledge.controls)} controls, "
            f"{len(knowledge.general) + len(knowledge.held_out)} texts.",
            Tone.GOOD,
        )

    def _fail(self, sentence: str) -> None:
        self._say(sentence, Tone.BAD)

    def _say(self, sentence: str, tone: Tone) -> None:
        self.sentence.say(sentence)
        self.sentence.set_tone(tone)

    def _choose(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Choose a training record", "", "JSON (*.json);;All files (*)")
        if name:
            self.path.setText(name)
            self._read()

    def _save_example(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save an example", "training-record.json", "JSON (*.json)")
        if not name:
            return
        try:
            save_example(OutFile.named(Path(name), self._places, replace=True))  # the system's dialog has asked
        except ConsoleError as error:
            self._refuse(str(error))
