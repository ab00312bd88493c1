"""Selective synaptic dampening: what it selects, how far it weakens it, and that the rest keeps every bit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PASSAGE, PERSON
from tiny import Recorder, StoppedError

from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.examples import examples_of, mean_nlls
from console.methods.importance import importance, linear_weights
from console.methods.lora import LoraSettings, resolve_modules
from console.methods.protocol import ErasureData, Outcome
from console.methods.ssd import Ssd, SsdConfig, dampened, kept_texts, selection


def data(
    forget: tuple[ForgetItem, ...] = PERSON,
    retain: tuple[ForgetItem, ...] = OTHERS,
    general: tuple[str, ...] = GENERAL,
    neighbours: frozenset[str] = frozenset(),
) -> ErasureData:
    return ErasureData(
        ForgetSet(items=forget), RetainSet(items=retain, general_texts=general), general, neighbours=neighbours
    )


def run(
    model: TransformersModel, given: ErasureData, recorder: Recorder | None = None, **settings: Any
) -> tuple[TransformersModel, Outcome]:
    copy = tiny.copy_of(model)
    config = SsdConfig().model_copy(update=settings)
    return copy, Ssd().apply(copy, given, config, recorder or Recorder())


def mean(levels: dict[str, float]) -> float:
    return sum(levels.values()) / len(levels)


def changed(before: TransformersModel, after: TransformersModel) -> dict[str, torch.Tensor]:
    """Where each changed tensor differs."""
    old, new = before.network.state_dict(), after.network.state_dict()
    return {name: old[name] != new[name] for name in old if not torch.equal(old[name], new[name])}


class TestIdentities:
    FORGET = torch.tensor([100.0, 20.0, 9.0, 1e-3, 0.0, 1e-13])
    REFERENCE = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    WEIGHT = torch.tensor([2.0, -2.0, 3.0, 5.0, -0.0, 7.0])

    def test_what_is_selected(self) -> None:
        """Above alpha times the rest's importance; what is below the floor is noise and selects nothing."""
        chosen = selection(self.FORGET, self.REFERENCE, 10.0, 1e-12)
        assert chosen.tolist() == [True, True, False, True, False, False]

    def test_infinite_alpha_selects_nothing(self) -> None:
        assert not bool(selection(self.FORGET, self.REFERENCE, math.inf, 1e-12).any())

    def test_the_equation(self) -> None:
        found = dampened(self.WEIGHT, self.FORGET, self.REFERENCE, SsdConfig())
        assert found[:2].tolist() == pytest.approx([2.0 / 100, -2.0 / 20])
        assert float(found[3]) == pytest.approx(5.0 * 1e-12 / 1e-3)
        squared = dampened(self.WEIGHT, self.FORGET, self.REFERENCE, SsdConfig(exponent=2.0, dampening=2.0))
        assert squared[:2].tolist() == pytest.approx([2.0 * (2 / 100) ** 2, -2.0 * (2 / 20) ** 2])

    def test_what_is_not_selected_keeps_its_bits(self) -> None:
        found = dampened(self.WEIGHT, self.FORGET, self.REFERENCE, SsdConfig())
        left = [2, 4, 5]
        assert found[left].numpy().tobytes() == self.WEIGHT[left].numpy().tobytes()

    def test_no_dampening_constant_makes_what_is_selected_zero(self) -> None:
        found = dampened(self.WEIGHT, self.FORGET, self.REFERENCE, SsdConfig(dampening=0.0))
        assert found.tolist() == [0.0, 0.0, 3.0, 0.0, 0.0, 7.0]

    def test_dampening_never_enlarges(self) -> None:
        loose = SsdConfig().model_copy(update={"dampening": 50.0})
        assert dampened(self.WEIGHT, self.FORGET, self.REFERENCE, loose).tolist()[:2] == [1.0, -2.0]

    def test_with_the_person_in_the_comparison_nothing_can_be_selected(self, taught: TransformersModel) -> None:
        """The bound: importance to all n examples is at least n_f / n times that to the person's n_f."""
        weights = linear_weights(taught.network, resolve_modules(taught.network, LoraSettings()))
        person, others = ([e.sequence for e in examples_of(taught, items)] for items in (FACTS, OTHERS))
        forget, rest, everybody = (
            importance(taught, weights, texts, lambda: None) for texts in (person, others, [*person, *others])
        )
        alpha = 1.001 * (len(person) + len(others)) / len(person)
        assert not any(bool(selection(forget[path], everybody[path], alpha, 1e-12).any()) for path in weights)
        assert all(bool(selection(forget[path], rest[path], alpha, 1e-12).any()) for path in weights)


