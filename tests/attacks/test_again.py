"""Asking again: fresh draws for the facts that were hit, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from invented import BANK, FACTS, OUTSIDERS

from console.attacks.again import ask_again
from console.attacks.protocol import AttackSettings, AttackTarget
from console.attacks.registry import chosen
from console.engines.protocol import Attempt, Continuation, Prompt


class Listening:
    """A model that writes down what it is asked, and says one answer every fifth time."""

    def __init__(self, answer: str) -> None:
        self.answer, self.asked = answer, list[tuple[str, int | None]]()

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"asking again needs no {name}")

    def generate(
        self, prompts: Sequence[Prompt], attempts: Sequence[Attempt], max_new_tokens: Sequence[int]
    ) -> Iterator[Continuation]:
        for prompt in prompts:
            for index, attempt in enumerate(attempts):
                self.asked.append((prompt.id, attempt.seed))
                said = self.answer if len(self.asked) % 5 == 0 else "nothing"
                yield Continuation(prompt.id, index, said)


@pytest.mark.parametrize("attack", ["direct", "paraphrase", "leak-at-k"])
def test_only_the_fact_that_was_hit_is_asked_with_seeds_of_its_own(attack: str) -> None:
    fact = FACTS[0]
    model = Listening(fact.answer)
    target = AttackTarget(tuple(FACTS), tuple(OUTSIDERS), BANK, AttackSettings(samples=1))
    rows = ask_again(chosen((attack,))[0], model, target, {fact.id}, 40)
    assert {row.item_id for row in rows} == {fact.id} and not any(row.control for row in rows)
    assert 40 <= len(rows) < 60
    assert sum(row.hit for row in rows) == len(rows) // 5
    draws = [seed for _prompt, seed in model.asked]
    assert None not in draws, "a greedy answer is the same each time"
    settings = AttackSettings()
    assert min(seed for seed in draws if seed is not None) > settings.repeat(9).seed + 1_000
    assert len(set(model.asked)) == len(model.asked), "no draw counts twice"
    few = Listening(fact.answer)
    ask_again(chosen((attack,))[0], few, target, {fact.id}, 10)
    assert not set(few.asked) & set(model.asked), "the draws that chose a fact do not judge it"
