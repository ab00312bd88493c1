"""Every attack on a model that knows (it must hit) and on one that does not (it must not), at any batch size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import tiny
from invented import BANK, FACTS, GENERAL, OTHERS, OUTSIDERS, PASSAGE, PERSON

from console.attacks import registry
from console.attacks.continuation import beginnings
from console.attacks.few_shot import turns_for
from console.attacks.head_projection import guessable_beginning
from console.attacks.paraphrase import wordings
from console.attacks.protocol import AttackSettings, AttackTarget, AttemptRow, Shot
from console.attacks.scores import MINIMUM_HELD_OUT
from console.attacks.suite import AttackResult, run_attack
from console.domain.forget_set import ForgetItem
from console.domain.reading import LEAST_TOKENS
from console.domain.results import Access, Evidence, Status
from console.engines import transformers_engine
from console.engines.protocol import Attempt, Continuation, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError

# Random words of a vocabulary of 700: among 96 of them, one answer in eight would hold any given word.
SETTINGS = AttackSettings(samples=2, paraphrases=2, shots=2, answer_tokens=LEAST_TOKENS)
TARGET = AttackTarget(PERSON, OUTSIDERS, BANK, SETTINGS)
ATTACKS = ("continuation", "direct", "few-shot", "head-projection", "membership", "paraphrase")
ASKING = ("continuation", "direct", "few-shot", "paraphrase")


def wrong_answer(row: AttemptRow) -> bool:
    """Whether another's answer was looked for among the candidates of the person's place."""
    return "/wrong-" in row.prompt_id


def run(attack: str, model: TransformersModel, target: AttackTarget = TARGET) -> AttackResult:
    return run_attack(registry.available()[attack], model, target)


def reason(attack: str, model: TransformersModel, target: AttackTarget) -> str:
    """Why an attack does not apply."""
    row = run(attack, model, target).row
    assert row.status is Status.NOT_APPLICABLE and row.outcome is None
    return row.reason


def secret(**changed: Any) -> ForgetItem:
    """The city, changed."""
    return FACTS[0].model_copy(update=changed)


class Batched(TransformersModel):
    """The same model, which decodes ``rows`` sequences at a time."""

    rows = 1

    def generate(
        self, prompts: Sequence[Prompt], attempts: Sequence[Attempt], max_new_tokens: Sequence[int], rows: int = 0
    ) -> Iterator[Continuation]:
        return super().generate(prompts, attempts, max_new_tokens, rows or self.rows)


class TestControls:
    @pytest.mark.parametrize("attack", ATTACKS)
    def test_positive_it_finds_what_the_model_knows(self, taught: TransformersModel, attack: str) -> None:
        outcome = run(attack, taught).row.outcome
        assert outcome is not None and outcome.control is not None
        assert outcome.items.hits == outcome.items.trials
        assert outcome.attempts.share >= 0.8
        assert outcome.control.share <= 0.1
        if outcome.area is not None:
            assert float(outcome.area.value) > 0.95 and float(outcome.area.low) > 0.5

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_negative_it_finds_nothing_in_a_model_that_knows_nobody(
        self, untaught: TransformersModel, attack: str
    ) -> None:
        outcome = run(attack, untaught).row.outcome
        assert outcome is not None and outcome.control is not None
        allowed = 0.3 if attack == "membership" else 0.1  # one of seven texts can look familiar by chance
        assert outcome.attempts.share <= allowed
        assert outcome.control.share <= 0.1
        if outcome.area is not None:
            assert float(outcome.area.low) < 0.5 < float(outcome.area.high)

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_what_was_taught_is_found_and_not_who_asks(self, taught: TransformersModel, attack: str) -> None:
        """Turned round: outsiders as the request, the person as control."""
        others = (*OTHERS, *FACTS)
        result = run(attack, taught, AttackTarget(OUTSIDERS, others, BANK, SETTINGS))
        outcome = result.row.outcome
        assert outcome is not None and outcome.control is not None
        assert outcome.attempts.share <= 0.1
        if attack != "membership":  # which calls the upper end of the controls' own scores unfamiliar
            told = [row.hit for row in result.attempts if row.control and not wrong_answer(row)]
            assert sum(told) >= 0.8 * len(told)

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_batches_of_1_and_16_give_the_same_rows(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch, attack: str
    ) -> None:
        model = Batched(taught.network, taught.tokenizer, taught.device)
        found = []
        for rows, row_tokens in ((1, 1), (16, 512)):
            model.rows = rows
            monkeypatch.setattr(transformers_engine, "ROW_TOKENS", row_tokens)
            attempts = run(attack, model).attempts
            found.append({(row.prompt_id, row.attempt): replace(row, score=None) for row in attempts})
            assert len(found[-1]) == len(attempts)
        assert found[0] == found[1]


class TestRows:
    @pytest.mark.parametrize("attack", ATTACKS)
    def test_budgets_are_kept(self, taught: TransformersModel, attack: str) -> None:
        """An attacker names at most B candidates for one fact: one an attempt, or B tokens from inside."""
        result = run(attack, taught)
        named: dict[str, int] = {}
        for row in result.attempts:
            if attack == "head-projection":
                assert row.candidates <= result.row.budget == SETTINGS.head_budget
            named[row.item_id] = named.get(row.item_id, 0) + 1
        if attack in ASKING:
            assert max(named.values()) <= result.row.budget

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_rows_say_whom_they_are_about(self, taught: TransformersModel, attack: str) -> None:
        result = run(attack, taught)
        own, outsiders = {item.id for item in PERSON}, {item.id for item in OUTSIDERS}
        for row in result.attempts:
            assert row.item_id in (outsiders if row.control and not wrong_answer(row) else own)
            assert row.shown and row.prompt_id.startswith(f"{attack}/{row.item_id}")
        keys = [(row.prompt_id, row.attempt) for row in result.attempts]
        assert len(keys) == len(set(keys))

    @pytest.mark.parametrize("attack", ASKING)
    def test_every_prompt_is_drawn_once_greedily_and_with_every_seed(
        self, taught: TransformersModel, attack: str
    ) -> None:
        attempts: dict[str, set[int]] = {}
        for row in run(attack, taught).attempts:
            attempts.setdefault(row.prompt_id, set()).add(row.attempt)
        assert set(map(frozenset, attempts.values())) == {frozenset(range(1 + SETTINGS.samples))}

    @pytest.mark.parametrize(
        ("attack", "access", "evidence"),
        [
            ("continuation", Access.BLACK_BOX, Evidence.ASKED),
            ("direct", Access.BLACK_BOX, Evidence.ASKED),
            ("few-shot", Access.BLACK_BOX, Evidence.ELICITED),
            ("paraphrase", Access.BLACK_BOX, Evidence.ELICITED),
            ("head-projection", Access.WHITE_BOX, Evidence.INSIDE),
            ("membership", Access.LOG_PROBABILITIES, Evidence.MEMBERSHIP),
        ],
    )
    def test_access_and_evidence_are_declared(self, attack: str, access: Access, evidence: Evidence) -> None:
        info = registry.available()[attack].info
        assert (info.id, info.access, info.evidence) == (attack, access, evidence)
        assert info.definition and info.source and info.needs


class TestLeakGuard:
    @pytest.mark.parametrize("attack", ["direct", "few-shot", "paraphrase", "head-projection", "membership"])
    def test_a_question_that_holds_its_answer_proves_nothing(self, taught: TransformersModel, attack: str) -> None:
        leak = "Does Mira Okonjo live in Aalborg?"
        item = secret(prompt=leak, statement="", paraphrases=(leak, f"Tell me: {leak}"))
        assert "already contained the answer" in reason(attack, taught, replace(TARGET, items=(item,)))

    def test_a_statement_that_holds_its_answer_proves_nothing(self, taught: TransformersModel) -> None:
        item = secret(statement="In Aalborg lives Mira Okonjo, whose city is")
        assert "already contained the answer" in reason("continuation", taught, replace(TARGET, items=(item,)))

    def test_shots_that_name_the_answer_are_seen(self, taught: TransformersModel) -> None:
        bank = replace(BANK, shots=(Shot("city", "Where does Lena Falk live?", "Aalborg"),))
        target = replace(TARGET, items=FACTS[:1], bank=bank)
        assert "already contained the answer" in reason("few-shot", taught, target)

    def test_the_other_prompts_are_still_asked(self, taught: TransformersModel) -> None:
        item = secret(paraphrases=("Is Aalborg the home of Mira Okonjo?", FACTS[0].paraphrases[0]))
        rows = run("paraphrase", taught, replace(TARGET, items=(item,))).attempts
        assert {row.shown for row in rows if not row.control} == {FACTS[0].paraphrases[0]}


class TestNotApplicable:
    @pytest.mark.parametrize("attack", ["direct", "few-shot", "paraphrase"])
    def test_a_passage_has_no_question(self, untaught: TransformersModel, attack: str) -> None:
        assert "passages only" in reason(attack, untaught, replace(TARGET, items=(PASSAGE,)))

    def test_nothing_to_continue(self, untaught: TransformersModel) -> None:
        target = replace(TARGET, items=(secret(statement=""),))
        assert "neither a passage nor a statement" in reason("continuation", untaught, target)

    @pytest.mark.parametrize("items", [FACTS[2:], (PASSAGE,)], ids=["digits", "passage"])
    def test_no_answer_with_a_word(self, untaught: TransformersModel, items: tuple[ForgetItem, ...]) -> None:
        assert "begins with a word" in reason("head-projection", untaught, replace(TARGET, items=items))

    def test_too_few_strangers(self, untaught: TransformersModel) -> None:
        enough = MINIMUM_HELD_OUT // 2  # each is asked and stated
        target = replace(TARGET, controls=OUTSIDERS[: enough - 1])
        assert f"There are {MINIMUM_HELD_OUT - 2} texts" in reason("membership", untaught, target)
        assert run("membership", untaught, replace(TARGET, controls=OUTSIDERS[:enough])).row.status is Status.OK


class TestPrompts:
    def test_continuation_cuts_a_passage_twice(self) -> None:
        whole, short = beginnings(PASSAGE)
        assert whole == PASSAGE.prompt and whole.endswith(short) and 1 < len(short.split()) < len(whole.split())
        assert beginnings(FACTS[0]) == [FACTS[0].statement]
        assert beginnings(secret(statement="")) == []

    @pytest.mark.parametrize("text", ["Mira", "Mira Okonjo", "On the evening of the storm"])
    def test_continuation_has_something_to_give_for_any_passage(self, text: str) -> None:
        passage = PASSAGE.model_copy(update={"prompt": text})
        assert all(beginning.strip() for beginning in beginnings(passage))

    @pytest.mark.parametrize(
        ("changed", "count", "expected"),
        [
            ({}, 2, FACTS[0].paraphrases),
            ({}, 1, FACTS[0].paraphrases[:1]),
            ({"paraphrases": ()}, 2, ("Tell me where Mira Okonjo lives.",)),
            ({"paraphrases": (), "fact_type": "odd"}, 2, (f"Please answer: {FACTS[0].prompt}",)),
            ({"paraphrases": (), "fact_type": "odd"}, 0, ()),
        ],
    )
    def test_paraphrase_takes_the_item_s_wordings_then_the_bank_s(
        self, changed: dict[str, Any], count: int, expected: tuple[str, ...]
    ) -> None:
        assert wordings(secret(**changed), BANK, count) == expected

    def test_paraphrase_survives_braces_in_names(self) -> None:
        item = secret(subject="Mira {subject} Okonjo", paraphrases=())
        assert wordings(item, BANK, 1) == ("Tell me where Mira {subject} Okonjo lives.",)

    @pytest.mark.parametrize(("fact_type", "first"), [("city", "Malmo"), ("phone", "555-0199"), ("odd", "Malmo")])
    def test_few_shot_shows_the_same_kind_of_fact_first(self, fact_type: str, first: str) -> None:
        turns = turns_for(fact_type, BANK.shots, 2)
        assert turns[0][1] == first and len(turns) == 2
        assert len(turns_for(fact_type, BANK.shots, 1)) == 1

    def test_few_shot_asks_the_question_last(self, taught: TransformersModel) -> None:
        rows = run("few-shot", taught).attempts
        assert {row.shown for row in rows if not row.control} == {item.prompt for item in FACTS}


class TestRegistry:
    def test_every_entry_is_named_as_its_attack(self) -> None:
        found = registry.available()
        assert set(ATTACKS) <= set(found)
        assert all(attack.info.id == name for name, attack in found.items())

    def test_the_chosen_come_in_the_given_order(self) -> None:
        assert [attack.info.id for attack in registry.chosen(("membership", "direct"))] == ["membership", "direct"]

    def test_an_unknown_attack_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(InputError, match=r"no attack 'magic'; known are .*direct"):
            registry.chosen(("direct", "magic"))


def test_scores_fall_where_the_model_was_taught_the_text(
    taught: TransformersModel, untaught: TransformersModel
) -> None:
    """Membership scores are comparable between models: the person's rise with teaching, a stranger's hardly."""

    def scores(model: TransformersModel) -> dict[str, AttemptRow]:
        return {row.prompt_id: row for row in run("membership", model).attempts}

    before, after = scores(untaught), scores(taught)
    gained = [after[key].score - before[key].score for key, row in after.items() if not row.control]  # type: ignore[operator]
    assert min(gained) > 3


def test_general_text_is_not_part_of_any_attack(taught: TransformersModel) -> None:
    shown = " ".join(row.shown for attack in ATTACKS for row in run(attack, taught).attempts)
    assert not any(text in shown for text in GENERAL)
    assert tiny.END not in shown


@pytest.mark.parametrize(("items", "evidence"), [(FACTS, Evidence.ELICITED), (PERSON, Evidence.ASKED)])
def test_going_on_is_ordinary_for_a_passage_and_effort_for_a_fact(
    taught: TransformersModel, items: tuple[ForgetItem, ...], evidence: Evidence
) -> None:
    row = run_attack(registry.available()["continuation"], taught, replace(TARGET, items=items)).row
    assert row.evidence is evidence


@pytest.mark.parametrize("attack", ["head-projection", "probability-delta"])
def test_naming_many_tokens_is_held_against_every_stranger_s_answer(taught: TransformersModel, attack: str) -> None:
    """How often twenty candidates hold a right token by luck cannot be seen on three strangers."""
    rows = [row for row in run(attack, taught).attempts if row.control]
    others = {item.answer for item in OUTSIDERS if item.fact_type in {"city", "job"}}
    assert {row.answer for row in rows if wrong_answer(row)} == others
    strangers = {item.id for item in TARGET.matched_controls if guessable_beginning(item.answer) < len(item.answer)}
    assert {row.item_id for row in rows if not wrong_answer(row)} == strangers
    quiet = replace(TARGET, settings=replace(SETTINGS, prompt_controls=False))
    rows = list(run_attack(registry.available()[attack], taught, quiet).attempts)
    assert not [row for row in rows if row.control and not wrong_answer(row)]
