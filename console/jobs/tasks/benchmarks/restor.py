"""RESTOR (Rezaei et al. 2024): is the knowledge back that false documents had displaced.

The model is the unlearned one, ``before`` the corrupted one, and ``reference`` the clean one. Solved questions of the
same relation about other subjects, where the file gives any, stand before every question; the answer ends at the
first line break and is right where it contains one of the true answers (the paper lets a model judge that).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from console.domain.benchmark_files import RestorFact, RestorFiles
from console.domain.benchmark_results import Figure
from console.domain.matching import answer_in
from console.domain.results import Rate
from console.engines.protocol import Prompt, ScoreRequest
from console.evaluation.measured import Measured
from console.evaluation.resampling import Rows, bootstrap_interval
from console.evaluation.restor import Restoration, restoration
from console.jobs.tasks.benchmarks import measuring
from console.jobs.tasks.benchmarks.measuring import BenchmarkSettings, Examinee, Findings, Models

ANSWER_TOKENS = 32
SHOTS = 5
NAMES = {"model": "unlearned model", "before": "corrupted model", "reference": "clean model"}


@dataclass(frozen=True)
class _Answered:
    """One model's answers; all in the order of the questions.

    Attributes:
        true_probability, false_probability: highest length-normalised probability among the answers of each kind;
            None where a question has none of that kind.
    """

    texts: tuple[str, ...]
    right: tuple[bool, ...]
    false: tuple[bool, ...]
    true_probability: tuple[float, ...]
    false_probability: tuple[float | None, ...]


def _prompts(files: RestorFiles) -> list[Prompt]:
    prompts = []
    for number, fact in enumerate(files.facts):
        # The subject itself is left out: a solved question about it would give its answer away.
        solved = [
            shot
            for shot in files.context
            if shot.relation == fact.relation and shot.subject.casefold() != fact.subject.casefold()
        ]
        lines = "".join(f"Question: {shot.question}\nAnswer: {shot.answer}\n" for shot in solved[:SHOTS])
        prompts.append(Prompt(f"restor/{number}", f"{lines}Question: {fact.question}\nAnswer:", chat=False))
    return prompts


def _best(examinee: Examinee, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[float | None]:
    requests = [ScoreRequest(text, prompt) for prompt, own in zip(prompts, answers, strict=True) for text in own]
    scored = iter([math.exp(score.mean) for score in examinee.scores(requests, "facts")])
    return [max((next(scored) for _ in own), default=None) for own in answers]


def _answered(examinee: Examinee, files: RestorFiles) -> _Answered:
    prompts, facts = _prompts(files), files.facts
    said = examinee.answers(prompts, ANSWER_TOKENS, "facts")
    texts = [text.strip().split("\n", 1)[0] for text in said]
    true = _best(examinee, prompts, [fact.answers for fact in facts])
    return _Answered(
        texts=tuple(texts),
        right=tuple(answer_in(text, fact.answers) for text, fact in zip(texts, facts, strict=True)),
        false=tuple(answer_in(text, fact.false_answers) for text, fact in zip(texts, facts, strict=True)),
        true_probability=tuple(value for value in true if value is not None),
        false_probability=tuple(_best(examinee, prompts, [fact.false_answers for fact in facts])),
    )


def _model_figures(part: str, answered: _Answered | None, settings: BenchmarkSettings) -> list[Figure]:
    name = NAMES[part]
    if answered is None:
        return [measuring.missing(f"{part}-right", f"{name}: true answers", f"no {name} was given (--{part})")]
    figures = [
        measuring.hits(f"{part}-right", f"{name}: true answers", answered.right),
        measuring.hits(f"{part}-false", f"{name}: false answers", answered.false),
        measuring.mean(f"{part}-p-true", f"{name}: P(true answer)", answered.true_probability, settings),
    ]
    false = [value for value in answered.false_probability if value is not None]
    if false:
        figures.append(measuring.mean(f"{part}-p-false", f"{name}: P(false answer)", false, settings))
    return figures


def _restoration(rows: Rows) -> Restoration:
    """From (questions, 5): right by clean, corrupted, unlearned; false by corrupted, unlearned."""
    return restoration(*(Rate(hits=int(column.sum()), trials=len(rows)) for column in rows.T))


def _recovery(answered: dict[str, _Answered | None], settings: BenchmarkSettings) -> list[Figure]:
    titles = {
        "recovery": "Recovery (0 as corrupted, 1 as clean)",
        "recovery-unclipped": "Recovery, not clipped",
        "forgetting": "Forgetting of the false answers",
    }
    clean, corrupted, unlearned = answered["reference"], answered["before"], answered["model"]
    if clean is None or corrupted is None or unlearned is None:
        lacking = " and ".join(f"the {NAMES[part]} (--{part})" for part, one in answered.items() if one is None)
        return [measuring.missing(id, title, f"needs {lacking}", "high") for id, title in titles.items()]
    columns = (clean.right, corrupted.right, unlearned.right, corrupted.false, unlearned.false)
    rows = np.array(columns, dtype=float).T

    def part_of(found: Restoration) -> tuple[Measured[float], ...]:
        return found.recovery, found.unclipped, found.forgetting

    figures = []
    for place, (id, title) in enumerate(titles.items()):
        interval = bootstrap_interval(
            [rows],
            lambda groups, place=place: part_of(_restoration(groups[0]))[place].value,  # type: ignore[misc]
            settings.resamples,
            settings.seed,
        )
        value = part_of(_restoration(rows))[place]
        figures.append(measuring.measured(id, title, value, len(rows), interval, "high"))
    return figures


def _row(number: int, fact: RestorFact, answered: dict[str, _Answered | None]) -> dict[str, object]:
    row: dict[str, object] = {"subject": fact.subject, "relation": fact.relation, "question": fact.question}
    for part, one in answered.items():
        if one is not None:
            row[part] = {
                "answer": one.texts[number],
                "right": one.right[number],
                "false": one.false[number],
                "true_probability": one.true_probability[number],
                "false_probability": one.false_probability[number],
            }
    return row


def restor(files: RestorFiles, models: Models, settings: BenchmarkSettings) -> Findings:
    """Answers of every model that was given; recovery and forgetting where all three were."""
    found = Findings()
    if not files.facts:
        found.figures.append(measuring.missing("recovery", "Recovery", "no file with facts", "high"))
        return found
    answered: dict[str, _Answered | None] = {}
    for part, opened in (("model", models.model), ("before", models.before), ("reference", models.reference)):
        examinee = opened()
        answered[part] = None if examinee is None else _answered(examinee, files)
        del examinee
        found.figures += _model_figures(part, answered[part], settings)
    found.figures += _recovery(answered, settings)
    found.rows["facts"] = [_row(number, fact, answered) for number, fact in enumerate(files.facts)]
    if not files.context:
        models.notes.append("The questions were asked without solved examples; give a file 'context' for those.")
    return found
