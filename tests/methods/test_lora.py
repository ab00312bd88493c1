"""Adapters: on exactly the named modules, off without a trace, merged to the same model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tiny
import torch
from torch import nn

from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.lora import (
    LoraSettings,
    adapter_off,
    merged,
    resolve_modules,
    trainable_parameters,
    with_adapter,
)

SETTINGS = LoraSettings(rank=4, alpha=8)
INSIDE = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
INSIDE += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def logits(model: TransformersModel) -> torch.Tensor:
    ids = model.tokenizer("Mira Okonjo carried the lamp up the narrow stairs", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model.network(ids).logits


def adapted(model: TransformersModel, settings: LoraSettings = SETTINGS, *, trained: bool) -> TransformersModel:
    """A copy with an adapter whose product is zero, or after training something arbitrary."""
    copy = tiny.copy_of(model)
    copy.network = with_adapter(copy.network, resolve_modules(copy.network, settings), settings, seed=1)
    if trained:
        chance = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for name, parameter in copy.network.named_parameters():
                if "lora_B" in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=chance) * 0.05)
    return copy


class TestModules:
    def test_every_linear_module_of_every_block(self, untaught: TransformersModel) -> None:
        expected = {f"model.layers.{layer}.{inside}" for layer in range(2) for inside in INSIDE}
        assert set(resolve_modules(untaught.network, SETTINGS)) == expected

    def test_layer_numbers_are_whole_segments(self) -> None:
        """With a search for text, ``layers.1`` would also be ``layers.10`` and ``layers.11``."""
        network = tiny.model(layers=12).network
        modules = resolve_modules(network, LoraSettings(first_layer=10 / 12))
        assert {module.split(".")[2] for module in modules} == {"10", "11"}

    @pytest.mark.parametrize(
        ("first_layer", "lowest"), [(0.0, 0), (0.24, 0), (0.25, 1), (0.5, 2), (0.74, 2), (0.75, 3), (0.99, 3)]
    )
    def test_first_layer_is_a_share_of_the_depth(self, first_layer: float, lowest: int) -> None:
        modules = resolve_modules(tiny.model(layers=4).network, LoraSettings(first_layer=first_layer))
        assert {int(module.split(".")[2]) for module in modules} == set(range(lowest, 4))

    def test_never_the_head_even_inside_a_numbered_block(self) -> None:
        class Odd(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.config = SimpleNamespace(num_hidden_layers=1, model_type="odd")
                self.blocks = nn.ModuleList([nn.ModuleDict({"inner": nn.Linear(2, 2), "head": nn.Linear(2, 9)})])
                self.outside = nn.Linear(2, 2)

            def get_output_embeddings(self) -> nn.Module:
                return self.blocks[0]["head"]

        assert resolve_modules(Odd(), SETTINGS) == ("blocks.0.inner",)

    def test_an_architecture_without_linear_modules_is_refused(self) -> None:
        with pytest.raises(InputError, match="'gpt2' has no linear layers"):
            resolve_modules(tiny.model("gpt2").network, SETTINGS)

    @pytest.mark.parametrize("changed", [{"rank": 0}, {"first_layer": 1.0}, {"first_layer": -0.1}, {"dropout": 0.1}])
    def test_settings_that_cannot_be(self, changed: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=next(iter(changed))):
            LoraSettings.model_validate(changed)


class TestAdapter:
    def test_a_fresh_adapter_changes_no_bit(self, untaught: TransformersModel) -> None:
        assert torch.equal(logits(adapted(untaught, trained=False)), logits(untaught))

    @pytest.mark.parametrize("architecture", ["llama", "qwen2"])
    def test_off_is_the_base_bit_for_bit_and_on_comes_back(self, architecture: str) -> None:
        base = tiny.model(architecture)
        model = adapted(base, trained=True)
        on = logits(model)
        assert float((on - logits(base)).abs().max()) > 0.1, "the adapter does nothing, so taking it off shows nothing"
        with adapter_off(model.network):
            assert torch.equal(logits(model), logits(base))
        assert torch.equal(logits(model), on)

    def test_off_ends_when_the_block_fails(self, untaught: TransformersModel) -> None:
        model = adapted(untaught, trained=True)
        on = logits(model)
        with pytest.raises(RuntimeError), adapter_off(model.network):
            raise RuntimeError
        assert torch.equal(logits(model), on)

    @pytest.mark.parametrize("architecture", ["llama", "qwen2"])
    def test_merged_equals_unmerged(self, architecture: str) -> None:
        base = tiny.model(architecture)
        model = adapted(base, trained=True)
        unmerged = logits(model)
        model.network = merged(model.network)
        assert float((logits(model) - unmerged).abs().max()) < 1e-3
        assert set(model.network.state_dict()) == set(base.network.state_dict())
        assert all(parameter.requires_grad for parameter in model.network.parameters())

    def test_merging_touches_the_named_matrices_and_nothing_else(self) -> None:
        base = tiny.model("qwen2", layers=4)  # tied head, biases
        settings = LoraSettings(rank=4, alpha=8, first_layer=0.5)
        modules = resolve_modules(base.network, settings)
        before = tiny.fingerprints(base.network)
        after = tiny.fingerprints(merged(adapted(base, settings, trained=True).network))
        assert {name for name in before if before[name] != after[name]} == {f"{module}.weight" for module in modules}

    def test_only_the_adapter_is_trainable_and_its_size_is_known(self, untaught: TransformersModel) -> None:
        network = adapted(untaught, trained=False).network
        trainable = {name: p.numel() for name, p in network.named_parameters() if p.requires_grad}
        assert all("lora_A" in name or "lora_B" in name for name in trainable)
        modules = resolve_modules(untaught.network, SETTINGS)
        assert sum(trainable.values()) == trainable_parameters(untaught.network, modules, SETTINGS.rank)

    def test_the_seed_fixes_it_and_the_caller_s_random_numbers_go_on(self, untaught: TransformersModel) -> None:
        modules = resolve_modules(untaught.network, SETTINGS)
        before = torch.random.get_rng_state()
        prints = [
            tiny.fingerprints(with_adapter(tiny.copy_of(untaught).network, modules, SETTINGS, seed))
            for seed in (1, 1, 2)
        ]
        assert prints[0] == prints[1] != prints[2]
        assert torch.equal(before, torch.random.get_rng_state())
