"""Task-vector negation: nothing subtracted is nothing changed, and the smallest factor that is enough is taken."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PERSON
from tiny import Recorder, StoppedError

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods import training
from console.methods.examples import mean_nlls
from console.methods.lora import LoraSettings, merged, resolve_modules, with_adapter
from console.methods.protocol import ErasureData, Outcome
from console.methods.task_vector import TaskVector, TaskVectorConfig, set_factor

CONFIG = TaskVectorConfig(lora=LoraSettings(rank=8, alpha=16), learning_rate=1e-3)


def data(forget: tuple[ForgetItem, ...] = PERSON, levels: dict[str, float] | None = None) -> ErasureData:
    retained = RetainSet(items=OTHERS, general_texts=GENERAL)
    return ErasureData(ForgetSet(items=forget), retained, GENERAL, reference_nll=levels or {})


def run(
    model: TransformersModel, given: ErasureData, recorder: Recorder | None = None, **settings: Any
) -> tuple[TransformersModel, Outcome]:
    copy = tiny.copy_of(model)
    return copy, TaskVector().apply(copy, given, CONFIG.model_copy(update=settings), recorder or Recorder())


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


def mean(levels: dict[str, float]) -> float:
    return sum(levels.values()) / len(levels)


def moved(before: TransformersModel, after: TransformersModel) -> dict[str, torch.Tensor]:
    """The difference of every tensor that changed, by name."""
    old, new = before.network.state_dict(), after.network.state_dict()
    return {name: new[name] - old[name] for name in old if not torch.equal(old[name], new[name])}


class TestIdentities:
    def filled(self, model: TransformersModel) -> TransformersModel:
        """The model with an adapter whose product is not zero."""
        copy = tiny.copy_of(model)
        modules = resolve_modules(copy.network, CONFIG.lora)
        copy.network = with_adapter(copy.network, modules, CONFIG.lora, seed=1)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in copy.network.named_parameters():
                if "lora_B" in name:
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        return copy

    def test_nothing_subtracted_is_the_same_model_bit_for_bit(self, taught: TransformersModel) -> None:
        copy = self.filled(taught)
        set_factor(copy.network, 0.0)
        copy.network = merged(copy.network)
        assert tiny.fingerprints(copy.network) == tiny.fingerprints(taught.network)

    def test_a_factor_of_one_is_the_adapter_as_it_is(self, taught: TransformersModel) -> None:
        plain, one = self.filled(taught), self.filled(taught)
        set_factor(one.network, 1.0)
        prints = [tiny.fingerprints(merged(model.network)) for model in (plain, one)]
        assert prints[0] == prints[1] != tiny.fingerprints(taught.network)

    def test_the_change_is_proportional_and_turned_round(self, taught: TransformersModel) -> None:
        found = []
        for factor in (1.0, -1.0, -2.5):
            copy = self.filled(taught)
            set_factor(copy.network, factor)
            copy.network = merged(copy.network)
            found.append(moved(taught, copy))
        assert len(found[0]) == 14
        for name, learned in found[0].items():
            torch.testing.assert_close(found[1][name], -learned, rtol=1e-3, atol=1e-6)
            torch.testing.assert_close(found[2][name], -2.5 * learned, rtol=1e-3, atol=1e-6)

    @pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan")])
    def test_factors_that_subtract_nothing_or_no_number_are_refused(self, alpha: float) -> None:
        with pytest.raises(ValueError, match="alpha"):
            TaskVectorConfig(alpha=alpha)
        with pytest.raises(ValueError, match="sweep"):
            TaskVectorConfig(sweep=(alpha, 1.0))

    @pytest.mark.parametrize("sweep", [(1.0, 0.5), (1.0, 1.0)])
    def test_the_sweep_must_rise(self, sweep: tuple[float, ...]) -> None:
        with pytest.raises(ValueError, match="must rise"):
            TaskVectorConfig(sweep=sweep)


class TestForgetting:
    def test_the_smallest_factor_that_is_enough_is_taken(self, taught: TransformersModel) -> None:
        recorder = Recorder()
        model, outcome = run(taught, data(), recorder)
        tried = [metric for metric in recorder.metrics if "alpha" in metric]
        assert tuple(metric["alpha"] for metric in tried) == CONFIG.sweep[: len(tried)]
        assert 1 < len(tried) < len(CONFIG.sweep)
        assert all(metric["forget_nll"] < CONFIG.assumed_reference_nll for metric in tried[:-1])
        assert outcome.metrics["alpha"] == tried[-1]["alpha"]
        assert outcome.metrics["forget_nll"] >= CONFIG.assumed_reference_nll
        assert "on average as unlikely" in outcome.stop_reason
        assert answers(taught, FACTS) == len(FACTS) and answers(model, FACTS) == 0

    def test_what_was_measured_is_what_is_left(self, taught: TransformersModel) -> None:
        """The factor is tried on the adapter; the merged weights say the same."""
        model, outcome = run(taught, data())
        after = mean_nlls(model, PERSON)
        assert outcome.metrics["forget_nll"] == pytest.approx(mean(after), rel=1e-3)
        assert outcome.metrics["still_known"] == sum(nll < CONFIG.assumed_reference_nll for nll in after.values())

    def test_it_costs_the_person_more_than_the_others(self, taught: TransformersModel) -> None:
        model, _ = run(taught, data())
        assert mean(mean_nlls(model, PERSON)) > 3 * mean(mean_nlls(model, OTHERS))
        assert answers(model, OTHERS) > len(OTHERS) // 2

    def test_a_measured_level_comes_before_the_assumed_one(self, taught: TransformersModel) -> None:
        levels = dict.fromkeys(mean_nlls(taught, PERSON), 0.2)
        chosen = [run(taught, data(levels=given))[1].metrics["alpha"] for given in (levels, {})]
        assert chosen[0] < chosen[1]

    def test_unlikely_enough_is_enough(self, taught: TransformersModel) -> None:
        levels = dict.fromkeys(mean_nlls(taught, PERSON), 50.0)
        assert "on average" in run(taught, data(levels=levels), enough_nll=3.0)[1].stop_reason

    def test_one_alpha_without_a_sweep(self, taught: TransformersModel) -> None:
        recorder = Recorder()
        _, outcome = run(taught, data(), recorder, sweep=(), alpha=0.5)
        assert [metric["alpha"] for metric in recorder.metrics if "alpha" in metric] == [0.5]
        assert outcome.stop_reason == "at alpha 0.5, the last allowed, the answers are still known too well"

    def test_an_answer_known_by_heart_gives_a_direction(self, taught: TransformersModel) -> None:
        """Without the log-odds the learning has next to no gradient, and its difference tells less of the person."""
        settings = {"least_steps": 10, "steps": 10, "sweep": (), "alpha": 3.0}
        bare, pushed = (run(taught, data(), known_below=below, **settings)[0] for below in (1e-9, 0.1))
        assert mean(mean_nlls(pushed, PERSON)) > 1.5 * mean(mean_nlls(bare, PERSON))

    def test_what_destroys_the_model_is_said(self, taught: TransformersModel) -> None:
        with pytest.raises(JobFailedError, match="destroys the model"):
            run(taught, data(), sweep=(), alpha=1e38)


class TestRun:
    def test_learning_ends_between_its_bounds(self, taught: TransformersModel, untaught: TransformersModel) -> None:
        """What is known by heart already is still learned for the least steps, or there were nothing to subtract."""
        assert run(taught, data(), least_steps=4)[1].steps == 4
        assert run(untaught, data(), steps=12)[1].steps == 12
        recorder = Recorder()
        _, outcome = run(untaught, data(), recorder, steps=200, learning_rate=1e-2)
        learned = [metric["learned_nll"] for metric in recorder.metrics if "learned_nll" in metric]
        assert CONFIG.least_steps < outcome.steps == len(learned) < 200
        assert learned[-1] < 2 * CONFIG.known_below < learned[0]

    def test_only_the_planned_modules_change(self, taught: TransformersModel) -> None:
        lora = LoraSettings(rank=4, alpha=8, first_layer=0.5)
        planned = TaskVector().prepare(taught, data(), CONFIG.model_copy(update={"lora": lora})).modules
        model, _ = run(taught, data(), lora=lora)
        before, after = tiny.fingerprints(taught.network), tiny.fingerprints(model.network)
        assert {name for name in before if before[name] != after[name]} == {f"{path}.weight" for path in planned}
        assert len(planned) == 7

    def test_the_same_seed_gives_the_same_bytes(self, taught: TransformersModel) -> None:
        prints = [tiny.fingerprints(run(taught, data(), least_steps=2, seed=seed)[0].network) for seed in (1, 1, 2)]
        assert prints[0] == prints[1] != prints[2]

    @pytest.mark.parametrize("shortcut", ["long rows", "the trunk"])
    def test_shortcuts_change_nothing(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch, shortcut: str
    ) -> None:
        settings = {"lora": LoraSettings(rank=8, alpha=16, first_layer=0.5), "least_steps": 3}
        with_it = Recorder()
        run(taught, data(), with_it, **settings)
        if shortcut == "long rows":
            monkeypatch.setattr(training, "ROW_TOKENS", 60)
        else:
            monkeypatch.setattr(TransformersModel, "trunk", lambda *_: None)
        without = Recorder()
        run(taught, data(), without, **settings)
        levels = [
            [m.get("learned_nll", m.get("forget_nll")) for m in recorder.metrics] for recorder in (with_it, without)
        ]
        assert levels[0] == pytest.approx(levels[1], rel=2e-2, abs=1e-4)

    def test_progress_rises_to_what_was_planned(self, taught: TransformersModel) -> None:
        recorder = Recorder()
        run(taught, data(), recorder, sweep=(0.1, 0.2))
        total = TaskVector().prepare(taught, data(), CONFIG.model_copy(update={"sweep": (0.1, 0.2)})).steps
        steps = [step for step, _ in recorder.progressed]
        assert steps == sorted(set(steps)) and steps[-1] == total == CONFIG.steps + 2
        assert {whole for _, whole in recorder.progressed} == {total}

    @pytest.mark.parametrize("looks", [3, CONFIG.least_steps + 1])
    def test_a_request_to_stop_is_heard_while_learning_and_while_subtracting(
        self, taught: TransformersModel, looks: int
    ) -> None:
        recorder = Recorder(looks_allowed=looks)
        with pytest.raises(StoppedError):
            run(taught, data(), recorder)
        assert len(recorder.metrics) == min(looks, CONFIG.least_steps)

    def test_it_says_what_it_will_do(self, untaught: TransformersModel) -> None:
        plan = TaskVector().prepare(untaught, data(levels={"a": 1.0}), CONFIG)
        assert (len(plan.modules), len(plan.notes)) == (14, 1) and "Nothing holds the rest" in plan.notes[0]
        assert "assumed, not measured" in TaskVector().prepare(untaught, data(), CONFIG).notes[1]

    def test_nothing_to_forget_is_refused(self, untaught: TransformersModel) -> None:
        with pytest.raises(InputError, match="nothing to erase"):
            TaskVector().prepare(untaught, data(forget=()), CONFIG)
