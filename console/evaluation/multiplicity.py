"""Many attacks, many seeds: what may be said when the same claim was tested more than once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from console.domain.intervals import CONFIDENCE, clopper_pearson
from console.domain.results import Rate


class Correction(StrEnum):
    """Corrections that keep the chance of even one false alarm below alpha, under any dependence of the tests."""

    BONFERRONI = "bonferroni"
    HOLM = "holm"  # Holm 1979; rejects whatever Bonferroni rejects, and perhaps more


def adjusted_p_values(p_values: Sequence[float], correction: Correction = Correction.HOLM) -> tuple[float, ...]:
    """(tests,) adjusted p-values in the given order; reject where one is at most alpha.

    Bonferroni: min(1, k p). Holm (*Scandinavian Journal of Statistics* 6, 1979): the i-th smallest times k - i + 1,
    made non-decreasing in the order of the p-values, at most 1.

    Raises:
        ValueError: no p-value, or one outside [0, 1].
    """
    if not p_values or not all(0 <= value <= 1 for value in p_values):
        raise ValueError("a correction needs p-values, each between 0 and 1")
    count = len(p_values)
    if correction is Correction.BONFERRONI:
        return tuple(min(1.0, count * value) for value in p_values)
    adjusted = [0.0] * count
    highest = 0.0
    for rank, index in enumerate(sorted(range(count), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)


def rejections(
    p_values: Sequence[float], alpha: float = 1 - CONFIDENCE, correction: Correction = Correction.HOLM
) -> tuple[bool, ...]:
    """(tests,) whether each hypothesis falls while the chance of one false alarm among all stays at most ``alpha``."""
    return tuple(value <= alpha for value in adjusted_p_values(p_values, correction))


@dataclass(frozen=True)
class WorstCase:
    """The strongest of several attacks, which is the one an attacker would use.

    Attributes:
        attack: the one with the highest share of hits; of equals the one with most trials, then the first by name.
        rate: its hits. Its own interval is too narrow, because it was picked for being the highest.
        upper: with the given confidence *no* attack's true rate is above this.
        attacks: how many were run.
    """

    attack: str
    rate: Rate
    upper: float
    attacks: int


def simultaneous_intervals(rates: Mapping[str, Rate], confidence: float = CONFIDENCE) -> dict[str, tuple[float, float]]:
    """Exact intervals that hold for all attacks at once: each at 1 - (1 - confidence)/k (Bonferroni)."""
    each = 1 - (1 - confidence) / max(1, len(rates))
    return {name: clopper_pearson(rate.hits, rate.trials, each) for name, rate in rates.items()}


def worst_case(rates: Mapping[str, Rate], confidence: float = CONFIDENCE) -> WorstCase:
    """The worst attack, and a bound that holds for every one of them.

    The bound is the highest of all simultaneous upper ends, not the worst attack's: an attack of few trials bounds
    little, however few hits it had.

    Raises:
        ValueError: no attack.
    """
    if not rates:
        raise ValueError("the worst case needs at least one attack")
    worst = min(rates, key=lambda name: (-rates[name].share, -rates[name].trials, name))
    upper = max(high for _, high in simultaneous_intervals(rates, confidence).values())
    return WorstCase(worst, rates[worst], upper, len(rates))


@dataclass(frozen=True)
class Repeats:
    """One number over runs that differ only in their seed: mean and range, no interval from a handful of runs."""

    mean: float
    low: float
    high: float
    runs: int

    @property
    def spread(self) -> float:
        return self.high - self.low


def repeats(by_seed: Mapping[int, float]) -> Repeats:
    """Mean and range over seeds.

    Raises:
        ValueError: no run, or a value that is not finite.
    """
    values = list(by_seed.values())
    if not values or not all(map(math.isfinite, values)):
        raise ValueError("repeats need at least one run, each with a finite number")
    # The rounded mean of equal numbers can lie a hair outside their range.
    mean = min(max(values), max(min(values), math.fsum(values) / len(values)))
    return Repeats(mean, min(values), max(values), len(values))
