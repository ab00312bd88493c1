"""Questions about the person, answered with "I do not know"."""

from __future__ import annotations

import json

from console.engines.packing import TokenSequence
from console.engines.prompts import answer_sequence
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.paths import resource


def abstentions() -> tuple[str, ...]:
    """Sentences that say one does not know."""
    return tuple(json.loads(resource("prompts", "abstention.json").read_text(encoding="utf-8"))["sentences"])


def abstaining(model: TransformersModel, question: Prompt, sentence: str) -> TokenSequence:
    """The question with this sentence as its answer; where both do not fit the context, the question's end is kept."""
    return answer_sequence(model.tokenizer, question, sentence, end=True, max_tokens=model.context_length)
