"""The models that the office knows, and what each is for."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from console.casework.models import model_state
from console.casework.office import Office
from console.casework.views import ModelLine, models
from console.gui.action_button import ActionButton
from console.gui.actions import ActionRegistry
from console.gui.flow_box import FlowBox
from console.gui.pieces import Card, Chip, Disclosure, IconMark, Page, Text, clear
from console.gui.presenter import artefact_words, breakable, format_words, model_role, size_words
from console.gui.theme import GRID
from console.gui.tones import Tone


class ModelCard(Card):
    """One model: its name and part in the office first, the technical lines behind a disclosure.

    Args:
        base: for an adapter, the model that it is loaded together with.
    """

    def __init__(self, line: ModelLine, role: str, base: str = "") -> None:
        super().__init__()
        head = QHBoxLayout()
        head.setSpacing(GRID)
        head.addWidget(IconMark("model", scale=1.2))
        head.addWidget(Text(line.name, bold=True, scale=1.1), 1)
        if line.artefact_of:
            self.verdict = Chip(*artefact_words(line))
            head.addWidget(self.verdict)
        self.column.addLayout(head)
        taught = f" · its training record has {line.taught} facts" if line.taught else ""
        form = format_words(line.format) + (f" over “{base}”" if base else "")
        self.column.addWidget(Text(f"{role} · {form} · {size_words(line.parameters)} parameters{taught}"))
        snapshot = line.snapshot or "none: nothing can be compared with a model that never knew the data"
        technical = "\n".join(
            (
                f"{line.architecture}, {form}, {line.quantisation}",
                f"SHA-256 over all files: {line.tree_hash}",
                f"version from before the training: {snapshot}",
            )
        )
        self.column.addWidget(Disclosure("Details", Text(breakable(technical), tone=Tone.QUIET, scale=0.9)))


class ModelsPage(Page):
    """A card for each model."""

    def __init__(self, office: Office, actions: ActionRegistry) -> None:
        super().__init__("Models")
        self._office = office
        head = QHBoxLayout()
        head.addWidget(Text("Models", scale=1.6, bold=True), 1)
        self.column.addLayout(head)
        self.column.addWidget(
            FlowBox(ActionButton(actions, "model.add", primary=True), ActionButton(actions, "office.sample"))
        )
        self._empty = Text(
            "No model is registered yet. Add the folder of a model that your organisation uses, "
            "or load the sample office.",
            tone=Tone.QUIET,
        )
        self.column.addWidget(self._empty)
        holder = QWidget()
        self._cards = QVBoxLayout(holder)
        self._cards.setContentsMargins(0, 0, 0, 0)
        self._cards.setSpacing(GRID)
        self.column.addWidget(holder)
        self.column.addStretch(1)

    def reload(self) -> None:
        lines = models(self._office)
        clear(self._cards)
        self._empty.setVisible(not lines)
        for line in lines:
            base = model_state(self._office, line.name).get("base") or ""
            self._cards.addWidget(ModelCard(line, model_role(line, lines), base))
