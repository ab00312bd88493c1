"""The models that the office knows, and what each is for."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

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

    Signals:
        scan_wanted: the name of an erased model that is to be compared with the one it came from.
    """

    scan_wanted = Signal(str)

    def __init__(self, line: ModelLine, role: str, base: str = "") -> None:
        super().__init__()
        self.scan: QPushButton | None = None
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
        if line.artefact_of:
            self.scan = QPushButton("Look for hidden changes")
            self.scan.setAccessibleName(f"Look for hidden changes in {line.name}")
            self.scan.clicked.connect(lambda: self.scan_wanted.emit(line.name))
            self.column.addWidget(self.scan, 0, Qt.AlignmentFlag.AlignLeft)
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
    """A card for each model.

    Signals:
        scan_wanted: the name of an erased model that is to be compared with the one it came from.
    """

    scan_wanted = Signal(str)

    def __init__(self, office: Office, actions: ActionRegistry) -> None:
        super().__init__("Models")
        self._office, self._actions = office, actions
        self.cards: dict[str, ModelCard] = {}
        actions.refreshed.connect(self._refresh_scans)
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
        self.cards = {}
        self._empty.setVisible(not lines)
        for line in lines:
            base = model_state(self._office, line.name).get("base") or ""
            card = self.cards[line.name] = ModelCard(line, model_role(line, lines), base)
            card.scan_wanted.connect(self.scan_wanted)
            self._cards.addWidget(card)
        self._refresh_scans()

    def _refresh_scans(self) -> None:
        """One job runs at a time; the reason is that of every other action that starts one."""
        reason = self._actions.why_not("model.add")
        for card in self.cards.values():
            if card.scan is not None:
                card.scan.setEnabled(not reason)
                card.scan.setToolTip(reason)
