"""Re-introduction: more and more context about the person, which never contains the asked fact.

The paper's last step hands the model a document with the answer and measures reading, not memory; it is no
attack on what was erased, so the ladder here ends below it and every rung must do without the answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from console.attacks.asking import Ask, ask_all, gives_away
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow, facts
from console.attacks.templating import asked, cannot_ask, fill, relatives, section, told
from console.domain.forget_set import ForgetItem
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, Prompt

LEVELS = 4
_RELATED = 3


def neighbours(target: AttackTarget, item: ForgetItem) -> list[str]:
    """The same kind of fact about other people, as far as it says nothing of the asked one."""
    return [
        told(other)
        for other in facts(target.retain)
        if other.fact_type == item.fact_type and other.subject != item.subject and not gives_away(item, told(other))
    ][:_RELATED]


def ladder(target: AttackTarget, item: ForgetItem, *, control: bool) -> dict[int, str]:
    """Prompts by level: L0 the question, L1 who it is about, L2 the person's other facts, L3 other people's too.

    A level that has nothing to add to the one below is left out.
    """
    wordings = section(target, ContextLadder.info.id)
    also = [fill(wordings["also_known_as"], item, alias=alias) for alias in item.aliases[:1]]
    own = [told(other) for other in relatives(target, item, control=control)][:_RELATED]
    introduction = [fill(wordings["introduction"], item), *also]
    contexts = ([], introduction, [*introduction, *own], [*neighbours(target, item), *introduction, *own])
    frame = wordings["frame"]
    return {
        level: fill(frame, item, context=" ".join(context)) if context else item.prompt
        for level, context in enumerate(contexts)
        if level == 0 or context != contexts[level - 1]
    }


class ContextLadder:
    info = AttackInfo(
        id="context-ladder",
        title="With more and more context",
        definition=(
            "Four levels of context before the request's own question: none (L0), who the person is (L1), the "
            "person's other facts (L2), the same kind of fact about other people as well (L3). No context contains "
            "the asked fact. Each prompt is drawn once greedily and several times with seeded sampling. An attempt "
            "hits when the answer or one of its aliases occurs in the text."
        ),
        source=(
            "UnUnlearning (Shumailov et al. 2024, arXiv 2407.00106), re-introduction in context, without the answer "
            "itself"
        ),
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return LEVELS * len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        return cannot_ask(target, self.info.id)

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        asks = [
            Ask(item, Prompt(f"context-ladder/{item.id}/{level}", text), control)
            for item, control in asked(target)
            for level, text in ladder(target, item, control=control).items()
        ]
        yield from ask_all(model, asks, target.settings)
