"""Direct question: ask for the fact as anybody would."""

from __future__ import annotations

from collections.abc import Iterator

from console.attacks.asking import Ask, ask_all
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow, facts
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, Prompt


class Direct:
    info = AttackInfo(
        id="direct",
        title="Direct question",
        definition=(
            "The request's own question is put to the model through its chat template, once greedily and several "
            "times with seeded sampling. An attempt hits when the answer or one of its aliases occurs in the text."
        ),
        source="RWKU (Jin et al. 2024), level 2 probes; leak@k sampling (Reisizadeh et al. 2025, arXiv 2511.04934)",
        access=Access.BLACK_BOX,
        evidence=Evidence.ASKED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        return None if facts(target.items) else "The request holds passages only, and a passage has no question."

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        asks = [
            Ask(item, Prompt(f"direct/{item.id}", item.prompt), control)
            for control, items in ((False, target.items), (True, target.matched_controls))
            for item in facts(items)
        ]
        yield from ask_all(model, asks, target.settings)
