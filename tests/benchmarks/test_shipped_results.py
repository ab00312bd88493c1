"""What the console ships of a bench is what the bench found."""

from __future__ import annotations

from pathlib import Path

import pytest
from erasers_summary import summary

from console.casework.advice import parse_benchmark
from console.domain.bench_results import parse_methods_bench
from console.domain.regimes import Regime
from console.paths import resource

RESULTS = Path(__file__).parent / "results"


def test_the_advice_reads_what_the_bench_of_erasers_found() -> None:
    shipped = parse_benchmark(resource("methods", "benchmark.json").read_text(encoding="utf-8"))
    assert shipped == summary(RESULTS / "erasers.json")
    assert shipped.methods, "an empty bench would agree with an empty summary"


def test_every_result_says_how_it_was_made() -> None:
    described = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in sorted(RESULTS.glob("*.json")) if f"`{path.name}`" not in described] == []


@pytest.mark.parametrize("name", ["methods_office.json", "mini_tofu.json"])
def test_results_from_before_the_regimes_are_read_as_the_office_s(name: str) -> None:
    found = parse_methods_bench((RESULTS / name).read_text(encoding="utf-8"))
    assert found.lines and {line.regime for line in found.lines} == {Regime.OFFICE}
