"""Ask again: fresh draws of an attack's own questions for the facts that it hit.

A suite makes thousands of attempts, and one of them hits by luck. Whether a hit was one is told by the same questions
drawn anew, for that fact alone: seeds that no run of a suite uses, and never greedily, because no seed changes that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from console.attacks.protocol import Attack, AttackTarget, AttemptRow
from console.domain.suites import MOST_REPEATS
from console.engines.protocol import Attempt, Continuation, LanguageModel, Prompt


class OnlyAbout:
    """A model that is asked about some items only; prompts about others get no answer.

    An attack builds its questions from everything that it knows (other facts of the person, examples), so it is given
    everything, and what is not wanted is left out where it is asked.
    """

    def __init__(self, model: LanguageModel, items: Collection[str]) -> None:
        self._model, self._items = model, frozenset(items)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(
        self, prompts: Sequence[Prompt], attempts: Sequence[Attempt], max_new_tokens: Sequence[int]
    ) -> Iterator[Continuation]:
        """As the model's own ``generate``, of the prompts whose id names one of the items."""
        named = [f"/{prompt.id}/" for prompt in prompts]
        wanted = [index for index, name in enumerate(named) if any(f"/{item}/" in name for item in self._items)]
        if wanted:
            limits = [max_new_tokens[index] for index in wanted]
            yield from self._model.generate([prompts[index] for index in wanted], attempts, limits)


def ask_again(
    attack: Attack, model: LanguageModel, target: AttackTarget, items: Collection[str], draws: int
) -> list[AttemptRow]:
    """At least ``draws`` fresh attempts on each of the items.

    The first round, one draw a prompt, shows how many prompts a fact has. The seeds go by the number of draws, so that
    a few draws that hit are none of the many that then judge.
    """
    asked = OnlyAbout(model, items)

    def round_of(samples: int, index: int) -> list[AttemptRow]:
        settings = replace(
            target.settings.repeat(MOST_REPEATS + draws + index),
            samples=samples,
            leak_samples=samples,
            prompt_controls=False,
            retained_asked=0,
        )
        rows = attack.run(asked, replace(target, settings=settings))
        return [row for row in rows if row.item_id in items and not row.control]

    first = round_of(1, 0)
    prompts = min((sum(row.item_id == item for row in first) for item in {row.item_id for row in first}), default=0)
    left = draws - prompts
    if prompts == 0 or left <= 0:
        return first
    return [*first, *(replace(row, attempt=row.attempt + 1) for row in round_of(-(-left // prompts), 1))]
