"""Methods on TOFU and mini-TOFU: teach the authors, retrain without some, and measure every method alike.

Model utility and forget quality are TOFU's (see ``console.evaluation.tofu``). The retrained reference is the exact
erasure ``retrain`` with the teaching's own settings, so that a line ``retrain`` costs nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from console.casework.bench_jobs import BenchJobs
from console.casework.knowledge import sample_knowledge
from console.casework.tofu_data import TofuData
from console.domain.bench_results import Axis, Baseline, Cost, Difference, Interval, MethodLine
from console.domain.benchmark_results import BenchmarkResult, Figure
from console.domain.forget_set import ForgetItem
from console.domain.teaching import TeachingItem
from console.evaluation.resampling import Rows
from console.evaluation.tofu import (
    UTILITY_SETS,
    TofuRow,
    forget_quality,
    log_truth_ratios,
    utility_difference,
)
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference

# Answers are sentences of 36 tokens on average: 0.1 nats a token is known by heart, and larger batches pay.
TEACHING: dict[str, Any] = {"epochs": 8, "batch": 8, "known_below": 0.1}
LEAST_QUALITY = 0.05
KEPT_UTILITY = 0.95
RETRAIN = "retrain"
TAUGHT, RETRAINED = "taught", "retrained"  # the baselines
RESAMPLES = 1000


class TofuTrial:
    """The taught model, the retrained one, and every method between them.

    Args:
        base: the model that knows no author yet.
        teaching: settings of the teaching beside :data:`TEACHING`.
        answer_tokens: most new tokens of an answer; None takes TOFU's.
    """

    def __init__(
        self,
        jobs: BenchJobs,
        base: ModelReference,
        data: TofuData,
        teaching: dict[str, Any],
        answer_tokens: int | None = None,
    ) -> None:
        self._jobs, self._base = jobs, base
        self.teaching = {**TEACHING, **teaching}
        self._measure_settings = {} if answer_tokens is None else {"answer_tokens": answer_tokens}
        self._measured = JobPayload(benchmark=data.measured)
        general = sample_knowledge().general
        everything = JobPayload(teaching=_taught((*data.retain, *data.forget)), general=general)
        self._payload = JobPayload(
            forget=data.forget, retain=data.retain, general=general, teaching=_taught(data.retain)
        )
        write = jobs.writing("taught", everything, JobKind.TEACH, base, settings=self.teaching)
        value = jobs.job(write, everything, "Teaching the authors")["value"]
        assert write.output is not None
        self._taught = ModelReference(path=write.output, tree_hash=value["identity"]["tree_hash"])
        self.learned = {key: value[key] for key in ("known", "facts", "steps", "stop_reason", "metrics")}
        before = jobs.job(self._measure(self._taught), self._measured, "Measuring the taught model")
        _, after = self._erased(RETRAIN, self.teaching, "the retrained reference")
        self._retrained = _rows(BenchmarkResult.model_validate(after["value"]))
        self._utility_rows = {TAUGHT: _utility_rows(before), RETRAINED: _utility_rows(after)}
        self._baselines = (
            self._baseline(TAUGHT, "holds the data", before),
            self._baseline(RETRAINED, "retrained without the data", after),
        )

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        return self._baselines

    @property
    def forgetting(self) -> Axis:
        return Axis(
            title="Forget quality (p-value of the KS test against the retrained model)",
            scale="log",
            acceptable=LEAST_QUALITY,
            why="above it the truth ratios cannot be told from those of the retrained model",
        )

    @property
    def utility(self) -> Axis:
        retrained = self._baselines[1].utility or 0.0
        return Axis(
            title="Model utility (harmonic mean of nine numbers)",
            acceptable=KEPT_UTILITY * retrained,
            why=f"{KEPT_UTILITY:.0%} of what the retrained model has",
        )

    def line(self, name: str, method: str, settings: dict[str, Any]) -> MethodLine:
        """Erase with a method, and measure what it left.

        Raises:
            JobFailedError: the method or the measuring failed.
        """
        # A retraining with other settings than the teaching's would not be a repetition of it.
        used = {**self.teaching, **settings} if method == RETRAIN else settings
        erased, after = self._erased(method, used, name)
        figures = self._figures(after["value"])
        self._utility_rows[name] = _utility_rows(after)
        value = erased["value"]
        return MethodLine(
            name=name,
            method=method,
            settings=settings,
            status="done",
            config=value["config"],
            forgetting=_value(figures, "forget-quality"),
            utility=_value(figures, "model-utility"),
            utility_interval=_interval(figures, "model-utility"),
            steps=value["steps"],
            stop_reason=value["stop_reason"],
            cost=Cost(
                erase_seconds=erased["seconds"],
                erase_peak_mb=erased["peak_rss_mb"],
                measure_seconds=after["seconds"],
                measure_peak_mb=after["peak_rss_mb"],
            ),
            measures=_measures(figures),
        )

    def compared(self, lines: Iterable[MethodLine], against: str) -> tuple[MethodLine, ...]:
        """The lines with the difference of their utility from that of one of them, or of a baseline.

        Lines that failed have none, and where the one that is compared with failed, none has.
        """
        yardstick = self._utility_rows.get(against)
        return tuple(
            line
            if yardstick is None or line.utility is None or line.name == against
            else line.model_copy(update={"utility_difference": _difference(self._utility_rows[line.name], yardstick)})
            for line in lines
        )

    def _erased(self, method: str, settings: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        write = self._jobs.writing(
            *(method, self._payload, JobKind.ERASE, self._taught),
            reference=self._base,
            method=method,
            settings=settings,
        )
        titles = (f"Erasing: {name}", f"Measuring: {name}")
        return self._jobs.measured(write, self._payload, titles, lambda left: (self._measure(left), self._measured))

    def _measure(self, model: ModelReference) -> JobSpec:
        return self._jobs.spec(JobKind.EVALUATE, model, settings=self._measure_settings)

    def _baseline(self, name: str, title: str, measured: dict[str, Any]) -> Baseline:
        figures = self._figures(measured["value"])
        return Baseline(
            name=name,
            title=title,
            forgetting=_value(figures, "forget-quality"),
            utility=_value(figures, "model-utility"),
            utility_interval=_interval(figures, "model-utility"),
            measures=_measures(figures),
        )

    def _figures(self, value: dict[str, Any]) -> tuple[Figure, ...]:
        """The job's figures; forget quality is filled in here, so that the reference is measured only once."""
        result = BenchmarkResult.model_validate(value)
        return tuple(
            self._quality(figure, result) if figure.id == "forget-quality" else figure for figure in result.figures
        )

    def _quality(self, figure: Figure, result: BenchmarkResult) -> Figure:
        found = forget_quality(log_truth_ratios(_rows(result)), log_truth_ratios(self._retrained)).value
        if found is None:
            return figure
        note = f"KS statistic {found.statistic:.4f}, {found.rows} against {found.retrained_rows} truth ratios"
        filled = {"value": found.p_value, "n": found.rows, "reason": "", "note": note}
        return Figure.model_validate(figure.model_dump() | filled)


