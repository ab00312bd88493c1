"""Two rates beside each other: is the difference more than luck?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from console.domain.results import Rate


def fisher_exact(left: Rate, right: Rate) -> float:
    """Two-sided p-value that both rates are one (Fisher 1922): the sum over all tables no likelier than this one."""
    hits, trials = left.hits + right.hits, left.trials + right.trials

    def weight(count: int) -> float:
        return (
            math.lgamma(left.trials + 1)
            - math.lgamma(count + 1)
            - math.lgamma(left.trials - count + 1)
            + math.lgamma(right.trials + 1)
            - math.lgamma(hits - count + 1)
            - math.lgamma(right.trials - hits + count + 1)
        )

    total = math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)
    lowest, highest = max(0, hits - right.trials), min(hits, left.trials)
    here = weight(left.hits)
    likelihoods = [weight(count) for count in range(lowest, highest + 1)]
    return min(1.0, math.fsum(math.exp(value - total) for value in likelihoods if value <= here + 1e-9))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values for several comparisons (Holm 1979), in the given order."""
    adjusted = [1.0] * len(p_values)
    worst = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted
