"""NPO on a tiny model: it forgets the person up to the bound, keeps the others, and repeats itself exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PERSON
from tiny import Recorder, StoppedError

from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods import npo as npo_module
from console.methods import training
from console.methods.examples import examples_of, mean_nlls
from console.methods.lora import LoraSettings
from console.methods.npo import Npo, NpoConfig
from console.methods.protocol import ErasureData, Outcome

BOUND = 3.0
CONFIG = NpoConfig(lora=LoraSettings(rank=8, alpha=16), learning_rate=1e-3, retain_weight=3.0, steps=60)


def data(
    forget: tuple[ForgetItem, ...] = PERSON,
    retain: tuple[ForgetItem, ...] = OTHERS,
    general: tuple[str, ...] = GENERAL,
    levels: dict[str, float] | None = None,
) -> ErasureData:
    return ErasureData(
        ForgetSet(items=forget), RetainSet(items=retain, general_texts=general), general, reference_nll=levels or {}
    )


@dataclass
class Run:
    model: TransformersModel
    outcome: Outcome
    recorder: Recorder


def run_on(model: TransformersModel, given: ErasureData, recorder: Recorder | None = None, **changed: Any) -> Run:
    copy, recorder = tiny.copy_of(model), recorder or Recorder()
    return Run(copy, Npo().apply(copy, given, CONFIG.model_copy(update=changed), recorder), recorder)


@pytest.fixture(scope="module")
def forgotten(taught: TransformersModel) -> Run:
    """The taught model after it was made to forget the person."""
    return run_on(taught, data())


class TestForgetting:
    def test_the_answers_become_unlikely_and_the_run_ends_by_its_rule(
        self, taught: TransformersModel, forgotten: Run
    ) -> None:
        before, after = mean_nlls(taught, PERSON), mean_nlls(forgotten.model, PERSON)
        assert max(before.values()) < 0.5
        assert min(after.values()) > BOUND - 0.2
        assert forgotten.outcome.stop_reason.startswith("every answer has become as unlikely")
        assert 1 < forgotten.outcome.steps < CONFIG.steps
        assert forgotten.outcome.metrics["unsettled"] == 0

    def test_the_others_are_kept_better_than_the_person(self, taught: TransformersModel, forgotten: Run) -> None:
        kept, lost = mean_nlls(forgotten.model, OTHERS), mean_nlls(forgotten.model, PERSON)
        mean_kept, mean_lost = sum(kept.values()) / len(kept), sum(lost.values()) / len(lost)
        assert mean_kept < 0.2 * mean_lost

    def test_without_the_retain_terms_the_others_are_lost(self, taught: TransformersModel, forgotten: Run) -> None:
        bare = run_on(taught, data(), retain_weight=0.0, general_weight=0.0)
        kept, lost = (sum(mean_nlls(run.model, OTHERS).values()) for run in (forgotten, bare))
        assert lost > 2 * kept

    def test_the_bound_is_each_example_s_own(self, taught: TransformersModel) -> None:
        """Examples that start beyond their bound are left alone while the others go on."""
        levels = {example.id: BOUND if "job" in example.id else 0.0 for example in examples_of(taught, FACTS)}
        after = mean_nlls(run_on(taught, data(forget=FACTS, levels=levels)).model, FACTS)
        pushed = [nll for example, nll in after.items() if "job" in example]
        spared = [nll for example, nll in after.items() if "job" not in example]
        assert min(pushed) > BOUND - 0.2
        assert sum(spared) / len(spared) < 0.3 * BOUND

    def test_a_model_that_never_knew_is_not_touched(self, untaught: TransformersModel) -> None:
        """Its answers are as unlikely as they are to the reference, because it is the reference."""
        levels = {example: 0.999 * nll for example, nll in mean_nlls(untaught, PERSON).items()}  # clear of rounding
        run = run_on(untaught, data(levels=levels))
        assert run.outcome.steps == 0
        assert tiny.fingerprints(run.model.network) == tiny.fingerprints(untaught.network)

    def test_too_few_steps_are_called_so(self, taught: TransformersModel) -> None:
        outcome = run_on(taught, data(), steps=2).outcome
        assert outcome.steps == 2
        assert outcome.stop_reason.startswith("all 2 steps done; some answers had not yet")
        assert outcome.metrics["unsettled"] > 0

    def test_the_run_and_its_bound_are_measured_alike(self, taught: TransformersModel, forgotten: Run) -> None:
        """Before the adapter has learned anything, both give the model's own level: over the same tokens."""
        known, first = mean_nlls(taught, PERSON), forgotten.recorder.metrics[0]
        assert first["forget_nll"] == pytest.approx(sum(known.values()) / len(known), abs=1e-4)
        assert first["general_kl"] == pytest.approx(0, abs=1e-3)
        assert first["unsettled"] == len(known)


