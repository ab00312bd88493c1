"""The acceptable corner of a bench, and what its intervals leave open."""

from __future__ import annotations

from typing import Any

import pytest

from console.domain.bench_results import Axis, Interval, MethodLine, MethodsBench

AXIS = Axis(title="t", acceptable=0.5, why="w")
BENCH = MethodsBench(
    on="office", model="m", settings={}, sets={}, forgetting=AXIS, utility=AXIS, baselines=(), lines=()
)


def line(**given: Any) -> MethodLine:
    return MethodLine(name="a", method="a", settings={}, status="done", **given)


def spread(low: float, high: float) -> Interval:
    return Interval(low=low, high=high)


@pytest.mark.parametrize(
    ("given", "acceptable", "chance"),
    [
        ({"forgetting": 0.5, "utility": 0.5}, True, False),
        ({"forgetting": 0.9, "utility": 0.4}, False, False),
        ({"forgetting": 0.9, "utility": 0.9, "utility_interval": spread(0.6, 1.0)}, True, False),
        ({"forgetting": 0.9, "utility": 0.9, "utility_interval": spread(0.4, 1.0)}, True, True),
        ({"forgetting": 0.9, "utility": 0.4, "utility_interval": spread(0.3, 0.6)}, False, True),
        # Whatever the utility is: too little was forgotten, and that is no matter of chance.
        ({"forgetting": 0.1, "utility": 0.4, "utility_interval": spread(0.3, 0.6)}, False, False),
        (
            {
                "forgetting": 0.4,
                "forgetting_interval": spread(0.3, 0.6),
                "utility": 0.4,
                "utility_interval": spread(0.3, 0.6),
            },
            False,
            True,
        ),
        ({"forgetting": None, "utility": 0.9, "utility_interval": spread(0.4, 1.0)}, False, False),
    ],
)
def test_the_corner_and_its_intervals(given: dict[str, Any], acceptable: bool, chance: bool) -> None:
    assert BENCH.acceptable(line(**given)) is acceptable
    assert BENCH.perhaps_chance(line(**given)) is chance
