"""Head projection: which answers it may count, which tokens it names, and never more than its budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invented import BANK, FACTS, OTHERS, OUTSIDERS

from console.attacks.head_projection import HeadProjection, candidates, guessable_beginning
from console.attacks.protocol import AttackSettings, AttackTarget, AttemptRow
from console.engines.protocol import LayerTails, Prompt
from console.engines.transformers_engine import TransformersModel


@pytest.mark.parametrize(
    ("answer", "named_by"),
    [
        ("Aalborg", "Aalborg"),
        ("lighthouse keeper", "lighthouse keeper"),
        ("12 Oak Lane", "Oak Lane"),
        ("A. B. Carter", "Carter"),
        ("a marine biologist", "marine biologist"),
        ("3rd floor", "floor"),
        ("no 5 Hill", "Hill"),
        ("555-0183", ""),
        ("14 March", "March"),
        ("DE89 3704", ""),
        ("+49 (30) 1", ""),
        ("of", ""),
        ("", ""),
        ("Ångström", "Ångström"),
        ("7  Quay", "Quay"),
    ],
)
def test_an_answer_is_recognised_by_its_first_word(answer: str, named_by: str) -> None:
    assert answer[guessable_beginning(answer) :].strip() == named_by


@given(st.text("ab1 -.é", max_size=20))
def test_the_guessable_beginning_is_part_of_the_answer(answer: str) -> None:
    skipped = guessable_beginning(answer)
    assert 0 <= skipped <= len(answer)
    word = answer[skipped:].split(" ")[0]
    assert skipped == len(answer) or (
        sum(sign.isalpha() for sign in word) > 2 and not any(sign.isdigit() for sign in word)
    )
    assert skipped in {0, len(answer)} or answer[skipped - 1] == " "


@st.composite
def tails(draw: st.DrawFn) -> list[LayerTails]:
    depth = draw(st.integers(1, 6))
    ends = st.lists(st.integers(0, 30), min_size=depth, max_size=depth, unique=True).map(tuple)
    return [LayerTails(layer, draw(ends), draw(ends)) for layer in range(1, draw(st.integers(1, 5)) + 1)]


class TestCandidates:
    @given(layers=tails(), budget=st.integers(1, 40))
    def test_distinct_and_never_more_than_the_budget(self, layers: list[LayerTails], budget: int) -> None:
        named = candidates(layers, budget)
        reachable = {token for layer in layers for token in (*layer.top, *layer.bottom)}
        assert len(named) == len(set(named)) == min(budget, len(reachable))
        assert set(named) <= reachable

    def test_the_last_layer_and_the_best_rank_come_first_from_both_ends(self) -> None:
        layers = [LayerTails(1, (1, 2), (3, 4)), LayerTails(2, (5, 1), (6, 7))]
        assert candidates(layers, 99) == (5, 6, 1, 3, 7, 2, 4)
        assert candidates(layers, 3) == (5, 6, 1)

    @given(layers=tails(), budget=st.integers(1, 20))
    def test_a_larger_budget_only_adds(self, layers: list[LayerTails], budget: int) -> None:
        named = candidates(layers, budget)
        assert candidates(layers, budget + 1)[: len(named)] == named


def is_wrong_answer(row: AttemptRow) -> bool:
    """Whether another's answer was looked for among the candidates of the person's place."""
    return "/wrong-" in row.prompt_id


class TestRun:
    @pytest.mark.parametrize("budget", [1, 2, 7, 20])
    def test_the_number_of_named_tokens_is_the_budget(self, taught: TransformersModel, budget: int) -> None:
        target = AttackTarget(FACTS, OUTSIDERS, BANK, AttackSettings(head_budget=budget))
        rows = list(HeadProjection().run(taught, target))
        assert {row.candidates for row in rows} == {budget}
        assert all(len(row.answer.split()) == budget for row in rows if not is_wrong_answer(row))

    def test_the_model_s_best_guess_is_among_one_or_two(self, taught: TransformersModel) -> None:
        """With B = 1 the only candidate is the likeliest token of the last layer, which a taught model knows."""
        target = AttackTarget(FACTS, OUTSIDERS, BANK, AttackSettings(head_budget=1))
        own = [row for row in HeadProjection().run(taught, target) if not row.control]
        assert sum(row.hit for row in own) >= 0.75 * len(own)

    def test_the_bottom_betrays_as_well_as_the_top(self, taught: TransformersModel) -> None:
        """An eraser that pushes the answer to the very end is caught."""
        target = AttackTarget(FACTS, OUTSIDERS, BANK, AttackSettings(head_budget=4))

        class Pushed:
            def layer_candidates(self, prompts: list[object], targets: list[str], top: int) -> list[list[LayerTails]]:
                wanted = [taught.first_answer_token(*pair) for pair in zip(prompts, targets, strict=True)]
                return [[LayerTails(1, tuple(range(-top, 0)), (token, *range(-99, -98 + top - 2)))] for token in wanted]

            first_answer_token = staticmethod(taught.first_answer_token)

        rows = list(HeadProjection().run(Pushed(), target))  # type: ignore[arg-type]
        assert rows and all(row.hit is not is_wrong_answer(row) for row in rows)

    def test_digits_before_the_word_are_given_away(self, taught: TransformersModel) -> None:
        """What B candidates cover anyway is put into the prompt, and the word is what must be found."""
        item = FACTS[0].model_copy(update={"answer": "12 Oak Lane", "paraphrases": ()})
        target = AttackTarget((item,), OUTSIDERS, BANK, AttackSettings())
        shown = [row.shown for row in HeadProjection().run(taught, target) if not row.control]
        assert shown == [f"{item.statement} 12", f"Question: {item.prompt}\nAnswer: 12"]

    def test_answers_of_digits_only_are_left_out(self, taught: TransformersModel) -> None:
        rows = list(HeadProjection().run(taught, AttackTarget(FACTS, OUTSIDERS, BANK)))
        assert {row.item_id for row in rows if not row.control} == {FACTS[0].id, FACTS[1].id}
        only_digits = replace(AttackTarget(FACTS[2:], OUTSIDERS, BANK))
        assert HeadProjection().inapplicable(only_digits) is not None

    def test_wrong_answers_are_controls_at_the_person_s_own_places(self, taught: TransformersModel) -> None:
        """Without a place of their own, and none that begins as the right answer does."""
        target = AttackTarget(FACTS, OUTSIDERS, BANK, AttackSettings(prompt_controls=False), retain=OTHERS)
        rows = list(HeadProjection().run(taught, target))
        wrong = [row for row in rows if is_wrong_answer(row)]
        assert {row.item_id for row in wrong} == {FACTS[0].id, FACTS[1].id} and all(row.control for row in wrong)
        assert {row.answer for row in wrong} <= {item.answer for item in (*OUTSIDERS, *OTHERS)}
        assert not any(row.control for row in rows if not is_wrong_answer(row))
        share = {control: [row.hit for row in rows if row.control is control] for control in (False, True)}
        assert sum(share[False]) >= 0.8 * len(share[False]) and sum(share[True]) <= 0.2 * len(share[True])

    def test_a_wrong_answer_that_begins_with_the_right_token_is_no_control(self, taught: TransformersModel) -> None:
        twin = OUTSIDERS[0].model_copy(update={"answer": f"{FACTS[0].answer[:-1]} elsewhere"})
        begins = taught.first_answer_token
        prompt = Prompt("p", f"Question: {FACTS[0].prompt}\nAnswer:", chat=False)
        same = begins(prompt, twin.answer) == begins(prompt, FACTS[0].answer)
        target = AttackTarget(FACTS[:1], (twin,), BANK, AttackSettings(prompt_controls=False))
        wrong = [row for row in HeadProjection().run(taught, target) if is_wrong_answer(row)]
        assert bool(wrong) is not same
