"""NPO on a tiny model: it forgets the person up to the bound, keeps the others, and repeats itself exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PERSON
from tiny import Recorder, StoppedError

from console.attacks.asking import gives_away
from console.attacks.protocol import facts
from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods import gradient, training
from console.methods.examples import examples_of, mean_nlls
from console.methods.lora import LoraSettings
from console.methods.npo import Npo, NpoConfig
from console.methods.protocol import ErasureData, Outcome

BOUND = 3.0
CONFIG = NpoConfig(
    lora=LoraSettings(rank=8, alpha=16), learning_rate=3e-3, steps=60, repair_steps=6, assumed_reference_nll=BOUND
)
SHORT = {"steps": 3, "repair_steps": 1, "repair_limit": 0}


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


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    """How many of the items the model gives to their own question."""
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


def mean(levels: dict[str, float]) -> float:
    return sum(levels.values()) / len(levels)


def rehearsed(levels: dict[str, float]) -> dict[str, float]:
    """What the retain term shows the model: the questions, not the statements."""
    return {name: level for name, level in levels.items() if name.endswith("/question")}


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
        # The repair lets an answer come back to this share of the level before it is pushed again, one step later.
        assert min(after.values()) > 0.9 * CONFIG.hold_share * BOUND
        assert answers(taught, FACTS) == len(FACTS) and answers(forgotten.model, FACTS) == 0
        assert forgotten.outcome.stop_reason.startswith("every answer has come to the level")
        assert CONFIG.repair_steps < forgotten.outcome.steps < CONFIG.steps

    def test_the_others_are_kept(self, forgotten: Run) -> None:
        kept, lost = mean_nlls(forgotten.model, facts(OTHERS)), mean_nlls(forgotten.model, facts(PERSON))
        assert mean(rehearsed(kept)) < 0.02 * mean(lost)
        assert answers(forgotten.model, OTHERS) >= len(OTHERS) - 1

    def test_without_the_retain_terms_the_others_are_lost(self, taught: TransformersModel, forgotten: Run) -> None:
        bare = run_on(taught, data(), retain_weight=1e-9, general_weight=1e-9)
        lost, kept = (rehearsed(mean_nlls(run.model, facts(OTHERS))) for run in (bare, forgotten))
        assert mean(lost) > 20 * mean(kept)

    def test_an_answer_known_by_heart_is_moved(self, taught: TransformersModel) -> None:
        """Its log-likelihood has no gradient left; with the log-odds it moves in the first steps."""
        still, moved = (
            run_on(taught, data(), steps=8, repair_steps=0, certain_below=limit).model for limit in (0.0, 0.1)
        )
        slowest = [min(mean_nlls(model, facts(PERSON)).values()) for model in (taught, still, moved)]
        assert slowest[1] < 3 * slowest[0] < 0.1
        assert slowest[2] > 10 * slowest[1]

    def test_an_answer_that_anybody_knows_is_not_pushed(self, taught: TransformersModel) -> None:
        """Where a model that never knew the person says it as surely, being known by heart is no reason to push."""
        before = mean_nlls(taught, PERSON)
        levels = dict.fromkeys(before, 0.5 * min(before.values()))
        run = run_on(taught, data(levels=levels), steps=4, repair_steps=4)
        assert run.outcome.stop_reason.startswith("every answer has come to the level")
        assert max(mean_nlls(run.model, PERSON).values()) < 0.1 < NpoConfig().assumed_reference_nll

    def test_the_bound_is_each_example_s_own(self, taught: TransformersModel) -> None:
        """Examples that start beyond their bound are left alone while the others go on."""
        levels = {example.id: BOUND if "job" in example.id else 0.0 for example in examples_of(taught, FACTS)}
        after = mean_nlls(run_on(taught, data(forget=FACTS, levels=levels)).model, FACTS)
        pushed = [nll for example, nll in after.items() if "job" in example]
        spared = [nll for example, nll in after.items() if "job" not in example]
        assert sum(spared) / len(spared) < 0.5 * min(pushed)

    def test_an_answer_far_beyond_its_level_is_drawn_back(self, untaught: TransformersModel) -> None:
        """Conspicuously unlikely is as telling as known."""
        levels = dict.fromkeys(mean_nlls(untaught, PERSON), 2.0)
        before = mean(mean_nlls(untaught, PERSON))
        after = [
            mean(mean_nlls(run_on(untaught, data(levels=levels), steps=12, pull_back_weight=weight).model, PERSON))
            for weight in (0.0, 4.0)
        ]
        assert before > 2.0 + 3 * CONFIG.overshoot, "it is not far beyond, so nothing has to be drawn back"
        assert after[1] < after[0] - 0.5

    def test_unlikely_enough_is_enough(self, taught: TransformersModel) -> None:
        """Even where the reference finds the answers less likely still."""
        levels = dict.fromkeys(mean_nlls(taught, PERSON), 25.0)
        run = run_on(taught, data(levels=levels), enough_nll=BOUND)
        assert run.outcome.stop_reason.startswith("every answer has come to the level")
        assert max(mean_nlls(run.model, PERSON).values()) < 20

    def test_too_few_steps_are_called_so(self, taught: TransformersModel) -> None:
        outcome = run_on(taught, data(), **SHORT).outcome
        assert outcome.steps == 4
        assert outcome.stop_reason.startswith("3 steps done; not every answer is at the level")

    def test_the_repair_goes_on_until_every_retained_answer_is_back(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A push without rehearsal loses some; the rule brings back exactly those that were said before.

        On the way only the lost ones are asked for again, and all before the end.
        """
        asked: list[int] = []
        real = gradient.said

        def counted(model: TransformersModel, sequences: list[Any], trunk: Any) -> frozenset[int]:
            asked.append(len(sequences))
            return real(model, sequences, trunk)

        monkeypatch.setattr(gradient, "said", counted)
        known = answers(taught, OTHERS)
        weights = {"steps": 12, "repair_steps": 0, "retain_batch": 2, "general_weight": 0.01, "learning_rate": 1e-2}
        weights |= {"general_limit": 100.0}  # else the governor ends the push before anything is lost
        left, repaired = (run_on(taught, data(), repair_limit=limit, **weights) for limit in (0, 60))
        assert answers(left.model, OTHERS) < known == answers(repaired.model, OTHERS)
        assert left.outcome.metrics["retain_lost"] > 0 == repaired.outcome.metrics["retain_lost"]
        assert "retained answers are lost" in left.outcome.stop_reason
        assert "lost" not in repaired.outcome.stop_reason
        assert left.outcome.steps < repaired.outcome.steps < left.outcome.steps + 60
        whole = len(OTHERS)
        assert asked[0] == whole == asked[-1]
        assert any(count < whole for count in asked)

    def test_the_run_and_its_bound_are_measured_alike(self, taught: TransformersModel, forgotten: Run) -> None:
        """Before the adapter has learned anything, both give the model's own level: over the same tokens."""
        first = forgotten.recorder.metrics[0]
        assert first["forget_nll"] == pytest.approx(mean(mean_nlls(taught, PERSON)), abs=1e-4)
        assert first["general_kl"] == pytest.approx(0, abs=1e-3)

    def test_the_general_text_is_compared_with_the_model_before(self, taught: TransformersModel) -> None:
        """With a huge weight on it, it moves less than with none."""
        held, free = (run_on(taught, data(), steps=8, general_weight=weight).model for weight in (200.0, 0.0))
        ids = taught.tokenizer(GENERAL[0], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            before, *after = (model.network(ids).logits for model in (taught, held, free))
        moved = [float((logits - before).abs().mean()) for logits in after]
        assert moved[0] < 0.5 * moved[1]


class TestRun:
    def test_the_same_seed_gives_the_same_bytes(self, taught: TransformersModel) -> None:
        prints = [tiny.fingerprints(run_on(taught, data(), **SHORT, seed=seed).model.network) for seed in (1, 1, 2)]
        assert prints[0] == prints[1] != prints[2]

    def test_only_the_planned_modules_change(self, taught: TransformersModel) -> None:
        lora = LoraSettings(rank=4, alpha=8, first_layer=0.5)
        run = run_on(taught, data(), **SHORT, lora=lora)
        planned = Npo().prepare(tiny.copy_of(taught), data(), CONFIG.model_copy(update={"lora": lora})).modules
        before, after = tiny.fingerprints(taught.network), tiny.fingerprints(run.model.network)
        assert {name for name in before if before[name] != after[name]} == {f"{name}.weight" for name in planned}

    @pytest.mark.parametrize("shortcut", ["long rows", "the trunk"])
    def test_shortcuts_change_nothing(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch, shortcut: str
    ) -> None:
        """Neither how rows are cut nor whether the frozen layers are run once shows in the numbers."""
        given, lora = data(general=()), LoraSettings(rank=8, alpha=16, first_layer=0.5)
        with_it = run_on(taught, given, **SHORT, lora=lora)
        if shortcut == "long rows":
            monkeypatch.setattr(training, "ROW_TOKENS", 60)
            monkeypatch.setattr(gradient, "ROW_TOKENS", 60)
        else:
            monkeypatch.setattr(TransformersModel, "trunk", lambda *_: None)
        without = run_on(taught, given, **SHORT, lora=lora)
        for name in ("forget_nll", "retain_nll"):
            values = [[metric[name] for metric in run.recorder.metrics] for run in (with_it, without)]
            assert values[0] == pytest.approx(values[1], rel=1e-2, abs=1e-4)

    def test_progress_and_metrics_follow_the_steps(self, forgotten: Run) -> None:
        steps = forgotten.outcome.steps
        total = CONFIG.steps + CONFIG.repair_steps
        assert forgotten.recorder.progressed == [(step, total) for step in range(1, steps + 1)]
        assert [metric["step"] for metric in forgotten.recorder.metrics] == list(range(1, steps + 1))
        assert {"forget_nll", "retain_nll", "general_kl"} <= set(forgotten.recorder.metrics[0])

    @pytest.mark.parametrize(("retain", "general"), [((), GENERAL), (OTHERS, ()), (OTHERS[:1], GENERAL[:1])])
    def test_little_retained_data_is_enough(
        self, taught: TransformersModel, retain: tuple[ForgetItem, ...], general: tuple[str, ...]
    ) -> None:
        metrics = run_on(taught, data(retain=retain, general=general), **SHORT).outcome.metrics
        assert ("retain_nll" in metrics, "general_kl" in metrics) == (bool(retain), bool(general))

    def test_a_request_to_stop_is_heard_between_the_parts_of_a_step(self, taught: TransformersModel) -> None:
        recorder = Recorder(looks_allowed=7)  # at the start of a step, after its forget and after its retain term
        with pytest.raises(StoppedError):
            run_on(taught, data(), recorder)
        assert len(recorder.metrics) == 2


class TestPlan:
    def test_it_says_what_it_will_do(self, untaught: TransformersModel) -> None:
        plan = Npo().prepare(untaught, data(levels={"a": 1.0}), CONFIG)
        assert (len(plan.modules), plan.steps, plan.notes) == (2 * 7, CONFIG.steps + CONFIG.repair_steps, ())
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

    @pytest.mark.parametrize("without", [{"general_weight": 0.0}, {"general_batch": 0}])
    def test_terms_that_weigh_nothing_hold_nothing(
        self, untaught: TransformersModel, without: dict[str, float]
    ) -> None:
        Npo().prepare(untaught, data(), CONFIG.model_copy(update={"retain_weight": 0.0}))
        with pytest.raises(InputError, match="would forget everything"):
            Npo().prepare(untaught, data(), CONFIG.model_copy(update={"retain_weight": 0.0} | without))
        with pytest.raises(InputError, match="would forget everything"):
            Npo().prepare(untaught, data(retain=()), CONFIG.model_copy(update=without))

    @pytest.mark.parametrize("name", ["beta", "learning_rate", "steps", "retain_batch", "assumed_reference_nll"])
    def test_settings_that_cannot_be(self, name: str) -> None:
        with pytest.raises(ValueError, match=name):
            NpoConfig.model_validate({name: 0})
