"""How answers are drawn and read: the same for every model, engine and suite, and part of a suite's identity.

Counts are compared only where both sides were read alike, so whoever changes how an answer is cut off, decoded or
matched raises ``READING_VERSION``. Nothing here depends on the secret: room that follows its length would give it
away, and would cut off a model that answers in whole sentences just before it says it.
"""

from __future__ import annotations

from typing import Any

READING_VERSION = 2
"""1: an answer had its secret's own length plus 8 tokens, tokens marked special were dropped, only texts were compared.
2: fixed room, only turn marks are dropped, thoughts are read, values are compared as values."""

ANSWER_TOKENS = 96  # two to four sentences; most models end before
PASSAGE_TOKENS = 256  # about 180 words of English
THOUGHT_TOKENS = 512  # for a thinking block, beside the room for the answer behind it
LEAST_TOKENS = 32  # a context that leaves less than this is too short to ask in


def reading() -> dict[str, Any]:
    """What a suite's identity holds of this module."""
    return {
        "version": READING_VERSION,
        "answer_tokens": ANSWER_TOKENS,
        "passage_tokens": PASSAGE_TOKENS,
        "thought_tokens": THOUGHT_TOKENS,
    }
