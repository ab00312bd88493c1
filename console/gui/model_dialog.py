"""Add a model: a file or folder, its name, and what is known of its training."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QWidget

from console.casework.knowledge import Knowledge
from console.casework.models import check_name
from console.casework.office import Office
from console.errors import InputError
from console.gui.form_dialog import FormDialog, narrow_combo
from console.gui.pieces import Disclosure, Text
from console.gui.record_field import RecordField
from console.gui.theme import GRID
from console.gui.tones import Tone

_NO_SNAPSHOT = "not known"
_NO_ADAPTER = "as the files say"


@dataclass(frozen=True)
class NewModel:
    """What the dialog gives."""

    path: Path
    name: str
    snapshot: str | None
    knowledge: Knowledge | None
    base: str | None = None


class ModelDialog(FormDialog):
    """Checks what was typed; reading the files is a job that starts afterwards."""

    starts_job = True

    def __init__(
        self, parent: QWidget | None, office: Office, known: tuple[str, ...], save: Callable[[NewModel], None]
    ) -> None:
        super().__init__(
            parent,
            "Add a model",
            "The files stay where they are; their contents are read once and known by their hash from then on.",
            "Add the model",
            self._add,
        )
        self._office, self._done = office, save
        self.path = QLineEdit()
        self.path.setPlaceholderText("a model folder, one .gguf file, or an adapter's folder")
        self.name = QLineEdit()
        self.snapshot = narrow_combo()
        self.snapshot.addItems([_NO_SNAPSHOT, *known])
        self.field("Folder or file", self.path)
        self._add_choosers()
        self.field("Name", self.name)
        self.field("The model before it learned the data", self.snapshot)
        self.base = narrow_combo()
        self.base.addItems([_NO_ADAPTER, *known])
        self.field("For an adapter: the model it belongs to", self.base)
        self.record = RecordField(self.show_error, office.places)
        self.body.addWidget(Disclosure("Details: training record", self.record))
        self.body.addWidget(
            Text(
                "Without the version from before, the strongest result that can be said is “suppressed”.",
                tone=Tone.QUIET,
            )
        )
        self.body.addStretch(1)

    def _add_choosers(self) -> None:
        """The two ways to choose; a native dialog offers either files or folders."""
        row = QWidget()
        line = QHBoxLayout(row)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(GRID)
        for text, choose in (("Choose a folder…", self._folder), ("Choose a file…", self._file)):
            button = QPushButton(text)
            button.setAccessibleName(text.removesuffix("…"))
            button.setAutoDefault(False)
            button.clicked.connect(choose)
            line.addWidget(button)
        line.addStretch(1)
        self.form.addRow("", row)

    def take_path(self, path: Path) -> None:
        """Fill in a path, and a name made of it where none was typed."""
        self.path.setText(str(path))
        if not self.name.text().strip():
            self.name.setText(re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem if path.is_file() else path.name).strip("-._"))

    def _folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose a model folder")
        if name:
            self.take_path(Path(name))

    def _file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Choose a model file", "", "Models (*.gguf);;All files (*)")
        if name:
            self.take_path(Path(name))

    def _add(self) -> None:
        text = self.path.text().strip()
        if not text or not Path(text).exists():
            raise InputError("Choose the folder or file of the model: there is nothing at this path.")
        name = self.name.text().strip()
        check_name(self._office, name)
        snapshot = self.snapshot.currentText()
        known = self.record.knowledge()
        base = self.base.currentText()
        self._done(
            NewModel(
                Path(text),
                name,
                None if snapshot == _NO_SNAPSHOT else snapshot,
                known,
                None if base == _NO_ADAPTER else base,
            )
        )
