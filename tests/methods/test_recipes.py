"""Recipes and their governor: stages in their order, facts that none of them sees, and a stage that is taken back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from invented import GENERAL, OTHERS, PERSON
from tiny import Recorder, StoppedError

from console.domain.forget_set import ForgetSet, ItemKind, RetainSet
from console.domain.recipes import Recipe, parse_recipe
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.examples import mean_nlls
from console.methods.governor import Governor, GovernorSettings, Kept, WeightsBefore, hold_out
from console.methods.protocol import ErasureData, Method, Outcome, Plan
from console.methods.recipe import RecipeMethod
from console.methods.registry import method_named, recipe_method, single_methods
from console.methods.weight_noise import WeightNoise

FACTS = tuple(item for item in PERSON if item.kind is not ItemKind.VERBATIM)
NEAR = OTHERS[0].subject


def data(levels: dict[str, float] | None = None) -> ErasureData:
    return ErasureData(
        ForgetSet(items=FACTS),
        RetainSet(items=OTHERS, general_texts=GENERAL),
        GENERAL,
        reference_nll=levels or {},
        neighbours=frozenset({NEAR}),
    )


def recipe(*stages: dict[str, Any]) -> Recipe:
    return parse_recipe({"id": "ours", "title": "Ours", "summary": "Ours.", "stages": list(stages)}, "ours.json")


NOISE = {"method": "weight-noise", "name": "shake"}
SHORT = {"method": "graddiff-kl", "settings": {"steps": 3, "repair_steps": 1, "repair_limit": 0}}


class Looking(WeightNoise):
    """Changes next to nothing, and notes what it is shown."""

    def __init__(self) -> None:
        self.seen: list[ErasureData] = []

    def apply(self, model: TransformersModel, data: ErasureData, config: Any, control: Any) -> Outcome:
        self.seen.append(data)
        assert data.watch is not None and data.watch.check(1)
        return super().apply(model, data, config, control)


class TestGovernor:
    @pytest.mark.parametrize(
        ("lost", "known", "too_many"),
        [(0, 0, False), (0, 40, False), (1, 2, True), (1, 3, False), (2, 14, True), (2, 40, False), (3, 40, True)],
    )
    def test_more_than_two_in_a_hundred_is_told_from_luck(self, lost: int, known: int, too_many: bool) -> None:
        assert Kept(known - lost, known).too_many_lost is too_many

    def test_what_is_held_out_is_fixed_has_neighbours_and_leaves_the_rest(self) -> None:
        seen, held = hold_out(data(), GovernorSettings(), seed=1)
        assert held == hold_out(data(), GovernorSettings(), seed=1)[1]
        assert any(item.subject == NEAR for item in held)
        assert {item.id for item in held}.isdisjoint(item.id for item in seen.retain.items)
        assert len(held) + len(seen.retain.items) == len(OTHERS)
        few = replace(data(), retain=RetainSet(items=OTHERS[:3]))
        assert hold_out(few, GovernorSettings(), seed=1) == (few, ())

    def test_it_asks_what_is_known_and_sees_what_is_lost(
        self, taught: TransformersModel, untaught: TransformersModel
    ) -> None:
        copy = tiny.copy_of(taught)
        held = tuple(item for item in OTHERS if item.kind is not ItemKind.VERBATIM)
        governor = Governor(copy, held, GovernorSettings(answer_tokens=16), Recorder())
        assert governor.known == len(held) and governor.ask() == Kept(len(held), len(held))
        before = WeightsBefore(copy.network)
        with torch.no_grad():
            for weight in copy.network.parameters():
                weight.mul_(-1.0)
        assert not governor.check(1)
        before.go_back(copy.network)
        assert governor.check(2)
        assert tiny.fingerprints(copy.network) == tiny.fingerprints(taught.network)
        # Its words are few and random, so an untaught net may say one by luck.
        assert Governor(untaught, held, GovernorSettings(answer_tokens=16), Recorder()).known < len(held) / 2


class TestRecipe:
    def test_stages_run_in_order_and_none_sees_what_is_held_out(self, taught: TransformersModel) -> None:
        looking = Looking()
        methods: dict[str, Method] = {"weight-noise": looking}
        made = RecipeMethod(recipe({**NOISE, "settings": {"scale": 1e-4}}, {**NOISE, "name": "again"}), methods)
        config = made.config_class.model_validate({"again": {"scale": 1e-5}})
        assert (config.shake.scale, config.again.scale) == (1e-4, 1e-5)  # type: ignore[attr-defined]
        copy, recorder = tiny.copy_of(taught), Recorder()
        plan: Plan = made.prepare(copy, data(), config)
        outcome = made.apply(copy, data(), config, recorder)
        held = hold_out(data(), GovernorSettings(), 1)[1]
        for shown in looking.seen:
            assert not {item.id for item in held} & {item.id for item in shown.retain.items}
        steps = [step for step, _ in recorder.progressed]
        assert steps == sorted(steps) and {total for _, total in recorder.progressed} == {plan.steps}
        assert plan.steps == outcome.steps == 2 * len(plan.modules)
        assert outcome.stop_reason.startswith("stage 1 (shake, weight-noise): every layer")
        assert outcome.stop_reason.endswith(f"{len(held)} of {len(held)} held-out facts of others kept")
        assert outcome.metrics["held_out_kept"] == outcome.metrics["held_out_known"] == len(held)

    def test_a_stage_that_loses_others_is_taken_back_and_said(self, taught: TransformersModel) -> None:
        small, large = {**NOISE, "settings": {"scale": 1e-4}}, {**NOISE, "name": "hard", "settings": {"scale": 3.0}}
        alone, both = tiny.copy_of(taught), tiny.copy_of(taught)
        whole = {"governor": {"halvings": 0}}
        for copy, made in ((alone, recipe_method(recipe(small))), (both, recipe_method(recipe(small, large)))):
            outcome = made.apply(copy, data(), made.config_class.model_validate(whole), Recorder())
        assert tiny.fingerprints(both.network) == tiny.fingerprints(alone.network)
        assert outcome.stop_reason.startswith("stopped after stage 1: ")
        assert "in stage 2 (hard, weight-noise), which was taken back" in outcome.stop_reason
        assert outcome.metrics["stage_2_share"] == 0

    def test_a_halved_stage_keeps_a_part_of_its_change(self, taught: TransformersModel) -> None:
        made = recipe_method(recipe({**NOISE, "settings": {"scale": 3.0}}))
        config = made.config_class.model_validate({"governor": {"halvings": 9}})
        copy = tiny.copy_of(taught)
        outcome = made.apply(copy, data(), config, Recorder())
        share = outcome.metrics["stage_1_share"]
        assert 0 < share < 1 and outcome.stop_reason.startswith("stopped in stage 1: ")
        moved = {}
        for name, model in (("left", copy), ("whole", tiny.copy_of(taught))):
            if name == "whole":
                WeightNoise().apply(model, data(), getattr(config, "shake"), Recorder())  # noqa: B009
            weights = dict(model.network.named_parameters())
            path = "model.layers.0.mlp.down_proj.weight"
            moved[name] = weights[path] - dict(taught.network.named_parameters())[path]
        torch.testing.assert_close(moved["left"], share * moved["whole"], rtol=1e-4, atol=1e-6)

    def test_where_the_first_stage_keeps_nothing_the_run_fails_and_the_model_is_as_it_was(
        self, taught: TransformersModel
    ) -> None:
        made, copy = recipe_method(recipe({**NOISE, "settings": {"scale": 50.0}})), tiny.copy_of(taught)
        with pytest.raises(JobFailedError, match="No stage of the recipe keeps what must be kept: "):
            made.apply(copy, data(), made.config_class(), Recorder())
        assert tiny.fingerprints(copy.network) == tiny.fingerprints(taught.network)

    def test_a_stopped_run_goes_on_to_the_same_weights(
        self, taught: TransformersModel, untaught: TransformersModel, tmp_path: Path
    ) -> None:
        made = recipe_method(recipe(SHORT, {**SHORT, "name": "again"}))
        config, given = made.config_class(), data(mean_nlls(untaught, FACTS))
        whole, stopped = tiny.copy_of(taught), tiny.copy_of(taught)
        watched = Recorder()
        made.apply(whole, given, config, watched)
        kept = tmp_path / "kept.pt"
        with pytest.raises(StoppedError):
            made.apply(stopped, given, config, Recorder(looks_allowed=watched.looks - 10, state_file=kept))
        assert (tmp_path / "kept-2.pt").is_file(), "it was stopped within the second stage"
        again = tiny.copy_of(taught)
        made.apply(again, given, config, Recorder(state_file=kept))
        assert tiny.fingerprints(again.network) == tiny.fingerprints(whole.network)


class TestWhatARecipeMayBe:
    @pytest.mark.parametrize(
        ("stages", "words"),
        [
            (({"method": "magic"},), "'magic', which is not known"),
            (({"method": "retrain"},), "starts from another model"),
            (({"method": "output-filter"},), "changes no weights"),
            (({"method": "npo", "settings": {"stepz": 1}},), "sets 'npo.stepz'"),
            (({"method": "npo"}, {"method": "npo"}), "two stages are called 'npo'"),
            (({"method": "npo", "name": "governor"},), "no stage can be called 'governor'"),
            (({"method": "npo", "name": "../x"},), "small letters"),
            ((), "stages"),
        ],
    )
    def test_another_is_refused_in_a_sentence(self, stages: tuple[dict[str, Any], ...], words: str) -> None:
        with pytest.raises(InputError, match=words):
            recipe_method(recipe(*stages))

    def test_its_claim_is_the_weakest_of_its_stages(self) -> None:
        stages = ("npo", "refusal", "ft-m")
        infos = [recipe_method(recipe(*({"method": one} for one in stages[:count]))).info for count in (1, 2, 3)]
        single = single_methods()
        assert [info.claim for info in infos] == [single[one].info.claim for one in stages]
        assert infos[2].needs == single["ft-m"].info.needs | single["npo"].info.needs
        assert method_named("push-and-subtract").config_class().model_dump()["task-vector"]["sweep"] == (0.1, 0.25, 0.5)
