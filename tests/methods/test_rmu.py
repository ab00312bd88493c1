"""RMU: its loss and direction, the three layers it may touch, and a person whose facts turn into noise."""

from __future__ import annotations

import hashlib
from pathlib import Path
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
from console.errors import InputError
from console.methods import rmu, training
from console.methods.edit_sites import down_projections
from console.methods.examples import examples_of, questions_of
from console.methods.forgetting import Run
from console.methods.protocol import Claim, ErasureData, Outcome
from console.methods.rmu import Rmu, RmuConfig, direction, direction_hash, mean_square, pushed_from

DATA = ErasureData(ForgetSet(items=PERSON), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
CONFIG = RmuConfig(layer=0.5, learning_rate=5e-3, strength=8.0, steps=100, repair_steps=6)
SHORT = {"steps": 3, "repair_steps": 1, "repair_limit": 0}


def run_on(
    model: TransformersModel, recorder: Recorder | None = None, method: Rmu | None = None, **changed: Any
) -> tuple[TransformersModel, Outcome, Recorder]:
    copy, recorder = tiny.copy_of(model), recorder or Recorder()
    return copy, (method or Rmu()).apply(copy, DATA, CONFIG.model_copy(update=changed), recorder), recorder


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


def changed_tensors(before: TransformersModel, after: TransformersModel) -> set[str]:
    old, new = tiny.fingerprints(before.network), tiny.fingerprints(after.network)
    return {name for name in old if old[name] != new[name]}


class TestDirection:
    def test_it_is_1_long_positive_and_seeded(self) -> None:
        torch.manual_seed(3)
        u = direction(64, 1)
        torch.manual_seed(4)
        assert torch.equal(u, direction(64, 1)) and not torch.equal(u, direction(64, 2))
        assert float(u.norm()) == pytest.approx(1, abs=1e-6) and float(u.min()) >= 0

    def test_its_hash_is_of_its_bytes(self) -> None:
        u = direction(8, 1)
        assert direction_hash(u) == hashlib.sha256(u.numpy().tobytes()).hexdigest() != direction_hash(direction(8, 2))

    def test_plan_and_outcome_name_it(self, taught: TransformersModel) -> None:
        wanted = direction_hash(direction(64, CONFIG.seed))
        assert any(wanted in note for note in Rmu().prepare(taught, DATA, CONFIG).notes)
        assert wanted in run_on(taught, **SHORT)[1].stop_reason


class TestLoss:
    def test_it_is_0_where_the_states_are_the_target(self) -> None:
        target = 7.0 * direction(16, 1)
        assert float(mean_square(target.expand(5, 16), target)) == 0
        assert float(mean_square(target.expand(5, 16) + 2.0, target)) == pytest.approx(4.0, abs=1e-4)

    def test_what_a_kept_text_shares_is_not_pushed(self) -> None:
        forget = TokenSequence((1, 2, 3, 4, 5, 6), 4)
        other = TokenSequence((1, 2, 9, 9), 2)
        same = TokenSequence((1, 2, 3, 4, 8), 4)
        assert pushed_from(forget, []) == 1, "the first token is in no term"
        assert pushed_from(forget, [other]) == 2
        assert pushed_from(forget, [other, same]) == 3, "the state that predicts the answer is pushed in any case"

    @pytest.mark.parametrize("size", [60, 512])
    def test_target_and_states_however_rows_are_cut(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        """c is the strength times the median norm of the states behind the first token; each read alone."""
        seen: list[rmu.Steering] = []

        class Seen(Rmu):
            def begin(self, run: Run) -> rmu.Steering:
                seen.append(super().begin(run))
                return seen[0]

        monkeypatch.setattr(rmu, "ROW_TOKENS", size)
        run_on(taught, method=Seen(), **SHORT)
        norms, retained = [], []
        for items, found in ((PERSON, norms), (OTHERS, retained)):
            for example in (examples_of if items is PERSON else questions_of)(taught, items):
                with torch.no_grad():
                    ids = torch.tensor([example.sequence.ids])
                    # The last block's output: before the final norm, so read through a hook.
                    with rmu.states_of(taught.network.model.layers[1]) as state:
                        taught.network(input_ids=ids)
                found.append(state[0][1:])
        wanted = CONFIG.strength * torch.cat([states.norm(dim=-1) for states in norms]).median()
        assert float(seen[0].target.norm()) == pytest.approx(float(wanted), rel=1e-4)
        for mine, kept in zip(retained, seen[0].retained, strict=True):
            assert torch.allclose(mine, kept, atol=1e-3)

    def test_the_kept_terms_are_nothing_at_the_start(self, taught: TransformersModel) -> None:
        copy, method = tiny.copy_of(taught), Rmu()
        config = rmu._resolved(copy, CONFIG)
        plan = method.prepare(copy, DATA, config)
        method.put_on(copy, plan, config, DATA)
        run = method._started(copy, DATA, config, Recorder(), plan)
        method.retain_step(run)
        method.further_step(run)
        gradients = [parameter.grad for parameter in copy.network.parameters() if parameter.grad is not None]
        assert gradients and max(float(grad.abs().max()) for grad in gradients) < 1e-2
        method.forget_step(run)
        assert max(float(grad.abs().max()) for grad in gradients) > 1e-1

    def test_how_rows_are_cut_does_not_show(self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        _, _, whole = run_on(taught, general_weight=0.0, **SHORT)
        monkeypatch.setattr(training, "ROW_TOKENS", 60)
        _, _, cut = run_on(taught, general_weight=0.0, **SHORT)
        for name in ("forget_nll", "retain_nll"):
            values = [[metric[name] for metric in recorder.metrics] for recorder in (whole, cut)]
            assert values[0] == pytest.approx(values[1], rel=1e-2, abs=1e-4)


class TestForgetting:
    def test_the_person_turns_into_noise_and_the_others_are_kept(self, taught: TransformersModel) -> None:
        after, outcome, _ = run_on(taught)
        assert answers(taught, FACTS) == len(FACTS) and answers(after, FACTS) == 0
        assert answers(after, OTHERS) == answers(taught, OTHERS) == len(OTHERS)
        assert outcome.stop_reason.startswith("every answer has come to the level")
        assert changed_tensors(taught, after) == {f"model.layers.{layer}.mlp.down_proj.weight" for layer in (0, 1)}

    def test_without_the_kept_terms_the_others_are_lost(self, taught: TransformersModel) -> None:
        after, _, _ = run_on(taught, steps=20, repair_steps=0, retain_weight=1e-9, repair_limit=0)
        assert answers(after, OTHERS) < len(OTHERS) / 2

    def test_it_claims_suppression(self) -> None:
        assert Rmu.info.claim is Claim.SUPPRESSION_IN_WEIGHTS

    def test_an_interrupted_run_gives_the_same_bytes(self, taught: TransformersModel, tmp_path: Path) -> None:
        whole, outcome, _ = run_on(taught, **SHORT)
        state = tmp_path / "state.pt"
        with pytest.raises(StoppedError):
            run_on(taught, Recorder(looks_allowed=7, state_file=state), **SHORT)
        again, resumed, _ = run_on(taught, Recorder(state_file=state), **SHORT)
        assert tiny.fingerprints(again.network) == tiny.fingerprints(whole.network)
        assert resumed == outcome


class TestSites:
    def test_three_blocks_end_at_the_steered_one(self) -> None:
        model = tiny.model(layers=8)
        assert Rmu().modules(model, RmuConfig(layer=0.5)) == tuple(f"model.layers.{n}.mlp.down_proj" for n in (2, 3, 4))
        assert Rmu().modules(model, RmuConfig()) == tuple(f"model.layers.{n}.mlp.down_proj" for n in (0, 1, 2))

    @pytest.mark.parametrize("layer", [0.5, 0.9])
    def test_nothing_above_or_below_changes(self, layer: float) -> None:
        """Blocks below run once only; those above are frozen."""
        model = tiny.model(layers=8)
        after, _, _ = run_on(model, layer=layer, assumed_reference_nll=50.0, enough_nll=50.0, **SHORT)
        top = int(layer * 8)
        wanted = {f"model.layers.{number}.mlp.down_proj.weight" for number in range(top - 2, top + 1)}
        assert changed_tensors(model, after) == wanted

    def test_gpt2_s_is_the_mlp_s_c_proj(self) -> None:
        model = tiny.model("gpt2", layers=4)
        after, _, _ = run_on(model, assumed_reference_nll=50.0, enough_nll=50.0, **SHORT)
        wanted = {f"transformer.h.{number}.mlp.c_proj.weight" for number in (0, 1, 2)}
        assert changed_tensors(model, after) == wanted
        assert len(down_projections(model.network)) == 4

    def test_nothing_to_forget_is_refused(self, untaught: TransformersModel) -> None:
        empty = ErasureData(ForgetSet(items=()), RetainSet(items=OTHERS), GENERAL)
        with pytest.raises(InputError, match="nothing to erase"):
            Rmu().prepare(untaught, empty, CONFIG)
