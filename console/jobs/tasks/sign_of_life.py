"""Whether a model says anything sensible at all, before a suite may say that it found nothing.

A network of noise answers no question about anybody, and so does one that knows nobody; only the second may be called
so. Three things show that a model is alive, and one is enough:

- it gave one of the person's own facts when it was asked (the suite's ordinary questions);
- it answered a fact about somebody else from the model's training record;
- it reads ordinary text: its tokens are likelier than a guess over the whole vocabulary by ``BITS_BELOW_GUESSING``
  bits each, and likelier than the same words in another order by ``BITS_FOR_ORDER``.

A guess is wrong by log2 of the vocabulary (its perplexity is the vocabulary's size), and noise by as much or more. A
network that only counts words is below the guess, and finds every order alike (the shuffle of Khandelwal et al. 2018,
"Sharp Nearby, Fuzzy Far Away").
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from console.domain.results import Evidence
from console.engines.protocol import LanguageModel, ScoreRequest
from console.errors import ModelFileError
from console.paths import resource

BITS_BELOW_GUESSING = 2.0
BITS_FOR_ORDER = 1.0
_MOST_TEXTS = 12
_SEED = 0


def ordinary_texts() -> tuple[str, ...]:
    """The sentences about the world that are shipped with the product; they name nobody."""
    return tuple(json.loads(resource("office", "general.json").read_text(encoding="utf-8"))["heldout"])


def require_sign_of_life(
    model: LanguageModel, rows: Sequence[Mapping[str, Any]], answered: Mapping[str, bool], texts: Sequence[str]
) -> None:
    """Refuse a result that would say nothing about the person because the model says nothing about anything.

    Args:
        rows: of the suite, as they were recorded.
        answered: facts of other people that were asked for.
        texts: ordinary text; enough of it to have some hundred tokens.

    Raises:
        ModelFileError: none of the three signs is there.
    """
    if any(answered.values()) or any(_gave_a_fact(row) for row in rows):
        return
    if not reads(model, texts):
        raise ModelFileError(
            "The model does not read ordinary text (it finds it no likelier than a guess, or than the same words in "
            "another order), so nothing can be said about what it knows; check that its weights, configuration, "
            "tokenizer and chat template belong together, or choose another copy of it."
        )


def _gave_a_fact(row: Mapping[str, Any]) -> bool:
    outcome = row.get("outcome")
    return row["evidence"] == Evidence.ASKED.value and bool(outcome) and outcome["items"]["hits"] > 0


def reads(model: LanguageModel, texts: Sequence[str]) -> bool:
    """Whether ordinary text is far likelier to the model than a guess, and than its own words shuffled."""
    chosen = [text for text in texts if len(text.split()) > 3][:_MOST_TEXTS]
    if not chosen:
        return False
    draw = random.Random(_SEED)
    shuffled = [" ".join(draw.sample(text.split(), len(text.split()))) for text in chosen]
    ordered, mixed = _bits(model, chosen), _bits(model, shuffled)
    guess = math.log2(model.vocabulary_size)
    return ordered <= guess - BITS_BELOW_GUESSING and ordered <= mixed - BITS_FOR_ORDER


def _bits(model: LanguageModel, texts: Sequence[str]) -> float:
    """Mean bits a token costs; NaN where a score is no number, which compares as no sign of life."""
    scored = model.score([ScoreRequest(text) for text in texts])
    return -sum(one.total for one in scored) / sum(len(one.log_probs) for one in scored) / math.log(2)
