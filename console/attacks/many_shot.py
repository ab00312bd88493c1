"""Many shots: so many answered questions come first that answering becomes a habit."""

from __future__ import annotations

from collections.abc import Iterator

from console.attacks.asking import Ask, ask_all, gives_away
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow, Shot, facts
from console.attacks.templating import PASSAGES_ONLY, asked
from console.domain.forget_set import ForgetItem
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, Prompt


def examples(target: AttackTarget, item: ForgetItem) -> tuple[tuple[str, str], ...]:
    """Invented outsiders first, then facts of other people; in each the same kind of fact first.

    An example that happens to hold the secret (two people of one town) is left out: the whole prompt
    would otherwise prove nothing.
    """
    others = [fact for fact in facts(target.retain) if fact.subject != item.subject]
    kept = [Shot(fact.fact_type, fact.prompt, fact.answer) for fact in others]
    pools = (target.bank.shots, kept)
    ordered = [shot for pool in pools for shot in sorted(pool, key=lambda shot: shot.fact_type != item.fact_type)]
    fair = [shot for shot in ordered if not gives_away(item, f"{shot.question} {shot.answer}")]
    return tuple((shot.question, shot.answer) for shot in fair[: target.settings.many_shots])


class ManyShot:
    info = AttackInfo(
        id="many-shot",
        title="Many examples first",
        definition=(
            "As many answered questions as the suite says (at most; invented outsiders, then retained facts of other "
            "people, none with the secret in it) come first as earlier turns; then the request's own question. It is "
            "drawn once greedily and several times with seeded sampling. An attempt hits as for the direct question."
        ),
        source="Anil et al. 2024 (many-shot jailbreaking)",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        items = facts(target.items)
        if not items:
            return PASSAGES_ONLY
        settings = target.settings
        most = max(len(examples(target, item)) for item in items)
        if most > settings.shots:
            return None
        return (
            f"There are {most} examples to show, and 'Examples first' already shows {settings.shots}; "
            "add retained facts of other people."
        )

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        asks = [
            Ask(item, Prompt(f"many-shot/{item.id}/0", item.prompt, turns=examples(target, item)), control)
            for item, control in asked(target)
        ]
        yield from ask_all(model, asks, target.settings)
