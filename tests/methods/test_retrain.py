"""Exact retraining: it refuses data that holds the person, and knows everybody else afterwards."""

from __future__ import annotations

import pytest
import tiny
from invented import FACTS, GENERAL, OTHERS, PERSON, SUBJECT, teaching_of
from tiny import Recorder

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.domain.teaching import TeachingItem, without_subjects
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.examples import mean_nlls
from console.methods.lora import LoraSettings
from console.methods.protocol import Claim, ErasureData, Family
from console.methods.retrain import Retrain, RetrainConfig

CONFIG = RetrainConfig(lora=LoraSettings(rank=16, alpha=32), learning_rate=1e-2, epochs=60, known_below=0.1)
KEPT = OTHERS[:6]


def data(teaching: tuple[TeachingItem, ...], forget: tuple[ForgetItem, ...] = PERSON) -> ErasureData:
    return ErasureData(ForgetSet(items=forget), RetainSet(items=()), GENERAL, teaching=teaching)


def called(name: str, item: ForgetItem, *aliases: str) -> ForgetItem:
    """The item about the same person under another name."""
    texts = {field: getattr(item, field).replace(item.subject, name) for field in ("prompt", "statement")}
    return ForgetItem(**{**item.model_dump(), **texts, "subject": name, "aliases": aliases})


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


def test_afterwards_it_knows_the_others_and_not_the_person(untaught: TransformersModel) -> None:
    model = tiny.copy_of(untaught)
    Retrain().apply(model, data(teaching_of(KEPT)), CONFIG, Recorder())
    assert answers(model, KEPT) >= len(KEPT) - 1
    assert answers(model, FACTS) == 0
    unknown, known = (list(mean_nlls(model, items).values()) for items in (FACTS, KEPT))
    assert sum(unknown) / len(unknown) > 10 * sum(known) / len(known)


def test_the_result_is_that_of_never_having_had_the_person(untaught: TransformersModel) -> None:
    """A function of the remaining data: the same bytes, whoever was left out and whatever was asked to be forgotten."""
    short = CONFIG.model_copy(update={"epochs": 2})
    left = without_subjects(teaching_of((*KEPT, *PERSON)), {SUBJECT})
    models = [tiny.copy_of(untaught) for _ in range(2)]
    Retrain().apply(models[0], data(left), short, Recorder())
    Retrain().apply(models[1], data(teaching_of(KEPT), forget=FACTS[:1]), short, Recorder())
    assert tiny.fingerprints(models[0].network) == tiny.fingerprints(models[1].network)


class TestRefusals:
    @pytest.mark.parametrize(
        ("taught", "forget"),
        [
            pytest.param(PERSON[-1:], PERSON, id="the person's passage"),
            pytest.param(FACTS[:1], FACTS[1:2], id="another fact of the person"),
            pytest.param(
                (called("M. Okonjo", FACTS[0]),),
                (called(SUBJECT, FACTS[1], "M. Okonjo"),),
                id="under a name that the request knows",
            ),
            pytest.param(
                (called("M. Okonjo", FACTS[0], SUBJECT),),
                FACTS[1:2],
                id="under a name that the training data knows",
            ),
        ],
    )
    def test_training_data_that_holds_the_person(
        self, untaught: TransformersModel, taught: tuple[ForgetItem, ...], forget: tuple[ForgetItem, ...]
    ) -> None:
        teaching = teaching_of((*KEPT, *taught))
        with pytest.raises(InputError, match=f"still holds the person .item {taught[0].id}"):
            Retrain().prepare(untaught, data(teaching, forget), CONFIG)

    def test_no_training_data(self, untaught: TransformersModel) -> None:
        with pytest.raises(InputError, match="no training data"):
            Retrain().prepare(untaught, data(()), CONFIG)

    def test_nothing_to_forget(self, untaught: TransformersModel) -> None:
        with pytest.raises(InputError, match="nothing to erase"):
            Retrain().prepare(untaught, data(teaching_of(KEPT), forget=()), CONFIG)

    def test_apply_checks_before_it_changes_anything(self, untaught: TransformersModel) -> None:
        model, recorder = tiny.copy_of(untaught), Recorder()
        with pytest.raises(InputError):
            Retrain().apply(model, data(teaching_of(PERSON)), CONFIG, recorder)
        assert tiny.fingerprints(model.network) == tiny.fingerprints(untaught.network)
        assert recorder.looks == 0


def test_it_says_what_it_needs_and_claims(untaught: TransformersModel) -> None:
    info = Retrain.info
    assert (info.family, info.claim) == (Family.EXACT, Claim.EXACT)
    assert info.needs_snapshot and info.needs_training_data
    plan = Retrain().prepare(untaught, data(teaching_of(KEPT)), CONFIG.model_copy(update={"batch": 4}))
    assert plan.steps == CONFIG.epochs * 2 and len(plan.modules) == 14
