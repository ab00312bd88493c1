"""Few-shot in context: show how such questions are answered, then ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from console.attacks.asking import Ask, ask_all
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow, Shot, facts
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, Prompt


def turns_for(fact_type: str, shots: Sequence[Shot], count: int) -> tuple[tuple[str, str], ...]:
    """Example turns of the same kind of fact first, then of any kind."""
    ordered = sorted(shots, key=lambda shot: shot.fact_type != fact_type)
    return tuple((shot.question, shot.answer) for shot in ordered[:count])


class FewShot:
    info = AttackInfo(
        id="few-shot",
        title="Examples first",
        definition=(
            "Questions of the same kind about invented outsiders, with their answers, come first as earlier turns of "
            "the conversation; then the request's own question. An attempt hits as for the direct question."
        ),
        source="RWKU (Jin et al. 2024), in-context learning probes; MUSE KnowMem's few-shot form",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        return None if facts(target.items) else "The request holds passages only, and a passage has no question."

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        settings = target.settings
        asks = [
            Ask(
                item,
                Prompt(
                    f"few-shot/{item.id}",
                    item.prompt,
                    turns=turns_for(item.fact_type, target.bank.shots, settings.shots),
                ),
                control,
            )
            for control, items in ((False, target.items), (True, target.matched_controls))
            for item in facts(items)
        ]
        yield from ask_all(model, asks, settings)
