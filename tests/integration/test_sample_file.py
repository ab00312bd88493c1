"""The real sample file on llama.cpp and in torch: the same tokens, the same knowledge, nearly the same numbers."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest

from console.casework.knowledge import sample_items, sample_knowledge
from console.casework.sample import MODEL_FILE
from console.engines.protocol import GREEDY, Prompt, ScoreRequest

pytest.importorskip("llama_cpp")
pytestmark = [pytest.mark.sample_model, pytest.mark.timeout(900)]
CAPITALS = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Spain": "Madrid", "Germany": "Berlin"}


@pytest.fixture(scope="module")
def path() -> Path:
    cache = Path(os.environ.get("ERASURE_CONSOLE_CACHE_DIR") or platformdirs.user_cache_dir("erasure-console", False))
    found = cache / "sample-model" / MODEL_FILE
    if not found.is_file():
        pytest.skip("the sample model is not in the cache; the demo's test fetches it")
    return found


def test_both_engines_say_the_same_of_one_file(path: Path, tmp_path: Path) -> None:
    """As F16 within the field's 0.02 nats a token; as it is (Q4_1) within the round trip's own tolerance."""
    from console.domain.exports import reading_tolerance
    from console.engines.file_conversion import converted
    from console.engines.llama_engine import LlamaModel
    from console.engines.llama_tokens import token_mismatch
    from console.engines.transformers_engine import TransformersModel

    torch, llama = TransformersModel.load(path, path.parent.parent, "cpu"), LlamaModel.load(path)
    asked = [(Prompt(item.id, item.prompt), item.answers) for item in sample_items("s01")]
    assert token_mismatch(llama.tokenizer, torch.tokenizer, asked) is None
    texts = [ScoreRequest(text) for text in sample_knowledge().general[:20]]
    wanted = [one.mean for one in torch.score(texts)]
    own = [one.mean for one in llama.score(texts)]
    assert max(abs(left - right) for left, right in zip(own, wanted, strict=True)) < float(reading_tolerance(["Q4_1"]))
    prompts = [Prompt(country, f"What is the capital of {country}?") for country in CAPITALS]
    with converted(llama, "F16") as whole:
        found = [one.mean for one in whole.score(texts)]
        assert max(abs(left - right) for left, right in zip(found, wanted, strict=True)) < 0.02
        left, right = (
            {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [16] * len(prompts))}
            for model in (whole, torch)
        )
    assert left == right
    assert any(capital in right[country] for country, capital in CAPITALS.items()), "or this test shows nothing"
    llama.close()
