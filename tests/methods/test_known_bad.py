"""The erasers that are known to be bad: each does what it says, and what it is known for."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PERSON
from tiny import Recorder

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, ItemKind, RetainSet
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.examples import mean_nlls
from console.methods.ga import GradientAscent
from console.methods.lora import LoraSettings
from console.methods.output_filter import OutputFiltering
from console.methods.protocol import Claim, ErasureData, Family, Outcome
from console.methods.refusal import Refusal
from console.methods.weight_noise import WeightNoise

SMALL = LoraSettings(rank=8, alpha=16)
DATA = ErasureData(ForgetSet(items=PERSON), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
METHODS = (GradientAscent, OutputFiltering, Refusal, WeightNoise)


def run(method: Any, model: TransformersModel, **settings: Any) -> tuple[TransformersModel, Outcome]:
    copy = tiny.copy_of(model)
    instance = method()
    return copy, instance.apply(copy, DATA, instance.config_class(**settings), Recorder())


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


def test_refusal_tuning_changes_what_is_said(taught: TransformersModel) -> None:
    model, _ = run(Refusal, taught, lora=SMALL, learning_rate=3e-3, steps=40)
    assert answers(taught, FACTS) == len(FACTS) and answers(model, FACTS) == 0
    assert answers(model, OTHERS) >= len(OTHERS) - 1


def test_gradient_ascent_forgets_everybody(taught: TransformersModel) -> None:
    model, outcome = run(GradientAscent, taught, lora=SMALL, learning_rate=1e-2, steps=40)
    assert answers(model, FACTS) == 0
    assert answers(model, OTHERS) < answers(taught, OTHERS)
    assert outcome.metrics["forget_nll"] > 1.0


def test_gradient_ascent_stops_by_its_rule(taught: TransformersModel) -> None:
    _, outcome = run(GradientAscent, taught, lora=SMALL, learning_rate=3e-2, steps=200, cap=0.5)
    assert outcome.steps < 200
    assert "even guessing" in outcome.stop_reason


def test_noise_is_seeded_and_as_large_as_it_says(taught: TransformersModel) -> None:
    first, _ = run(WeightNoise, taught, scale=0.2)
    again, _ = run(WeightNoise, taught, scale=0.2)
    other, _ = run(WeightNoise, taught, scale=0.2, seed=2)
    assert tiny.fingerprints(first.network) == tiny.fingerprints(again.network) != tiny.fingerprints(other.network)
    changed = 0
    for (name, before), (_, after) in zip(
        taught.network.named_parameters(), first.network.named_parameters(), strict=True
    ):
        difference = (after - before).detach()
        if difference.any():
            changed += 1
            assert float(difference.std() / before.detach().std()) == pytest.approx(0.2, rel=0.1), name
    assert changed == 2 * 7


def test_the_filter_leaves_every_weight(taught: TransformersModel) -> None:
    model, _ = run(OutputFiltering, taught)
    assert tiny.fingerprints(model.network) == tiny.fingerprints(taught.network)
    assert answers(model, FACTS) == 0
    assert mean_nlls(model, PERSON) == mean_nlls(taught, PERSON)


@pytest.mark.parametrize(
    ("method", "claim"),
    [(Refusal, Claim.SUPPRESSION_IN_WEIGHTS), (OutputFiltering, Claim.SUPPRESSION_AT_INFERENCE)],
)
def test_who_only_withholds_says_so(method: Any, claim: Claim) -> None:
    assert method.info.claim is claim
    assert (method.info.family is Family.DECODING) == (method is OutputFiltering)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_forget_is_refused(method: Any, untaught: TransformersModel) -> None:
    empty = ErasureData(ForgetSet(items=()), RetainSet(items=OTHERS), GENERAL)
    with pytest.raises(InputError):
        method().prepare(untaught, empty, method.config_class())


def test_a_passage_has_no_question_to_refuse(untaught: TransformersModel) -> None:
    passages = tuple(item for item in PERSON if item.kind is ItemKind.VERBATIM)
    data = ErasureData(ForgetSet(items=passages), RetainSet(items=OTHERS), GENERAL)
    with pytest.raises(InputError, match="no question to refuse"):
        Refusal().prepare(untaught, data, Refusal.config_class())


@pytest.mark.parametrize("method", (GradientAscent, Refusal))
def test_the_same_seed_gives_the_same_bytes(method: Any, taught: TransformersModel) -> None:
    runs = [run(method, taught, lora=SMALL, steps=3)[0] for _ in range(2)]
    assert tiny.fingerprints(runs[0].network) == tiny.fingerprints(runs[1].network)
    assert torch.isfinite(torch.cat([parameter.flatten() for parameter in runs[0].network.parameters()])).all()
