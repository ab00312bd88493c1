"""Influence approximation: the step is the one of the equation, and it costs the person more than the others."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PERSON
from tiny import Recorder, StoppedError

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.packing import TokenSequence
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods import training
from console.methods.examples import examples_of, mean_nlls
from console.methods.iau import Iau, IauConfig, mean_gradient, norm_of, restricted_gradient, take_step
from console.methods.importance import linear_weights
from console.methods.lora import LoraSettings, resolve_modules
from console.methods.protocol import ErasureData, Outcome


def data(
    forget: tuple[ForgetItem, ...] = PERSON,
    retain: tuple[ForgetItem, ...] = OTHERS,
    levels: dict[str, float] | None = None,
) -> ErasureData:
    retained = RetainSet(items=retain, general_texts=GENERAL)
    return ErasureData(ForgetSet(items=forget), retained, GENERAL, reference_nll=levels or {})


def run(
    model: TransformersModel, given: ErasureData, recorder: Recorder | None = None, **settings: Any
) -> tuple[TransformersModel, Outcome]:
    copy = tiny.copy_of(model)
    return copy, Iau().apply(copy, given, IauConfig(**settings), recorder or Recorder())


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


def mean(levels: dict[str, float]) -> float:
    return sum(levels.values()) / len(levels)


def weights_of(model: TransformersModel) -> dict[str, torch.nn.Parameter]:
    return linear_weights(model.network, resolve_modules(model.network, LoraSettings()))


def sequences_of(model: TransformersModel, items: tuple[ForgetItem, ...]) -> list[TokenSequence]:
    return [example.sequence for example in examples_of(model, items)]


def moved(before: TransformersModel, after: TransformersModel) -> dict[str, torch.Tensor]:
    """The difference of every tensor that changed, by name."""
    old, new = before.network.state_dict(), after.network.state_dict()
    return {name: new[name] - old[name] for name in old if not torch.equal(old[name], new[name])}


def plain_gradient(model: TransformersModel, items: tuple[ForgetItem, ...]) -> dict[str, torch.Tensor]:
    """Gradient of the mean NLL over all answer tokens, text by text through the network's own forward pass."""
    weights, sequences = weights_of(model), sequences_of(model, items)
    tokens = sum(len(sequence.answer_ids) for sequence in sequences)
    total = {path: torch.zeros_like(weight) for path, weight in weights.items()}
    for sequence in sequences:
        logits = model.network(torch.tensor([sequence.ids])).logits[0, sequence.answer_start - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(sequence.answer_ids), reduction="sum") / tokens
        for path, part in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            total[path] += part
    return total


