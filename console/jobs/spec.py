"""What a job is told, in two parts.

The *spec* lies as a file in the job's folder and holds nothing personal: what to do, with which files,
where to write. The *payload* holds the request's facts; it travels through the worker's standard
input and is never written to disk.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from console.domain.forget_set import ForgetItem
from console.domain.teaching import TeachingItem


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobKind(StrEnum):
    INSPECT = "inspect"
    DESCRIBE = "describe"
    TEACH = "teach"
    ATTACK = "attack"
    ERASE = "erase"


class ModelReference(_Frozen):
    """Where a model lies, and which bytes it must be; a worker refuses others."""

    path: str
    tree_hash: str | None = None


class JobSpec(_Frozen):
    """The impersonal part of a job.

    Attributes:
        output: folder that the artefact gets, once and whole; None for jobs that write none.
        reference: a model that never knew the data, where there is one.
        method: id of the erasure method; ``settings`` are its configuration.
        attacks: ids, in order; ``settings`` are the suite's.
    """

    job_id: str
    kind: JobKind
    model: ModelReference
    cache: str
    output: str | None = None
    reference: ModelReference | None = None
    method: str | None = None
    attacks: tuple[str, ...] = ()
    device: str = "auto"
    settings: dict[str, Any] = {}


class BankPayload(_Frozen):
    """Prompt banks as data (see ``console.attacks.protocol.PromptBank``)."""

    paraphrases: dict[str, tuple[str, ...]] = {}
    wrappers: tuple[str, ...] = ()
    shots: tuple[tuple[str, str, str], ...] = ()
    sections: dict[str, Any] = {}


class JobPayload(_Frozen):
    """The personal part of a job.

    Attributes:
        forget: the request's items.
        retain: facts of other people that must survive.
        probe: facts of other people that are asked for, to measure side effects.
        controls: facts of subjects that no model was taught.
        general: plain text for the retain term.
        held_out: plain text that no method may train on; measures side effects.
        neighbours: names of the people who share traits with the person.
        finished: results of attacks that an interrupted run of the same suite has left, by attack.
        teaching: training data for ``teach`` and exact retraining, the person already left out.
    """

    forget: tuple[ForgetItem, ...] = ()
    retain: tuple[ForgetItem, ...] = ()
    probe: tuple[ForgetItem, ...] = ()
    controls: tuple[ForgetItem, ...] = ()
    general: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    teaching: tuple[TeachingItem, ...] = ()
    neighbours: tuple[str, ...] = ()
    bank: BankPayload = BankPayload()
    finished: dict[str, dict[str, Any]] = {}
