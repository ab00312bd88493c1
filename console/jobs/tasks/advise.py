"""Which methods can run on this request and this machine, and how long each would take: prepared, and timed on its
first steps.

A run that is only timed changes the model in memory, so the model is opened again before the next method sees it.
Nothing is written.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.domain.advice import MethodFacts
from console.engines.devices import set_threads
from console.engines.transformers_engine import TransformersModel
from console.errors import ConsoleError, InputError
from console.jobs.spec import JobPayload, JobSpec, ModelReference
from console.jobs.tasks.erase import erasure_data, reference_levels, require_snapshot
from console.jobs.tasks.files import open_model, validated
from console.jobs.worker import EventWriter, StopRequestedError
from console.methods.experts import require_reach
from console.methods.gradient import GradientMethod
from console.methods.protocol import ErasureData, Method, Plan
from console.methods.recipe import RecipeMethod
from console.methods.registry import available

Clock = Callable[[], float]


class AdviceConfig(BaseModel):
    """How long is measured.

    Attributes:
        steps: of each method that are timed.
        seconds_each: after which a method is stopped between two steps, however few it has done.
        methods: only these; all that are installed where it is empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=3, ge=1)
    seconds_each: float = Field(default=60.0, gt=0)
    methods: tuple[str, ...] = ()


class MeasuredError(Exception):
    """Enough steps have been timed; the run is over."""


@dataclass(frozen=True)
class Mark:
    """A moment of a run: ``step`` steps are done ``at`` so many seconds after its start."""

    step: int
    at: float


