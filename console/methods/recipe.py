"""A recipe as a method: its stages one after the other on the model in memory, under one governor.

The governor (``console.methods.governor``) holds out facts of other people and asks them after every stage. A stage
that loses too many of them is halved or taken back, and the recipe ends there and says so; where nothing of the first
stage could be kept, the run fails. Stages are methods that change the weights of the model that they are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, create_model, model_validator

from console.domain.recipes import Recipe, RecipeStage
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.governor import Governor, GovernorSettings, Settled, WeightsBefore, hold_out, settle
from console.methods.memory import available_mb
from console.methods.protocol import Claim, ErasureData, Family, Method, MethodInfo, Outcome, Plan, RunControl

_CLAIMS = tuple(Claim)  # strongest first
_MIB = 2**20


@dataclass(frozen=True)
class Stage:
    """One method of a recipe under the name that it has there."""

    name: str
    method: Method
    settings: dict[str, Any]

    @property
    def label(self) -> str:
        """The name, and the method where the two differ."""
        return self.name if self.name == self.method.info.id else f"{self.name}, {self.method.info.id}"


class RecipeMethod:
    """See the module's docstring.

    Raises:
        InputError: a method that cannot be a stage, or settings that it does not take.
    """

    def __init__(self, recipe: Recipe, methods: Mapping[str, Method]) -> None:
        self.stages = tuple(_stage(recipe, stage, methods) for stage in recipe.stages)
        infos = [stage.method.info for stage in self.stages]
        self.info = MethodInfo(
            id=recipe.id,
            title=recipe.title,
            summary=recipe.summary,
            family=Family.ADAPTER if all(info.family is Family.ADAPTER for info in infos) else Family.WEIGHTS,
            claim=max((info.claim for info in infos), key=_CLAIMS.index),
            source="a recipe; each stage has its own source",
            needs=frozenset().union(*(info.needs for info in infos)),
            needs_training_data=any(info.needs_training_data for info in infos),
            reaches_experts=all(info.reaches_experts for info in infos),
        )
        self.config_class = _config_class(recipe.id, self.stages)

    def prepare(self, model: TransformersModel, data: ErasureData, config: Any) -> Plan:
        """One plan: the modules of all stages, their steps together, the most memory that any of them takes.

        Raises:
            InputError: a stage cannot run; the sentence is its own, with the stage's name.
        """
        seen, held_out = hold_out(data, config.governor, config.seed)
        return self._plan(self._plans(model, seen, config), model, len(held_out))

    def apply(self, model: TransformersModel, data: ErasureData, config: Any, control: RunControl) -> Outcome:
        """Run the stages; a stage that is stopped by the person is gone on with where it can be.

        Raises:
            JobFailedError: nothing of the first stage could be kept.
        """
        seen, held_out = hold_out(data, config.governor, config.seed)
        plans = self._plans(model, seen, config)
        total = sum(plan.steps for plan in plans)
        control.progress(0, total, "Asking what must be kept")
        governor = Governor(model, held_out, config.governor, control)
        done = _Done(governor)
        before = WeightsBefore(model.network)
        for number, (stage, plan) in enumerate(zip(self.stages, plans, strict=True), start=1):
            control.check_cancelled()
            where = _Where(number, len(self.stages), stage.label)
            inside = _StageControl(control, where, sum(one.steps for one in plans[: number - 1]), plan.steps, total)
            watched = replace(seen, watch=governor if governor.known else None)
            outcome = stage.method.apply(model, watched, getattr(config, stage.name), inside)
            inside.progress(plan.steps, plan.steps, "Asking what must be kept")
            settled = settle(governor, model.network, before, config.governor.halvings)
            inside.metric(outcome.steps, {"held_out_kept": float(settled.left.kept)})
            done.add(where, outcome, settled)
            if settled.share < 1:
                break
            if number < len(self.stages):
                before = WeightsBefore(model.network)
        return done.outcome()

    def _plans(self, model: TransformersModel, seen: ErasureData, config: Any) -> list[Plan]:
        plans = []
        for stage in self.stages:
            try:
                plans.append(stage.method.prepare(model, seen, getattr(config, stage.name)))
            except InputError as error:
                if not seen.forget.items:
                    raise
                raise InputError(f"The stage '{stage.name}' cannot run: {error}") from error
        return plans

    def _plan(self, plans: Sequence[Plan], model: TransformersModel, held_out: int) -> Plan:
        copy_mb = sum(weight.nbytes for weight in model.network.parameters()) // _MIB
        on_cpu = model.device.type == "cpu"
        needed = copy_mb + (max(plan.memory_mb for plan in plans) if on_cpu else 0)
        free = available_mb(torch.device("cpu"))
        if needed > free:
            raise InputError(
                f"The recipe needs about {needed} MB of main memory ({copy_mb} MB for a copy of the weights to go back "
                f"to), and {free} MB are free; run its methods one by one, or on a machine with more memory."
            )
        watch = (
            f"{held_out} facts of others are held out of every stage and asked after each; a stage that loses too many "
            "of them is taken back."
            if held_out
            else "Nobody watches what must be kept: there are too few facts of others to hold some out of the stages."
        )
        notes = [
            f"Stage {number} ({stage.label}): {note}"
            for number, (stage, plan) in enumerate(zip(self.stages, plans, strict=True), start=1)
            for note in plan.notes
        ]
        return Plan(
            modules=tuple(dict.fromkeys(module for plan in plans for module in plan.modules)),
            trainable_parameters=max(plan.trainable_parameters for plan in plans),
            steps=sum(plan.steps for plan in plans),
            memory_mb=max(plan.memory_mb for plan in plans) + copy_mb,
            notes=(*notes, watch),
        )


# -- how it is made ------------------------------------------------------------------------------


def _stage(recipe: Recipe, stage: RecipeStage, methods: Mapping[str, Method]) -> Stage:
    method = methods.get(stage.method)
    if method is None:
        raise InputError(f"The recipe '{recipe.id}' has a stage of the method '{stage.method}', which is not known.")
    if method.info.needs_snapshot:
        raise InputError(f"'{stage.method}' starts from another model than the one at hand, so it can be no stage.")
    if method.info.family is Family.DECODING:
        raise InputError(f"'{stage.method}' changes no weights, so it can be no stage of a recipe.")
    try:
        method.config_class.model_validate(stage.settings)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, (stage.name, *first["loc"])))
        raise InputError(f"The recipe '{recipe.id}' sets '{name}', which cannot be used: {first['msg']}.") from error
    return Stage(stage.name, method, stage.settings)


def _config_class(id: str, stages: Sequence[Stage]) -> type[BaseModel]:
    """One settings class: a group for each stage, the governor's, and the seed by which questions are held out."""

    def over_the_recipe(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        own = {stage.name: _merged(stage.settings, value[stage.name]) for stage in stages if stage.name in value}
        return {**value, **own}

    fields: dict[str, Any] = {
        stage.name: (stage.method.config_class, stage.method.config_class.model_validate(stage.settings))
        for stage in stages
    }
    made: type[BaseModel] = create_model(
        f"Recipe {id}",
        __config__=ConfigDict(frozen=True, extra="forbid"),
        __validators__={"over_the_recipe": model_validator(mode="before")(over_the_recipe)},  # type: ignore[dict-item]
        **fields,
        governor=(GovernorSettings, GovernorSettings()),
        seed=(int, 1),
    )
    return made


def _merged(under: Any, over: Any) -> Any:
    """``over`` laid on ``under``, group by group."""
    if not isinstance(under, Mapping) or not isinstance(over, Mapping):
        return over
    return {**under, **{key: _merged(under.get(key), value) for key, value in over.items()}}


# -- how it runs ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Where:
    """Which stage of how many."""

    number: int
    of: int
    label: str

    @property
    def words(self) -> str:
        return f"stage {self.number} ({self.label})"


class _StageControl:
    """A stage's view of the run: its steps lie behind those of the stages before, its state in a file of its own."""

    def __init__(self, control: RunControl, where: _Where, done: int, own: int, total: int) -> None:
        self._control, self._where = control, where
        self._done, self._own, self._total = done, own, total
        kept = control.state_file
        self.state_file: Path | None = None if kept is None else kept.with_stem(f"{kept.stem}-{where.number}")

    def progress(self, step: int, steps: int, label: str) -> None:
        share = min(1.0, step / steps) if steps else 1.0
        at = self._done + round(share * self._own)
        self._control.progress(at, self._total, f"Stage {self._where.number} of {self._where.of}: {label}")

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        self._control.metric(self._done + step, values)

    def check_cancelled(self) -> None:
        self._control.check_cancelled()


class _Done:
    """The stages that have run, and how each of them ended."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self._steps = 0
        self._ends: list[str] = []
        self._metrics: dict[str, float] = {}
        self._stopped = ""
        self._left = float(governor.known)

    def add(self, where: _Where, outcome: Outcome, settled: Settled) -> None:
        """Note a stage's end.

        Raises:
            JobFailedError: nothing is left of the first one.
        """
        lost = f"{settled.asked.lost} of {settled.asked.known} held-out facts of others were lost"
        if settled.share == 0 and where.number == 1:
            raise JobFailedError(
                f"No stage of the recipe keeps what must be kept: {lost} in {where.words}, and at every part of its "
                "change that was tried; nothing was written. Give it fewer steps or a lower learning rate, or choose "
                "another method."
            )
        self._left = float(settled.left.kept)
        self._steps += outcome.steps
        self._ends.append(f"{where.words}: {outcome.stop_reason}")
        self._metrics |= {f"stage_{where.number}_{name}": value for name, value in outcome.metrics.items()}
        self._metrics |= {
            f"stage_{where.number}_held_out_kept": float(settled.asked.kept),
            f"stage_{where.number}_share": settled.share,
        }
        if settled.share == 0:
            self._ends[-1] = ""
            self._stopped = f"stopped after stage {where.number - 1}: {lost} in {where.words}, which was taken back"
        elif settled.share < 1:
            self._stopped = (
                f"stopped in stage {where.number}: {lost} with the whole change of {where.words}, so "
                f"{settled.share:.0%} of it was left, with {settled.left.words}"
            )

    def outcome(self) -> Outcome:
        known = self._governor.known
        kept = f"{self._left:.0f} of {known} held-out facts of others kept" if known else "no held-out fact was known"
        parts = [part for part in (self._stopped, *self._ends, kept) if part]
        metrics = {**self._metrics, "held_out_known": float(known), "held_out_kept": self._left}
        return Outcome(self._steps, "; ".join(parts), metrics)