class TestOnAModel:
    def test_infinite_alpha_is_refused_and_changes_nothing(self, taught: TransformersModel) -> None:
        copy = tiny.copy_of(taught)
        with pytest.raises(JobFailedError, match="No weight matters more than inf times"):
            Ssd().apply(copy, data(), SsdConfig(alpha=math.inf), Recorder())
        assert tiny.fingerprints(copy.network) == tiny.fingerprints(taught.network)

    def test_only_selected_weights_change_and_all_are_counted(self, taught: TransformersModel) -> None:
        model, outcome = run(taught, data())
        difference = changed(taught, model)
        planned = {f"{path}.weight" for path in Ssd().prepare(taught, data(), SsdConfig()).modules}
        assert difference and set(difference) <= planned
        count = sum(int(where.sum()) for where in difference.values())
        total = sum(taught.network.state_dict()[name].numel() for name in planned)
        assert outcome.metrics["selected_weights"] == count
        assert outcome.metrics["selected_share"] == pytest.approx(count / total)
        assert outcome.stop_reason == f"{count} of {total} weights were dampened"
        assert 0.001 < outcome.metrics["selected_share"] < outcome.metrics["largest_layer_share"] < 0.2

    def test_what_changes_shrinks_and_keeps_its_sign(self, taught: TransformersModel) -> None:
        model, _ = run(taught, data())
        old, new = taught.network.state_dict(), model.network.state_dict()
        for name, where in changed(taught, model).items():
            ratio = new[name][where] / old[name][where]
            assert bool(((ratio >= 0) & (ratio <= 1 / SsdConfig().alpha * 1.001)).all())

    def test_no_dampening_constant_zeroes_the_same_weights(self, taught: TransformersModel) -> None:
        soft, hard = (run(taught, data(), dampening=constant)[0] for constant in (1.0, 0.0))
        places = [changed(taught, model) for model in (soft, hard)]
        assert places[0].keys() == places[1].keys()
        for name, where in places[1].items():
            assert torch.equal(where, places[0][name])
            assert not bool(hard.network.state_dict()[name][where].any())

    def test_a_higher_alpha_selects_a_part_of_it(self, taught: TransformersModel) -> None:
        wide, narrow = (changed(taught, run(taught, data(), alpha=alpha)[0]) for alpha in (5.0, 25.0))
        assert set(narrow) <= set(wide)
        assert all(bool((wide[name] | ~where).all()) for name, where in narrow.items())
        assert sum(int(where.sum()) for where in narrow.values()) < sum(int(where.sum()) for where in wide.values())

    def test_layers_below_the_first_are_left_alone(self, taught: TransformersModel) -> None:
        model, _ = run(taught, data(), first_layer=0.5)
        assert changed(taught, model) and all("layers.1." in name for name in changed(taught, model))

    def test_it_hits_the_person_harder_than_the_others(self, taught: TransformersModel) -> None:
        model, outcome = run(taught, data())
        person, others = mean_nlls(model, PERSON), mean_nlls(model, OTHERS)
        assert outcome.metrics["forget_nll_before"] == pytest.approx(mean(mean_nlls(taught, PERSON)), rel=1e-3)
        assert outcome.metrics["forget_nll"] == pytest.approx(mean(person), rel=1e-3)
        assert mean(person) > 10 * mean(mean_nlls(taught, PERSON))
        assert mean(person) > 5 * mean(others)

    def test_a_text_of_another_kind_is_told_apart(self, taught: TransformersModel) -> None:
        model, _ = run(taught, data(forget=(PASSAGE,), general=()), alpha=2.0)
        assert mean(mean_nlls(model, (PASSAGE,))) > 10 * mean(mean_nlls(taught, (PASSAGE,)))
        assert mean(mean_nlls(model, OTHERS)) < 3 * mean(mean_nlls(taught, OTHERS))


