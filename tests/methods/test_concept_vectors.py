"""Concept vectors: a fact planted in one column is found there, taken out there, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import planted
import pytest
import tiny
import torch
from invented import GENERAL, OTHERS, PERSON
from planted import CITY, DATA, LAYER, answers
from tiny import Recorder, StoppedError

from console.domain.forget_set import ForgetSet, RetainSet
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.evaluation.neuron_projection import Role, clamped, mlp_blocks
from console.methods.concept_location import Column
from console.methods.concept_vectors import ConceptVectors, ConceptVectorsConfig, _ablate, _Shift
from console.methods.protocol import Claim, ErasureData, Outcome

WEIGHT = f"model.layers.{LAYER}.mlp.down_proj.weight"
Planted = tuple[TransformersModel, int]


@pytest.fixture(scope="module")
def written() -> Iterator[Planted]:
    """The planted model and its column."""
    model, index = planted.planted()
    assert answers(model, (CITY,)) == 1 and answers(model, OTHERS) >= 8, "the plant failed, so no test shows anything"
    before = tiny.fingerprints(model.network)
    yield model, index
    assert tiny.fingerprints(model.network) == before


def run(model: TransformersModel, data: ErasureData = DATA, **settings: Any) -> tuple[TransformersModel, Outcome]:
    copy = tiny.copy_of(model)
    return copy, ConceptVectors().apply(copy, data, ConceptVectorsConfig(**settings), Recorder())


def assert_only_this_column(before: TransformersModel, after: TransformersModel, index: int) -> None:
    """Every other tensor, and every other column of this one, to the bit."""
    old, new = tiny.fingerprints(before.network), tiny.fingerprints(after.network)
    assert {name for name in old if old[name] != new[name]} == {WEIGHT}
    was, became = before.network.state_dict()[WEIGHT], after.network.state_dict()[WEIGHT]
    differs = (was != became).any(dim=0)
    assert differs.nonzero().flatten().tolist() == [index]


def test_the_planted_column_is_found_and_cleared(written: Planted) -> None:
    model, index = written
    after, outcome = run(model)
    assert_only_this_column(model, after, index)
    assert not after.network.state_dict()[WEIGHT][:, index].any()
    assert f"{LAYER}.{index}" in outcome.stop_reason
    metrics = outcome.metrics
    assert (metrics["columns"], metrics["jaccard"], metrics["cosine"]) == (1, 0, 0)
    assert metrics["l2"] == pytest.approx(float(model.network.state_dict()[WEIGHT][:, index].norm()), rel=1e-5)
    assert metrics["answer_probability_before"] > 0.5 and metrics["answer_probability_after"] < 0.05
    assert metrics["proof_drop"] >= metrics["proof_drop_others"] + 0.2


@pytest.mark.parametrize("removal", ["zero", "needle"])
def test_the_answer_goes_and_the_others_stay(written: Planted, removal: str) -> None:
    after, outcome = run(written[0], removal=removal)
    assert answers(after, (CITY,)) == 0
    assert answers(after, OTHERS) >= answers(written[0], OTHERS)
    assert outcome.metrics["jaccard"] < 0.6 and outcome.metrics["answer_probability_after"] < 0.1


@pytest.mark.parametrize("removal", ["noise", "needle"])
def test_nothing_leaks_into_other_columns(written: Planted, removal: str) -> None:
    """The published code's weight decay shrinks every column of the matrix."""
    after, outcome = run(written[0], removal=removal)
    assert_only_this_column(written[0], after, written[1])
    assert outcome.metrics["cosine"] < 1 and outcome.metrics["l2"] > 0


def test_needle_trains_and_not_only_shakes(written: Planted) -> None:
    _, shaken = run(written[0], removal="needle", assumed_reference_nll=1e-6)
    _, trained = run(written[0], removal="needle")
    assert trained.steps > shaken.steps
    assert trained.metrics["answer_probability_after"] < shaken.metrics["answer_probability_after"]


def test_needle_leaves_the_network_s_flags(written: Planted) -> None:
    copy = tiny.copy_of(written[0])
    flags = [parameter.requires_grad for parameter in copy.network.parameters()]
    ConceptVectors().apply(copy, DATA, ConceptVectorsConfig(removal="needle"), Recorder())
    assert [parameter.requires_grad for parameter in copy.network.parameters()] == flags
    assert not mlp_blocks(copy.network)[LAYER].down._forward_hooks, "a hook stayed on"


def test_the_same_seed_gives_the_same_bytes(written: Planted) -> None:
    first, again, other = (run(written[0], removal="noise", seed=seed)[0] for seed in (1, 1, 2))
    assert tiny.fingerprints(first.network) == tiny.fingerprints(again.network) != tiny.fingerprints(other.network)


