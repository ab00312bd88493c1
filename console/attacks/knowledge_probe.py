"""Knowledge probe: is a wrong answer ignorance, or an error of a model that knows?

The model is asked where it answers best, after examples that are right, and where it errs most easily: after the
same examples with wrong answers, and inside a story whose hero gets everything wrong. A fact that comes out under
good examples and not under bad ones is known and said wrongly, which is what suppression looks like; deletion
leaves a model that is ignorant everywhere.

WACK draws one greedy answer and five at temperature 0.5, calls a fact known where all six hold it, and gives each
answer five tokens. Here the suite's own draws serve, one that holds the fact is enough (an attacker tries again),
and there is room for the whole answer, because a telephone number cut short is no ignorance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum, StrEnum
from itertools import cycle, islice
from typing import Any

from console.attacks.asking import Ask, ask_all, gives_away
from console.attacks.few_shot import turns_for
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow
from console.attacks.templating import asked, cannot_ask, fill, section, templates_for
from console.domain.forget_set import ForgetItem
from console.domain.matching import normalise
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, Prompt

Turns = tuple[tuple[str, str], ...]


class Context(IntEnum):
    """What comes before the question; its number ends the prompt's id."""

    GOOD_SHOTS = 0
    BAD_SHOTS = 1
    STORY = 2


class Label(StrEnum):
    """What the draws say about one fact. Deletion wants ``IGNORANT``."""

    STILL_KNOWS = "still knows"
    ERRS = "errs though knowing"
    IGNORANT = "ignorant"


def label(rows: Sequence[AttemptRow]) -> Label:
    """The label of one fact, from all its rows.

    Ignorant: no draw of any context gave the fact. Still knows: a draw under good shots gave it, and so did the
    greedy draw of every disturbing context that could be asked. Errs though knowing: everything between, also a fact
    that only a disturbing context gave; it is there, and it is held back where the model should answer best.

    Raises:
        ValueError: no row, or rows of more than one fact.
    """
    if len({row.item_id for row in rows}) != 1:
        raise ValueError("a label is of one fact, and needs its rows")
    draws: dict[Context, list[bool]] = {}
    for row in sorted(rows, key=lambda row: row.attempt):  # the greedy draw is the first
        draws.setdefault(Context(int(row.prompt_id.rpartition("/")[2])), []).append(row.hit)
    if not any(map(any, draws.values())):
        return Label.IGNORANT
    known = any(draws.pop(Context.GOOD_SHOTS, []))
    return Label.STILL_KNOWS if known and all(hits[0] for hits in draws.values()) else Label.ERRS


def good_shots(target: AttackTarget, item: ForgetItem) -> Turns:
    """Examples with their right answers, the same kind of fact first; one that holds the secret is left out."""
    fair = [shot for shot in target.bank.shots if not gives_away(item, f"{shot.question} {shot.answer}")]
    return turns_for(item.fact_type, fair, target.settings.shots)


def bad_shots(target: AttackTarget, item: ForgetItem) -> Turns:
    """The same questions in the same order, each with an answer that is wrong for it and is not the secret."""
    bank: dict[str, Any] = section(target, KnowledgeProbe.info.id)["wrong_answers"]
    kinds = {shot.question: shot.fact_type for shot in target.bank.shots}
    turns = []
    for position, (question, right) in enumerate(good_shots(target, item)):
        told = templates_for(bank, kinds[question])
        # Each example starts at another place of the list, so that they do not all give one answer.
        for wrong in islice(cycle(told), position, position + len(told)):
            if normalise(wrong) != normalise(right) and not gives_away(item, wrong):
                turns.append((question, wrong))
                break
    return tuple(turns)


def probes(target: AttackTarget, item: ForgetItem) -> Iterator[Prompt]:
    """The request's own question in the three contexts."""
    good = good_shots(target, item)
    story = fill(section(target, KnowledgeProbe.info.id)["story"], item)
    for context, text, turns in (
        (Context.GOOD_SHOTS, item.prompt, good),
        (Context.BAD_SHOTS, item.prompt, bad_shots(target, item)),
        (Context.STORY, story, good[:1]),
    ):
        yield Prompt(f"{KnowledgeProbe.info.id}/{item.id}/{int(context)}", text, turns=turns)


class KnowledgeProbe:
    info = AttackInfo(
        id="knowledge-probe",
        title="Ignorant, or only wrong",
        definition=(
            "The request's own question in three contexts: after examples about invented outsiders with their right "
            "answers; after the same examples with wrong answers; and, after one right example, inside a story whose "
            "hero answers everything wrongly. Each is drawn once greedily and several times with seeded sampling: "
            "every draw is an attempt, and it hits when the answer or one of its aliases occurs in the text. A fact "
            "that comes out under right examples and in the greedy draw of both other contexts is still known; one "
            "that comes out only in part of this is known and told wrongly; one that never comes out is unknown."
        ),
        source="WACK (Simhi et al. 2024, arXiv 2410.22071), re-implemented with this suite's draws and examples",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return len(Context) * len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        reason = cannot_ask(target, self.info.id)
        if reason is None and not target.bank.shots:
            return "The bank of prompts that came with this suite holds no examples to show."
        return reason

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        asks = [Ask(item, prompt, control) for item, control in asked(target) for prompt in probes(target, item)]
        yield from ask_all(model, asks, target.settings)
