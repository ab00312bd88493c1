"""Two rates beside each other: is the difference more than luck?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from console.domain.intervals import CONFIDENCE, clopper_pearson
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


@dataclass(frozen=True)
class Difference:
    """A difference of two rates and the ends of its interval, all in [-1, 1]."""

    value: float
    low: float
    high: float


def wilson(rate: Rate, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Two-sided score interval of a rate (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, trials = rate.share, rate.trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    # At 0 and 1 the ends are exact; rounding must not push them beside the rate.
    low = 0.0 if rate.hits == 0 else middle - half
    high = 1.0 if rate.hits == trials else middle + half
    return low, high


def newcombe(one: Rate, other: Rate, confidence: float = CONFIDENCE) -> Difference:
    """``one`` minus ``other``, with Newcombe's interval for two independent rates.

    Newcombe 1998, *Statistics in Medicine* 17, method 10 (hybrid score): with Wilson's interval [l, u] of each rate p,

        low  = (p1 - p2) - sqrt((p1 - l1)^2 + (u2 - p2)^2)
        high = (p1 - p2) + sqrt((u1 - p1)^2 + (p2 - l2)^2)
    """
    low_one, high_one = wilson(one, confidence)
    low_other, high_other = wilson(other, confidence)
    value = one.share - other.share
    down = math.hypot(one.share - low_one, high_other - other.share)
    up = math.hypot(high_one - one.share, other.share - low_other)
    return Difference(value, value - down, value + up)


def upper_excess(own: Rate, other: Rate | None, confidence: float = CONFIDENCE) -> float:
    """One-sided upper bound of how much higher one rate may be than another.

    The rate's own exact bound (Clopper and Pearson) where that is the lower one: a difference is never larger than
    the rate itself, and beside few attempts on the other side the interval of the difference says less.
    """
    two_sided = 2 * confidence - 1
    alone = clopper_pearson(own.hits, own.trials, two_sided)[1]
    return alone if other is None else min(alone, newcombe(own, other, two_sided).high)
