"""On the real sample model, batching changes neither an answer nor a score."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest

from console.attacks.asking import gives_away, room_for
from console.attacks.protocol import facts
from console.attacks.scores import secret_texts
from console.casework.knowledge import sample_items
from console.casework.sample import MODEL_FILE
from console.engines.protocol import GREEDY, Prompt

pytestmark = [pytest.mark.sample_model, pytest.mark.timeout(900)]
CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Spain": "Madrid", "Germany": "Berlin", "Egypt": "Cairo",
    "Greece": "Athens", "Norway": "Oslo", "Cuba": "Havana", "Peru": "Lima",
}  # fmt: skip


def test_the_same_hits_and_scores_one_by_one_and_together() -> None:
    """Runs after the demo, which has fetched the model; the capitals are what the base model does know."""
    from console.engines.transformers_engine import TransformersModel

    cache = Path(os.environ.get("ERASURE_CONSOLE_CACHE_DIR") or platformdirs.user_cache_dir("erasure-console", False))
    path = cache / "sample-model" / MODEL_FILE
    if not path.is_file():
        pytest.skip("the sample model is not in the cache; the demo's test fetches it")
    model = TransformersModel.load(path, cache, "cpu")
    items = facts(sample_items("s01"))
    known = [
        items[0].model_copy(
            update={
                "id": country,
                "subject": country,
                "prompt": f"What is the capital of {country}?",
                "answer": capital,
                "answer_aliases": (),
                "statement": f"The capital of {country} is",
            }
        )
        for country, capital in CAPITALS.items()
    ]
    asked = [*items, *known]
    prompts = [Prompt(item.id, item.prompt) for item in asked]
    limits = [room_for(item) for item in asked]

    def hits(rows: int) -> dict[str, bool]:
        said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), limits, rows=rows)}
        return {item.id: gives_away(item, said[item.id]) for item in asked}

    alone, together = hits(1), hits(16)
    assert alone == together
    assert sum(alone.values()) >= len(known) // 2, "the model should know most capitals, or this test shows nothing"

    requests = [text.request for text in secret_texts(asked, {})]
    for request, batched in zip(requests, model.score(requests), strict=True):
        (single,) = model.score([request])
        assert single.token_ids == batched.token_ids
        assert single.log_probs == pytest.approx(batched.log_probs, abs=1e-4)
