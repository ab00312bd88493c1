"""Priming (Sun et al. 2025): does a newly written word leak into contexts that merely share its theme.

A keyword's probability is that of all its tokens right after the text as it stands (no chat template).
"""

from __future__ import annotations

import math

from console.domain.benchmark_files import PrimingFiles, PrimingKeyword
from console.domain.benchmark_results import Figure
from console.engines.protocol import Prompt, ScoreRequest
from console.evaluation.priming import PROBABILITY_FLOOR, likely_to_prime, probability_ratio
from console.evaluation.priming import priming as priming_of
from console.jobs.tasks.benchmarks import measuring
from console.jobs.tasks.benchmarks.measuring import BenchmarkSettings, Examinee, Findings, Models

_NEEDS = "needs the model from before the word was written (--before)"


def _probabilities(examinee: Examinee, keywords: tuple[PrimingKeyword, ...]) -> list[list[float]]:
    """For every keyword its probability after each prefix, and last after its own context where it has one."""
    contexts = [[*entry.prefixes, *([entry.context] if entry.context else [])] for entry in keywords]
    requests = [
        ScoreRequest(entry.keyword, Prompt(f"priming/{number}/{place}", text, chat=False))
        for number, entry in enumerate(keywords)
        for place, text in enumerate(contexts[number])
    ]
    # A probability a hair above 1 is rounding.
    scored = iter([min(1.0, math.exp(score.total)) for score in examinee.scores(requests, "keywords")])
    return [[next(scored) for _ in texts] for texts in contexts]


def _own_context(
    keywords: tuple[PrimingKeyword, ...], before: list[list[float]], after: list[list[float]], found: BenchmarkSettings
) -> list[Figure]:
    own = [number for number, entry in enumerate(keywords) if entry.context]
    memory = ("memorisation", "log10 of P after / P before, own context")
    risk = ("priming-risk", "Keywords that were likely to prime")
    if not own:
        reason = "no keyword has a context of its own"
        return [measuring.missing(*memory, reason), measuring.missing(*risk, reason)]
    ratios = [math.log10(probability_ratio(before[number][-1], after[number][-1])) for number in own]
    return [
        measuring.mean(*memory, ratios, found, "high"),
        measuring.hits(*risk, [likely_to_prime(before[number][-1]) for number in own], "low", "P before below 1e-3"),
    ]


def priming(files: PrimingFiles, models: Models, settings: BenchmarkSettings) -> Findings:
    """Priming over all prefixes of all keywords; each keyword's own numbers are in the rows."""
    found = Findings()
    keywords = files.keywords
    titles = {
        "priming": "P after / P before, theme prefixes",
        "priming-log10": "log10 of that ratio",
        "priming-absolute": "P after - P before, theme prefixes",
    }
    reason = _NEEDS if keywords else "no file with keywords"
    earlier = models.before() if keywords else None
    if earlier is None:
        found.figures += [measuring.missing(id, title, reason) for id, title in titles.items()]
        return found
    before = _probabilities(earlier, keywords)
    del earlier
    after = _probabilities(models.model(), keywords)
    old = [value for entry, values in zip(keywords, before, strict=True) for value in values[: len(entry.prefixes)]]
    new = [value for entry, values in zip(keywords, after, strict=True) for value in values[: len(entry.prefixes)]]
    ratios = [probability_ratio(one, other) for one, other in zip(old, new, strict=True)]
    columns = (ratios, [math.log10(ratio) for ratio in ratios], [b - a for a, b in zip(old, new, strict=True)])
    note = f"probabilities are raised to at least {PROBABILITY_FLOOR:g}"
    found.figures += [
        measuring.mean(id, title, values, settings, note=note if id == "priming" else "")
        for (id, title), values in zip(titles.items(), columns, strict=True)
    ]
    found.figures += _own_context(keywords, before, after, settings)
    for entry, earlier_values, later in zip(keywords, before, after, strict=True):
        count = len(entry.prefixes)
        summary = priming_of(earlier_values[:count], later[:count])
        found.rows.setdefault("keywords", []).append(
            {
                "keyword": entry.keyword,
                "score": summary.score,
                "log10_score": summary.log10_score,
                "absolute": summary.absolute,
                "prefixes": [
                    {"prefix": prefix, "before": one, "after": other}
                    for prefix, one, other in zip(entry.prefixes, earlier_values[:count], later[:count], strict=True)
                ],
                "context_before": earlier_values[-1] if entry.context else None,
                "context_after": later[-1] if entry.context else None,
            }
        )
    return found
