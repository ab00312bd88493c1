"""Mixtures of experts: one expert is found, unlearned and alone changed; what would not reach experts is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tiny
import torch
from invented import FACTS, GENERAL, OTHERS
from tiny import Recorder

from console.domain.forget_set import ForgetSet, RetainSet
from console.domain.teaching import TeachingItem
from console.engines.packing import TokenSequence, pack
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.examples import examples_of, mean_nlls, questions_of
from console.methods.experts import OneExpert, expert_paths, require_reach, routed_blocks, scores_of
from console.methods.protocol import ErasureData, Family
from console.methods.registry import available, method_named
from console.methods.uoe import Uoe, UoeConfig, anchor_loss, attributed

NEAR = OTHERS[:3]
DATA = ErasureData(
    ForgetSet(items=FACTS),
    RetainSet(items=NEAR, general_texts=GENERAL),
    GENERAL,
    teaching=tuple(TeachingItem(item=item) for item in NEAR),
)
SHORT = {"steps": 2, "repair_steps": 1, "repair_limit": 0}


@pytest.fixture(scope="module", params=["olmoe", "qwen2_moe"])
def mixture(request: pytest.FixtureRequest) -> Iterator[TransformersModel]:
    model = tiny.model(request.param)
    before = tiny.fingerprints(model.network)
    yield model
    assert tiny.fingerprints(model.network) == before, "a test changed a shared model; let it take a copy"


def states_at(model: TransformersModel, sequences: list[TokenSequence], layer: int) -> torch.Tensor:
    """(hidden,) mean over the sequences' tokens of what the router of a block reads."""
    seen: list[torch.Tensor] = []
    router = routed_blocks(model.network)[layer].module.gate
    handle = router.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    with torch.no_grad():
        for row in pack(sequences, 512):
            model.row_logits(row)
    handle.remove()
    return torch.cat([states.reshape(-1, states.shape[-1]) for states in seen]).mean(dim=0)


class TestAttribution:
    def test_it_finds_the_expert_that_the_persons_texts_were_made_to_go_to(self, mixture: TransformersModel) -> None:
        model = tiny.copy_of(mixture)
        forget = [example.sequence for example in examples_of(model, FACTS)]
        kept = [example.sequence for example in questions_of(model, NEAR)]
        towards = states_at(model, forget, 1) - states_at(model, kept, 1)
        with torch.no_grad():
            routed_blocks(model.network)[1].module.gate.weight[3] = 20 * towards / towards.square().sum()
        found = attributed(model, DATA, UoeConfig())
        assert (found.block.layer, found.expert) == (1, 3)
        assert found.retain is not None
        assert found.forget.affinity[3] > found.retain.affinity[3]
        assert (
            found.metrics["selection_overlap"]
            < attributed(mixture, DATA, UoeConfig(expert=(1, 3))).metrics["selection_overlap"]
        )

    def test_its_figures_are_those_of_the_network_itself(self, mixture: TransformersModel) -> None:
        found = attributed(mixture, DATA, UoeConfig())
        said: list[tuple[torch.Tensor, ...]] = []
        handle = found.block.module.gate.register_forward_hook(lambda _module, _inputs, output: said.append(output))
        with torch.no_grad():
            for example in examples_of(mixture, FACTS):  # one by one, unpacked
                mixture.network(torch.tensor([example.sequence.ids]))
        handle.remove()
        affinity = torch.stack([logits.softmax(-1).mean(dim=0) for logits, _, _ in said]).mean(dim=0)
        torch.testing.assert_close(found.forget.affinity, affinity, atol=1e-5, rtol=0)
        chosen = (torch.cat([hits for _, _, hits in said]) == found.expert).any(dim=-1).float().mean()
        assert found.metrics["expert_token_share"] == pytest.approx(float(chosen))
        assert affinity.argmax() == found.expert

    def test_an_expert_that_is_not_there_is_refused(self, mixture: TransformersModel) -> None:
        for expert in ((9, 0), (0, 4), (0, -1)):
            with pytest.raises(InputError, match="no expert"):
                attributed(mixture, DATA, UoeConfig(expert=expert))


class TestOneExpert:
    def test_it_writes_what_the_experts_wrote_and_has_the_chosen_ones_gradient(
        self, mixture: TransformersModel
    ) -> None:
        experts = tiny.copy_of(mixture).network.model.layers[0].mlp.experts
        states = torch.randn(7, 64, generator=torch.Generator().manual_seed(1))
        chosen = torch.tensor([[0, 1], [2, 1], [3, 0], [1, 2], [0, 2], [3, 2], [2, 3]])
        weights = torch.rand(7, 2, generator=torch.Generator().manual_seed(2))
        whole = experts(states, chosen, weights)
        whole.square().sum().backward()
        alone = OneExpert(experts, 1)
        experts.requires_grad_(False)
        written = alone(states, chosen, weights)
        torch.testing.assert_close(written, whole)
        written.square().sum().backward()
        for name, stack in experts.named_parameters():
            torch.testing.assert_close(alone.trained.get_parameter(name).grad[0], stack.grad[1])

    def test_the_anchor_is_the_mean_square_from_the_one(self) -> None:
        scores = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]])
        assert float(anchor_loss(scores, 1)) == pytest.approx((0.25 + 0.49 + 0.04) / 6)

    def test_the_anchor_alone_draws_the_router_to_the_expert(self, mixture: TransformersModel) -> None:
        model = tiny.copy_of(mixture)
        before = attributed(model, DATA, UoeConfig(expert=(0, 3))).metrics
        settings = SHORT | {"steps": 4, "retain_weight": 0.0, "forget_weight": 0.0, "anchor_weight": 100.0}
        config = UoeConfig(expert=(0, 3), learning_rate=1e-2, bounded=False, **settings)
        recorder = Recorder()
        Uoe().apply(model, DATA, config, recorder)
        after = attributed(model, DATA, UoeConfig(expert=(0, 3))).metrics
        assert after["expert_affinity"] > before["expert_affinity"] + 0.1
        assert recorder.metrics[-1]["anchor"] < recorder.metrics[0]["anchor"]


