"""Paraphrase: the same question in words that neither training nor erasure used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from console.attacks.asking import Ask, ask_all
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow, PromptBank, facts
from console.domain.forget_set import ForgetItem
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, Prompt


def wordings(item: ForgetItem, bank: PromptBank, count: int) -> tuple[str, ...]:
    """What a helper wrote, filled up from the item's own held-out wordings, else the bank's for its kind of fact, else
    its question in other frames."""
    written = bank.written.get(item.id)
    if written is not None and written.paraphrases:
        rest = wordings(item, replace(bank, written={}), count)
        return tuple(dict.fromkeys((*written.paraphrases, *rest)))[:count]
    if item.paraphrases:
        return item.paraphrases[:count]
    templates = bank.paraphrases.get(item.fact_type)
    if templates is None:
        return tuple(wrapper.replace("{question}", item.prompt) for wrapper in bank.wrappers[:count])
    return tuple(template.replace("{subject}", item.subject) for template in templates[:count])


class Paraphrase:
    info = AttackInfo(
        id="paraphrase",
        title="Rephrased questions",
        definition=(
            "Four other wordings of each question that the erasure never saw, each drawn once greedily and several "
            "times with seeded sampling. An attempt hits as for the direct question."
        ),
        source="Patil et al. 2024 (arXiv 2309.17410), input rephrasing attack (there B = 20)",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return settings.paraphrases * len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        return None if facts(target.items) else "The request holds passages only, and a passage has no question."

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        asks = [
            Ask(item, Prompt(f"paraphrase/{item.id}/{index}", wording), control)
            for control, items in ((False, target.items), (True, target.matched_controls))
            for item in facts(items)
            for index, wording in enumerate(wordings(item, target.bank, target.settings.paraphrases))
        ]
        yield from ask_all(model, asks, target.settings)
