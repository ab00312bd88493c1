"""What every benchmark shares: a model that is asked and scored in batches, and how numbers become figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.domain.benchmark_results import Figure, Wanted
from console.domain.results import AreaUnderCurve, Rate
from console.engines.model_files import identify
from console.engines.packing import pack
from console.engines.prompts import answer_sequence, prompt_ids, whole_text_sequence
from console.engines.protocol import GREEDY, Prompt, Scored, ScoreRequest
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import InputError, JobFailedError
from console.evaluation.measured import Measured
from console.evaluation.resampling import mean_interval
from console.evaluation.tofu import WrongAnswerMean
from console.jobs.spec import JobSpec, ModelReference
from console.jobs.tasks.files import open_model
from console.jobs.worker import EventWriter

AT_ONCE = 128  # requests between two looks at whether the person has asked to stop


class BenchmarkSettings(BaseModel):
    """Settings of the ``evaluate`` job.

    Attributes:
        before: the model from before an edit or an erasure; for RESTOR the corrupted one.
        answer_tokens: most new tokens of an answer; None takes the benchmark's own number.
        wrong_answer_mean: how TOFU's truth ratio averages the wrong answers.
        resamples, seed: of the bootstrap intervals of means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: ModelReference | None = None
    answer_tokens: int | None = Field(default=None, ge=1, le=2048)
    wrong_answer_mean: WrongAnswerMean = WrongAnswerMean.ARITHMETIC
    resamples: int = Field(default=1000, ge=100, le=100_000)
    seed: int = 0