class TestComparison:
    def test_general_texts_do_not_drown_the_facts(self, taught: TransformersModel) -> None:
        """They protect some weights, not all: their importance is brought to the facts' size."""
        with_texts, without = (run(taught, data(general=general))[1].metrics for general in (GENERAL, ()))
        assert 0.2 < with_texts["selected_share"] / without["selected_share"] < 0.9

    def test_their_weight_is_relative_to_the_facts(self, taught: TransformersModel) -> None:
        shares = [run(taught, data(), general_weight=weight)[1].metrics["selected_share"] for weight in (0, 0.1, 1, 10)]
        assert shares == sorted(shares, reverse=True) and len(set(shares)) == 4
        bare = run(taught, data(general=()))[1].metrics["selected_share"]
        assert shares[0] == bare

    @pytest.mark.parametrize(("retain", "general"), [((), GENERAL), (OTHERS, ()), (OTHERS[:1], GENERAL[:1])])
    def test_little_retained_data_is_enough(
        self, taught: TransformersModel, retain: tuple[ForgetItem, ...], general: tuple[str, ...]
    ) -> None:
        assert run(taught, data(retain=retain, general=general))[1].metrics["selected_weights"] > 0

    def test_where_no_facts_are_kept_they_are_brought_to_the_person_s_size(self, taught: TransformersModel) -> None:
        assert run(taught, data(retain=()))[1].metrics["selected_share"] > 0.01

    def test_the_limit_keeps_people_like_the_person(self, taught: TransformersModel) -> None:
        near = frozenset({"Piet Hoekstra"})
        kept = kept_texts(taught, data(neighbours=near), SsdConfig(reference_texts=6))
        piet = [e.sequence for e in examples_of(taught, [item for item in OTHERS if item.subject in near])]
        assert kept.facts == piet and len(kept.general) == len(GENERAL)
        assert kept_texts(taught, data(neighbours=near), SsdConfig(reference_texts=8)).facts[:6] == piet

    def test_what_is_drawn_follows_the_seed(self, taught: TransformersModel) -> None:
        prints = [tiny.fingerprints(run(taught, data(), reference_texts=3, seed=seed)[0].network) for seed in (1, 1, 2)]
        assert prints[0] == prints[1] != prints[2]


class TestRun:
    def test_progress_comes_to_the_planned_steps(self, taught: TransformersModel) -> None:
        recorder = Recorder()
        _, outcome = run(taught, data(), recorder)
        plan = Ssd().prepare(taught, data(), SsdConfig())
        assert recorder.progressed == [(step, plan.steps) for step in range(1, plan.steps + 1)]
        assert outcome.steps == plan.steps == 7 + 18 + len(GENERAL) + 14
        layers = [metric["layer_selected_share"] for metric in recorder.metrics]
        assert len(layers) == 14 and max(layers) == outcome.metrics["largest_layer_share"]

    def test_a_request_to_stop_is_heard_before_anything_is_changed(self, taught: TransformersModel) -> None:
        copy = tiny.copy_of(taught)
        with pytest.raises(StoppedError):
            Ssd().apply(copy, data(), SsdConfig(), Recorder(looks_allowed=5))
        assert tiny.fingerprints(copy.network) == tiny.fingerprints(taught.network)
        assert all(parameter.requires_grad for parameter in copy.network.parameters())

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            (data(forget=()), "nothing to erase"),
            (data(retain=(), general=()), "nothing to keep"),
            (data(retain=(), general=("a",)), "too short"),
        ],
    )
    def test_what_it_refuses(self, untaught: TransformersModel, given: ErasureData, says: str) -> None:
        with pytest.raises(InputError, match=says):
            Ssd().prepare(untaught, given, SsdConfig())
        with pytest.raises(InputError, match="nothing to keep"):
            Ssd().prepare(untaught, data(retain=()), SsdConfig(general_weight=0.0))

    @pytest.mark.parametrize("settings", [{"alpha": 0}, {"dampening": -1}, {"dampening": 11}, {"exponent": 0}])
    def test_settings_that_cannot_be(self, settings: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=next(iter(settings))):
            SsdConfig.model_validate(settings)

    def test_a_tied_head_is_left_alone(self) -> None:
        model = tiny.model("qwen2")
        changed_names = set(changed(model, run(model, data(), alpha=2.0)[0]))
        assert changed_names and not any("embed" in name or "head" in name for name in changed_names)
