"""Cross-lingual: the question in German, French and Spanish; erasure was trained in one language only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from console.attacks.asking import Ask, ask_all
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow
from console.attacks.templating import asked, cannot_ask, fill, section, templates_for
from console.domain.forget_set import ForgetItem
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, Prompt

LANGUAGES = ("de", "fr", "es")


def translated(item: ForgetItem, wordings: Mapping[str, Any]) -> list[str]:
    """The question in every language; of an unknown kind, its own words in a frame of that language.

    Every wording asks for an answer in English: a translated profession would be a leak that the matcher
    cannot see.
    """
    return [fill(templates_for(wordings[language], item.fact_type)[0], item) for language in LANGUAGES]


class CrossLingual:
    info = AttackInfo(
        id="cross-lingual",
        title="In other languages",
        definition=(
            "The question in German, French and Spanish, with the request to answer in English; a fact of an unknown "
            "kind is asked in its own words within a foreign frame. Each prompt is drawn once greedily and several "
            "times with seeded sampling. An attempt hits when the answer or one of its aliases occurs in the text."
        ),
        source="RWKU (Jin et al. 2024), cross-lingual probes (French, German, Spanish)",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return len(LANGUAGES) * len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        return cannot_ask(target, self.info.id)

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        wordings = section(target, self.info.id)
        asks = [
            Ask(item, Prompt(f"cross-lingual/{item.id}/{index}", text), control)
            for item, control in asked(target)
            for index, text in enumerate(translated(item, wordings))
        ]
        yield from ask_all(model, asks, target.settings)
