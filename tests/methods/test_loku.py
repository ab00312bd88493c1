"""LoKU: the inverted hinge's values, an adapter that starts from the weights, and a person who is forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS, PERSON
from tiny import Recorder, StoppedError

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.packing import pack
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods import loku, training
from console.methods.examples import examples_of, mean_nlls
from console.methods.forgetting import Run
from console.methods.loku import Loku, LokuConfig, fila_factors, inverted_hinge, leading_parts, row_weights
from console.methods.lora import LoraSettings
from console.methods.losses import answer_tokens, by_member
from console.methods.protocol import ErasureData, Outcome

DATA = ErasureData(ForgetSet(items=PERSON), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
CONFIG = LokuConfig(lora=LoraSettings(rank=8, alpha=16), learning_rate=3e-3, steps=60, repair_steps=6)
SHORT = {"steps": 3, "repair_steps": 1, "repair_limit": 0}


def run_on(
    model: TransformersModel, recorder: Recorder | None = None, **changed: Any
) -> tuple[TransformersModel, Outcome, Recorder]:
    copy, recorder = tiny.copy_of(model), recorder or Recorder()
    return copy, Loku().apply(copy, DATA, CONFIG.model_copy(update=changed), recorder), recorder


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


class TestInvertedHinge:
    def test_it_lies_between_0_and_2(self) -> None:
        logits = 20 * torch.randn(500, 9, generator=torch.Generator().manual_seed(0))
        values = inverted_hinge(logits, torch.arange(500) % 9)
        assert 0 <= float(values.min()) < 0.01 and 1.99 < float(values.max()) <= 2

    def test_it_is_1_where_the_answer_ties_with_its_best_rival(self) -> None:
        logits = torch.tensor([[3.0, 3.0, 0.0], [-1.0, -7.0, -1.0]])
        assert inverted_hinge(logits, torch.tensor([1, 0])).tolist() == pytest.approx([1.0, 1.0], abs=1e-6)

    def test_its_gradient_is_the_paper_s(self) -> None:
        """p(y)(1 - p(y) + p*) for the answer, -p*(1 - p* + p(y)) for the best rival, p(k)(p* - p(y)) for the rest."""
        logits = torch.tensor([[1.0, 0.4, -0.5, -2.0]], requires_grad=True)
        inverted_hinge(logits, torch.tensor([1])).sum().backward()
        best, own, *rest = torch.softmax(logits.detach()[0], dim=-1)
        wanted = [-best * (1 - best + own), own * (1 - own + best), *(one * (best - own) for one in rest)]
        assert torch.allclose(logits.grad[0], torch.stack(wanted), atol=1e-6)

    def test_an_answer_known_by_heart_has_no_gradient(self) -> None:
        logits = torch.tensor([[30.0, 0.0, 0.0]], requires_grad=True)
        inverted_hinge(logits, torch.tensor([0])).sum().backward()
        assert float(logits.grad.abs().max()) < 1e-6

    def test_half_precision_is_widened(self) -> None:
        assert inverted_hinge(torch.zeros(1, 4, dtype=torch.bfloat16), torch.tensor([0])).dtype == torch.float32

    def test_it_is_the_same_however_rows_are_cut(self, taught: TransformersModel) -> None:
        sequences = [example.sequence for example in examples_of(taught, PERSON)]

        def sums(size: int) -> dict[int, float]:
            found: dict[int, float] = {}
            for row in pack(sequences, size):
                targets, owner = answer_tokens(row, sequences)
                with torch.no_grad():
                    values = by_member(inverted_hinge(taught.row_logits(row), targets), owner, len(row.members))
                found |= dict(zip(row.members, values.tolist(), strict=True))
            return found

        assert sums(60) == pytest.approx(sums(512), abs=1e-4)


class TestFila:
    def test_rows_that_matter_to_the_forgotten_weigh_more(self) -> None:
        forget, retain = torch.tensor([[4.0, 4.0], [1.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]])
        weights = row_weights(forget, retain, 1e-9)
        assert weights.tolist() == pytest.approx([4 / 3, 2 / 3], rel=1e-4)

    def test_without_importance_every_row_counts_alike(self) -> None:
        zero = torch.zeros(3, 2)
        assert row_weights(zero, zero, 1e-5).tolist() == [1, 1, 1]

    def test_the_decomposition_is_the_exact_one_within_rounding(self) -> None:
        spectrum = torch.linspace(5, 0.05, 40)
        generator = torch.Generator().manual_seed(0)
        left, right = (torch.linalg.qr(torch.randn(size, 40, generator=generator)).Q for size in (60, 50))
        matrix = left * spectrum @ right.T
        u, s, v = leading_parts(matrix, 8, torch.Generator().manual_seed(1))
        exact = torch.linalg.svdvals(matrix)
        assert torch.allclose(s, exact[:8], rtol=0.02)
        assert float((matrix - u * s @ v).norm()) < 1.002 * float(exact[8:].norm())

    def test_the_decomposition_is_seeded(self) -> None:
        matrix = torch.randn(30, 40, generator=torch.Generator().manual_seed(0))
        torch.manual_seed(5)
        first = leading_parts(matrix, 4, torch.Generator().manual_seed(1))
        torch.manual_seed(6)
        again = leading_parts(matrix, 4, torch.Generator().manual_seed(1))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))

    def test_the_product_is_the_best_fit_in_the_weighted_norm(self) -> None:
        generator = torch.Generator().manual_seed(0)
        weight, rows = torch.randn(20, 30, generator=generator), 0.1 + torch.rand(20, generator=generator)
        a, b = fila_factors(weight, rows, 5, 2.0, generator)
        error = float((rows[:, None] * (weight - 2.0 * b @ a)).norm())
        best = float(torch.linalg.svdvals(rows[:, None] * weight)[5:].norm())
        assert error == pytest.approx(best, rel=1e-3)

    def test_a_rank_above_the_matrix_s_own_is_filled_with_zeros(self) -> None:
        weight = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))
        a, b = fila_factors(weight, torch.ones(3), 8, 2.0, torch.Generator().manual_seed(0))
        assert a.shape == (8, 9) and b.shape == (3, 8)
        assert torch.allclose(2.0 * b @ a, weight, atol=1e-5)

    def test_base_and_adapter_are_the_weight_before_the_first_step(self, taught: TransformersModel) -> None:
        old = {name: parameter.detach() for name, parameter in taught.network.named_parameters()}
        apart: list[float] = []
        moved: list[float] = []

        class Seen(Loku):
            def begin(self, run: Run) -> None:
                super().begin(run)
                by_path = dict(run.model.network.get_base_model().named_modules())
                for path in run.plan.modules:
                    layer = by_path[path]
                    whole = layer.base_layer.weight + layer.get_delta_weight("default")
                    apart.append(float((whole - old[f"{path}.weight"]).abs().max()))
                    moved.append(float(layer.get_delta_weight("default").abs().max()))

        config = CONFIG.model_copy(update={"start": "fila", **SHORT})
        recorder = Recorder()
        Seen().apply(tiny.copy_of(taught), DATA, config, recorder)
        assert len(apart) == 2 * 7 and max(apart) < 1e-5
        assert min(moved) > 1e-2, "the adapters hold nothing, so their exactness shows nothing"
        before = list(mean_nlls(taught, PERSON).values())
        assert recorder.metrics[0]["forget_nll"] == pytest.approx(sum(before) / len(before), abs=1e-3)

    def test_what_does_not_add_up_is_not_trained(
        self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(weight: torch.Tensor, _rows: Any, rank: int, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.full((rank, weight.shape[1]), 1e4), torch.full((weight.shape[0], rank), 1e4)

        monkeypatch.setattr(loku, "fila_factors", broken)
        with pytest.raises(JobFailedError, match="does not add up"):
            run_on(taught, start="fila")

    def test_it_starts_at_a_lower_rate(self, taught: TransformersModel) -> None:
        rates: set[float] = set()

        class Seen(Loku):
            def begin(self, run: Run) -> None:
                rates.update(group["full_rate"] for group in run.stepper.optimizer.param_groups)

        for start in ("plain", "fila"):
            config = CONFIG.model_copy(update={"start": start, **SHORT, "steps": 1})
            Seen().apply(tiny.copy_of(taught), DATA, config, Recorder())
        assert sorted(rates) == pytest.approx([3e-3 / 4, 3e-3])

    def test_it_needs_an_adapter(self, untaught: TransformersModel) -> None:
        config = CONFIG.model_copy(update={"start": "fila", "tensors": ("down_proj",)})
        with pytest.raises(InputError, match="leave 'tensors' empty"):
            Loku().prepare(untaught, DATA, config)

    def test_its_memory_is_asked_for(self, untaught: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        plan = Loku().prepare(untaught, DATA, CONFIG)
        monkeypatch.setattr(loku, "available_mb", lambda _device: plan.memory_mb - 1)
        Loku().prepare(untaught, DATA, CONFIG)
        with pytest.raises(InputError, match="choose the start 'plain'"):
            Loku().prepare(untaught, DATA, CONFIG.model_copy(update={"start": "fila"}))

    def test_an_interrupted_run_gives_the_same_bytes(self, taught: TransformersModel, tmp_path: Path) -> None:
        whole, _, _ = run_on(taught, start="fila", **SHORT)
        state = tmp_path / "state.pt"
        looks = 2 * len(examples_of(taught, PERSON)) + len(OTHERS) + len(GENERAL) + 2 * 7 + 2
        with pytest.raises(StoppedError):
            run_on(taught, Recorder(looks_allowed=looks, state_file=state), start="fila", **SHORT)
        assert state.is_file()
        again, _, _ = run_on(taught, Recorder(state_file=state), start="fila", **SHORT)
        assert tiny.fingerprints(again.network) == tiny.fingerprints(whole.network)


class TestForgetting:
    @pytest.mark.parametrize("start", ["plain", "fila"])
    def test_the_person_is_forgotten_and_the_others_are_kept(self, taught: TransformersModel, start: str) -> None:
        after, outcome, _ = run_on(taught, start=start)
        assert answers(taught, FACTS) == len(FACTS) and answers(after, FACTS) == 0
        assert answers(after, OTHERS) == answers(taught, OTHERS) == len(OTHERS)
        assert min(mean_nlls(after, PERSON).values()) > 0.9 * CONFIG.hold_share * CONFIG.assumed_reference_nll
        assert outcome.stop_reason.startswith("every answer has come to the level")

    def test_an_answer_known_by_heart_moves_by_its_log_odds_only(self, taught: TransformersModel) -> None:
        still, moved = (run_on(taught, steps=8, repair_steps=0, certain_below=limit)[0] for limit in (0.0, 0.1))
        slowest = [min(mean_nlls(model, FACTS).values()) for model in (taught, still, moved)]
        assert slowest[1] < 0.1 and slowest[2] > 10 * slowest[1]

    @pytest.mark.parametrize("start", ["plain", "fila"])
    def test_only_the_planned_modules_change(self, taught: TransformersModel, start: str) -> None:
        lora = LoraSettings(rank=4, alpha=8, first_layer=0.5)
        after, _, _ = run_on(taught, start=start, lora=lora, **SHORT)
        planned = Loku().prepare(tiny.copy_of(taught), DATA, CONFIG.model_copy(update={"lora": lora})).modules
        before, now = tiny.fingerprints(taught.network), tiny.fingerprints(after.network)
        assert {name for name in before if before[name] != now[name]} == {f"{path}.weight" for path in planned}

    def test_how_rows_are_cut_does_not_show(self, taught: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        _, _, whole = run_on(taught, general_weight=0.0, **SHORT)
        monkeypatch.setattr(training, "ROW_TOKENS", 60)
        _, _, cut = run_on(taught, general_weight=0.0, **SHORT)
        for name in ("forget_nll", "retain_nll"):
            values = [[metric[name] for metric in recorder.metrics] for recorder in (whole, cut)]
            assert values[0] == pytest.approx(values[1], rel=1e-2, abs=1e-4)
