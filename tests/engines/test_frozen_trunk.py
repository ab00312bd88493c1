"""The frozen trunk: split in two, the network says and learns what it does whole, and it is left as it was."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import tiny
import torch
from invented import OTHERS, PERSON

from console.engines.frozen_trunk import FrozenTrunk
from console.engines.packing import TokenSequence, pack
from console.engines.transformers_engine import TransformersModel
from console.methods.lora import LoraSettings, resolve_modules, with_adapter

LAYERS = 4


def sequences_of(model: TransformersModel) -> list[TokenSequence]:
    return tiny.lessons(model.tokenizer, (*PERSON, *OTHERS[:3]))


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def model(request: pytest.FixtureRequest) -> TransformersModel:
    made = tiny.model(request.param, layers=LAYERS)
    for parameter in made.network.parameters():
        parameter.requires_grad_(False)
    return made


def logits(
    model: TransformersModel, sequences: Sequence[TokenSequence], trunk: FrozenTrunk | None, row_tokens: int
) -> torch.Tensor:
    rows = pack(sequences, row_tokens)
    with torch.no_grad():
        found = {row.members: model.row_logits(row, sequences, trunk) for row in rows}
    return torch.cat([found[row.members] for row in rows])


@pytest.mark.parametrize("depth", range(1, LAYERS + 1))
def test_split_and_whole_give_the_same_logits(model: TransformersModel, depth: int) -> None:
    sequences = sequences_of(model)
    trunk = model.trunk(depth, sequences)
    assert trunk is not None
    for row_tokens in (1, 90, 600):  # what was remembered from one packing serves another
        whole = logits(model, sequences, None, row_tokens)
        torch.testing.assert_close(logits(model, sequences, trunk, row_tokens), whole, atol=1e-3, rtol=1e-4)


def test_the_upper_half_learns_the_same(model: TransformersModel) -> None:
    """With an adapter above the trunk, both ways give the same gradient."""
    settings = LoraSettings(rank=4, alpha=8, first_layer=0.5)
    adapted = tiny.copy_of(model)
    adapted.network = with_adapter(adapted.network, resolve_modules(adapted.network, settings), settings, seed=1)
    sequences = sequences_of(adapted)
    trunk = adapted.trunk(LAYERS // 2, sequences)
    assert trunk is not None
    (row, *_) = pack(sequences, 300)
    gradients = []
    for used in (None, trunk):
        adapted.row_logits(row, sequences, used).logsumexp(-1).sum().backward()
        gradients.append([p.grad.clone() for p in adapted.network.parameters() if p.grad is not None])
        adapted.network.zero_grad(set_to_none=True)
    assert len(gradients[0]) == len(gradients[1]) > 0
    for whole, split in zip(*gradients, strict=True):
        torch.testing.assert_close(split, whole, atol=1e-3, rtol=1e-3)


def test_lower_blocks_are_run_once_a_text(model: TransformersModel) -> None:
    sequences = sequences_of(model)
    trunk = model.trunk(2, sequences)
    assert trunk is not None
    runs: list[int] = []
    hook = model.network.model.layers[0].register_forward_hook(lambda *_: runs.append(1))
    try:
        first = logits(model, sequences, trunk, 600)
        seen = len(runs)
        assert torch.equal(logits(model, sequences, trunk, 600), first)
        assert len(runs) == seen > 0
    finally:
        hook.remove()


def test_the_network_is_put_together_again_even_after_a_failure(model: TransformersModel) -> None:
    sequences = sequences_of(model)
    blocks, norm = list(model.network.model.layers), model.network.model.norm
    trunk = model.trunk(2, sequences)
    assert trunk is not None
    hook = model.network.model.layers[3].register_forward_pre_hook(lambda *_: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            logits(model, sequences, trunk, 600)
    finally:
        hook.remove()
    assert list(model.network.model.layers) == blocks and model.network.model.norm is norm
    assert model.layers == LAYERS


@pytest.mark.parametrize(
    ("architecture", "depth", "given"),
    [("llama", 0, 1), ("llama", 2, 0), ("gpt2", 1, 1)],
    ids=["nothing below", "no text to try", "blocks under another name"],
)
def test_there_is_none_where_it_cannot_be(architecture: str, depth: int, given: int) -> None:
    model = tiny.model(architecture)
    assert model.trunk(depth, sequences_of(model)[:given]) is None


def test_there_is_none_where_the_split_network_says_something_else() -> None:
    """As with architectures that scale their input embeddings: they would be scaled twice."""
    model = tiny.model(layers=LAYERS)
    model.network.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: (
            (_args, {**kwargs, "inputs_embeds": kwargs["inputs_embeds"] * 1.5})
            if kwargs.get("inputs_embeds") is not None
            else None
        ),
        with_kwargs=True,
    )
    assert model.trunk(2, sequences_of(model)) is None
