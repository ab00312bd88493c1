"""What every membership attack shares: the texts, one score for each, and an alarm set by held-out texts.

A text is an item's secret after what comes before it: its question, its statement, or the beginning of
its passage. The texts are the same for every attack, so that the model reads each of them once for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from console.attacks.asking import Ask, leaking
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow
from console.domain.forget_set import ForgetItem, ItemKind
from console.engines.protocol import LanguageModel, Prompt, ScoreRequest

FALSE_ALARMS = 0.05
MINIMUM_HELD_OUT = 10
COMPARISON = (
    "The person's texts are compared with texts of the same form about held-out subjects: area under the curve with "
    "Newcombe's interval. An attempt hits when a text scores above 95 % of the held-out texts."
)


@dataclass(frozen=True)
class SecretText:
    """An item's answer after one of the things that it can follow.

    Attributes:
        form: ``question``, ``statement`` or ``passage``.
    """

    item: ForgetItem
    form: str
    control: bool = False

    @property
    def prompt(self) -> Prompt:
        """Named for the text and not for the attack, so that equal requests are equal whoever makes them."""
        text = self.item.statement if self.form == "statement" else self.item.prompt
        return Prompt(f"score/{self.item.id}/{self.form}", text, chat=self.form == "question")

    @property
    def request(self) -> ScoreRequest:
        return ScoreRequest(self.item.answer, self.prompt)

    def row_id(self, attack: str) -> str:
        """Id of the prompt in an attack's rows."""
        return f"{attack}/{self.item.id}/{self.form}"


def _forms(item: ForgetItem) -> tuple[str, ...]:
    if item.kind is ItemKind.VERBATIM:
        return ("passage",)
    return ("question", "statement") if item.statement else ("question",)


def secret_texts(items: Sequence[ForgetItem], control: bool = False) -> list[SecretText]:
    """Every text of the items that does not give its secret away before it comes."""
    texts = [SecretText(item, form, control) for item in items for form in _forms(item)]
    return [text for text in texts if not leaking(Ask(text.item, text.prompt))]


class ScoreAttack(ABC):
    """A membership attack that gives every text one score; higher means more familiar."""

    info: AttackInfo

    @abstractmethod
    def scores(self, model: LanguageModel, texts: Sequence[SecretText], settings: AttackSettings) -> list[float]:
        """One score a text, in their order."""

    def budget(self, settings: AttackSettings) -> int:
        return 1

    def inapplicable(self, target: AttackTarget) -> str | None:
        held_out = len(secret_texts(target.controls))
        if held_out >= MINIMUM_HELD_OUT:
            return None
        return (
            f"There are {held_out} texts about subjects that the model never saw, and fewer than {MINIMUM_HELD_OUT} "
            "cannot show what unfamiliar looks like; add held-out subjects."
        )

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        texts = [*secret_texts(target.items), *secret_texts(target.controls, control=True)]
        scores = self.scores(model, texts, target.settings)
        held_out = [score for score, text in zip(scores, texts, strict=True) if text.control]
        alarm = float(np.quantile(held_out, 1 - FALSE_ALARMS))
        for score, text in zip(scores, texts, strict=True):
            yield AttemptRow(
                item_id=text.item.id,
                prompt_id=text.row_id(self.info.id),
                attempt=0,
                hit=score > alarm,
                score=score,
                control=text.control,
                shown=text.prompt.text,
            )
