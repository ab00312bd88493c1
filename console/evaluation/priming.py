"""Priming: does a newly written word leak into contexts that merely share its theme.

Sun et al. 2025, How new data permeates LLM knowledge and how to dilute it (Outlandish, arXiv 2504.09522).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PROBABILITY_FLOOR = 1e-9  # ours: a ratio over a vanishing probability is noise
RISK_THRESHOLD = 1e-3  # the paper: below it, before learning, a keyword primes


@dataclass(frozen=True)
class Priming:
    """Keyword probabilities over theme prefixes, after against before.

    Attributes:
        score: mean of P_after / P_before (the paper's S_prime); 1 means no priming. A few unlikely prefixes rule it.
        log10_score: mean of log10(P_after / P_before), which they do not rule; 0 means no priming.
        absolute: mean of P_after - P_before, so that a large ratio of two tiny numbers shows for what it is.
        prefixes: number of theme prefixes.
    """

    score: float
    log10_score: float
    absolute: float
    prefixes: int


def probability_ratio(before: float, after: float, floor: float = PROBABILITY_FLOOR) -> float:
    """P_after / P_before of the keyword in one context, both raised to at least ``floor``.

    In the sample's own context this is the paper's memorisation score S_mem.

    Raises:
        ValueError: not a probability.
    """
    if not (0 <= before <= 1 and 0 <= after <= 1):
        raise ValueError("a probability lies between 0 and 1")
    return max(after, floor) / max(before, floor)


def priming(before: Sequence[float], after: Sequence[float], floor: float = PROBABILITY_FLOOR) -> Priming:
    """Priming of one keyword over theme prefixes.

    Args:
        before, after: (prefixes,) probability of the keyword after each prefix, same order.

    Raises:
        ValueError: no prefix, or unequal lengths.
    """
    if not before or len(before) != len(after):
        raise ValueError("priming compares the same prefixes before and after, at least one")
    ratios = [probability_ratio(old, new, floor) for old, new in zip(before, after, strict=True)]
    return Priming(
        score=float(np.mean(ratios)),
        log10_score=float(np.mean([math.log10(ratio) for ratio in ratios])),
        absolute=float(np.mean(np.subtract(after, before))),
        prefixes=len(ratios),
    )


def likely_to_prime(keyword_probability: float) -> bool:
    """Whether a keyword is so surprising in its own context, before learning, that it will probably prime."""
    return keyword_probability < RISK_THRESHOLD