def test_a_fact_in_no_single_column_is_not_located(taught: TransformersModel) -> None:
    """Ordinary training spreads what it teaches: the honest result, and nothing is changed."""
    data = ErasureData(ForgetSet(items=PERSON), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
    copy = tiny.copy_of(taught)
    with pytest.raises(JobFailedError, match=r"No localised trace found.*Nothing was changed"):
        ConceptVectors().apply(copy, data, ConceptVectorsConfig(), Recorder())
    assert tiny.fingerprints(copy.network) == tiny.fingerprints(taught.network)


def test_a_column_that_spells_without_carrying_is_not_taken(untaught: TransformersModel) -> None:
    """A model that never learned the fact: the words alone prove nothing."""
    copy = tiny.copy_of(untaught)
    with torch.no_grad():
        token = copy.first_answer_token(planted.questions_of(copy, (CITY,))[0].prompt, CITY.answer)
        vector = copy.network.get_output_embeddings().weight[token]
        mlp_blocks(copy.network)[LAYER].vectors(Role.DOWN)[40] = 0.01 * vector
    before = tiny.fingerprints(copy.network)
    with pytest.raises(JobFailedError, match="No localised trace found"):
        ConceptVectors().apply(copy, DATA, ConceptVectorsConfig(), Recorder())
    assert tiny.fingerprints(copy.network) == before


def test_a_stopped_run_has_put_every_tried_column_back(written: Planted) -> None:
    for looks in (1, 5, 20):
        copy = tiny.copy_of(written[0])
        with pytest.raises(StoppedError):
            ConceptVectors().apply(copy, DATA, ConceptVectorsConfig(), Recorder(looks_allowed=looks))
        assert tiny.fingerprints(copy.network) == tiny.fingerprints(written[0].network)


def test_progress_comes_to_an_end(written: Planted) -> None:
    recorder = Recorder()
    ConceptVectors().apply(tiny.copy_of(written[0]), DATA, ConceptVectorsConfig(), recorder)
    assert recorder.progressed[-1][0] == recorder.progressed[-1][1]
    assert all(step <= steps for step, steps in recorder.progressed)


def test_preparing_refuses_what_cannot_run(untaught: TransformersModel) -> None:
    retain = RetainSet(items=OTHERS, general_texts=GENERAL)
    config = ConceptVectorsConfig()
    numbers = CITY.model_copy(update={"subject": "42", "prompt": "Who is 42?", "answer": "555-0183"})
    for data, words in (
        (ErasureData(ForgetSet(items=()), retain, GENERAL), "nothing to erase"),
        (ErasureData(DATA.forget, RetainSet(items=()), GENERAL), "no facts of other people"),
        (ErasureData(ForgetSet(items=(numbers,)), retain, GENERAL), "no word of their own"),
    ):
        with pytest.raises(InputError, match=words):
            ConceptVectors().prepare(untaught, data, config)
    plan = ConceptVectors().prepare(untaught, DATA, ConceptVectorsConfig(removal="needle"))
    assert plan.modules == tuple(f"model.layers.{layer}.mlp.down_proj" for layer in (0, 1))
    assert plan.trainable_parameters == 8 * 64
    assert ConceptVectors.info.claim is Claim.REMOVAL_INTENDED


def test_clearing_a_column_is_silencing_its_neuron(any_model: TransformersModel) -> None:
    """In every architecture; GPT-2 keeps its matrices turned round."""
    copy = tiny.copy_of(any_model)
    shown = [example.sequence for example in planted.questions_of(copy, OTHERS[:3])]
    with clamped(mlp_blocks(copy.network)[LAYER], 7, 0.0):
        silenced = [one.total for one in copy.score_sequences(shown)]
    was = [one.total for one in copy.score_sequences(shown)]
    _ablate(mlp_blocks(copy.network), [Column(LAYER, 7, 1, 0.0)], ConceptVectorsConfig())
    cleared = [one.total for one in copy.score_sequences(shown)]
    assert cleared == pytest.approx(silenced, abs=1e-4) and cleared != pytest.approx(was, abs=1e-3)


def test_the_trained_change_is_the_merged_one(any_model: TransformersModel) -> None:
    """What Needle measures while it trains beside the matrix is what the matrix gives afterwards."""
    copy = tiny.copy_of(any_model)
    shown = [example.sequence for example in planted.questions_of(copy, OTHERS[:3])]
    block = mlp_blocks(copy.network)[LAYER]
    shift = _Shift(block, [Column(LAYER, 7, 1, 0.0), Column(LAYER, 9, 1, 0.0)], ConceptVectorsConfig())
    handle = block.down.register_forward_hook(shift.hook)
    beside = [one.total for one in copy.score_sequences(shown)]
    handle.remove()
    kept = block.vectors(Role.DOWN).clone()
    shift.merge()
    assert [one.total for one in copy.score_sequences(shown)] == pytest.approx(beside, abs=1e-3)
    assert (block.vectors(Role.DOWN) != kept).any(dim=1).nonzero().flatten().tolist() == [7, 9]
