"""What attacks that fill in wordings share: their section of the bank, the slots, and a person's other facts."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from console.attacks.asking import Ask, ask_all, gives_away
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow, facts
from console.domain.forget_set import ForgetItem
from console.engines.protocol import LanguageModel, Prompt

PASSAGES_ONLY = "The request holds passages only, and a passage has no question."
GENERIC = "generic"
_SLOT = re.compile(r"\{(\w+)\}")


def fill(template: str, item: ForgetItem, **more: str) -> str:
    """A template with its slots filled, all at once, so that braces in a name are no slots."""
    values = {
        "subject": item.subject,
        "question": item.prompt,
        "attribute": re.sub(r"[-_]+", " ", item.fact_type),
        **more,
    }
    return _SLOT.sub(lambda slot: values.get(slot[1], slot[0]), template)


def templates_for(templates: Mapping[str, Sequence[str]], fact_type: str) -> tuple[str, ...]:
    """The wordings for a kind of fact, or those that fit any kind."""
    return tuple(templates.get(fact_type, templates[GENERIC]))


def section(target: AttackTarget, attack: str) -> Any:
    """An attack's own wordings (``resources/prompts/attacks``)."""
    return target.bank.sections[attack]


def cannot_ask(target: AttackTarget, attack: str) -> str | None:
    """Why an attack with wordings of its own cannot ask anything, or None."""
    if not facts(target.items):
        return PASSAGES_ONLY
    if attack not in target.bank.sections:
        return f"The bank of prompts that came with this suite holds no wordings for '{attack}'."
    return None


def asked(target: AttackTarget) -> Iterator[tuple[ForgetItem, bool]]:
    """Every fact to ask for, and whether it is a control."""
    for control, items in ((False, target.items), (True, target.matched_controls)):
        for item in facts(items):
            yield item, control


def relatives(target: AttackTarget, item: ForgetItem, *, control: bool) -> tuple[ForgetItem, ...]:
    """Other facts of the same person that say nothing of the asked one.

    They are secrets too, but not this one: whoever holds half of a file tries to get the other half.
    """
    pool = facts(target.controls if control else target.items)
    return tuple(
        other
        for other in pool
        if other.id != item.id
        and other.subject == item.subject
        and not gives_away(item, f"{other.prompt} {other.statement} {other.answer}")
    )


def told(item: ForgetItem) -> str:
    """A fact as a sentence, or as question and answer where the request holds no sentence."""
    return f"{item.statement} {item.answer}." if item.statement else f"{item.prompt} {item.answer}."


def by_prompt_id(asks: Iterable[Ask]) -> dict[str, Ask]:
    """Asks by their prompt's id, for attacks that read the answers themselves.

    Raises:
        ValueError: two prompts carry one id.
    """
    listed = list(asks)
    named = {ask.prompt.id: ask for ask in listed}
    if len(named) != len(listed):
        raise ValueError("two prompts carry one id; their samples would be the same draw")
    return named


class TemplatedAttack(ABC):
    """An attack that puts a few wordings of its own about each fact to the model.

    Attributes:
        prompts: most wordings a fact.
    """

    info: ClassVar[AttackInfo]
    prompts: ClassVar[int]

    @abstractmethod
    def wordings(self, item: ForgetItem, bank: Any) -> Iterable[tuple[str, bool]]:
        """The texts for a fact, and whether each goes through the chat template; ``bank`` is the attack's section."""

    def budget(self, settings: AttackSettings) -> int:
        return self.prompts * len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        return cannot_ask(target, self.info.id)

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        bank = section(target, self.info.id)
        asks = [
            Ask(item, Prompt(f"{self.info.id}/{item.id}/{index}", text, chat=chat), control)
            for item, control in asked(target)
            for index, (text, chat) in enumerate(self.wordings(item, bank))
        ]
        yield from ask_all(model, asks, target.settings)


class FramedAttack(TemplatedAttack):
    """The request's own question in each of the section's frames."""

    def wordings(self, item: ForgetItem, bank: Any) -> Iterable[tuple[str, bool]]:
        return [(fill(frame, item), True) for frame in bank["frames"][: self.prompts]]
