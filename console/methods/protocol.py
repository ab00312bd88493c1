"""What an erasure method is: what it needs, what it claims, and how it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from console.domain.claims import Claim
from console.domain.forget_set import ForgetSet, RetainSet
from console.domain.teaching import TeachingItem
from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel

__all__ = [
    "Claim",
    "ErasureData",
    "Family",
    "Method",
    "MethodInfo",
    "Outcome",
    "Plan",
    "RunControl",
    "Watch",
]


class Family(StrEnum):
    """Where a method acts."""

    EXACT = "exact"
    WEIGHTS = "weights"
    ADAPTER = "adapter"
    DECODING = "decoding"


@dataclass(frozen=True)
class MethodInfo:
    """How a method introduces itself.

    Attributes:
        title: in an officer's words.
        summary: one sentence on what it does to the model.
        source: paper and equation.
        needs: engine capabilities without which it cannot run.
        needs_snapshot: it starts from the model as it was before it learned the data.
        needs_training_data: it needs the other data that the model was fine-tuned on.
        reaches_experts: in a mixture of experts it changes the routed experts too, or starts from before the training.
    """

    id: str
    title: str
    summary: str
    family: Family
    claim: Claim
    source: str
    needs: frozenset[Capability]
    needs_snapshot: bool = False
    needs_training_data: bool = False
    reaches_experts: bool = False


class Watch(Protocol):
    """Asks facts of others that no method sees (``console.methods.governor``); a method may call it within its run."""

    def check(self, step: int) -> bool:
        """Whether they are kept; where not, the method goes back to its last state that kept them, or stops.

        Costs the time of some tens of short answers, so it is called every some steps.
        """
        ...


@dataclass(frozen=True)
class ErasureData:
    """Everything a method may see. Held-out wordings and control subjects are not in it.

    Attributes:
        reference_nll: mean negative log-likelihood (nats per token) of each forget example under a model
            that never knew it, by example id; empty where there is no such model.
        neighbours: names of people among the retained who share traits with the person.
        open_reference: opens a model that never knew the data, for methods that learn from what it says; None where
            there is none. Whoever opens it lets it go again.
        teaching: training data for an exact retraining, the person already left out.
        watch: asks what must be kept; None where nobody watches.
    """

    forget: ForgetSet
    retain: RetainSet
    general_texts: tuple[str, ...]
    reference_nll: Mapping[str, float] = field(default_factory=dict)
    teaching: tuple[TeachingItem, ...] = ()
    neighbours: frozenset[str] = frozenset()
    open_reference: Callable[[], TransformersModel] | None = None
    watch: Watch | None = None


@dataclass(frozen=True)
class Plan:
    """What a run will do, shown before it starts."""

    modules: tuple[str, ...]
    trainable_parameters: int
    steps: int
    memory_mb: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        stop_reason: why it ended where it did, in words.
        metrics: last values of the run's own measures.
    """

    steps: int
    stop_reason: str
    metrics: dict[str, float]


class RunControl(Protocol):
    """How a method tells its progress and learns that it must stop.

    Attributes:
        state_file: where a run may keep what it needs to go on after an interruption, and finds what an earlier
            run of the same has kept; None where it cannot.
    """

    state_file: Path | None

    def progress(self, step: int, steps: int, label: str) -> None: ...

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...

    def check_cancelled(self) -> None:
        """Raise whatever ends the run when the person has asked to stop; called between steps."""
        ...


class Method(Protocol):
    """A method: one file, one config class with its defaults, one ``apply``."""

    info: MethodInfo
    config_class: type[BaseModel]

    def prepare(self, model: TransformersModel, data: ErasureData, config: Any) -> Plan: ...

    def apply(self, model: TransformersModel, data: ErasureData, config: Any, control: RunControl) -> Outcome:
        """Change ``model`` in place; the caller saves it and hashes what it saved."""
        ...
