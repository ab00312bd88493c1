"""What the advice reads of a bench, from the file of ``bench erasers`` or of ``bench methods`` on the office::

cd tests/benchmarks
python erasers_summary.py results/erasers.json --out ../../resources/methods/benchmark.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from console.casework.advice import benchmark_of, benchmark_of_regimes
from console.casework.bench import BenchResult, Failed, Line, Person
from console.domain.advice import MethodBenchmark
from console.domain.bench_results import parse_methods_bench
from console.domain.results import Rate, Utility
from console.domain.verdict import Verdict

MODEL = "SmolLM2-135M-Instruct, taught the sample office"


def summary(path: Path) -> MethodBenchmark:
    """The shipped summary of a bench's file."""
    text = path.read_text(encoding="utf-8")
    found = json.loads(text)
    if "on" in found:
        return benchmark_of_regimes(parse_methods_bench(text))
    result = BenchResult(
        found["suite"],
        tuple(Person(**one) for one in found["people"]),
        tuple(_line(line) for line in found["lines"]),
        tuple(Failed(**one) for one in found["failed"]),
    )
    return benchmark_of(result, MODEL, "cpu")


def _line(written: dict[str, Any]) -> Line:
    typed = {
        "verdict": Verdict.model_validate(written["verdict"]),
        "utility": Utility.model_validate(written["utility"]),
        "given_away": _rate(written["given_away"]),
    }
    return Line(**(written | typed))


def _rate(written: dict[str, Any] | None) -> Rate | None:
    return None if written is None else Rate(hits=written["hits"], trials=written["trials"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    value = summary(given.result).model_dump(mode="json")
    given.out.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