class Stopwatch:
    """The ``RunControl`` of a run that is only timed: notes when each step ends, and stops after a few.

    A gradient method says that a step has ended with its metrics; the others say how far they are with their progress.
    """

    def __init__(
        self,
        by_metric: bool,
        planned: int,
        config: AdviceConfig,
        check_cancelled: Callable[[], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self.state_file: Path | None = None
        self._by_metric = by_metric
        self._total = planned
        self._config = config
        self._check_cancelled = check_cancelled
        self._clock = clock
        self._started = clock()
        self._marks: list[Mark] = []

    @property
    def elapsed(self) -> float:
        return self._clock() - self._started

    @property
    def measured(self) -> int:
        """Steps that have ended."""
        return sum(mark.step > 0 for mark in self._marks)

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        del values
        if self._by_metric:
            self._mark(step)

    def progress(self, step: int, steps: int, label: str) -> None:
        del label
        if not self._by_metric:
            self._total = steps
            self._mark(step)

    def check_cancelled(self) -> None:
        self._check_cancelled()
        if self.elapsed > self._config.seconds_each:
            raise MeasuredError

    def _mark(self, step: int) -> None:
        if self._marks and step <= self._marks[-1].step:
            return
        self._marks.append(Mark(step, self.elapsed))
        if self.measured >= self._config.steps:
            raise MeasuredError

    def expected(self) -> tuple[float, bool]:
        """Seconds that the whole run takes, and whether that is only known to be too little.

        The time per step is that of the later steps, because the first one pays for what is prepared once (the model's
        answers before, compiled kernels); what came before the first step is added once.
        """
        if not self.measured:
            return self.elapsed, True
        first, last = self._marks[0], self._marks[-1]
        if first.step == last.step:
            return last.at / last.step * self._total, False
        each = (last.at - first.at) / (last.step - first.step)
        return max(0.0, first.at - first.step * each) + self._total * each, False


class _OpenModel:
    """One model in memory at a time: the one that a method starts from, as its files hold it."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._reference: ModelReference | None = None
        self._model: TransformersModel | None = None
        self._checked: set[str] = set()

    def of(self, reference: ModelReference) -> TransformersModel:
        if self._model is None or self._reference != reference:
            self.let_go()
            # Hashing gigabytes again before every method would cost more than the methods do.
            known = reference.path in self._checked
            wanted = reference.model_copy(update={"tree_hash": None}) if known else reference
            self._model = open_model(wanted, self._spec)
            self._checked.add(reference.path)
            self._reference = reference
        return self._model

    def let_go(self) -> None:
        self._model = self._reference = None
        gc.collect()


def _source(method: Method, spec: JobSpec) -> ModelReference:
    require_snapshot(method, spec)
    if method.info.needs_snapshot:
        assert spec.reference is not None
        return spec.reference
    return spec.model


def _measured_recipe(
    recipe: RecipeMethod, held: _OpenModel, spec: JobSpec, data: ErasureData, config: AdviceConfig, writer: EventWriter
) -> MethodFacts:
    """Time each stage by itself, on the model as its files hold it, and add the times up.

    What the governor asks in between is not timed.
    """
    settings: Any = recipe.config_class()
    plan = recipe.prepare(held.of(spec.model), data, settings)
    parts = []
    for stage in recipe.stages:
        model = held.of(spec.model)
        parts.append(_measured(stage.method, model, data, config, writer, getattr(settings, stage.name)))
        held.let_go()
    return MethodFacts(
        id=recipe.info.id,
        title=recipe.info.title,
        claim=recipe.info.claim,
        steps=plan.steps,
        memory_mb=plan.memory_mb,
        seconds=sum(part.seconds for part in parts),
        measured=sum(part.measured for part in parts),
        at_least=any(part.at_least for part in parts),
        whole=all(part.whole for part in parts),
    )


def _measured(
    method: Method,
    model: TransformersModel,
    data: ErasureData,
    config: AdviceConfig,
    writer: EventWriter,
    settings: BaseModel | None = None,
) -> MethodFacts:
    """Prepare a method and time its first steps; the model is not the same afterwards.

    Args:
        settings: the method's own where None.

    Raises:
        InputError: it cannot run; its own sentence says why.
    """
    missing = sorted(method.info.needs - model.capabilities.can)
    if missing:
        raise InputError(f"The engine that runs this model cannot give what the method needs ({', '.join(missing)}).")
    settings = validated(method.config_class, {}) if settings is None else settings
    require_reach(method.info, model.network)
    plan: Plan = method.prepare(model, data, settings)
    watch = Stopwatch(isinstance(method, GradientMethod), plan.steps, config, writer.check_cancelled)
    whole = False
    try:
        method.apply(model, data, settings, watch)
        whole = True
    except MeasuredError:
        pass  # the watch knows how far it came
    seconds, at_least = (watch.elapsed, False) if whole else watch.expected()
    return MethodFacts(
        id=method.info.id,
        title=method.info.title,
        claim=method.info.claim,
        steps=plan.steps,
        memory_mb=plan.memory_mb,
        seconds=seconds,
        measured=watch.measured,
        at_least=at_least,
        whole=whole,
    )


def _refusal(error: Exception) -> str:
    """Why a method cannot run, in a sentence; what we did not foresee goes to the log with its trace."""
    if isinstance(error, ConsoleError):
        return str(error)
    sys.excepthook(type(error), error, error.__traceback__)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "The machine has not enough memory for it: it ran out while its first steps were timed."
    return f"It failed with an unexpected error ({type(error).__name__}) while its first steps were timed."


def _chosen(config: AdviceConfig) -> dict[str, Method]:
    known = available()
    unknown = [name for name in config.methods if name not in known]
    if unknown:
        raise InputError(f"There is no method '{unknown[0]}'; known are {', '.join(known)}.")
    return {name: method for name, method in known.items() if not config.methods or name in config.methods}


def advise(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """For every method whether it can run on ``spec.model`` and how long it would take."""
    set_threads()
    config = validated(AdviceConfig, spec.settings)
    methods = _chosen(config)
    writer.progress(0, len(methods), "Opening the model")
    data = erasure_data(spec, payload, reference_levels(spec, payload, writer))
    held = _OpenModel(spec)
    held.of(spec.model)  # a model that cannot be opened is no method's fault
    found = []
    for index, method in enumerate(methods.values()):
        writer.check_cancelled()
        writer.progress(index, len(methods), f"Timing: {method.info.title}")
        try:
            if isinstance(method, RecipeMethod):
                found.append(_measured_recipe(method, held, spec, data, config, writer))
            else:
                found.append(_measured(method, held.of(_source(method, spec)), data, config, writer))
        except StopRequestedError:
            raise
        except Exception as error:
            found.append(MethodFacts(method.info.id, method.info.title, method.info.claim, refusal=_refusal(error)))
        held.let_go()
    writer.progress(len(methods), len(methods), "Done")
    return {"methods": [asdict(facts) for facts in found], "has_reference": spec.reference is not None}