class TestRun:
    def test_the_same_seed_gives_the_same_bytes(self, taught: TransformersModel) -> None:
        prints = [tiny.fingerprints(run_on(taught, data(), steps=4, seed=seed).model.network) for seed in (1, 1, 2)]
        assert prints[0] == prints[1] != prints[2]

    def test_only_the_planned_modules_change(self, taught: TransformersModel) -> None:
        lora = LoraSettings(rank=4, alpha=8, first_layer=0.5)
        run = run_on(taught, data(), steps=3, lora=lora)
        planned = Npo().prepare(tiny.copy_of(taught), data(), CONFIG.model_copy(update={"lora": lora})).modules
        before, after = tiny.fingerprints(taught.network), tiny.fingerprints(run.model.network)
        assert {name for name in before if before[name] != after[name]} == {f"{name}.weight" for name in planned}

    def test_it_does_not_depend_on_how_rows_are_cut(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = run_on(taught, data(general=()), steps=3)
        monkeypatch.setattr(training, "ROW_TOKENS", 60)
        monkeypatch.setattr(npo_module, "ROW_TOKENS", 60)
        cut = run_on(taught, data(general=()), steps=3)
        for name in ("forget_nll", "retain_nll"):
            assert cut.recorder.metrics[-1][name] == pytest.approx(whole.recorder.metrics[-1][name], rel=1e-3)

    def test_progress_and_metrics_follow_the_steps(self, forgotten: Run) -> None:
        steps = forgotten.outcome.steps
        assert forgotten.recorder.progressed == [(step, CONFIG.steps) for step in range(1, steps + 1)]
        names = {"step", "forget_nll", "unsettled", "retain_nll", "general_kl"}
        assert all(set(metric) == names for metric in forgotten.recorder.metrics)

    @pytest.mark.parametrize(("retain", "general"), [((), GENERAL), (OTHERS, ())])
    def test_one_kind_of_retained_data_is_enough(
        self, taught: TransformersModel, retain: tuple[ForgetItem, ...], general: tuple[str, ...]
    ) -> None:
        run = run_on(taught, data(retain=retain, general=general), steps=2)
        assert ("retain_nll" in run.outcome.metrics, "general_kl" in run.outcome.metrics) == (
            bool(retain),
            bool(general),
        )

    def test_a_request_to_stop_is_heard_between_steps(self, taught: TransformersModel) -> None:
        recorder = Recorder(looks_allowed=2)
        with pytest.raises(StoppedError):
            run_on(taught, data(), recorder)
        assert len(recorder.metrics) == 2


class TestPlan:
    def test_it_says_what_it_will_do(self, untaught: TransformersModel) -> None:
        plan = Npo().prepare(untaught, data(levels={"a": 1.0}), CONFIG)
        assert len(plan.modules) == 2 * 7 and plan.steps == CONFIG.steps and plan.notes == ()
        assert plan.trainable_parameters == 8 * 2 * (4 * 64 * 2 - 2 * 32 + 3 * (64 + 128))

    def test_an_assumed_bound_is_noted(self, untaught: TransformersModel) -> None:
        assert "assumed, not measured" in Npo().prepare(untaught, data(), CONFIG).notes[0]

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            (data(forget=()), "nothing to erase"),
            (data(retain=(), general=()), "would forget everything"),
        ],
    )
    def test_what_it_refuses(self, untaught: TransformersModel, given: ErasureData, says: str) -> None:
        with pytest.raises(InputError, match=says):
            Npo().prepare(untaught, given, CONFIG)
        with pytest.raises(InputError, match=says):
            Npo().apply(untaught, given, CONFIG, Recorder())

    @pytest.mark.parametrize("name", ["beta", "learning_rate", "steps", "retain_batch", "assumed_reference_nll"])
    def test_settings_that_cannot_be(self, name: str) -> None:
        with pytest.raises(ValueError, match=name):
            NpoConfig.model_validate({name: 0})


def test_the_general_text_is_compared_with_the_model_before(taught: TransformersModel) -> None:
    """With a huge weight on the general text alone, nothing may move it."""
    run = run_on(taught, data(), steps=8, general_weight=200.0)
    loose = run_on(taught, data(), steps=8, general_weight=0.0)
    ids = taught.tokenizer(GENERAL[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = [model.network(ids).logits for model in (taught, run.model, loose.model)]
    held, free = (float((other - logits[0]).abs().mean()) for other in logits[1:])
    assert held < 0.5 * free
