"""The table of the office's bench: every method in every regime on every person, and how well the attacks see."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from console.domain.bench_results import Baseline, MethodLine, MethodsBench, found_names
from console.domain.regimes import SENTENCES, Regime

_WIDTH = 116
_COLUMNS = (
    ("method", 20),
    ("regime", 12),
    ("person", 15),
    ("word", 14),
    ("back/recog.", 12),
    ("others kept", 13),
    ("perplexity", 11),
    ("seconds", 8),
    ("peak MB", 8),
)


def regimes_table(result: MethodsBench) -> str:
    """One line a method, regime and person; below, the power of each attack on the model before any erasure."""
    seeds = ", ".join(f"{name} {seed}" for name, seed in result.settings.get("seeds", {}).items())
    head = f"{result.on} on {result.model}, suite {result.settings['suite']}" + (f"; seeds: {seeds}" if seeds else "")
    used = {one.regime for one in (*result.lines, *result.baselines)}
    regimes = [f"Regime {regime}: {SENTENCES[regime]}." for regime in Regime if regime in used]
    lines = [head, *regimes, "", _row([title for title, _ in _COLUMNS])]
    for line in result.lines:
        lines += _line(line)
    lines += [
        "",
        "back/recog.: attacks that bring the data back, and attacks that only recognise the person's texts.",
        "perplexity: of general text, after over before. seconds, peak MB: of the erasure alone.",
        "People for choosing methods and settings are not reported.",
        "",
        "Power of each attack on the model before any erasure",
    ]
    for baseline in result.baselines:
        lines += _power(baseline)
    lines += [f"Note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    padded = (f"{cell:<{width}}" for cell, (_, width) in zip(cells, _COLUMNS, strict=True))
    return " ".join(padded).rstrip()


def _line(line: MethodLine) -> Iterator[str]:
    who = f"{line.person} {line.use}".strip()
    if line.cost is None:
        yield f"{_row([line.name, line.regime, who, *[''] * 6])} failed: {line.reason}"
        return
    measures = line.measures
    back, recognised = found_names(measures["found_by"])
    kept = measures["kept"].values()
    ratio = Decimal(measures["perplexity_after"]) / Decimal(measures["perplexity_before"])
    yield _row(
        [
            line.name,
            line.regime,
            who,
            measures["verdict"]["word"],
            f"{len(back)} / {len(recognised)}",
            f"{sum(row['hits'] for row in kept)} of {sum(row['trials'] for row in kept)}",
            f"{ratio:.3f}",
            f"{line.cost.erase_seconds:.0f}",
            f"{line.cost.erase_peak_mb}",
        ]
    )
    for words, names in (("brought back by", back), ("recognised by", recognised)):
        if names:
            yield from _wrapped(f"{words} {_counts(measures['attacks'], names)}")


def _power(baseline: Baseline) -> Iterator[str]:
    if "facts" not in baseline.measures:
        return
    learned, attacks = baseline.measures["learned"], baseline.measures["attacks"]
    found = {name for names in baseline.found.values() for name in names}
    took = f" ({learned['seconds']:.0f} s)" if "seconds" in learned else ""
    yield (
        f"{baseline.regime} {baseline.person}: {baseline.measures['facts']} facts; after the teaching{took} the model "
        f"gave {learned['known']} of {learned['facts']} facts of all people when asked"
    )
    ran = {name: row for name, row in attacks.items() if "hits" in row}
    for words, names in (
        ("find the data", [name for name in ran if name in found]),
        ("do not", [name for name in ran if name not in found]),
    ):
        if names:
            yield from _wrapped(f"{words}: {_counts(ran, names)}")
    for name, row in attacks.items():
        if name not in ran:
            yield from _wrapped(f"{name}: {row['status']}, {row['reason']}")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="      ")


def _counts(attacks: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {_count(attacks[name])}" for name in names)


def _count(row: Mapping[str, Any]) -> str:
    if (area := row.get("area")) is not None:
        return str(area["value"])
    return f"{row['hits']} of {row['trials']}"
