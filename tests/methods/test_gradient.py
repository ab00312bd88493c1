"""The loop under every gradient method: what it may change, how it goes on, what it costs, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PERSON
from tiny import Recorder, StoppedError

from console.domain.forget_set import ForgetSet, RetainSet
from console.engines.packing import PackedRow, pack
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods import gradient, memory
from console.methods.activation_checkpoints import activations_recomputed
from console.methods.distill_delete import DistillDelete, DistillDeleteConfig
from console.methods.examples import examples_of, mean_nlls
from console.methods.forgetting import ForgetRow, Run
from console.methods.gradient import GradientMethod
from console.methods.lora import LoraSettings
from console.methods.memory import MemoryEstimate, estimate, require_room
from console.methods.npo import Npo, NpoConfig
from console.methods.protocol import ErasureData, Outcome
from console.methods.training import accumulate_nll

DATA = ErasureData(ForgetSet(items=PERSON), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
SMALL = LoraSettings(rank=4, alpha=8, b_ratio=4.0)
CONFIG = NpoConfig(lora=SMALL, learning_rate=3e-3, steps=6, repair_steps=2, repair_limit=0)


def run_on(
    model: TransformersModel, method: GradientMethod | None = None, recorder: Recorder | None = None, **changed: Any
) -> tuple[TransformersModel, Outcome, Recorder]:
    copy, recorder = tiny.copy_of(model), recorder or Recorder()
    config = CONFIG.model_copy(update=changed)
    return copy, (method or Npo()).apply(copy, DATA, config, recorder), recorder


def changed_tensors(before: TransformersModel, after: TransformersModel) -> set[str]:
    old, new = tiny.fingerprints(before.network), tiny.fingerprints(after.network)
    return {name for name in old if old[name] != new[name]}


class TestResume:
    @pytest.mark.parametrize("looks", [1, 5, 8, 13, 20])
    def test_an_interrupted_run_gives_the_same_bytes(
        self, taught: TransformersModel, tmp_path: Path, looks: int
    ) -> None:
        whole, outcome, _ = run_on(taught)
        state = tmp_path / "state.pt"
        with pytest.raises(StoppedError):
            run_on(taught, recorder=Recorder(looks_allowed=looks, state_file=state))
        assert state.is_file()
        again, resumed, recorder = run_on(taught, recorder=Recorder(state_file=state))
        assert len(recorder.metrics) == outcome.steps - looks // 3
        assert tiny.fingerprints(again.network) == tiny.fingerprints(whole.network)
        assert resumed == outcome

    def test_the_state_is_kept_on_the_way_for_a_crash(self, taught: TransformersModel, tmp_path: Path) -> None:
        state = tmp_path / "state.pt"
        run_on(taught, recorder=Recorder(state_file=state), keep_state_every=3)
        _, _, recorder = run_on(taught, recorder=Recorder(state_file=state), keep_state_every=3)
        assert [metric["step"] for metric in recorder.metrics] == [7, 8]

    @pytest.mark.parametrize("content", [b"", b"not a state", b"PK\x03\x04 broken"])
    def test_a_broken_state_is_passed_over(self, taught: TransformersModel, tmp_path: Path, content: bytes) -> None:
        state = tmp_path / "state.pt"
        state.write_bytes(content)
        _, outcome, recorder = run_on(taught, recorder=Recorder(state_file=state))
        assert len(recorder.metrics) == outcome.steps

    def test_a_state_of_other_tensors_is_passed_over(self, taught: TransformersModel, tmp_path: Path) -> None:
        state = tmp_path / "state.pt"
        run_on(taught, recorder=Recorder(state_file=state), keep_state_every=3)
        other = SMALL.model_copy(update={"rank": 8})
        _, outcome, recorder = run_on(taught, recorder=Recorder(state_file=state), lora=other)
        assert len(recorder.metrics) == outcome.steps

    def test_numbers_gone_wrong_leave_no_state(self, taught: TransformersModel, tmp_path: Path) -> None:
        state = tmp_path / "state.pt"
        with pytest.raises(JobFailedError, match="no longer finite"):
            run_on(taught, Broken(), Recorder(state_file=state))
        assert not state.exists()


class Broken(Npo):
    def forget_loss(self, row: ForgetRow, config: Any) -> torch.Tensor:
        return row.nll * float("nan")


class TestWeights:
    def test_chosen_tensors_are_trained_and_no_other(self, taught: TransformersModel) -> None:
        lora = SMALL.model_copy(update={"first_layer": 0.5})
        after, _, _ = run_on(taught, tensors=("down_proj",), lora=lora, learning_rate=1e-3)
        assert changed_tensors(taught, after) == {"model.layers.1.mlp.down_proj.weight"}
        assert all(parameter.requires_grad for parameter in after.network.parameters())

    def test_a_name_that_no_weight_has(self, untaught: TransformersModel) -> None:
        with pytest.raises(InputError, match=r"No weight .* 'c_proj'; there are .*down_proj"):
            Npo().prepare(untaught, DATA, CONFIG.model_copy(update={"tensors": ("c_proj",)}))

    def test_the_entries_that_moved_furthest_are_put_back(self, taught: TransformersModel) -> None:
        plain, _, _ = run_on(taught)
        thinned, _, _ = run_on(taught, ignore_top_share=0.1)
        old, new, less = (dict(model.network.named_parameters()) for model in (taught, plain, thinned))
        for name in changed_tensors(taught, plain):
            moved = (new[name] - old[name]).detach().abs()
            back = (less[name] == old[name]) & (moved > 0)
            assert int(back.sum()) == pytest.approx(0.1 * moved.numel(), abs=2)
            assert float(moved[back].min()) >= float(moved[~back].max())
            assert torch.equal(less[name][~back], new[name][~back])

    def test_general_text_that_moves_too_far_stops_the_push(self, taught: TransformersModel) -> None:
        free, _, _ = run_on(taught, steps=6)
        governed, _, recorder = run_on(taught, steps=6, general_limit=1e-9)
        pushed = [sum(mean_nlls(model, FACTS).values()) for model in (free, governed)]
        assert pushed[1] < 0.5 * pushed[0]
        assert max(metric["general_kl"] for metric in recorder.metrics) > 1e-9

    def test_balance_divides_by_the_first_size(self, taught: TransformersModel) -> None:
        """NPO starts at (2/beta) ln 2 an example."""
        seen: list[dict[str, float]] = []

        class Seen(Npo):
            def further_step(self, run: Run) -> dict[str, float]:
                seen.append(dict(run.scale))
                return {}

        run_on(taught, Seen(), loss_balance="initial", certain_below=0.0)
        assert seen[0]["forget"] == pytest.approx(1 / (20 * 0.693147), rel=1e-4)

    def test_without_one_loss_there_is_nothing_to_balance(self, untaught: TransformersModel) -> None:
        config = DistillDeleteConfig(lora=SMALL, loss_balance="initial")
        with pytest.raises(InputError, match="no one loss to balance"):
            DistillDelete().prepare(untaught, DATA, config)


class TestRetainLoss:
    def test_the_divergence_is_nothing_at_the_start(self, taught: TransformersModel) -> None:
        """Its gradient too: with nothing but it, a first step moves no weight by more than rounding."""
        method = Npo()
        copy = tiny.copy_of(taught)
        config = CONFIG.model_copy(update={"retain_loss": "kl", "precision": "fp32"})
        plan = method.prepare(copy, DATA, config)
        method.put_on(copy, plan, config, DATA)
        run = method._started(copy, DATA, config, Recorder(), plan)
        method.retain_step(run)
        gradients = [p.grad for p in copy.network.parameters() if p.grad is not None]
        assert gradients and max(float(grad.abs().max()) for grad in gradients) < 1e-2
        with torch.no_grad():
            run.retain_before[:] = [torch.full_like(held, -6.0) for held in run.retain_before]
        method.retain_step(run)
        assert max(float(grad.abs().max()) for grad in gradients) > 1e-1

    def test_it_keeps_the_others_too(self, taught: TransformersModel) -> None:
        kept, _, _ = run_on(taught, retain_loss="kl")
        lost, _, _ = run_on(taught, retain_weight=1e-9, general_weight=1e-9)
        means = [sum(mean_nlls(model, OTHERS).values()) for model in (kept, lost)]
        assert means[0] < 0.5 * means[1]


class TestActivations:
    def test_recomputed_activations_give_the_same_gradients(self, taught: TransformersModel) -> None:
        def gradients(wanted: bool) -> list[torch.Tensor]:
            copy = tiny.copy_of(taught)
            blocks = list(copy.network.model.layers)
            sequences = [example.sequence for example in examples_of(copy, PERSON)]
            with activations_recomputed(blocks, wanted):
                accumulate_nll(copy, sequences, lambda nll, _lengths, _members: nll.sum())
            assert all("forward" not in vars(block) for block in blocks)
            return [parameter.grad for parameter in copy.network.parameters()]

        for kept, again in zip(gradients(False), gradients(True), strict=True):
            assert torch.allclose(kept, again, atol=1e-5)

    def test_they_are_really_computed_again(self, taught: TransformersModel) -> None:
        copy = tiny.copy_of(taught)
        calls = []
        block = copy.network.model.layers[0]
        hook = block.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
        row = pack([example.sequence for example in examples_of(copy, FACTS)], 512)[0]
        with activations_recomputed([block], True):
            copy.row_logits(row).sum().backward()
        hook.remove()
        assert len(calls) == 2

    def test_the_whole_run_says_the_same(self, taught: TransformersModel) -> None:
        plain, outcome, _ = run_on(taught)
        again, other, _ = run_on(taught, gradient_checkpointing=True)
        assert other.metrics == pytest.approx(outcome.metrics, rel=1e-2, abs=1e-4)
        assert other.steps == outcome.steps
        assert changed_tensors(taught, again) == changed_tensors(taught, plain)


class TestPrecision:
    def test_bfloat16_reaches_the_network_and_leaves_the_weights_alone(self, taught: TransformersModel) -> None:
        seen: set[torch.dtype] = set()

        class Seen(Npo):
            def forget_loss(self, row: ForgetRow, config: Any) -> torch.Tensor:
                seen.add(row.logits.dtype)
                return super().forget_loss(row, config)

        after, _, _ = run_on(taught, Seen(), precision="bf16")
        assert seen == {torch.bfloat16}
        assert {parameter.dtype for parameter in after.network.parameters()} == {torch.float32}


class TestMemory:
    SIZES: ClassVar = {"weights": 100, "trained": 10, "activations": 300, "logits": 40, "runtime": 50}

    def test_what_fits_is_let_through(self) -> None:
        require_room(MemoryEstimate(**self.SIZES), 500, None)

    def test_recomputing_is_advised_where_it_helps(self) -> None:
        smaller = MemoryEstimate(**{**self.SIZES, "activations": 30})
        with pytest.raises(InputError, match=r"needs about 500 MB .* 400 MB are free: with 'gradient_checkpointing'"):
            require_room(MemoryEstimate(**self.SIZES), 400, smaller)

    def test_a_model_that_is_too_large_is_called_so(self) -> None:
        with pytest.raises(InputError, match="weights alone are more"):
            require_room(MemoryEstimate(**self.SIZES), 120, None)

    def test_a_smaller_adapter_is_advised_else(self) -> None:
        with pytest.raises(InputError, match="smaller rank"):
            require_room(MemoryEstimate(**self.SIZES), 400, None)

    def test_a_run_is_refused_before_anything_is_touched(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gradient, "available_mb", lambda _device: 100)
        copy = tiny.copy_of(taught)
        with pytest.raises(InputError, match="MB are free"):
            Npo().apply(copy, DATA, CONFIG, Recorder())
        assert tiny.fingerprints(copy.network) == tiny.fingerprints(taught.network)

    def test_less_is_trained_less_is_needed(self, untaught: TransformersModel) -> None:
        full = estimate(untaught.network, 10**7, 30, 512, 400)
        assert estimate(untaught.network, 10**7, 12, 512, 400).activations < full.activations
        assert estimate(untaught.network, 10**7, 30, 512, 400, recomputed=True).activations < full.activations / 5
        assert estimate(untaught.network, 10**6, 30, 512, 400).trained == full.trained // 10

    def test_this_machine_has_some(self) -> None:
        assert memory.available_mb(torch.device("cpu")) > 100


def test_every_member_s_loss_is_its_own_however_rows_are_cut(taught: TransformersModel) -> None:
    """Sums and means by member, from the row's tokens."""
    seen: dict[int, tuple[float, float]] = {}

    def check(size: int) -> None:
        seen.clear()
        sequences = [example.sequence for example in examples_of(taught, PERSON)]
        for row in pack(sequences, size):
            _note(row, taught, sequences, seen)

    results = []
    for size in (60, 512):
        check(size)
        results.append(dict(seen))
    assert results[0].keys() == results[1].keys()
    for member, values in results[0].items():
        assert values == pytest.approx(results[1][member], abs=1e-4)
        assert values[0] == pytest.approx(values[1], abs=1e-4)


def _note(row: PackedRow, model: TransformersModel, sequences: list[Any], seen: dict[int, tuple[float, float]]) -> None:
    from console.methods.losses import answer_tokens, by_member, member_nll

    with torch.no_grad():
        logits = model.row_logits(row)
    targets, owner = answer_tokens(row, sequences)
    own = -torch.log_softmax(logits, dim=-1).gather(-1, targets[:, None]).squeeze(-1)
    sums = by_member(own, owner, len(row.members))
    for member, first, second in zip(row.members, sums, member_nll(logits, row, sequences), strict=True):
        seen[member] = (float(first), float(second))
