"""Membership attacks that score texts: they separate what was taught, and all of them read the same texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import tiny
from invented import BANK, FACTS, OTHERS, OUTSIDERS, PASSAGE, PERSON

from console.attacks.gradient_norm import GradientNorm
from console.attacks.loss import Loss
from console.attacks.membership import Membership
from console.attacks.min_k_plus import MinKPlus
from console.attacks.protocol import AttackSettings, AttackTarget
from console.attacks.scores import MINIMUM_HELD_OUT, ScoreAttack, secret_texts
from console.attacks.suite import run_attack
from console.attacks.zlib_ratio import ZlibRatio
from console.domain.results import Access, Evidence, Status
from console.engines import transformers_engine
from console.engines.protocol import Capability, CapabilityReport, Scored, ScoreRequest
from console.engines.transformers_engine import TransformersModel

TARGET = AttackTarget(PERSON, OUTSIDERS, BANK, AttackSettings())
ATTACKS: dict[str, type[ScoreAttack]] = {
    "membership": Membership,
    "loss": Loss,
    "min-k-plus": MinKPlus,
    "zlib": ZlibRatio,
    "gradient-norm": GradientNorm,
}
every_attack = pytest.mark.parametrize("attack", ATTACKS)
NO_SPREAD = ("membership", "loss", "zlib")


class Scripted:
    """A model that can score and nothing else: an answer's log-probabilities are its length, and it names no spread."""

    capabilities = CapabilityReport("scripted", "cpu", "float32", frozenset({Capability.SCORE}))

    def __init__(self) -> None:
        self.asked: list[list[ScoreRequest]] = []

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        self.asked.append(list(requests))
        return [Scored((1, 2), (-float(len(request.continuation)), -1.0)) for request in requests]


class TestControls:
    @every_attack
    def test_positive_it_recognises_what_the_model_was_taught(self, taught: TransformersModel, attack: str) -> None:
        outcome = run_attack(ATTACKS[attack](), taught, TARGET).row.outcome
        assert outcome is not None and outcome.control is not None and outcome.area is not None
        assert outcome.items.hits == outcome.items.trials
        assert outcome.attempts.share >= 0.8 and outcome.control.share <= 0.1
        assert float(outcome.area.value) > 0.95 and float(outcome.area.low) > 0.5

    @every_attack
    def test_negative_a_model_that_knows_nobody_tells_nothing_apart(
        self, untaught: TransformersModel, attack: str
    ) -> None:
        target = replace(TARGET, items=FACTS)  # a passage is no text of the held-out form, at any score
        outcome = run_attack(ATTACKS[attack](), untaught, target).row.outcome
        assert outcome is not None and outcome.control is not None and outcome.area is not None
        assert outcome.attempts.share <= 0.34 and outcome.control.share <= 0.1
        assert float(outcome.area.low) < 0.5 < float(outcome.area.high)

    @every_attack
    def test_turned_round_the_untaught_look_unfamiliar(self, taught: TransformersModel, attack: str) -> None:
        target = replace(TARGET, items=OUTSIDERS, controls=(*OTHERS, *FACTS))
        outcome = run_attack(ATTACKS[attack](), taught, target).row.outcome
        assert outcome is not None and outcome.area is not None
        assert float(outcome.area.value) < 0.05 and float(outcome.area.high) < 0.5


