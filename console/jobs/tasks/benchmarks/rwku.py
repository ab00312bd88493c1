"""RWKU (Jin et al. 2024): three probe levels about the targets, two about their neighbours, and membership inference.

ROUGE-L recall of greedy answers of up to 30 tokens. Levels 1 and 2 are put as the paper puts them, through the model's
chat template; nothing is written into the model's turn, where the paper's code appends "Answer:". Probes of level 3
carry their own wording and are put as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from console.domain.benchmark_files import PlainText, Probe, RwkuFiles
from console.domain.benchmark_results import Figure, Wanted
from console.engines.protocol import Prompt, Scored
from console.evaluation.measured import Measured
from console.evaluation.membership import loss_score, measured_area, min_k_plus_score, min_k_score, zlib_score
from console.evaluation.overlap import rouge_l_recall
from console.evaluation.rwku import AdversarialKind, Level, ProbeRow, ProbeSummary, summarise
from console.jobs.tasks.benchmarks import measuring
from console.jobs.tasks.benchmarks.measuring import BenchmarkSettings, Examinee, Findings, Models

ANSWER_TOKENS = 30
MIN_K_SHARE = 0.2
WORDINGS = {
    Level.FILL_BLANK: "Please complete the blank in the following question.\nQuestion: {}",
    Level.QUESTION: "Please briefly answer the following question.\nQuestion: {}",
    Level.ADVERSARIAL: "{}",
}
SIGNALS = ("loss", "zlib", "min-k", "min-k-plus")


def _asked(examinee: Examinee, probes: Sequence[Probe], level: Level, label: str, found: Findings) -> list[ProbeRow]:
    prompts = [
        Prompt(f"rwku/{label}/{number}", WORDINGS[level].format(probe.query)) for number, probe in enumerate(probes)
    ]
    answers = examinee.answers(prompts, ANSWER_TOKENS, label)
    rows = []
    for probe, answer in zip(probes, answers, strict=True):
        kind = AdversarialKind(probe.type) if level is Level.ADVERSARIAL else None
        row = ProbeRow(probe.target, level, rouge_l_recall(answer, probe.answer), kind)
        rows.append(row)
        found.rows.setdefault(label, []).append(
            {
                "target": probe.target,
                "kind": kind.value if kind is not None else None,
                "query": probe.query,
                "true": probe.answer,
                "answer": answer,
                "recall": row.recall,
            }
        )
    return rows


def _summary_figures(
    id: str,
    title: str,
    found: Measured[ProbeSummary],
    rows: Sequence[ProbeRow],
    wanted: Wanted,
    settings: BenchmarkSettings,
) -> list[Figure]:
    if found.value is None:
        return [measuring.missing(id, title, found.reason, wanted)]
    targets = f"{found.value.targets} targets"
    scores = [100 * row.recall for row in rows]
    return [
        measuring.mean(id, f"{title}: ROUGE-L recall", scores, settings, wanted, targets),
        measuring.rate(f"{id}-answered", f"{title}: answered", found.value.answered, wanted, "half of the gold words"),
    ]


def _group(name: str, rows: list[ProbeRow], wanted: Wanted, settings: BenchmarkSettings) -> list[Figure]:
    """The figures of the forget or the neighbour probes."""
    summary = summarise(rows)
    figures: list[Figure] = []
    for number, (level, measured) in enumerate(summary.levels.items(), start=1):
        if name == "neighbour" and level is Level.ADVERSARIAL:
            continue
        own = [row for row in rows if row.level is level]
        figures += _summary_figures(f"{name}-level{number}", f"{name} level {number}", measured, own, wanted, settings)
    for kind, part in summary.kinds.items():
        own = [row for row in rows if row.kind is kind]
        figures += _summary_figures(f"{name}-{kind}", f"{name} {kind}", Measured(part), own, wanted, settings)
    figures += _summary_figures(f"{name}-all", f"{name} all probes", summary.pooled, rows, wanted, settings)
    if name == "forget":
        levels = summary.mean_of_levels
        figures.append(
            measuring.measured("forget-levels", "forget mean of the levels", levels, len(rows), None, wanted)
        )
    return figures


def _signals(examinee: Examinee, texts: Sequence[PlainText], label: str, found: Findings) -> dict[str, list[float]]:
    """Four membership scores of every text; higher looks more like training data."""

    def scores(text: Scored) -> tuple[float, ...]:
        # What was scored and no more: the text may have been cut, and its first token is not predicted.
        spelt = examinee.model.tokenizer.decode(text.token_ids)
        return (
            loss_score(text.log_probs),
            zlib_score(text.log_probs, spelt),
            min_k_score(text.log_probs, MIN_K_SHARE),
            min_k_plus_score(text.log_probs, text.means, text.deviations, MIN_K_SHARE),
        )

    rows = [scores(text) for text in examinee.texts([text.text for text in texts], label)]
    found.rows[label] = [
        {"text": text.text, **dict(zip(SIGNALS, row, strict=True))} for text, row in zip(texts, rows, strict=True)
    ]
    return {name: [row[place] for row in rows] for place, name in enumerate(SIGNALS)}


def _membership(examinee: Examinee, files: RwkuFiles, settings: BenchmarkSettings, found: Findings) -> list[Figure]:
    groups = {
        name: _signals(examinee, texts, name, found)
        for name, texts in (("mia_forget", files.mia_forget), ("mia_retain", files.mia_retain))
        if texts
    }
    figures: list[Figure] = []
    for name in ("mia_forget", "mia_retain"):
        if name not in groups:
            figures.append(measuring.missing(name, f"{name}: membership scores", f"no file for {name}"))
            continue
        figures += [
            measuring.mean(f"{name}-{signal}", f"{name}: {signal} score", values, settings)
            for signal, values in groups[name].items()
        ]
    if len(groups) == 2:
        figures += [
            measuring.area(
                f"mia-{signal}",
                f"{signal}: forget looks more familiar than retain",
                measured_area(groups["mia_forget"][signal], groups["mia_retain"][signal]),
                note="0.5 is alike",
            )
            for signal in SIGNALS
        ]
    return figures


def rwku(files: RwkuFiles, models: Models, settings: BenchmarkSettings) -> Findings:
    """Low is wanted on the forget probes, high on the neighbours."""
    found = Findings()
    examinee = models.model()
    forget = [
        row
        for level, probes in zip(Level, (files.forget_level1, files.forget_level2, files.forget_level3), strict=True)
        if probes
        for row in _asked(examinee, probes, level, f"forget {level}", found)
    ]
    neighbours = [
        row
        for level, probes in ((Level.FILL_BLANK, files.neighbour_level1), (Level.QUESTION, files.neighbour_level2))
        if probes
        for row in _asked(examinee, probes, level, f"neighbour {level}", found)
    ]
    found.figures += _group("forget", forget, "low", settings)
    found.figures += _group("neighbour", neighbours, "high", settings)
    found.figures += _membership(examinee, files, settings, found)
    return found
