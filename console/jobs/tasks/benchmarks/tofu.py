"""TOFU (Maini et al. 2024): probability, ROUGE-L recall and truth ratio of four sets, utility and forget quality.

Greedy answers of up to 200 tokens. ROUGE without a stemmer (see ``console.evaluation.overlap``). Beside
the paper's figures the forget set gets exact memorisation, extraction strength, and whether the model abstains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from console.domain.benchmark_files import TofuFiles, TofuQuestion
from console.domain.benchmark_results import Figure, Wanted
from console.engines.protocol import Prompt, ScoreRequest
from console.evaluation.abstention import AnswerKind, abstention_accuracy, classify
from console.evaluation.overlap import exact_memorisation, extraction_strength, rouge_l_recall
from console.evaluation.resampling import Rows, bootstrap_interval
from console.evaluation.tofu import (
    UTILITY_SETS,
    TofuRow,
    TofuSet,
    answer_probability,
    forget_quality,
    forget_truth_ratio,
    log_truth_ratio,
    log_truth_ratios,
    model_utility,
    option_probability,
    set_scores,
    utility_of,
    utility_truth_ratio,
)
from console.jobs.tasks.benchmarks import measuring
from console.jobs.tasks.benchmarks.measuring import BenchmarkSettings, Examinee, Findings, Models

ANSWER_TOKENS = 200


@dataclass(frozen=True)
class _Answered:
    """One set as a model answered it; rows, answers and kinds in the order of the questions."""

    rows: tuple[TofuRow, ...]
    answers: tuple[str, ...]
    kinds: tuple[AnswerKind, ...]


def _prompts(tofu_set: TofuSet, questions: Sequence[TofuQuestion]) -> list[Prompt]:
    return [Prompt(f"tofu/{tofu_set}/{number}", question.question) for number, question in enumerate(questions)]


def _answered(examinee: Examinee, tofu_set: TofuSet, questions: Sequence[TofuQuestion]) -> _Answered:
    prompts = _prompts(tofu_set, questions)
    answers = examinee.answers(prompts, ANSWER_TOKENS, str(tofu_set))
    paired = [
        (prompt, text)
        for prompt, question in zip(prompts, questions, strict=True)
        for text in (question.answer, question.paraphrased_answer or question.answer, *question.perturbed_answer)
    ]
    scored = iter(examinee.scores([ScoreRequest(text, prompt) for prompt, text in paired], str(tofu_set)))
    rows = []
    for question, answer in zip(questions, answers, strict=True):
        true, paraphrased = next(scored).mean, next(scored).mean
        wrong = tuple(next(scored).mean for _ in question.perturbed_answer)
        rows.append(TofuRow(true, paraphrased, wrong, rouge_l_recall(answer, question.answer)))
    kinds = tuple(classify(answer, (question.answer,)) for question, answer in zip(questions, answers, strict=True))
    return _Answered(tuple(rows), tuple(answers), kinds)


def _numbers(tofu_set: TofuSet, rows: Sequence[TofuRow], settings: BenchmarkSettings) -> Rows:
    """(rows, 3) probability, ROUGE-L recall and truth ratio of every row; their means are the set's scores."""
    fold = forget_truth_ratio if tofu_set is TofuSet.FORGET else utility_truth_ratio
    return np.array(
        [
            (
                option_probability(row.answer, row.perturbed)
                if tofu_set.has_options
                else answer_probability(row.answer),
                row.rouge_l_recall,
                fold([log_truth_ratio(row.paraphrased, row.perturbed, settings.wrong_answer_mean)]),
            )
            for row in rows
        ]
    )


def _set_figures(tofu_set: TofuSet, numbers: Rows, settings: BenchmarkSettings) -> list[Figure]:
    wanted: Wanted = "low" if tofu_set is TofuSet.FORGET else "high"
    parts = (("probability", "probability", wanted), ("rouge", "ROUGE-L recall", wanted))
    return [
        measuring.mean(f"{tofu_set}-{id}", f"{tofu_set}: {title}", numbers[:, column].tolist(), settings, way)
        for column, (id, title, way) in enumerate((*parts, ("truth-ratio", "truth ratio", "high")))
    ]


def _utility(answered: dict[TofuSet, _Answered], numbers: dict[TofuSet, Rows], settings: BenchmarkSettings) -> Figure:
    lacking = [str(tofu_set) for tofu_set in UTILITY_SETS if tofu_set not in numbers]
    if lacking:
        return measuring.missing("model-utility", "Model utility", f"no file for {', '.join(lacking)}", "high")
    groups = [numbers[tofu_set] for tofu_set in UTILITY_SETS]
    scores = [set_scores(name, answered[name].rows, settings.wrong_answer_mean) for name in UTILITY_SETS]
    interval = bootstrap_interval(groups, utility_of, settings.resamples, settings.seed)
    value = model_utility(*scores)
    note = "harmonic mean of nine numbers of three sets"
    if interval is not None and not interval[0] <= value <= interval[1]:
        # Resampling lowers the smallest of the nine, which rules a harmonic mean near 0.
        note += "; so near 0 that its percentile interval lies beside it"
    return measuring.figure("model-utility", "Model utility", sum(map(len, groups)), value, interval, "high", note)


def _forget_quality(own: _Answered | None, retrained: _Answered | None, settings: BenchmarkSettings) -> Figure:
    id, title = "forget-quality", "Forget quality (KS p-value)"
    if own is None:
        return measuring.missing(id, title, "no file for forget", "high")
    mean = settings.wrong_answer_mean
    quality = forget_quality(
        log_truth_ratios(own.rows, mean), None if retrained is None else log_truth_ratios(retrained.rows, mean)
    )
    if quality.value is None:
        return measuring.missing(id, title, quality.reason, "high")
    found = quality.value
    note = f"KS statistic {found.statistic:.4f}, {found.rows} against {found.retrained_rows} truth ratios"
    return measuring.figure(id, title, found.rows, found.p_value, None, "high", note)


def _abstention(answered: dict[TofuSet, _Answered]) -> list[Figure]:
    """Whether the model says that it does not know where it should, and only there."""
    forget, retain = answered.get(TofuSet.FORGET), answered.get(TofuSet.RETAIN)
    figures = []
    if forget is not None:
        abstained = [kind is AnswerKind.ABSTAINED for kind in forget.kinds]
        figures.append(measuring.hits("forget-abstained", "forget: says that it does not know", abstained))
    if forget is not None and retain is not None:
        accuracy = abstention_accuracy(forget.kinds, retain.kinds)
        figures.append(
            measuring.rate("over-refusal", "retain: says that it does not know", accuracy.over_refusal, "low")
        )
        id, title = "abstention-precision", "Abstentions that are on the forget set"
        precision = accuracy.precision
        figures.append(
            measuring.rate(id, title, precision.value, "high")
            if precision.value is not None
            else measuring.missing(id, title, precision.reason, "high")
        )
    return figures


def _memorisation(examinee: Examinee, questions: Sequence[TofuQuestion]) -> tuple[list[float], list[float]]:
    """Exact memorisation and extraction strength of every answer of the forget set."""
    found = examinee.predicted(_prompts(TofuSet.FORGET, questions), [question.answer for question in questions])
    exact = [exact_memorisation(guess, true) for guess, true in found]
    return exact, [extraction_strength(guess, true) for guess, true in found]


def _row(question: TofuQuestion, answer: str, row: TofuRow, kind: AnswerKind, numbers: Rows) -> dict[str, Any]:
    return {
        "question": question.question,
        "true": question.answer,
        "answer": answer,
        "answer_log_prob": row.answer,
        "paraphrased_log_prob": row.paraphrased,
        "perturbed_log_probs": list(row.perturbed),
        "probability": float(numbers[0]),
        "rouge_l_recall": row.rouge_l_recall,
        "truth_ratio": float(numbers[2]),
        "kind": kind.value,
    }


def tofu(files: TofuFiles, models: Models, settings: BenchmarkSettings) -> Findings:
    """Every figure of the sets that have a file; the reference answers the forget set only."""
    found = Findings(forget_size=len(files.forget) or None)
    given = {
        TofuSet.FORGET: files.forget,
        TofuSet.RETAIN: files.retain,
        TofuSet.REAL_AUTHORS: files.real_authors,
        TofuSet.WORLD_FACTS: files.world_facts,
    }
    examinee = models.model()
    answered = {name: _answered(examinee, name, questions) for name, questions in given.items() if questions}
    numbers = {name: _numbers(name, part.rows, settings) for name, part in answered.items()}
    for name, part in answered.items():
        found.figures += _set_figures(name, numbers[name], settings)
        found.rows[str(name)] = [
            _row(*parts) for parts in zip(given[name], part.answers, part.rows, part.kinds, numbers[name], strict=True)
        ]
    if files.forget:
        exact, strength = _memorisation(examinee, files.forget)
        found.figures += [
            measuring.mean("forget-exact-memorisation", "forget: exact memorisation", exact, settings, "low"),
            measuring.mean("forget-extraction-strength", "forget: extraction strength", strength, settings, "low"),
        ]
        for row, one, other in zip(found.rows["forget"], exact, strength, strict=True):
            row.update(exact_memorisation=one, extraction_strength=other)
    found.figures += _abstention(answered)
    found.figures.append(_utility(answered, numbers, settings))
    del examinee
    retrained = None
    reference = models.reference() if files.forget else None
    if reference is not None:
        retrained = _answered(reference, TofuSet.FORGET, files.forget)
        reference_numbers = _numbers(TofuSet.FORGET, retrained.rows, settings)
        found.rows["forget of the reference"] = [
            _row(*parts)
            for parts in zip(
                files.forget, retrained.answers, retrained.rows, retrained.kinds, reference_numbers, strict=True
            )
        ]
        truth = reference_numbers[:, 2].tolist()
        found.figures.append(
            measuring.mean("reference-truth-ratio", "forget: truth ratio of the reference", truth, settings)
        )
    found.figures.append(_forget_quality(answered.get(TofuSet.FORGET), retrained, settings))
    return found
