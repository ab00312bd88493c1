"""A small part of the verdict's simulation: its two errors stay rare. The whole is a script beside the benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from verdict_simulation import World, false_location, not_removed, removed

RUNS = 20
# Binomial limits at a true error of 5 % and 10 %: 20 runs have more hits than these in fewer than one of 1,000.
MOST_AT_5, MOST_AT_10 = 5, 7


@pytest.mark.parametrize(("stray", "correlation"), [(0.0, 0.0), (0.005, 0.0)])
def test_what_is_at_the_reference_level_is_called_removed(stray: float, correlation: float) -> None:
    assert not_removed(World(stray=stray, correlation=correlation), RUNS)[0].hits <= MOST_AT_10


@pytest.mark.parametrize("attack", ["direct", "stepwise"])
def test_a_fact_that_leaks_in_one_attack_is_hardly_ever_called_removed(attack: str) -> None:
    assert removed(World(leaks={attack: 0.3}), RUNS).hits <= MOST_AT_5


def test_nor_are_familiar_texts() -> None:
    assert removed(World(areas={"zlib": 0.75}), RUNS).hits <= MOST_AT_10


@pytest.mark.parametrize("stray", [0.05])
def test_a_model_that_never_knew_is_hardly_ever_located(stray: float) -> None:
    assert false_location(World(stray=stray), RUNS).hits <= MOST_AT_5
