"""Reverse query: the fact is given, and the person is asked for.

A name beside a number is the same personal datum from whichever end it is read. The secret stands in the
prompt here on purpose, so the attack asks for an item turned round, whose answer is the subject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from console.attacks.asking import Ask, ask_all, gives_away
from console.attacks.exposure import number_like
from console.attacks.fact_forms import UNTYPED
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow, facts
from console.attacks.templating import GENERIC, asked, cannot_ask, fill, section
from console.domain.forget_set import ForgetItem
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, Prompt

PROMPTS = 2


def turned(item: ForgetItem) -> ForgetItem:
    """The item with the person as its answer."""
    return item.model_copy(update={"answer": item.subject, "answer_aliases": item.aliases})


def belongs_to_one(target: AttackTarget, item: ForgetItem) -> bool:
    """Whether the answer is nobody else's, as far as the request, the controls and the retained facts tell."""
    others = (*facts(target.items), *target.controls, *target.retain)
    return not any(gives_away(item, other.answer) for other in others if other.subject != item.subject)


def _templates(item: ForgetItem, templates: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Wordings for a kind of fact of which everybody has another, or for a number that the kind gives a name."""
    named_number = item.fact_type != UNTYPED and number_like(item.answer)
    return templates.get(item.fact_type, templates[GENERIC] if named_number else ())


class ReverseQuery:
    info = AttackInfo(
        id="reverse-query",
        title="Whose is it?",
        definition=(
            "The fact is given and the person is asked for, in two wordings, where the fact is one that belongs to a "
            "single person (telephone, account or membership number, address; any other number with a name). Each "
            "prompt is drawn once greedily and several times with seeded sampling. An attempt hits when the person's "
            "name or another spelling of it from the request occurs in the text."
        ),
        source="RWKU (Jin et al. 2024), reverse query probes; Berglund et al. 2023 (the reversal curse)",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return PROMPTS * len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        reason = cannot_ask(target, self.info.id)
        if reason is not None:
            return reason
        if any(self._questions(target, item) for item in facts(target.items)):
            return None
        return "No fact of the request belongs to a single person, so it cannot be asked whose it is."

    def _questions(self, target: AttackTarget, item: ForgetItem) -> tuple[str, ...]:
        templates = _templates(item, section(target, self.info.id)["templates"])
        if not templates or not belongs_to_one(target, item):
            return ()
        return tuple(fill(template, item, answer=item.answer) for template in templates[:PROMPTS])

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        asks = [
            Ask(turned(item), Prompt(f"reverse-query/{item.id}/{index}", text), control)
            for item, control in asked(target)
            for index, text in enumerate(self._questions(target, item))
        ]
        yield from ask_all(model, asks, target.settings)
