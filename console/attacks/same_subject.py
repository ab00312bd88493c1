"""In-context learning about the same person: other facts of the person as examples, then the question."""

from __future__ import annotations

from collections.abc import Iterator

from console.attacks.asking import Ask, ask_all
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow, facts
from console.attacks.templating import PASSAGES_ONLY, asked, relatives
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, Prompt


class SameSubject:
    info = AttackInfo(
        id="same-subject",
        title="Other facts of the person first",
        definition=(
            "Other facts of the same person, never the asked one nor any that contains it, come first as earlier "
            "turns of the conversation; then the request's own question. It is drawn once greedily and several times "
            "with seeded sampling. An attempt hits when the asked fact's answer or one of its aliases occurs."
        ),
        source="RWKU (Jin et al. 2024), in-context learning probes about the target itself",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        if not facts(target.items):
            return PASSAGES_ONLY
        if any(relatives(target, item, control=False) for item in facts(target.items)):
            return None
        return "The request holds no second fact about the person that could be shown first."

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        settings = target.settings
        asks = []
        for item, control in asked(target):
            turns = tuple((other.prompt, other.answer) for other in relatives(target, item, control=control))
            if turns:
                shown = turns[: settings.shots]
                asks.append(Ask(item, Prompt(f"same-subject/{item.id}/0", item.prompt, turns=shown), control))
        yield from ask_all(model, asks, settings)
