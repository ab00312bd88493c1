"""Targeted reversal: an edit stays only where it was measured to help, and otherwise the bytes come back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import planted
import pytest
import tiny
import torch
from invented import GENERAL, OTHERS
from planted import CITY, DATA, LAYER, answers
from tiny import Recorder

from console.domain.forget_set import ForgetSet, RetainSet
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.evaluation.neuron_projection import Role, Unembedding, clamped, mlp_blocks
from console.methods import tars
from console.methods.protocol import Claim, ErasureData, Outcome
from console.methods.tars import Tars, TarsConfig

Planted = tuple[TransformersModel, int]


@pytest.fixture(scope="module")
def written() -> Iterator[Planted]:
    """The planted model and its column."""
    model, index = planted.planted()
    assert answers(model, (CITY,)) == 1, "the plant failed, so no test shows anything"
    before = tiny.fingerprints(model.network)
    yield model, index
    assert tiny.fingerprints(model.network) == before


def run(model: TransformersModel, **settings: Any) -> tuple[TransformersModel, Outcome, Recorder]:
    copy, recorder = tiny.copy_of(model), Recorder()
    return copy, Tars().apply(copy, DATA, TarsConfig(**settings), recorder), recorder


def changed_vectors(before: TransformersModel, after: TransformersModel) -> set[tuple[int, Role, int]]:
    found = set()
    for old, new in zip(mlp_blocks(before.network), mlp_blocks(after.network), strict=True):
        for role in old.modules:
            rows = (old.vectors(role) != new.vectors(role)).any(dim=1).nonzero().flatten().tolist()
            found |= {(old.layer, role, row) for row in rows}
    return found


def test_the_planted_neuron_is_turned_round(written: Planted) -> None:
    model, index = written
    after, outcome, _ = run(model)
    assert changed_vectors(model, after) == {(LAYER, Role.DOWN, index)}
    assert (outcome.metrics["columns"], outcome.metrics["reversed"], outcome.metrics["rolled_back"]) == (1, 1, 0)
    assert outcome.metrics["concept_probability_before"] > 0.5 > outcome.metrics["concept_probability_after"]
    assert outcome.metrics["jaccard"] < 0.2 and outcome.metrics["cosine"] < 0
    assert answers(after, (CITY,)) == 0 and answers(after, OTHERS) >= answers(model, OTHERS)


def test_nothing_but_the_edited_vectors_changes(written: Planted) -> None:
    after, outcome, _ = run(written[0])
    old, new = tiny.fingerprints(written[0].network), tiny.fingerprints(after.network)
    assert {name for name in old if old[name] != new[name]} == {f"model.layers.{LAYER}.mlp.down_proj.weight"}
    assert len(changed_vectors(written[0], after)) == outcome.metrics["columns"]


def test_a_reversed_vector_keeps_its_length(written: Planted) -> None:
    after, _, _ = run(written[0])
    lengths = [mlp_blocks(model.network)[LAYER].vectors(Role.DOWN)[written[1]].norm() for model in (written[0], after)]
    assert float(lengths[1]) == pytest.approx(float(lengths[0]), rel=1e-4)


def test_the_contribution_is_what_silencing_takes_from_the_logit(any_model: TransformersModel) -> None:
    """In the last layer, before the norm's division: activation times (column . direction of the token)."""
    blocks, unembedding = mlp_blocks(any_model.network), Unembedding.of(any_model.network)
    target = tars._targets(any_model, (CITY,))[0]
    adds = tars._contributions(any_model, blocks, unembedding, target)
    toward = unembedding.of_tokens([target.token])[0]
    with torch.no_grad():
        whole = tars._final_states(any_model, target.probes)
        with clamped(blocks[LAYER], 5, 0.0):
            without = tars._final_states(any_model, target.probes)
    assert float(adds[LAYER, 5]) == pytest.approx(float(((whole - without) @ toward).mean()), abs=1e-3)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_reversed_only_where_it_adds_to_the_answer(written: Planted, sign: float) -> None:
    """The trap of the published rule: with a negative activation, reversing would raise the answer."""
    copy = tiny.copy_of(written[0])
    blocks, unembedding = mlp_blocks(copy.network), Unembedding.of(copy.network)
    vector = blocks[LAYER].vectors(Role.DOWN)[written[1]]
    vector *= sign
    target = tars._targets(copy, (CITY,))[0]
    adds = float(tars._contributions(copy, blocks, unembedding, target)[LAYER, written[1]])
    assert (adds > 0) == (sign > 0)
    candidate = tars._Candidate(LAYER, written[1], Role.DOWN, -0.5)
    edit = tars._edited(blocks, candidate, torch.nn.functional.normalize(vector, dim=0), reverse=adds > 0)
    assert edit.reversed == (sign > 0) and bool(vector.any()) == (sign > 0)


