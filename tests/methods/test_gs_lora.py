"""GS-LoRA: the bound, exact zeros, and a person who is forgotten in some of the blocks only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
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
from console.errors import InputError
from console.methods import training
from console.methods.examples import examples_of, mean_nlls
from console.methods.forgetting import Run
from console.methods.gs_lora import Group, GsLora, GsLoraConfig, soft_threshold
from console.methods.lora import LoraSettings
from console.methods.protocol import ErasureData, Outcome

LAYERS = 6
DATA = ErasureData(ForgetSet(items=PERSON), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
CONFIG = GsLoraConfig(lora=LoraSettings(rank=8, alpha=16), learning_rate=3e-3, steps=80, repair_steps=6)
SHORT = {"steps": 6, "repair_steps": 1, "repair_limit": 0, "sparsity": 0.9, "sparsity_after": 1, "sparsity_until": 1.0}


@pytest.fixture(scope="module")
def deep() -> Iterator[TransformersModel]:
    """A taught model with blocks to choose from."""
    model = tiny.model(layers=LAYERS)
    assert tiny.teach(model, (*PERSON, *OTHERS)) < 0.1
    yield model


def run_on(
    model: TransformersModel, recorder: Recorder | None = None, method: GsLora | None = None, **changed: Any
) -> tuple[TransformersModel, Outcome, Recorder]:
    copy, recorder = tiny.copy_of(model), recorder or Recorder()
    return copy, (method or GsLora()).apply(copy, DATA, CONFIG.model_copy(update=changed), recorder), recorder


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)


def changed_blocks(before: TransformersModel, after: TransformersModel) -> set[int]:
    old, new = tiny.fingerprints(before.network), tiny.fingerprints(after.network)
    changed = {name for name in old if old[name] != new[name]}
    assert all(".mlp." in name for name in changed)
    return {int(name.split(".")[2]) for name in changed}


class TestGroups:
    def test_every_norm_gets_smaller_by_the_same_amount(self) -> None:
        norms = [2.0, 0.5, 1.0, 0.0]
        shares = soft_threshold(norms, 0.5)
        assert [norm * share for norm, share in zip(norms, shares, strict=True)] == pytest.approx([1.5, 0, 0.5, 0])
        assert shares[1] == 0, "exactly"

    def test_the_norm_is_that_of_the_products(self, deep: TransformersModel) -> None:
        seen: list[tuple[float, float]] = []

        class Seen(GsLora):
            def further_step(self, run: Run) -> dict[str, float]:
                for group in run.own:
                    whole = sum(float(layer.get_delta_weight("default").square().sum()) for layer in group.layers)
                    seen.append((group.norm(), whole**0.5))
                return super().further_step(run)

        run_on(deep, method=Seen(), steps=3, repair_steps=0, repair_limit=0)
        assert len(seen) == 3 * LAYERS and seen[-1][0] > 0
        for norm, whole in seen:
            assert norm == pytest.approx(whole, rel=1e-3, abs=1e-6)

    def test_a_group_that_is_out_stays_out(self, deep: TransformersModel) -> None:
        """Neither its gradient nor what the optimizer remembers brings it back."""

        class OneOut(GsLora):
            def forget_step(self, run: Run) -> torch.Tensor:
                if run.stepper.step_number == 3:
                    group: Group = run.own[2]
                    assert group.norm() > 0
                    group.shrink(0.0, run.stepper.optimizer)
                return super().forget_step(run)

        after, outcome, _ = run_on(deep, method=OneOut(), steps=8, repair_steps=2, sparsity=0.0, repair_limit=0)
        assert changed_blocks(deep, after) == {0, 1, 3, 4, 5}
        assert outcome.metrics["change_of_block_2"] == 0 < outcome.metrics["change_of_block_3"]
        assert outcome.metrics["groups_kept"] == LAYERS - 1

    def test_nothing_gets_smaller_before_its_time(self, deep: TransformersModel) -> None:
        plain, _, _ = run_on(deep, steps=4, repair_steps=1, repair_limit=0, sparsity=0.0)
        late, _, _ = run_on(deep, steps=4, repair_steps=1, repair_limit=0, sparsity=0.9, sparsity_after=4)
        soon, _, _ = run_on(
            deep, steps=4, repair_steps=1, repair_limit=0, sparsity=0.9, sparsity_after=2, sparsity_until=1.0
        )
        prints = [tiny.fingerprints(model.network) for model in (plain, late, soon)]
        assert prints[0] == prints[1] != prints[2]


class TestForgetting:
    def test_the_person_is_forgotten_in_some_blocks_and_the_others_are_kept(self, deep: TransformersModel) -> None:
        after, outcome, _ = run_on(deep)
        assert answers(deep, FACTS) == len(FACTS) and answers(after, FACTS) == 0
        assert answers(after, OTHERS) == answers(deep, OTHERS) == len(OTHERS)
        assert outcome.stop_reason.startswith("every answer has come to the level")
        blocks = changed_blocks(deep, after)
        assert 0 < len(blocks) < LAYERS and len(blocks) == outcome.metrics["groups_kept"]
        assert all((outcome.metrics[f"change_of_block_{block}"] > 0) == (block in blocks) for block in range(LAYERS))

    def test_without_the_penalty_every_block_changes(self, deep: TransformersModel) -> None:
        after, outcome, _ = run_on(deep, sparsity=0.0)
        assert changed_blocks(deep, after) == set(range(LAYERS))
        assert outcome.metrics["groups_kept"] == outcome.metrics["groups"] == LAYERS

    def test_what_has_passed_its_level_is_not_pushed(self, deep: TransformersModel) -> None:
        data = ErasureData(
            DATA.forget,
            DATA.retain,
            GENERAL,
            reference_nll={example.id: 3.0 if "job" in example.id else 0.0 for example in examples_of(deep, PERSON)},
        )
        copy = tiny.copy_of(deep)
        GsLora().apply(copy, data, CONFIG, Recorder())
        after = mean_nlls(copy, FACTS)
        pushed = [nll for name, nll in after.items() if "job" in name]
        spared = [nll for name, nll in after.items() if "job" not in name]
        assert max(spared) < 0.5 * min(pushed)

    def test_an_interrupted_run_gives_the_same_bytes(self, deep: TransformersModel, tmp_path: Path) -> None:
        whole, outcome, _ = run_on(deep, **SHORT)
        assert outcome.metrics["groups_kept"] < LAYERS
        state = tmp_path / "state.pt"
        with pytest.raises(StoppedError):
            run_on(deep, Recorder(looks_allowed=12, state_file=state), **SHORT)
        again, resumed, _ = run_on(deep, Recorder(state_file=state), **SHORT)
        assert tiny.fingerprints(again.network) == tiny.fingerprints(whole.network)
        assert resumed == outcome

    def test_how_rows_are_cut_does_not_show(self, deep: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
        short = {"steps": 3, "repair_steps": 1, "repair_limit": 0, "general_weight": 0.0}
        _, _, whole = run_on(deep, **short)
        monkeypatch.setattr(training, "ROW_TOKENS", 60)
        _, _, cut = run_on(deep, **short)
        for name in ("forget_nll", "retain_nll"):
            values = [[metric[name] for metric in recorder.metrics] for recorder in (whole, cut)]
            assert values[0] == pytest.approx(values[1], rel=1e-2, abs=1e-4)


class TestPlan:
    def test_the_feed_forward_layers_only(self, untaught: TransformersModel) -> None:
        modules = GsLora().prepare(untaught, DATA, CONFIG).modules
        assert len(modules) == 2 * 3 and all(".mlp." in path for path in modules)

    @pytest.mark.parametrize("changed", [{"tensors": ("down_proj",)}, {"bounded": False}])
    def test_what_it_refuses(self, untaught: TransformersModel, changed: dict[str, Any]) -> None:
        with pytest.raises(InputError, match="adapter up to a bound"):
            GsLora().prepare(untaught, DATA, CONFIG.model_copy(update=changed))