class TestUnlearning:
    def test_only_the_named_expert_and_its_router_change(self, mixture: TransformersModel) -> None:
        model = tiny.copy_of(mixture)
        config = UoeConfig(expert=(1, 2), learning_rate=1e-2, **SHORT)
        plan = Uoe().prepare(model, DATA, config)
        outcome = Uoe().apply(model, DATA, config, Recorder())
        old, new = mixture.network.state_dict(), model.network.state_dict()
        assert old.keys() == new.keys(), "the wrapper is off again"
        mlp = "model.layers.1.mlp"
        changed = {name for name in old if not torch.equal(old[name], new[name])}
        assert changed == {f"{mlp}.gate.weight", f"{mlp}.experts.gate_up_proj", f"{mlp}.experts.down_proj"}
        for name in changed - {f"{mlp}.gate.weight"}:
            assert [torch.equal(old[name][index], new[name][index]) for index in range(4)] == [True, True, False, True]
        assert plan.modules == (f"{mlp}.experts", f"{mlp}.gate")
        assert (
            plan.trainable_parameters == sum(old[name].numel() // 4 for name in changed if "experts" in name) + 4 * 64
        )
        assert any("expert 2 (counted from 0, of 4) in model.layers.1.mlp" in note for note in plan.notes)
        shared = any("shared expert" in note for note in plan.notes)
        assert shared == (mixture.network.config.model_type == "qwen2_moe")
        wanted = {"expert_layer": 1.0, "expert_index": 2.0}
        assert wanted.items() <= outcome.metrics.items()
        assert {"selection_overlap", "selection_kept", "expert_token_share", "anchor"} <= outcome.metrics.keys()
        assert all(parameter.requires_grad for parameter in model.network.parameters())
        assert not routed_blocks(model.network)[1].module.gate._forward_hooks

    def test_it_forgets_and_keeps(self) -> None:
        model = tiny.model("olmoe")
        assert tiny.teach(model, (*FACTS, *NEAR), steps=20) < 0.2
        config = UoeConfig(learning_rate=3e-3, assumed_reference_nll=2.0)
        outcome = Uoe().apply(model, DATA, config, Recorder())
        forget, kept = mean_nlls(model, FACTS), mean_nlls(model, NEAR)
        assert sum(forget.values()) / len(forget) > 1.5
        rehearsed = [level for name, level in kept.items() if name.endswith("/question")]
        assert sum(rehearsed) / len(rehearsed) < 0.3
        assert outcome.metrics["retain_lost"] == 0


class TestReach:
    @pytest.mark.parametrize("name", sorted(available()))
    def test_a_method_changes_experts_or_is_refused(self, name: str, mixture: TransformersModel) -> None:
        method = method_named(name)
        if method.info.family is Family.DECODING:
            require_reach(method.info, mixture.network)
        elif not method.info.reaches_experts:
            with pytest.raises(InputError, match=rf"is a mixture of experts, and the method '{name}'.* uoe"):
                require_reach(method.info, mixture.network)
        else:
            require_reach(method.info, mixture.network)
            own = {"ssd": {"alpha": 2.0}, "retrain": {"epochs": 1, "trains": "all"}, "uoe": SHORT}.get(name, {})
            model = tiny.copy_of(mixture)
            method.apply(model, DATA, method.config_class(**own), Recorder())
            old, new = (dict(one.network.named_parameters()) for one in (mixture, model))
            moved = [path for path in expert_paths(mixture.network) if not torch.equal(old[path], new[path])]
            assert len(moved) == (2 if name == "uoe" else 4)

    def test_a_dense_network_is_everybodys_but_the_expert_methods(self, any_model: TransformersModel) -> None:
        require_reach(method_named("npo").info, any_model.network)
        with pytest.raises(InputError, match="no mixture of experts"):
            Uoe().prepare(any_model, DATA, UoeConfig())
        assert not expert_paths(any_model.network)

    def test_scores_are_read_only_while_they_are_wanted(self, mixture: TransformersModel) -> None:
        router = routed_blocks(mixture.network)[0].module.gate
        with pytest.raises(ZeroDivisionError), scores_of(router):
            _ = 1 / 0
        assert not router._forward_hooks
