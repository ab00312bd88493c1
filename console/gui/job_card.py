"""A running job: in the status bar in one line, and on the page of its case with steps and curves."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import QApplication, QHBoxLayout, QProgressBar, QPushButton, QSizePolicy, QWidget

from console.gui.live_curve import LiveCurves
from console.gui.pieces import Card, Disclosure, Line, Text
from console.gui.progress import JobView
from console.gui.theme import GRID, icon
from console.gui.tones import Tone

STOPPED_MEANS = "If it is stopped, no model is changed; a search keeps the attacks that it has finished."


def _show_bar(bar: QProgressBar, view: JobView) -> None:
    """A bar that moves to and fro while nobody can tell how far the job is."""
    if view.percent is None:
        bar.setRange(0, 0)
    else:
        bar.setRange(0, 100)
        bar.setValue(view.percent)
    bar.setAccessibleDescription(view.words)


def _cancel_button() -> QPushButton:
    button = QPushButton("Stop")
    button.setAccessibleName("Stop the running job")
    button.setToolTip(f"Stop the running job (Ctrl+.). {STOPPED_MEANS}")
    return button


class JobStrip(QWidget):
    """The running job in the status bar."""

    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._words = Line()
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress of the running job")
        self.bar.setFixedWidth(140)
        self.bar.setTextVisible(False)
        self.cancel = _cancel_button()
        self.cancel.clicked.connect(self.cancelled)
        self._retint()
        line = QHBoxLayout(self)
        line.setContentsMargins(2 * GRID, 0, 0, 0)
        line.setSpacing(GRID)
        line.addWidget(self._words, 1)
        line.addWidget(self.bar)
        line.addWidget(self.cancel)
        self.hide()

    @property
    def words(self) -> str:
        return self._words.text()

    def show_job(self, view: JobView | None) -> None:
        self.setVisible(view is not None)
        if view is None:
            return
        self._words.setText(view.words)
        _show_bar(self.bar, view)
        self.cancel.setEnabled(not view.stopping)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._retint()

    def _retint(self) -> None:
        self.cancel.setIcon(icon("stop", QApplication.palette()))


class JobCard(Card):
    """The running job on the page of its case."""

    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.title = Text(bold=True)
        self.step = Text(tone=Tone.QUIET)
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress of the job on this case")
        self.bar.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.cancel = _cancel_button()
        self.cancel.clicked.connect(self.cancelled)
        self._curves = LiveCurves()
        self.details = Disclosure("Details: live measures", self._curves)
        line = QHBoxLayout()
        line.setSpacing(GRID)
        line.addWidget(self.bar, 1)
        line.addWidget(self.cancel)
        self.column.addWidget(self.title)
        self.column.addLayout(line)
        self.column.addWidget(self.step)
        self.column.addWidget(self.details)
        self.hide()

    def show_job(self, view: JobView | None) -> None:
        self.setVisible(view is not None)
        if view is None:
            return
        self.title.setText("Stopping…" if view.stopping else view.title)
        parts = (view.label, f"running for {view.elapsed}", view.remaining)
        self.step.setText(" · ".join(part for part in parts if part))
        _show_bar(self.bar, view)
        self.cancel.setEnabled(not view.stopping)
        self.details.setVisible(bool(view.curves))
        self._curves.show_curves(view.curves)
