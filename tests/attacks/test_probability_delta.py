"""Probability delta: it finds what layers make likelier, keeps its budget, and catches a layer that suppresses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
from invented import BANK, FACTS, OTHERS, OUTSIDERS, PERSON

from console.attacks.head_projection import HeadProjection
from console.attacks.probability_delta import ProbabilityDelta
from console.attacks.protocol import AttackSettings, AttackTarget, AttemptRow
from console.attacks.suite import run_attack
from console.domain.results import Access, Evidence, Status
from console.engines.protocol import LayerTails, Prompt
from console.engines.transformers_engine import TransformersModel

TARGET = AttackTarget(PERSON, OUTSIDERS, BANK, AttackSettings())


def wrong(row: AttemptRow) -> bool:
    """Whether another's answer was looked for among the candidates of the person's place."""
    return "/wrong-" in row.prompt_id


def test_positive_and_negative_control(taught: TransformersModel, untaught: TransformersModel) -> None:
    known, unknown = (run_attack(ProbabilityDelta(), model, TARGET).row.outcome for model in (taught, untaught))
    assert known is not None and unknown is not None and known.control is not None
    assert known.items.hits == known.items.trials and known.attempts.share >= 0.8
    assert known.control.share <= 0.1 and unknown.attempts.share <= 0.1


def test_turned_round_the_untaught_are_not_found(taught: TransformersModel) -> None:
    target = replace(TARGET, items=OUTSIDERS, controls=(*OTHERS, *FACTS))
    rows = run_attack(ProbabilityDelta(), taught, target).attempts
    own, strangers = ([row for row in rows if row.control is control and not wrong(row)] for control in (False, True))
    assert sum(row.hit for row in own) <= 0.1 * len(own) and sum(row.hit for row in strangers) >= 0.8 * len(strangers)


@pytest.mark.parametrize("budget", [1, 2, 7, 20])
def test_the_number_of_named_tokens_is_the_budget(taught: TransformersModel, budget: int) -> None:
    target = replace(TARGET, settings=AttackSettings(head_budget=budget))
    rows = list(ProbabilityDelta().run(taught, target))
    assert {row.candidates for row in rows} == {budget} == {ProbabilityDelta().budget(target.settings)}
    assert all(len(row.answer.split()) == budget for row in rows if not wrong(row))


def test_rows_are_those_of_head_projection_under_its_own_name(taught: TransformersModel) -> None:
    rows, others = (list(attack().run(taught, TARGET)) for attack in (ProbabilityDelta, HeadProjection))
    assert [row.shown for row in rows] == [row.shown for row in others]
    assert all(row.prompt_id.startswith(f"probability-delta/{row.item_id}/") for row in rows)


def test_a_layer_that_pushes_the_answer_down_names_it(taught: TransformersModel) -> None:
    class Suppressing:
        def layer_deltas(self, prompts: list[Prompt], targets: list[str], top: int) -> list[list[LayerTails]]:
            wanted = [taught.first_answer_token(*pair) for pair in zip(prompts, targets, strict=True)]
            return [[LayerTails(2, tuple(range(-top, 0)), (token, *range(-99, -100 + top)))] for token in wanted]

        first_answer_token = staticmethod(taught.first_answer_token)

    rows = list(ProbabilityDelta().run(Suppressing(), TARGET))  # type: ignore[arg-type]
    assert rows and all(row.hit is not wrong(row) for row in rows)


def test_a_network_of_one_block_names_nothing() -> None:
    rows = list(ProbabilityDelta().run(tiny.model(layers=1), TARGET))
    assert rows and not any(row.hit or row.candidates for row in rows)


def test_it_declares_itself_and_says_why_it_does_not_apply(untaught: TransformersModel) -> None:
    info = ProbabilityDelta.info
    assert (info.id, info.access, info.evidence) == ("probability-delta", Access.WHITE_BOX, Evidence.INSIDE)
    row = run_attack(ProbabilityDelta(), untaught, replace(TARGET, items=FACTS[2:])).row
    assert row.status is Status.NOT_APPLICABLE and "begins with a word" in row.reason
