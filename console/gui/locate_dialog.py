"""The question that stands before every search: in which model, how hard, and what runs it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QWidget

from console.domain.engine_names import EngineName
from console.domain.suites import SuitePlan
from console.errors import InputError
from console.gui.choices import Option
from console.gui.deployment import EngineCard
from console.gui.form_dialog import FormDialog, narrow_combo
from console.gui.pieces import Card, Text
from console.gui.tones import Tone

_SUITE_TITLES = {
    "quick": "A quick search",
    "brief": "A brief search of every kind",
    "standard": "A thorough search",
    "full": "An exhaustive search",
}


NOT_ENOUGH = "An erasure that it judges can at best be called “suppressed”, never “removed”."


def suite_words(plan: SuitePlan) -> str:
    """What a search is, and what no erasure after it can be called."""
    return plan.summary if plan.may_remove else f"{plan.summary} {NOT_ENOUGH}"


class LocateDialog(FormDialog):
    """In which model the data is looked for, and how; the same attacks judge the erasure later.

    Args:
        suite: the one that is chosen beforehand.
        engines: for a model's name, what may run it; the first is what is taken where nobody chooses.
        reach: for a model and a suite, the best word that an erasure can reach, in a sentence.
    """

    starts_job = True

    def __init__(
        self,
        parent: QWidget | None,
        models: tuple[str, ...],
        suites: tuple[SuitePlan, ...],
        suite: str,
        engines: Callable[[str], tuple[EngineCard, ...]],
        save: Callable[[str, str, EngineName | None], None],
        reach: Callable[[str, str], str] = lambda _model, _suite: "",
    ) -> None:
        super().__init__(
            parent,
            "Locate the data",
            "The attacks that search now are the ones that judge the erased model later.",
            "Locate",
            self._start,
        )
        self._done, self._cards, self._reach = save, engines, reach
        self._only = models[0]
        self.model = narrow_combo() if len(models) > 1 else None
        if self.model is not None:
            self.model.addItems(list(models))
            self.field("Model", self.model)
        self.body.addWidget(self._suites(suites, suite))
        self.body.addWidget(self._engines())
        self.body.addStretch(1)
        if self.model is not None:
            self.model.currentTextChanged.connect(self._refresh_engines)
            self.model.currentTextChanged.connect(self._refresh_reach)

    def _suites(self, suites: tuple[SuitePlan, ...], chosen: str) -> Card:
        frame, group = Card("How thoroughly"), QButtonGroup(self)
        self.suites: dict[str, QAbstractButton] = {}
        for plan in suites:
            option = Option(_SUITE_TITLES.get(plan.name, plan.name), suite_words(plan))
            group.addButton(option.button)
            self.suites[plan.name] = option.button
            frame.column.addWidget(option)
        self.suites[chosen].setChecked(True)
        self.reach = Text(tone=Tone.QUIET)
        frame.column.addWidget(self.reach)
        group.buttonToggled.connect(self._refresh_reach)
        self._refresh_reach()
        return frame

    def _refresh_reach(self) -> None:
        self.reach.setText(self._reach(self._chosen_model, self._chosen_suite))

    def _engines(self) -> Card:
        frame, group = Card("What runs the model"), QButtonGroup(self)
        self.engines: dict[EngineName | None, Option] = {}
        for card in self._cards(self._chosen_model):
            option = Option(card.title)
            group.addButton(option.button)
            self.engines[card.engine] = option
            frame.column.addWidget(option)
        self._refresh_engines()
        self._take_first()
        return frame

    @property
    def _chosen_model(self) -> str:
        return self.model.currentText() if self.model is not None else self._only

    @property
    def _chosen_suite(self) -> str:
        return next(name for name, button in self.suites.items() if button.isChecked())

    def _refresh_engines(self) -> None:
        """What can run one model cannot run another; a choice that is gone falls back to the advised one."""
        for card in self._cards(self._chosen_model):
            self.engines[card.engine].say(card.summary, card.missing)
        if not any(option.button.isChecked() and option.button.isEnabled() for option in self.engines.values()):
            self._take_first()

    def _take_first(self) -> None:
        next(iter(self.engines.values())).button.setChecked(True)

    def _start(self) -> None:
        engine, option = next(pair for pair in self.engines.items() if pair[1].button.isChecked())
        if not option.button.isEnabled():
            raise InputError(option.sentence)
        self._done(self._chosen_model, self._chosen_suite, engine)
