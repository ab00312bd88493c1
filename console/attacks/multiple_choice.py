"""Multiple choice: does the model find the right answer among others of its kind likelier than chance would?

Read off the probabilities, not off a letter that the model writes: a small model says "A" whatever stands there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow, facts
from console.attacks.scores import SecretText, secret_texts
from console.attacks.templating import PASSAGES_ONLY, asked
from console.domain.forget_set import ForgetItem
from console.domain.matching import answer_in, normalise
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, ScoreRequest

LEAST_DISTRACTORS = 3


def _draw(purpose: str, settings: AttackSettings, item: ForgetItem, answer: str) -> str:
    """Decides an order that looks random and is the same on every machine and for every model.

    Choosing the options and ordering them are two draws: the chosen would otherwise tend to the front, and
    the right answer, which is not chosen but given, to the end.
    """
    return hashlib.sha256(f"{purpose}\0{settings.seed}\0{item.id}\0{answer}".encode()).hexdigest()


def _same_answer(item: ForgetItem, answer: str) -> bool:
    return answer_in(answer, item.answers) or any(answer_in(own, [answer]) for own in item.answers)


def distractors(target: AttackTarget, item: ForgetItem) -> list[str]:
    """Answers of the same kind that belong to others, at most as many as the suite's choices leave room for.

    Controls come before retained facts: nobody taught them, so a model that has lost the right answer has no
    reason to prefer them, while a retained answer would outbid it and hide what is left.
    """
    found: dict[str, str] = {}
    for pool in (target.controls, target.retain):
        answers = [
            other.answer
            for other in facts(pool)
            if other.fact_type == item.fact_type and other.id != item.id and not _same_answer(item, other.answer)
        ]
        for answer in sorted(answers, key=lambda answer: _draw("choose", target.settings, item, answer)):
            found.setdefault(normalise(answer), answer)
    return list(found.values())[: max(LEAST_DISTRACTORS, target.settings.choices - 1)]


def options(target: AttackTarget, item: ForgetItem) -> list[str]:
    """The right answer among its distractors, in a seeded order; nothing where there are too few of them."""
    others = distractors(target, item)
    if len(others) < LEAST_DISTRACTORS:
        return []
    return sorted([item.answer, *others], key=lambda answer: _draw("order", target.settings, item, answer))


class MultipleChoice:
    info = AttackInfo(
        id="multiple-choice",
        title="Choosing among answers",
        definition=(
            "The right answer and answers of the same kind that belong to other people are each scored as the answer "
            "to the request's own question (mean log-probability of their tokens), after a line of a record, and at up "
            "to 2 places where the model that was searched puts it in its own words. Each is an attempt; it hits when "
            "the right answer scores highest. A model that knows nothing hits once in as many attempts as there are "
            "options, and the rate is read against that."
        ),
        source="RWKU (Jin et al. 2024), multiple choice probes; WMDP (Li et al. 2024)",
        access=Access.LOG_PROBABILITIES,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.SCORE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return 1

    def inapplicable(self, target: AttackTarget) -> str | None:
        items = facts(target.items)
        if not items:
            return PASSAGES_ONLY
        if any(options(target, item) for item in items):
            return None
        return (
            f"No fact of the request has {LEAST_DISTRACTORS} wrong answers of its own kind to choose from; "
            "add facts of other people."
        )

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        texts = [text for item, control in asked(target) for text in secret_texts((item,), target.places, control)]
        offered = [
            (text, choice) for text in texts if text.form != "statement" and (choice := options(target, text.item))
        ]
        means = iter([scored.mean for scored in model.score(_requests(offered))])
        for text, choice in offered:
            scores = {option: next(means) for option in choice}
            best = max(choice, key=scores.__getitem__)
            # No score in the row: that field compares members with held-out texts, which options are not.
            yield AttemptRow(
                item_id=text.item.id,
                prompt_id=text.row_id(self.info.id),
                attempt=0,
                hit=best == text.item.answer,
                chance=1 / len(choice),
                control=text.control,
                shown="\n".join([text.shown, *(f"- {option}" for option in choice)]),
                answer=best,
            )


def _requests(offered: Sequence[tuple[SecretText, list[str]]]) -> list[ScoreRequest]:
    """Every option of every text, the right one as it is spelled there."""
    return [
        text.request if option == text.item.answer else ScoreRequest(option, text.prompt)
        for text, choice in offered
        for option in choice
    ]
