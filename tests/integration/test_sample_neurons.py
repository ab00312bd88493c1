"""On the real sample model: its dog neuron, and what happens to a sentence when it is held."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest

from console.casework.sample import MODEL_FILE

if TYPE_CHECKING:
    from console.engines.transformers_engine import TransformersModel

pytestmark = [pytest.mark.sample_model, pytest.mark.timeout(900)]
LAYER, NEURON = 29, 808
PET, FOOD = "The most common pet is a", "I like to eat"
# Measured in single precision on the CPU; the file's own quantisation (Q4_1) is in the numbers.
SWEEP = {None: 0.2500, -30.0: 0.0281, 10.0: 0.4445, 30.0: 0.4854}


@pytest.fixture(scope="module")
def model() -> TransformersModel:
    """Runs after the demo, which has fetched the model."""
    from console.engines.transformers_engine import TransformersModel

    cache = Path(os.environ.get("ERASURE_CONSOLE_CACHE_DIR") or platformdirs.user_cache_dir("erasure-console", False))
    path = cache / "sample-model" / MODEL_FILE
    if not path.is_file():
        pytest.skip("the sample model is not in the cache; the demo's test fetches it")
    return TransformersModel.load(path, cache, "cpu")


def p_dog(model: TransformersModel, text: str, held: float | None) -> float:
    import torch

    from console.evaluation.neuron_projection import clamped, mlp_blocks

    ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
    (dog,) = model.tokenizer(" dog", add_special_tokens=False)["input_ids"]
    block = mlp_blocks(model.network)[LAYER]
    with torch.no_grad():
        if held is None:
            logits = model.network(ids).logits[0, -1]
        else:
            with clamped(block, NEURON, held):
                logits = model.network(ids).logits[0, -1]
    return float(logits.softmax(dim=-1)[dog])


def test_holding_the_dog_neuron_moves_the_dog(model: TransformersModel) -> None:
    for held, wanted in SWEEP.items():
        assert p_dog(model, PET, held) == pytest.approx(wanted, abs=0.005), held
    assert p_dog(model, FOOD, None) == pytest.approx(0.0004, abs=0.0002)
    assert p_dog(model, FOOD, 100.0) == pytest.approx(0.504, abs=0.01)


def test_the_browser_finds_it_and_says_where_there_is_none(model: TransformersModel) -> None:
    from console.evaluation.neuron_projection import Role, neurons_about

    found = neurons_about(model, ["dog"], 3, roles=(Role.GATE, Role.DOWN), layers=(LAYER,))
    assert {(one.index, one.role) for one in found.specialised} == {(NEURON, Role.GATE), (NEURON, Role.DOWN)}
    gate = next(one for one in found.specialised if one.role is Role.GATE)
    assert gate.spells[0] == " dog" and gate.cosine == pytest.approx(0.266, abs=0.002)
    city = neurons_about(model, ["Paris"], 3, roles=(Role.DOWN,), layers=(LAYER,))
    assert not city.specialised and "No specialised neuron found" in city.sentence


def test_the_vectors_of_the_neuron(model: TransformersModel) -> None:
    import torch

    from console.evaluation.neuron_projection import Role, mlp_blocks

    (dog,) = model.tokenizer(" dog", add_special_tokens=False)["input_ids"]
    row = model.network.get_output_embeddings().weight.detach()[dog]
    block = mlp_blocks(model.network)[LAYER]
    for role, wanted in ((Role.GATE, 0.266), (Role.UP, -0.458), (Role.DOWN, 0.335)):
        assert float(torch.cosine_similarity(block.vectors(role)[NEURON], row, dim=0)) == pytest.approx(
            wanted, abs=2e-3
        )
