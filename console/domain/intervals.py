"""Intervals of rates and of areas under a curve, in the standard library only.

The verdict and the stand-alone verifier both need the interval of a rate, and neither may
import a numerical library; the tests compare these numbers with ``scipy.stats``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

CONFIDENCE = 0.95
_BISECTIONS = 60


def _tail_at_least(hits: int, trials: int, rate: float) -> float:
    """P(X >= hits) for X ~ Binomial(trials, rate)."""
    if hits <= 0:
        return 1.0
    if rate <= 0.0:
        return 0.0
    if rate >= 1.0:
        return 1.0
    log_rate, log_miss = math.log(rate), math.log1p(-rate)
    few = hits <= trials - hits  # the shorter side is summed, the other is what is left
    terms = (
        math.exp(
            math.lgamma(trials + 1)
            - math.lgamma(k + 1)
            - math.lgamma(trials - k + 1)
            + k * log_rate
            + (trials - k) * log_miss
        )
        for k in (range(hits) if few else range(hits, trials + 1))
    )
    total = math.fsum(terms)
    return max(0.0, 1.0 - total) if few else min(1.0, total)


def _bisect(increasing: Callable[[float], float], target: float) -> float:
    """The argument in [0, 1] at which an increasing function reaches ``target``."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if increasing(middle) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@lru_cache(maxsize=4096)
def clopper_pearson(hits: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Two-sided exact interval of a rate of ``hits`` in ``trials``.

    Clopper and Pearson, *Biometrika* 26 (1934): the rates at which the observed count would
    lie in neither tail of probability (1 - confidence) / 2.

    Raises:
        ValueError: counts that cannot be (negative, more hits than trials, no trial).
    """
    if trials < 1 or not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits in {trials} trials is not a rate")
    tail = (1.0 - confidence) / 2
    low = 0.0 if hits == 0 else _bisect(lambda rate: _tail_at_least(hits, trials, rate), tail)
    high = 1.0 if hits == trials else _bisect(lambda rate: _tail_at_least(hits + 1, trials, rate), 1.0 - tail)
    return low, high


def mann_whitney(area: float, members: int, others: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Two-sided score interval of an area under a curve, from the sizes of the two groups alone.

    Newcombe 2006, *Statistics in Medicine* 25, 559-573, method 5: the areas from which the observed one lies
    z standard errors away, with Hanley and McNeil's variance at that area and both groups' sizes in it replaced by
    their mean. It stays wide where the observed area is 0 or 1, where every estimate of the spread is 0.

    Raises:
        ValueError: an area outside [0, 1], or an empty group.
    """
    if not 0 <= area <= 1 or members < 1 or others < 1:
        raise ValueError(f"an area of {area} between {members} and {others} scores cannot be")
    mean = (members + others) / 2 - 1

    def distance(assumed: float) -> float:
        spread = 1 + mean * ((1 - assumed) / (2 - assumed) + assumed / (1 + assumed))
        return (assumed - area) / math.sqrt(assumed * (1 - assumed) * spread / (members * others))

    reach = NormalDist().inv_cdf((1 + confidence) / 2)
    low = 0.0 if area == 0 else _bisect(distance, -reach)
    high = 1.0 if area == 1 else _bisect(distance, reach)
    return low, high


def _student_below(value: float, degrees: int) -> float:
    """P(T <= value) for Student's t with whole degrees of freedom, as a finite sum (Abramowitz and Stegun 26.7.3-4)."""
    angle = math.atan(value / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    for step in range(2 if odd else 1, degrees - 1, 2):
        term *= cosine * cosine * step / (step + 1)
        total += term
    if degrees == 1:
        return 0.5 + angle / math.pi
    central = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 + central) / 2


@lru_cache(maxsize=256)
def student_quantile(share: float, degrees: int) -> float:
    """The value that Student's t with ``degrees`` of freedom stays below with probability ``share`` (at least 0.5).

    Raises:
        ValueError: no degrees of freedom, or a share outside [0.5, 1).
    """
    if degrees < 1 or not 0.5 <= share < 1:
        raise ValueError(f"there is no quantile {share} with {degrees} degrees of freedom")
    # tan maps [0, 1) onto all values from 0 on, so that one bisection serves every tail.
    return math.tan(math.pi / 2 * _bisect(lambda part: _student_below(math.tan(math.pi / 2 * part), degrees), share))
