"""Two rates beside each other: is the difference more than luck?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from console.domain.results import Rate

_SAME = 1e-9  # two tables whose log-probabilities differ by less are equally likely


def _log_likelihoods(left: Rate, right: Rate) -> dict[int, float]:
    """Natural log-probability of each possible number of left hits, the margins given (hypergeometric)."""
    hits, trials = left.hits + right.hits, left.trials + right.trials

    def choose(total: int, count: int) -> float:
        return math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)

    possible = range(max(0, hits - right.trials), min(hits, left.trials) + 1)
    return {
        count: choose(left.trials, count) + choose(right.trials, hits - count) - choose(trials, hits)
        for count in possible
    }


@lru_cache(maxsize=4096)
def fisher_exact(left: Rate, right: Rate) -> float:
    """Two-sided p-value that both rates are one (Fisher 1922): the sum over all tables no likelier than this one."""
    likelihoods = _log_likelihoods(left, right)
    here = likelihoods[left.hits]
    return min(1.0, math.fsum(math.exp(value) for value in likelihoods.values() if value <= here + _SAME))


@lru_cache(maxsize=4096)
def fisher_greater(left: Rate, right: Rate) -> float:
    """One-sided p-value: how likely at least this many left hits are, if the left rate is no higher than the right."""
    return min(
        1.0, math.fsum(math.exp(value) for count, value in _log_likelihoods(left, right).items() if count >= left.hits)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values for several comparisons (Holm 1979), in the given order."""
    adjusted = [1.0] * len(p_values)
    worst = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted
