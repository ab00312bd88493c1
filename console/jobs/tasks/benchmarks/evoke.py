"""EVOKE (Zhang et al. 2024): does an edited model give the new answer where it does not belong.

Probabilities are length-normalised: exp of the mean log-probability of an answer's tokens right after the prompt as
it stands (no chat template), for all answers alike.
"""

from __future__ import annotations

import math

import numpy as np

from console.domain.benchmark_files import EvokeFiles, OverfitPrompt
from console.domain.benchmark_results import Figure
from console.engines.protocol import Prompt, ScoreRequest
from console.evaluation.evoke import ALARM, Overfit, OverfitRow, OverfitTask, by_task, overfit_index
from console.evaluation.resampling import bootstrap_interval
from console.jobs.tasks.benchmarks import measuring
from console.jobs.tasks.benchmarks.measuring import BenchmarkSettings, Examinee, Findings, Models


def _rows(examinee: Examinee, prompts: tuple[OverfitPrompt, ...]) -> list[OverfitRow]:
    asked = [
        (number, prompt, answer)
        for number, prompt in enumerate(prompts)
        for answer in (prompt.correct, prompt.target, prompt.original)
        if answer is not None
    ]
    requests = [
        ScoreRequest(answer, Prompt(f"evoke/{number}", prompt.prompt, chat=False)) for number, prompt, answer in asked
    ]
    # A probability a hair above 1 is rounding.
    scored = iter([min(1.0, math.exp(score.mean)) for score in examinee.scores(requests, "prompts")])
    return [
        OverfitRow(
            OverfitTask(prompt.task), next(scored), next(scored), None if prompt.original is None else next(scored)
        )
        for prompt in prompts
    ]


def _task_figures(
    task: OverfitTask, found: Overfit, rows: list[OverfitRow], settings: BenchmarkSettings
) -> list[Figure]:
    correct, target = [row.correct for row in rows], [row.target for row in rows]
    original = [row.original for row in rows if row.original is not None]
    figures = [
        measuring.mean(f"{task}-cap", f"{task}: P(correct answer)", correct, settings, "high"),
        measuring.mean(f"{task}-dp", f"{task}: P(edit target)", target, settings, "low"),
        measuring.rate(f"{task}-eos", f"{task}: correct beats target (EOS)", found.overfit_score, "high"),
    ]
    score, probability = found.modify_score, found.original_probability
    if score.value is None:
        figures.append(measuring.missing(f"{task}-oap", f"{task}: P(original answer)", probability.reason, "low"))
        figures.append(measuring.missing(f"{task}-ams", f"{task}: correct beats original", score.reason, "high"))
    else:
        figures.append(measuring.mean(f"{task}-oap", f"{task}: P(original answer)", original, settings, "low"))
        figures.append(measuring.rate(f"{task}-ams", f"{task}: correct beats original (AMS)", score.value, "high"))
    return figures


def _index(before: list[OverfitRow] | None, after: list[OverfitRow], settings: BenchmarkSettings) -> Figure:
    id, title = "overfit-index", "Overfit index"
    if before is None:
        return measuring.missing(id, title, "needs the model from before the edit (--before)", "low")
    old, new = [row.target for row in before], [row.target for row in after]
    index = overfit_index(old, new)
    interval = bootstrap_interval(
        [np.array([old, new]).T],
        lambda groups: float((groups[0][:, 1] - groups[0][:, 0]).mean()),
        settings.resamples,
        settings.seed,
    )
    note = f"alarm: at least {ALARM}" if index.alarm else f"no alarm (from {ALARM})"
    return measuring.figure(id, title, len(new), index.value, interval, "low", note)


def evoke(files: EvokeFiles, models: Models, settings: BenchmarkSettings) -> Findings:
    """Every task that has prompts, and the overfit index where the model from before is given."""
    found = Findings()
    if not files.prompts:
        found.figures.append(measuring.missing("overfit-index", "Overfit index", "no file with prompts", "low"))
        return found
    after = _rows(models.model(), files.prompts)
    for task, summary in by_task(after).items():
        found.figures += _task_figures(task, summary, [row for row in after if row.task is task], settings)
    earlier = models.before()
    before = None if earlier is None else _rows(earlier, files.prompts)
    found.figures.append(_index(before, after, settings))
    found.rows["prompts"] = [
        {
            "task": prompt.task,
            "prompt": prompt.prompt,
            "correct": row.correct,
            "target": row.target,
            "original": row.original,
            "target_before": None if before is None else before[number].target,
        }
        for number, (prompt, row) in enumerate(zip(files.prompts, after, strict=True))
    ]
    return found