class TestStep:
    def test_it_is_the_equation(self, taught: TransformersModel) -> None:
        g_f, g_r = plain_gradient(taught, PERSON), plain_gradient(taught, OTHERS)
        model, _ = run(taught, data(), step_size=0.2, correction_limit=100.0)
        found = moved(taught, model)
        assert set(found) == {f"{path}.weight" for path in g_f}
        for path in g_f:
            wanted = -0.2 * (g_r[path] - g_f[path]) / norm_of(g_f)
            torch.testing.assert_close(found[f"{path}.weight"], wanted, rtol=1e-2, atol=2e-6)

    def test_without_correction_it_is_as_long_as_it_says(self, taught: TransformersModel) -> None:
        model, outcome = run(taught, data(), step_size=0.2, correction_limit=0.0)
        assert norm_of(moved(taught, model)) == pytest.approx(0.2, rel=1e-3)
        assert outcome.metrics["correction"] == 0.0

    def test_twice_the_step_goes_twice_as_far(self, taught: TransformersModel) -> None:
        short, long = (moved(taught, run(taught, data(), step_size=size)[0]) for size in (0.1, 0.2))
        for name, difference in short.items():
            torch.testing.assert_close(2 * difference, long[name], rtol=1e-2, atol=2e-6)

    @pytest.mark.parametrize(("limit", "length"), [(1.0, 1.0), (0.25, 0.25), (10.0, 5.0)])
    def test_a_long_correction_is_shortened(self, limit: float, length: float) -> None:
        """Here the others' gradient is five times as long as the person's and at right angles to it."""
        weight = torch.nn.Parameter(torch.zeros(2))
        g_f, g_r = {"w": torch.tensor([2.0, 0.0])}, {"w": torch.tensor([0.0, 10.0])}
        config = IauConfig(step_size=0.1, correction_limit=limit)
        assert take_step({"w": weight}, g_r, g_f, config) == pytest.approx(length)
        assert weight.tolist() == pytest.approx([0.1, -0.1 * length])

    @pytest.mark.parametrize("person", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
    def test_no_direction_is_said_and_nothing_changed(self, person: list[float]) -> None:
        weight = torch.nn.Parameter(torch.ones(2))
        with pytest.raises(JobFailedError, match="no direction to step back"):
            take_step({"w": weight}, {"w": torch.ones(2)}, {"w": torch.tensor(person)}, IauConfig())
        assert weight.tolist() == [1.0, 1.0]

    def test_how_rows_are_cut_does_not_show(self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = mean_gradient(taught, weights_of(taught), sequences_of(taught, PERSON))
        monkeypatch.setattr(training, "ROW_TOKENS", 40)
        cut = mean_gradient(taught, weights_of(taught), sequences_of(taught, PERSON))
        assert whole[1] == pytest.approx(cut[1], rel=1e-4)
        for path, gradient in whole[0].items():
            torch.testing.assert_close(gradient, cut[0][path], rtol=1e-2, atol=1e-5)


class TestRestriction:
    def test_without_weight_it_is_the_plain_gradient(self, untaught: TransformersModel) -> None:
        weights, sequences = weights_of(untaught), sequences_of(untaught, PERSON)
        plain, level = mean_gradient(untaught, weights, sequences)
        found, same_level = restricted_gradient(untaught, weights, sequences, 0.0, Recorder())
        assert level == pytest.approx(same_level, rel=1e-4)
        for path, gradient in plain.items():
            torch.testing.assert_close(found[path], gradient, rtol=1e-3, atol=1e-6)

    def test_it_is_the_slope_of_loss_and_gradient_norm(self, untaught: TransformersModel) -> None:
        """Against the difference quotient along the gradient itself."""
        copy = tiny.copy_of(untaught)
        weights, sequences = weights_of(copy), sequences_of(copy, FACTS)[:2]
        tokens = [len(sequence.answer_ids) for sequence in sequences]

        def value() -> float:
            parts = [mean_gradient(copy, weights, [sequence]) for sequence in sequences]
            terms = [level + 0.5 * norm_of(gradient) for gradient, level in parts]
            return sum(count * term for count, term in zip(tokens, terms, strict=True)) / sum(tokens)

        found, _ = restricted_gradient(copy, weights, sequences, 0.5, Recorder())
        plain, _ = mean_gradient(copy, weights, sequences)
        length, reach = norm_of(found), 5e-3
        values = []
        with torch.no_grad():
            for side in (1, -2):
                for path, weight in weights.items():
                    weight.add_(found[path], alpha=side * reach / length)
                values.append(value())
        assert (values[0] - values[1]) / (2 * reach) == pytest.approx(length, rel=0.05)
        assert norm_of({path: found[path] - plain[path] for path in plain}) > 0.1 * norm_of(plain)

    def test_it_changes_the_step(self, taught: TransformersModel) -> None:
        free, held = (run(taught, data(), restriction=weight)[0] for weight in (0.0, 0.005))
        assert tiny.fingerprints(free.network) != tiny.fingerprints(held.network)
        assert mean(mean_nlls(held, PERSON)) > 2 * mean(mean_nlls(taught, PERSON))
        assert mean(mean_nlls(held, OTHERS)) < 2 * mean(mean_nlls(taught, OTHERS))


class TestOnAModel:
    def test_one_step_costs_the_person_more_than_the_others(self, taught: TransformersModel) -> None:
        model, outcome = run(taught, data(), step_size=0.2)
        person, others = mean_nlls(model, PERSON), mean_nlls(model, OTHERS)
        assert mean(person) > 10 * mean(mean_nlls(taught, PERSON))
        assert mean(person) > 10 * mean(others)
        assert answers(model, OTHERS) == len(OTHERS)
        assert outcome.metrics["forget_nll"] == pytest.approx(mean(person), rel=1e-3)
        assert outcome.stop_reason.startswith("1 of 1 steps taken; the answers are still known")

    def test_it_is_corrected_by_what_is_kept(self, taught: TransformersModel) -> None:
        """Where the step is long enough to hurt, the correction spares the others."""
        settings = {"step_size": 0.5, "steps": 2}
        bare, held = (run(taught, data(), correction_limit=limit, **settings)[0] for limit in (0.0, 1.0))
        assert mean(mean_nlls(bare, OTHERS)) > 2 * mean(mean_nlls(held, OTHERS))

    def test_repeating_ends_at_the_level(self, taught: TransformersModel) -> None:
        model, outcome = run(taught, data(), step_size=0.5, steps=5)
        assert 1 < outcome.steps < 5
        assert outcome.stop_reason.startswith("the answers have come to the level")
        assert outcome.metrics["forget_nll"] >= IauConfig().assumed_reference_nll
        assert answers(taught, FACTS) == len(FACTS) and answers(model, FACTS) == 0

    def test_a_measured_level_comes_before_the_assumed_one(self, taught: TransformersModel) -> None:
        levels = dict.fromkeys(mean_nlls(taught, PERSON), 0.3)
        assert run(taught, data(levels=levels), step_size=0.2, steps=5)[1].steps == 1
        assert run(taught, data(), step_size=0.2, steps=5)[1].steps > 1

    def test_layers_below_the_first_and_all_that_is_not_linear_stay(self, taught: TransformersModel) -> None:
        whole, upper = (moved(taught, run(taught, data(), first_layer=first)[0]) for first in (0.0, 0.5))
        assert len(whole) == 14 and len(upper) == 7
        assert all("layers.1." in name for name in upper)
        assert not any("norm" in name or "embed" in name or "head" in name for name in whole)

    def test_a_tied_head_is_left_alone(self) -> None:
        model = tiny.model("qwen2")
        changed = moved(model, run(model, data())[0])
        assert changed and not any("embed" in name or "head" in name for name in changed)

    def test_the_same_run_gives_the_same_bytes(self, taught: TransformersModel) -> None:
        prints = [tiny.fingerprints(run(taught, data(), steps=2)[0].network) for _ in range(2)]
        assert prints[0] == prints[1]

    def test_progress_and_stop(self, taught: TransformersModel) -> None:
        recorder = Recorder()
        run(taught, data(), recorder, steps=3)
        assert recorder.progressed == [(1, 3), (2, 3), (3, 3)]
        assert [metric["step"] for metric in recorder.metrics] == [1, 2, 3]
        copy = tiny.copy_of(taught)
        with pytest.raises(StoppedError):
            Iau().apply(copy, data(), IauConfig(), Recorder(looks_allowed=1))
        assert tiny.fingerprints(copy.network) == tiny.fingerprints(taught.network)


class TestPlan:
    def test_it_says_what_it_will_do(self, untaught: TransformersModel) -> None:
        plan = Iau().prepare(untaught, data(levels={"a": 1.0}), IauConfig(steps=2))
        assert (len(plan.modules), plan.steps, plan.notes) == (14, 2, ())
        assert plan.trainable_parameters == sum(weight.numel() for weight in weights_of(untaught).values())
        assert "assumed" in Iau().prepare(untaught, data(), IauConfig()).notes[0]

    @pytest.mark.parametrize(
        ("given", "says"), [(data(forget=()), "nothing to erase"), (data(retain=()), "no facts to keep")]
    )
    def test_what_it_refuses(self, untaught: TransformersModel, given: ErasureData, says: str) -> None:
        with pytest.raises(InputError, match=says):
            Iau().prepare(untaught, given, IauConfig())

    @pytest.mark.parametrize("settings", [{"step_size": 0}, {"steps": 0}, {"steps": 6}, {"restriction": -1}])
    def test_settings_that_cannot_be(self, settings: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=next(iter(settings))):
            IauConfig.model_validate(settings)