def test_an_edit_that_does_not_help_is_taken_back(written: Planted) -> None:
    copy = tiny.copy_of(written[0])
    with pytest.raises(JobFailedError, match=r"None of the \d+ edits.*Nothing was changed"):
        Tars().apply(copy, DATA, TarsConfig(least_gain=1e6), Recorder())
    assert tiny.fingerprints(copy.network) == tiny.fingerprints(written[0].network)


def test_an_edit_that_harms_the_rest_is_taken_back(written: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, measured = tiny.copy_of(written[0]), iter(range(1000))
    monkeypatch.setattr(tars, "_mean_nll", lambda *_: float(next(measured)))  # each look finds a nat more harm
    with pytest.raises(JobFailedError, match="harm to the rest"):
        Tars().apply(copy, DATA, TarsConfig(), Recorder())
    assert tiny.fingerprints(copy.network) == tiny.fingerprints(written[0].network)


def test_no_vector_near_the_answer_is_an_honest_result(untaught: TransformersModel) -> None:
    copy = tiny.copy_of(untaught)
    with pytest.raises(JobFailedError, match=r"No specialised neuron found.*Nothing was changed"):
        Tars().apply(copy, DATA, TarsConfig(threshold=0.99, lowest_threshold=0.99), Recorder())
    assert tiny.fingerprints(copy.network) == tiny.fingerprints(untaught.network)


def test_one_vector_of_a_neuron_and_no_more_than_the_budget(taught: TransformersModel) -> None:
    data = ErasureData(ForgetSet(items=planted.FACTS), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
    copy = tiny.copy_of(taught)
    outcome = Tars().apply(copy, data, TarsConfig(budget=3, goal=1e-6, trials=15), Recorder())
    found = changed_vectors(taught, copy)
    assert 1 <= len(found) == outcome.metrics["columns"] <= 3
    assert len({(layer, index) for layer, _, index in found}) == len(found)
    assert outcome.metrics["concept_probability_after"] < outcome.metrics["concept_probability_before"]


def test_the_search_makes_the_target_surer(untaught: TransformersModel) -> None:
    target = tars._targets(untaught, (CITY,))[0]

    def certainty(draws: int) -> float:
        config = TarsConfig(draws=draws, noise_to=3.0)
        with torch.no_grad():
            vector = tars._target_vector(untaught, target, config, torch.Generator().manual_seed(1))
            return float(Unembedding.of(untaught.network).logits(vector[None])[0].softmax(dim=-1)[target.token])

    assert certainty(400) > certainty(0)
    assert certainty(400) == certainty(400), "seeded"


def test_preparing_refuses_what_cannot_run(untaught: TransformersModel) -> None:
    numbers = CITY.model_copy(update={"answer": "555-0183"})
    retain = DATA.retain
    for data, words in (
        (ErasureData(ForgetSet(items=()), retain, GENERAL), "nothing to erase"),
        (ErasureData(DATA.forget, RetainSet(items=()), ()), "no facts to keep"),
        (ErasureData(ForgetSet(items=(numbers,)), retain, GENERAL), "No answer of the request"),
    ):
        with pytest.raises(InputError, match=words):
            Tars().prepare(untaught, data, TarsConfig())
    plan = Tars().prepare(untaught, DATA, TarsConfig())
    assert len(plan.modules) == 2 * 3 and "Experimental" in plan.notes[0]
    assert "experimental" in Tars.info.title and Tars.info.claim is Claim.SUPPRESSION_IN_WEIGHTS