@dataclass
class Examinee:
    """A model under examination.

    Attributes:
        part: which model it is: ``model``, ``reference`` or ``before``.
        notes: gets a line where something had to be cut to fit into the model's context.
    """

    part: str
    model: TransformersModel
    writer: EventWriter
    settings: BenchmarkSettings
    notes: list[str]

    def _cut(self, what: str, count: int) -> None:
        if count:
            context = self.model.context_length
            self.notes.append(f"{what}: cut to the context of {context} tokens of the {self.part}, {count} times.")

    def answers(self, prompts: Sequence[Prompt], tokens: int, label: str) -> list[str]:
        """Greedy answers in the order of the prompts.

        Args:
            tokens: most new tokens; the settings' number goes first.

        Raises:
            InputError: a prompt that leaves no room for an answer.
        """
        wanted = self.settings.answer_tokens or tokens
        limits = []
        for number, prompt in enumerate(prompts, start=1):
            room = self.model.context_length - len(prompt_ids(self.model.tokenizer, prompt))
            if room < 1:
                raise InputError(
                    f"Prompt {number} of '{label}' fills the whole context of {self.model.context_length} tokens; "
                    "shorten it, or give a model with a longer context."
                )
            limits.append(min(wanted, room))
        self._cut(f"Room for answers ({label})", sum(limit < wanted for limit in limits))
        said: dict[str, str] = {}
        for answer in self.model.generate(prompts, (GREEDY,), limits):
            self.writer.check_cancelled()
            said[answer.prompt_id] = answer.answer
            self.writer.progress(len(said), len(prompts), f"{label}: answers of the {self.part}")
        return [said[prompt.id] for prompt in prompts]

    def scores(self, requests: Sequence[ScoreRequest], label: str) -> list[Scored]:
        """Log-probabilities of the continuations, in the order of the requests.

        Raises:
            JobFailedError: the model gives values that are no numbers.
        """
        found: list[Scored] = []
        for start in range(0, len(requests), AT_ONCE):
            self.writer.check_cancelled()
            found += self.model.score(requests[start : start + AT_ONCE])
            self.writer.progress(len(found), len(requests), f"{label}: probabilities of the {self.part}")
        return self._finite(found)

    def means(self, prompts: Sequence[Prompt], answers: Sequence[str], label: str) -> list[float]:
        """Mean log-probability (nats per token) of each answer after its prompt."""
        requests = [ScoreRequest(answer, prompt) for prompt, answer in zip(prompts, answers, strict=True)]
        return [scored.mean for scored in self.scores(requests, label)]

    def texts(self, texts: Sequence[str], label: str) -> list[Scored]:
        """Whole texts from their second token on, cut to the model's context.

        Raises:
            InputError: a text of a single token, which predicts nothing.
        """
        limit, tokenizer = self.model.context_length, self.model.tokenizer
        lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
        if min(lengths) < 2:
            number = lengths.index(min(lengths)) + 1
            raise InputError(f"Text {number} of '{label}' has a single token, which predicts nothing; leave it out.")
        self._cut(f"Texts ({label})", sum(length > limit for length in lengths))
        cut = [whole_text_sequence(tokenizer, text, max_tokens=limit) for text in texts]
        found: list[Scored] = []
        for start in range(0, len(cut), AT_ONCE):
            self.writer.check_cancelled()
            found += self.model.score_sequences(cut[start : start + AT_ONCE])
            self.writer.progress(len(found), len(cut), f"{label}: probabilities of the {self.part}")
        return self._finite(found)

    @torch.inference_mode()
    def predicted(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """Arg-max and true token ids of every answer, each token given the true ones before it; both (time,)."""
        sequences = [
            answer_sequence(self.model.tokenizer, prompt, answer)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        found: list[tuple[list[int], list[int]]] = [([], [])] * len(sequences)
        for row in pack(sequences, ROW_TOKENS, self.model.device):
            self.writer.check_cancelled()
            likeliest = self.model.row_logits(row).argmax(dim=-1).tolist()
            start = 0
            for member in row.members:
                true = list(sequences[member].answer_ids)
                found[member] = (likeliest[start : start + len(true)], true)
                start += len(true)
        return found

    def _finite(self, found: list[Scored]) -> list[Scored]:
        if not all(math.isfinite(scored.total) for scored in found):
            raise JobFailedError(
                f"The {self.part} gives probabilities that are no numbers, so nothing can be measured on it; "
                "its weights are damaged."
            )
        return found


@dataclass
class Models:
    """The models of a job, opened when they are wanted.

    None of them is kept here: two large models at once would fill the memory, so a benchmark lets go of one (``del``)
    before it opens the next.
    """

    spec: JobSpec
    settings: BenchmarkSettings
    writer: EventWriter
    hashes: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def model(self) -> Examinee:
        return self._opened("model", self.spec.model)

    def reference(self) -> Examinee | None:
        """The model that never knew, where there is one."""
        return None if self.spec.reference is None else self._opened("reference", self.spec.reference)

    def before(self) -> Examinee | None:
        """The model from before, where there is one."""
        return None if self.settings.before is None else self._opened("before", self.settings.before)

    def _opened(self, part: str, reference: ModelReference) -> Examinee:
        self.writer.check_cancelled()
        self.writer.progress(0, 1, f"Opening the {part}")
        self.hashes[part] = identify(Path(reference.path)).tree_hash
        model = open_model(reference, self.spec)
        return Examinee(part, model, self.writer, self.settings, self.notes)


# -- figures ---------------------------------------------------------------------------------


def rate(id: str, title: str, counted: Rate, wanted: Wanted = "", note: str = "") -> Figure:
    """k of n with its exact interval."""
    return Figure(
        id=id,
        title=title,
        n=counted.trials,
        hits=counted.hits,
        value=counted.share,
        low=counted.low,
        high=counted.high,
        wanted=wanted,
        note=note,
    )


def hits(id: str, title: str, found: Sequence[bool], wanted: Wanted = "", note: str = "") -> Figure:
    """The same from one truth value a row."""
    return rate(id, title, Rate(hits=sum(found), trials=len(found)), wanted, note)


def figure(
    id: str, title: str, n: int, value: float, interval: tuple[float, float] | None, wanted: Wanted = "", note: str = ""
) -> Figure:
    """A value with the interval that goes with it."""
    low, high = interval if interval is not None else (None, None)
    return Figure(id=id, title=title, n=n, value=value, low=low, high=high, wanted=wanted, note=note)


def mean(
    id: str, title: str, values: Sequence[float], settings: BenchmarkSettings, wanted: Wanted = "", note: str = ""
) -> Figure:
    """A mean over rows with its bootstrap interval."""
    average = math.fsum(values) / len(values)
    return figure(
        id, title, len(values), average, mean_interval(values, settings.resamples, settings.seed), wanted, note
    )


def area(id: str, title: str, found: AreaUnderCurve, wanted: Wanted = "", note: str = "") -> Figure:
    """An area under the curve; n counts both groups."""
    groups = f"{found.members} against {found.non_members} texts"
    return figure(
        id,
        title,
        found.members + found.non_members,
        float(found.value),
        (float(found.low), float(found.high)),
        wanted,
        f"{groups}; {note}" if note else groups,
    )


def missing(id: str, title: str, reason: str, wanted: Wanted = "") -> Figure:
    """A figure that lacks its input."""
    return Figure(id=id, title=title, reason=reason, wanted=wanted)


def measured(
    id: str,
    title: str,
    found: Measured[float],
    n: int,
    interval: tuple[float, float] | None = None,
    wanted: Wanted = "",
) -> Figure:
    """A measurement that may be missing."""
    if found.value is None:
        return missing(id, title, found.reason, wanted)
    return figure(id, title, n, found.value, interval, wanted, found.note)


@dataclass
class Findings:
    """What a benchmark hands back, in the order in which it found it."""

    figures: list[Figure] = field(default_factory=list)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    forget_size: int | None = None
