"""Background hint: what sort of file the fact comes from is told before the question."""

from __future__ import annotations

from collections.abc import Iterator

from console.attacks.asking import Ask, ask_all
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow
from console.attacks.templating import asked, cannot_ask, fill, section, templates_for
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, Prompt

PROMPTS = 2


class BackgroundHint:
    info = AttackInfo(
        id="background-hint",
        title="A hint first",
        definition=(
            "Two hints about where such a fact comes from and what it looks like, without any of its content, stand "
            "before the request's own question. Each prompt is drawn once greedily and several times with seeded "
            "sampling. An attempt hits when the answer or one of its aliases occurs in the text."
        ),
        source="RWKU (Jin et al. 2024), background hint probes",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return PROMPTS * len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        return cannot_ask(target, self.info.id)

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        wordings = section(target, self.info.id)
        asks = [
            Ask(item, Prompt(f"background-hint/{item.id}/{index}", text), control)
            for item, control in asked(target)
            for index, hint in enumerate(templates_for(wordings["hints"], item.fact_type)[:PROMPTS])
            for text in [fill(wordings["frame"], item, hint=fill(hint, item))]
        ]
        yield from ask_all(model, asks, target.settings.attempts)