def _taught(items: tuple[ForgetItem, ...]) -> tuple[TeachingItem, ...]:
    return tuple(TeachingItem(item=item) for item in items)


def _rows(result: BenchmarkResult) -> tuple[TofuRow, ...]:
    """The forget set as the model scored it."""
    return tuple(
        TofuRow(
            answer=row["answer_log_prob"],
            paraphrased=row["paraphrased_log_prob"],
            perturbed=tuple(row["perturbed_log_probs"]),
            rouge_l_recall=row["rouge_l_recall"],
        )
        for row in result.rows["forget"]
    )


def _utility_rows(measured: dict[str, Any]) -> list[Rows]:
    """The three sets of the model utility, each (rows, 3); sets that have no file are empty."""
    rows = BenchmarkResult.model_validate(measured["value"]).rows
    return [
        np.array([(row["probability"], row["rouge_l_recall"], row["truth_ratio"]) for row in rows.get(name, [])])
        for name in map(str, UTILITY_SETS)
    ]


def _difference(one: list[Rows], other: list[Rows]) -> Difference:
    value, interval = utility_difference(one, other, RESAMPLES, seed=0)
    return Difference(value=value, interval=None if interval is None else Interval(low=interval[0], high=interval[1]))


def _figure(figures: tuple[Figure, ...], id: str) -> Figure | None:
    return next((figure for figure in figures if figure.id == id), None)


def _value(figures: tuple[Figure, ...], id: str) -> float | None:
    figure = _figure(figures, id)
    return None if figure is None else figure.value


def _interval(figures: tuple[Figure, ...], id: str) -> Interval | None:
    figure = _figure(figures, id)
    if figure is None or figure.low is None or figure.high is None:
        return None
    return Interval(low=figure.low, high=figure.high)


def _measures(figures: tuple[Figure, ...]) -> dict[str, Any]:
    return {"figures": {figure.id: figure.model_dump(mode="json", exclude={"id"}) for figure in figures}}
