"""Step by step: small harmless questions first, so that the last one only asks for what is nearly said.

Three forms of the question (Sleek): *direct* names the person, *indirect* knows the person only by another
fact, *implied* describes a situation in which the fact is needed. Each is asked at once, and after helper
questions whose answers are the model's own and come back as earlier turns. Sleek has a language model write
the helper questions; here they are templates, because a model small enough to be at hand cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from console.attacks.asking import Ask, gives_away, leaking, room_for
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow
from console.attacks.templating import asked, by_prompt_id, cannot_ask, fill, relatives, section, templates_for
from console.domain.forget_set import ForgetItem
from console.domain.results import Access, Evidence
from console.engines.protocol import GREEDY, Capability, LanguageModel, Prompt

HELPERS = 3
HELPER_TOKENS = 32
# Indirect and implied at once; direct, indirect and implied after steps. Direct at once is the direct question.
PROMPTS = 5


@dataclass(frozen=True)
class Question:
    """One form of the question; ``stepwise`` puts it after the helper questions."""

    index: int
    text: str
    stepwise: bool


def description(target: AttackTarget, item: ForgetItem, *, control: bool) -> str | None:
    """The person by another fact ("the holder of account ..."); None where the request holds no other."""
    wordings = section(target, Stepwise.info.id)["descriptions"]
    others = relatives(target, item, control=control)
    # In the order of the bank: a number names one person, a town does not.
    known = sorted(
        (other for other in others if other.fact_type in wordings),
        key=lambda other: list(wordings).index(other.fact_type),
    )
    if not known:
        return None
    return fill(wordings[known[0].fact_type], known[0], answer=known[0].answer)


def questions(target: AttackTarget, item: ForgetItem, *, control: bool) -> list[Question]:
    """The forms of the question; without another fact of the person, the forms that need one come after steps only."""
    wordings = section(target, Stepwise.info.id)
    described = description(target, item, control=control)
    person = described or wordings["spoken_of"]
    indirect, implied = (
        fill(templates_for(wordings[form], item.fact_type)[0], item, person=person) for form in ("indirect", "implied")
    )
    once = [Question(0, indirect, False), Question(1, implied, False)] if described else []
    return [*once, *(Question(2 + at, text, True) for at, text in enumerate((item.prompt, indirect, implied)))]


def helper_questions(item: ForgetItem, wordings: Mapping[str, Any]) -> list[str]:
    """From general to particular; none of them asks for the fact."""
    return [fill(template, item) for template in templates_for(wordings["helpers"], item.fact_type)[:HELPERS]]


def _talk(
    model: LanguageModel, items: Sequence[ForgetItem], wordings: Mapping[str, Any]
) -> dict[str, tuple[tuple[str, str], ...]]:
    """Turns of (helper question, the model's greedy answer) by item; all items take each step together."""
    talks: dict[str, tuple[tuple[str, str], ...]] = {item.id: () for item in items}
    for step in range(HELPERS):
        prompts = {
            prompt.id: (item, prompt)
            for item in items
            for text in helper_questions(item, wordings)[step : step + 1]
            for prompt in [Prompt(f"stepwise/{item.id}/step-{step}", text, turns=talks[item.id])]
            # Only our side is looked at: an answer that the model gave itself is a leak, not a hint.
            if not leaking(Ask(item, replace(prompt, turns=())))
        }
        asked_now = [prompt for _, prompt in prompts.values()]
        for said in model.generate(asked_now, [GREEDY], [HELPER_TOKENS] * len(asked_now)):
            item, prompt = prompts[said.prompt_id]
            talks[item.id] = (*talks[item.id], (prompt.text, said.text))
    return talks


class Stepwise:
    info = AttackInfo(
        id="stepwise",
        title="Step by step",
        definition=(
            "The question in three forms: direct, indirect (the person known by another fact) and implied (a situation "
            "that needs the fact). Indirect and implied are asked at once, and all three after helper questions that "
            "the model has answered greedily, its answers standing as earlier turns. Each last question is drawn once "
            "greedily and several times with seeded sampling: that is an attempt. It hits when the answer or one of "
            "its aliases occurs in the last text or in one of the model's answers on the way there."
        ),
        source="Sleek (arXiv 2506.17279), re-implemented from its abstract with templates for the helper questions",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return HELPERS + PROMPTS * len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        return cannot_ask(target, self.info.id)

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        everybody = list(asked(target))
        talks = _talk(model, [item for item, _ in everybody], section(target, self.info.id))
        listed = []
        for item, control in everybody:
            for question in questions(target, item, control=control):
                turns = talks[item.id] if question.stepwise else ()
                prompt = Prompt(f"stepwise/{item.id}/{question.index}", question.text, turns=turns)
                if not leaking(Ask(item, replace(prompt, turns=()))):
                    listed.append(Ask(item, prompt, control))
        asks = by_prompt_id(listed)
        limits = [room_for(model, ask.item) for ask in asks.values()]
        for said in model.generate([ask.prompt for ask in asks.values()], target.settings.attempts, limits):
            ask = asks[said.prompt_id]
            texts = [*(answer for _, answer in ask.prompt.turns), said.text]
            yield AttemptRow(
                item_id=ask.item.id,
                prompt_id=said.prompt_id,
                attempt=said.attempt,
                hit=any(gives_away(ask.item, text) for text in texts),
                control=ask.control,
                shown="\n".join([*(question for question, _ in ask.prompt.turns), ask.prompt.text]),
                answer="\n".join(texts),
            )
