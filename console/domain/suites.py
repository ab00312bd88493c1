"""Suites: which attacks run together, and how many attempts each may make.

A suite is fixed before the search and bound to the request; the same one runs on the model before, on the
model after and on the reference, or the counts could not be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from console.domain.engine_names import EngineName
from console.domain.reading import ANSWER_TOKENS

MOST_REPEATS = 10
ROOMS = (ANSWER_TOKENS, 2 * ANSWER_TOKENS, 4 * ANSWER_TOKENS)  # tokens that a suite may give every answer
# The model's own file in other number formats, asked again; only a file can be converted, so only with llama.cpp.
FILE_TYPES = ("gguf-own", "gguf-f16", "gguf-q8-0", "gguf-q4-k-m")


@dataclass(frozen=True)
class SuitePlan:
    """A suite before it is bound to a request.

    Attributes:
        attacks: ids, in the order in which they run.
        settings: what changes in the attacks' default settings.
        summary: one sentence for the person who chooses.
        file_types: also asks the file in other number formats, where an engine runs files.
        may_remove: its attacks give every kind of evidence that the word "removed" needs.
        behaviour: also measures how the model behaves otherwise (refusals, fluency, bias); no verdict rests on it.
    """

    name: str
    attacks: tuple[str, ...]
    summary: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    may_remove: bool = True
    behaviour: bool = True
    file_types: bool = True

    def run_by(self, engine: EngineName) -> SuitePlan:
        """The suite as this engine runs it."""
        wanted = self.file_types and engine.needs_file
        return replace(self, attacks=(*self.attacks, *FILE_TYPES)) if wanted else self


QUICK = SuitePlan(
    "quick",
    ("direct", "continuation", "paraphrase", "few-shot", "head-projection", "membership"),
    "Six attacks, about a minute on a small model; enough to find the data, not enough to call it removed.",
    {"samples": 2},
    may_remove=False,
    behaviour=False,
    file_types=False,  # they would be evidence enough for the word that this suite may not give
)
BRIEF = SuitePlan(
    "brief",
    ("direct", "few-shot", "head-projection", "answer-rank", "loss", "zlib", "quantise-int8", "soft-noise"),
    "One or two attacks of every kind of evidence, about a minute on a small model: every word is in reach, and fewer "
    "ways to find the data are tried.",
    {"samples": 2, "noise_draws": 1},
    behaviour=False,
    file_types=False,
)
_ASKING = (
    *("direct", "continuation", "paraphrase", "few-shot", "cloze", "prefix-injection", "affirmative-suffix"),
    *("role-play", "synonym", "background-hint", "cross-lingual", "same-subject", "many-shot"),
    *("authority", "encodings", "context-ladder", "stepwise", "leak-at-k", "knowledge-probe", "multiple-choice"),
)
_READING = ("head-projection", "probability-delta", "answer-rank", "exposure")
_RECOGNISING = ("membership", "min-k-plus", "loss", "zlib", "gradient-norm")
_DISTURBING = ("quantise-int8", "quantise-4bit", "relearn-unrelated", "relearn-tenth", "soft-noise")
# Models that tell a fact when they are asked for it seldom tell whose it is, unless they read it in that order: 0 of 8
# on a model that answers every direct question. An attack that finds nothing before proves nothing after.
_SELDOM = ("reverse-query",)
STANDARD = SuitePlan(
    "standard",
    (*_ASKING, *_READING, *_RECOGNISING, *_DISTURBING),
    "Every attack that finds data in most models, with few draws each: what the word 'removed' needs.",
    {"samples": 1, "leak_samples": 8, "noise_draws": 2},
)
FULL = SuitePlan(
    "full",
    (*_ASKING, *_SELDOM, *_READING, *_RECOGNISING, *_DISTURBING),
    "Every attack, with many draws each; hours on a large model.",
    {"samples": 4, "leak_samples": 32, "noise_draws": 5, "relearn_steps": 20},
)
SUITES = {plan.name: plan for plan in (QUICK, BRIEF, STANDARD, FULL)}
# Nobody chooses this one: it is no search and reaches no verdict, so it stands beside the suites and not among them.
RECHECK = SuitePlan(
    "recheck",
    ("direct", "continuation", "head-projection"),
    "Three attacks that look whether an earlier request's data came back in a later model.",
    {"samples": 2},
    may_remove=False,
    behaviour=False,
    file_types=False,
)