class TestRows:
    @every_attack
    def test_batches_do_not_matter(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch, attack: str
    ) -> None:
        found = []
        for row_tokens in (1, 512):
            monkeypatch.setattr(transformers_engine, "ROW_TOKENS", row_tokens)
            found.append(run_attack(ATTACKS[attack](), taught, TARGET).attempts)
        assert [replace(row, score=None) for row in found[0]] == [replace(row, score=None) for row in found[1]]

    @every_attack
    def test_every_text_has_one_row_that_names_attack_and_item(self, taught: TransformersModel, attack: str) -> None:
        rows = run_attack(ATTACKS[attack](), taught, TARGET).attempts
        assert len({row.prompt_id for row in rows}) == len(rows) == 7 + 2 * len(OUTSIDERS)
        own, outsiders = {item.id for item in PERSON}, {item.id for item in OUTSIDERS}
        for row in rows:
            assert row.item_id in (outsiders if row.control else own)
            assert row.prompt_id.startswith(f"{attack}/{row.item_id}/") and row.shown
            assert row.score is not None and row.candidates == 1 and row.chance == 0

    @every_attack
    def test_access_and_evidence_are_declared(self, attack: str) -> None:
        info = ATTACKS[attack].info
        white = attack == "gradient-norm"
        assert info.id == attack and info.evidence is Evidence.MEMBERSHIP
        assert info.access is (Access.WHITE_BOX if white else Access.LOG_PROBABILITIES)
        assert info.needs == {Capability.GRADIENTS if white else Capability.SCORE}
        assert info.definition and info.source and ATTACKS[attack]().budget(TARGET.settings) == 1

    def test_all_attacks_ask_for_the_same_texts_in_one_call(self, taught: TransformersModel) -> None:
        """So that whoever remembers scores by request reads every text once."""
        asked: list[list[ScoreRequest]] = []

        class Watched(TransformersModel):
            def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
                asked.append(list(requests))
                return super().score(requests)

            def gradient_norms(self, requests: Sequence[ScoreRequest]) -> list[float]:
                asked.append(list(requests))
                return [1.0] * len(requests)

        model = Watched(taught.network, taught.tokenizer, taught.device)
        for attack in ATTACKS.values():
            run_attack(attack(), model, TARGET)
        assert len(asked) == len(ATTACKS) and all(requests == asked[0] for requests in asked)

    def test_with_one_token_and_all_of_it_loss_and_min_k_agree(self, taught: TransformersModel) -> None:
        whole = replace(TARGET, settings=replace(TARGET.settings, min_k=1.0))
        pairs = zip(
            run_attack(Membership(), taught, whole).attempts, run_attack(Loss(), taught, whole).attempts, strict=True
        )
        assert all(left.score == right.score and left.hit == right.hit for left, right in pairs)


class TestScripted:
    @pytest.mark.parametrize("attack", NO_SPREAD)
    def test_an_engine_without_spread_serves_what_needs_none(self, attack: str) -> None:
        result = run_attack(ATTACKS[attack](), Scripted(), TARGET)  # type: ignore[arg-type]
        assert result.row.status is Status.OK

    def test_min_k_plus_says_what_is_missing(self) -> None:
        row = run_attack(MinKPlus(), Scripted(), TARGET).row  # type: ignore[arg-type]
        assert row.status is Status.NOT_APPLICABLE and "does not say how the probabilities" in row.reason

    def test_the_gradient_needs_an_engine_that_has_one(self) -> None:
        row = run_attack(GradientNorm(), Scripted(), TARGET).row  # type: ignore[arg-type]
        assert row.status is Status.NOT_APPLICABLE and "gradients" in row.reason

    @pytest.mark.parametrize("attack", NO_SPREAD)
    def test_a_text_that_holds_its_secret_is_not_scored(self, attack: str) -> None:
        leak = FACTS[0].model_copy(update={"prompt": "Does Mira Okonjo live in Aalborg?", "statement": ""})
        row = run_attack(ATTACKS[attack](), Scripted(), replace(TARGET, items=(leak,))).row  # type: ignore[arg-type]
        assert row.status is Status.NOT_APPLICABLE and "already contained the answer" in row.reason


class TestNotApplicable:
    @every_attack
    def test_too_few_strangers(self, attack: str) -> None:
        enough = MINIMUM_HELD_OUT // 2  # each is asked and stated
        few = replace(TARGET, controls=OUTSIDERS[: enough - 1])
        assert f"There are {MINIMUM_HELD_OUT - 2} texts" in (ATTACKS[attack]().inapplicable(few) or "")
        assert ATTACKS[attack]().inapplicable(replace(TARGET, controls=OUTSIDERS[:enough])) is None

    def test_strangers_whose_texts_tell_the_secret_do_not_count(self) -> None:
        leaking = tuple(item.model_copy(update={"prompt": f"{item.subject}: {item.answer}?"}) for item in OUTSIDERS)
        assert "There are 8 texts" in (Loss().inapplicable(replace(TARGET, controls=leaking[:8])) or "")


def test_texts_are_question_statement_and_passage() -> None:
    texts = secret_texts((FACTS[0], PASSAGE), {})
    assert [(text.form, text.prompt.text, text.prompt.chat) for text in texts] == [
        ("question", FACTS[0].prompt, True),
        ("statement", FACTS[0].statement, False),
        ("passage", PASSAGE.prompt, False),
    ]
    assert [text.request.continuation for text in texts] == [FACTS[0].answer, FACTS[0].answer, PASSAGE.answer]


def test_the_gradient_attack_leaves_the_model_alone(taught: TransformersModel) -> None:
    model = tiny.copy_of(taught)
    before = tiny.fingerprints(model.network)
    run_attack(GradientNorm(), model, TARGET)
    assert tiny.fingerprints(model.network) == before
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.network.parameters())
