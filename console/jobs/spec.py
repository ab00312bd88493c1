"""What a job is told, in two parts.

The *spec* lies as a file in the job's folder and holds nothing personal: what to do, with which files,
where to write. The *payload* holds the request's facts; it travels through the worker's standard
input and is never written to disk.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from console.domain.benchmark_files import BenchmarkFiles
from console.domain.engine_names import EngineName
from console.domain.forget_set import ForgetItem
from console.domain.own_places import OwnPlace
from console.domain.recipes import Recipe
from console.domain.teaching import TeachingItem


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobKind(StrEnum):
    INSPECT = "inspect"
    DESCRIBE = "describe"
    TEACH = "teach"
    ATTACK = "attack"
    ERASE = "erase"
    PREPARE_QUESTIONS = "prepare-questions"
    OWN_PLACES = "own-places"
    ASK_AGAIN = "ask-again"
    EVALUATE = "evaluate"
    ADVISE = "advise"
    CORPUS = "corpus"
    SCAN = "scan"
    NEURONS = "neurons"
    EXPORT = "export"


class ModelReference(_Frozen):
    """Where a model lies, and which bytes it must be; a worker refuses others.

    Attributes:
        base: for an adapter, the model that it is laid over.
    """

    path: str
    tree_hash: str | None = None
    base: ModelReference | None = Field(default=None, exclude_if=lambda value: value is None)


class JobSpec(_Frozen):
    """The impersonal part of a job.

    Attributes:
        output: folder that the artefact gets, once and whole; None for jobs that write none.
        reference: a model that never knew the data, where there is one.
        method: id of the erasure method; ``settings`` are its configuration.
        recipe: the whole recipe where ``method`` is one, so that a job runs what its plan holds.
        attacks: ids, in order; ``settings`` are the suite's.
        origin: the first model of a chain of erasures, to measure the whole change against.
        engine: what runs the model that is attacked.
        sign_of_life: an attack that finds nothing fails on a model that says nothing sensible at all. Off only for an
            erased model, of which what others' facts and plain text have suffered is measured and judged, and for
            one to compare with, whose silence can only make the verdict stricter.
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
    # Left out where there is none, so that the hash of a spec stays what it was before this field came.
    origin: ModelReference | None = Field(default=None, exclude_if=lambda value: value is None)
    recipe: Recipe | None = Field(default=None, exclude_if=lambda value: value is None)
    sign_of_life: bool = Field(default=True, exclude_if=lambda value: value)
    engine: EngineName = Field(
        default=EngineName.TRANSFORMERS, exclude_if=lambda value: value is EngineName.TRANSFORMERS
    )


class WrittenPayload(_Frozen):
    """What a helper model wrote about one item (see ``console.attacks.protocol.WrittenQuestions``)."""

    paraphrases: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    indirect: str = ""
    implied: str = ""


class BankPayload(_Frozen):
    """Prompt banks as data (see ``console.attacks.protocol.PromptBank``)."""

    paraphrases: dict[str, tuple[str, ...]] = {}
    wrappers: tuple[str, ...] = ()
    shots: tuple[tuple[str, str, str], ...] = ()
    sections: dict[str, Any] = {}
    # Left out where no helper wrote anything, so that the hash of a bank stays what it was before this field came.
    written: dict[str, WrittenPayload] = Field(default={}, exclude_if=lambda value: not value)


class BiasPair(_Frozen):
    """Two sentences that differ in one word.

    Attributes:
        axis: what the word tells: ``gender``, ``age``, ``origin``.
        opening: the sentence up to its ending, with ``{group}`` where the word stands.
        stereotyped, other: the word that a prejudice expects before this ending, and the other one.
    """

    id: str
    axis: str
    opening: str
    stereotyped: str
    other: str
    ending: str


class BehaviourPayload(_Frozen):
    """Neutral sets that show how a model behaves besides what it knows.

    Attributes:
        instructions: ordinary instructions; their answers are judged for fluency.
        harmful: requests that a safe model refuses; ``harmless`` only look like them.
        refusals: sentences that refuse; ``abstentions`` say that the model does not know.
    """

    instructions: tuple[str, ...] = Field(min_length=1)
    harmful: tuple[str, ...] = Field(min_length=1)
    harmless: tuple[str, ...] = Field(min_length=1)
    refusals: tuple[str, ...] = ()
    abstentions: tuple[str, ...] = ()
    pairs: tuple[BiasPair, ...] = Field(min_length=1)


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
        behaviour: what else is measured on a model beside the probes; None where nothing is.
        finished: results of attacks that an interrupted run of the same suite has left, by attack.
        benchmark: rows of the user's own files for ``evaluate``; None for every other job.
        words: to look for in a model's neurons, or to try as triggers in a scan.
        teaching: training data for ``teach`` and exact retraining, the person already left out.
        places: where the model that is searched puts the facts, by item.
        again: items that an attack asks for anew, by attack; ``draws`` fresh attempts for each.
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
    behaviour: BehaviourPayload | None = None
    benchmark: BenchmarkFiles | None = None
    # Left out where there are none, so that the hash of a payload stays what it was before this field came.
    words: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    places: dict[str, tuple[OwnPlace, ...]] = Field(default={}, exclude_if=lambda value: not value)
    again: dict[str, tuple[str, ...]] = Field(default={}, exclude_if=lambda value: not value)
    draws: int = Field(default=0, exclude_if=lambda value: not value)

    @model_serializer(mode="wrap")
    def _without_what_says_nothing(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Left out where they are None, so that the hash of a payload stays what it was before these fields came."""
        body: dict[str, Any] = write(self)
        for name in ("behaviour", "benchmark"):
            if getattr(self, name) is None:
                body.pop(name, None)
        return body
