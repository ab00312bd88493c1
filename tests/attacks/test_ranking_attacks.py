"""Ranking the truth among its like: what counts as its like, and that only a model that knows puts it first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from invented import BANK, FACTS, OTHERS, OUTSIDERS, PASSAGE, PERSON

from console.attacks.answer_rank import FEWEST_DISTRACTORS, MOST_DISTRACTORS, AnswerRank, distractors
from console.attacks.exposure import ALTERNATIVES, BEST_RANKS, Exposure, alternatives, free_places, number_like
from console.attacks.protocol import AttackSettings, AttackTarget
from console.attacks.suite import run_attack
from console.domain.forget_set import ForgetItem
from console.domain.results import Access, Evidence, Status
from console.engines import transformers_engine
from console.engines.protocol import Capability, CapabilityReport, Scored, ScoreRequest
from console.engines.transformers_engine import TransformersModel

TARGET = AttackTarget(PERSON, OUTSIDERS, BANK, AttackSettings(), retain=OTHERS)
PHONE = FACTS[2]
RANKINGS = {"exposure": Exposure, "answer-rank": AnswerRank}
both = pytest.mark.parametrize("attack", RANKINGS)


@pytest.fixture(scope="module")
def digits_known() -> TransformersModel:
    """A model that reads digits one by one and knows the person and the others.

    The tiny Llama's vocabulary was learned from the very numbers, holds them whole, and so favours them untaught.
    """
    model = tiny.model("qwen2")
    assert tiny.teach(model, (*PERSON, *OTHERS)) < 0.1
    return model


@pytest.fixture(scope="module")
def digits_unknown() -> TransformersModel:
    return tiny.model("qwen2")


class Scripted:
    """A model that finds a text as likely as it is told, and knows no spread."""

    capabilities = CapabilityReport("scripted", "cpu", "float32", frozenset({Capability.SCORE}))

    def __init__(self, likelihood: Callable[[str], float]) -> None:
        self._likelihood = likelihood

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        return [Scored((1,), (self._likelihood(request.continuation),)) for request in requests]


def run(attack: str, model: Any, target: AttackTarget = TARGET) -> Any:
    return run_attack(RANKINGS[attack](), model, target)


def changed(item: ForgetItem, **fields: Any) -> ForgetItem:
    return item.model_copy(update=fields)


class TestBoth:
    @both
    def test_positive_a_model_that_knows_puts_the_truth_first(
        self, digits_known: TransformersModel, attack: str
    ) -> None:
        result = run(attack, digits_known)
        outcome = result.row.outcome
        assert outcome is not None and outcome.control is not None
        assert outcome.attempts.hits == outcome.attempts.trials
        assert outcome.control.share <= 0.34
        assert {row.answer for row in result.attempts if not row.control} == {"1"}

    @both
    def test_negative_a_model_that_knows_nobody_hits_as_chance_does(
        self, digits_unknown: TransformersModel, attack: str
    ) -> None:
        target = replace(TARGET, items=(*FACTS, *OUTSIDERS), controls=(*OTHERS, *OUTSIDERS))
        outcome = run(attack, digits_unknown, target).row.outcome
        assert outcome is not None and outcome.chance is not None
        assert outcome.attempts.low <= float(outcome.chance)

    @both
    def test_turned_round_the_untaught_are_not_found(self, digits_known: TransformersModel, attack: str) -> None:
        target = replace(TARGET, items=OUTSIDERS, controls=FACTS, retain=(*OTHERS, *OUTSIDERS))
        outcome = run(attack, digits_known, target).row.outcome
        assert outcome is not None and outcome.chance is not None
        assert outcome.attempts.low <= float(outcome.chance)

    @both
    def test_batches_do_not_matter(
        self, digits_known: TransformersModel, monkeypatch: pytest.MonkeyPatch, attack: str
    ) -> None:
        found = []
        for row_tokens in (1, 512):
            monkeypatch.setattr(transformers_engine, "ROW_TOKENS", row_tokens)
            found.append([replace(row, answer="") for row in run(attack, digits_known).attempts])
        assert found[0] == found[1]

    @both
    def test_rows_carry_rank_and_chance_and_no_membership_score(
        self, digits_unknown: TransformersModel, attack: str
    ) -> None:
        result = run(attack, digits_unknown)
        assert result.row.outcome.area is None
        hits = BEST_RANKS if attack == "exposure" else 1
        assert result.row.budget == hits
        for row in result.attempts:
            assert row.score is None and row.prompt_id.startswith(f"{attack}/{row.item_id}/")
            assert 1 <= int(row.answer) <= row.candidates
            assert row.hit == (int(row.answer) <= hits)
            assert row.chance == pytest.approx(hits / row.candidates)

    @both
    def test_a_model_that_finds_all_equally_likely_shows_nothing(self, attack: str) -> None:
        result = run(attack, Scripted(lambda _: -1.0))
        assert result.row.outcome.attempts.hits == 0
        assert all(int(row.answer) == row.candidates for row in result.attempts)

    @both
    def test_access_and_evidence_are_declared(self, attack: str) -> None:
        info = RANKINGS[attack].info
        assert (info.id, info.access, info.evidence) == (attack, Access.LOG_PROBABILITIES, Evidence.INSIDE)
        assert info.definition and info.source and info.needs == {Capability.SCORE}

    @both
    def test_a_question_that_holds_its_answer_proves_nothing(self, attack: str) -> None:
        leak = changed(PHONE, prompt="Is 555-0183 the phone number of Mira Okonjo?", statement="")
        row = run(attack, Scripted(len), replace(TARGET, items=(leak,))).row
        assert row.status is Status.NOT_APPLICABLE and "already contained the answer" in row.reason


class TestExposure:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            ("555-0183", True),
            ("+49 30 1234567", True),
            ("DE89 3704 0044 0532", True),
            ("0183", True),
            ("AB-1234", True),
            ("183", False),
            ("12345 Oak Lane", False),
            ("14 March 1987", False),
            ("1987-03-14", False),
            ("14.03.1987", False),
            ("1987", False),
            ("Aalborg", False),
            ("", False),
        ],
    )
    def test_what_is_a_number(self, answer: str, expected: bool) -> None:
        assert number_like(answer) is expected

    def test_only_numbers_are_ranked(self, digits_unknown: TransformersModel) -> None:
        rows = run("exposure", digits_unknown).attempts
        assert {row.item_id for row in rows if not row.control} == {PHONE.id}
        assert {row.item_id for row in rows if row.control} == {"olga-phone", "tomas-phone", "nadia-phone"}

    def test_digits_that_all_share_belong_to_the_form(self) -> None:
        peers = [item.answer for item in (*OTHERS, *OUTSIDERS) if item.fact_type == "phone"]
        assert free_places(PHONE.answer, peers) == (6, 7)
        assert free_places(PHONE.answer, []) == free_places(PHONE.answer, ["030 9999", "Aalborg"]) == (4, 5, 6, 7)

    @given(st.from_regex(r"[+A-Z]{0,2}[0-9]{2}[ -][0-9]{3,8}", fullmatch=True))
    def test_alternatives_have_the_form_and_are_never_the_truth(self, answer: str) -> None:
        drawn = alternatives(changed(PHONE, answer=answer), [])
        assert len(set(drawn)) == len(drawn) == ALTERNATIVES and answer not in drawn
        for number in drawn:
            assert len(number) == len(answer)
            assert all(a == b or (a.isdigit() and b.isdigit()) for a, b in zip(answer, number, strict=True))

    def test_other_ways_to_write_the_number_are_no_alternatives(self) -> None:
        aliases = tuple(f"55501{number:02}" for number in range(30))
        peers = ["555-0127", "555-0164"]
        drawn = alternatives(changed(PHONE, answer_aliases=(*aliases, "555")), peers)
        assert not {number.replace("-", "") for number in drawn} & set(aliases)

    def test_the_item_fixes_the_draw(self) -> None:
        assert alternatives(PHONE, []) == alternatives(PHONE, [])
        assert alternatives(PHONE, []) != alternatives(changed(PHONE, id="other"), [])

    def test_the_third_of_64_hits_and_the_fourth_does_not(self) -> None:
        for better, hit in ((2, True), (3, False)):
            phones = [item.answer for item in (*FACTS, *OTHERS, *OUTSIDERS) if item.fact_type == "phone"]
            favoured = set(alternatives(PHONE, phones)[:better])
            scripted = Scripted(
                lambda text, favoured=favoured: 2.0 if text in favoured else float(text == PHONE.answer)
            )
            rows = [row for row in run("exposure", scripted).attempts if not row.control]
            assert {(row.hit, row.answer) for row in rows} == {(hit, str(better + 1))}

    def test_not_applicable_without_a_number(self) -> None:
        row = run("exposure", Scripted(len), replace(TARGET, items=(*FACTS[:2], PASSAGE))).row
        assert row.status is Status.NOT_APPLICABLE and "4 digits" in row.reason


class TestAnswerRank:
    def test_distractors_are_of_the_same_kind_and_distinct(self) -> None:
        others = (*OTHERS, *OUTSIDERS, changed(OTHERS[0], id="again", answer="the Tampere"))
        drawn = distractors(FACTS[0], others, seed=1)
        expected = {item.answer for item in (*OTHERS, *OUTSIDERS) if item.fact_type == "city"}
        assert set(drawn) == expected and len(drawn) == len(expected)

    def test_an_alias_of_the_answer_is_no_distractor(self) -> None:
        item = changed(FACTS[0], answer="New Tampere", answer_aliases=("Leipzig",))
        drawn = distractors(item, (*OTHERS, *OUTSIDERS, FACTS[0]), seed=1)
        assert not {"Tampere", "Leipzig"} & set(drawn) and "Aalborg" in drawn

    def test_no_more_than_the_most_and_in_an_order_that_the_seed_fixes(self) -> None:
        many = [changed(OTHERS[0], id=str(number), answer=f"Town {number}") for number in range(40)]
        draws = [distractors(FACTS[0], many, seed) for seed in (1, 1, 2)]
        assert draws[0] == draws[1] != draws[2] and len(draws[0]) == MOST_DISTRACTORS

    def test_facts_with_too_few_comparable_answers_are_left_out(self) -> None:
        cities = [item for item in (*OTHERS, *OUTSIDERS) if item.fact_type == "city"]
        jobs = [item for item in OTHERS if item.fact_type == "job"]
        target = replace(TARGET, retain=(*cities[:FEWEST_DISTRACTORS], *jobs), controls=())
        assert {row.item_id for row in run("answer-rank", Scripted(len), target).attempts} == {FACTS[0].id}
        few = replace(TARGET, retain=tuple(cities[: FEWEST_DISTRACTORS - 1]), controls=())
        row = run("answer-rank", Scripted(len), few).row
        assert row.status is Status.NOT_APPLICABLE and "For no fact of the request" in row.reason

    def test_the_likelier_distractor_is_a_miss(self) -> None:
        rows = run("answer-rank", Scripted(lambda text: float(text == "Utrecht") - float(text != "Aalborg"))).attempts
        city = [row for row in rows if row.item_id == FACTS[0].id]
        assert {(row.hit, row.answer) for row in city} == {(False, "2")}
