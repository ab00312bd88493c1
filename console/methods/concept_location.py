"""Which columns of a model's down projections carry a person's data: what they spell, and what is lost without them.

Steps 1 (score) and 2 (prove) of :mod:`console.methods.concept_vectors`, whose docstring has the equations (Hong et al.
2024, arXiv 2406.11614). That a column spells the person's words proves nothing: the proof disturbs it and looks whether
the answers suffer. The model is afterwards as it was, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.domain.forget_set import ForgetItem
from console.domain.reading import ANSWER_TOKENS
from console.engines.protocol import GREEDY
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.evaluation.neuron_projection import (
    FEWEST_LETTERS,
    TOP_SHARE,
    MlpBlock,
    Role,
    Unembedding,
    answer_activity,
    word_tokens,
)
from console.evaluation.overlap import rouge_l
from console.evaluation.traces import TOP_TOKENS
from console.methods.examples import Example, examples_of, mean_nlls, questions_of
from console.methods.protocol import ErasureData, RunControl


class LocationSettings(BaseModel):
    """How the columns are found and proven.

    Attributes:
        top_tokens, top_share: a column spells its first so many tokens, and at most this share of the vocabulary.
        controls: other people whose words are taken off the score.
        silent_below: a column whose activation at the person's answers is below this share of its layer's mean is left
            out.
        candidates: columns that are put to the proof, best score first.
        least_need: share of the answers' probability that must be gone with the column at 0.
        noise: standard deviation of the noise in the proof, relative to that of the layer's own weights; rising,
            because what a fine-tuning wrote into a column can stand far above the rest.
        draws: draws of the noise in the proof.
        unrelated: other people's questions in the proof.
        least_drop: share of the person's answers (ROUGE-L F1 lost, 0 to 1) that the noise must take.
        least_margin: how much more it must take from them than from other people's.
        seed: of all noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    top_tokens: int = Field(default=TOP_TOKENS, ge=1)
    top_share: float = Field(default=TOP_SHARE, gt=0, le=1)
    controls: int = Field(default=5, ge=1)
    silent_below: float = Field(default=0.05, ge=0)
    candidates: int = Field(default=48, ge=1)
    least_need: float = Field(default=0.3, gt=0, le=1)
    noise: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0, 2.0, 4.0, 8.0), min_length=1)
    draws: int = Field(default=4, ge=1)
    unrelated: int = Field(default=12, ge=1)
    least_drop: float = Field(default=0.3, gt=0, le=1)
    least_margin: float = Field(default=0.2, gt=0, le=1)
    seed: int = 1


@dataclass(frozen=True)
class Column:
    """One column of a down projection.

    Attributes:
        sign: -1 where the column spells the person's words the other way round.
        score: of step 1.
        noise: relative size of the noise in step 2 that was enough.
        drop, control_drop: what that noise takes from the person's and from other people's answers (step 2).
    """

    layer: int
    index: int
    sign: int
    score: float
    noise: float = 0.0
    drop: float = 0.0
    control_drop: float = 0.0

    @property
    def place(self) -> tuple[int, int]:
        return self.layer, self.index


def token_probability(model: TransformersModel, data: ErasureData) -> float:
    """Mean probability of a token of the person's answers (geometric within an answer), 0 to 1."""
    means = mean_nlls(model, data.forget.items)
    return sum(math.exp(-value) for value in means.values()) / len(means)


# -- 1. score --------------------------------------------------------------------------------


def _words(texts: Iterable[str]) -> dict[str, str]:
    """Words without digits and of at least three letters, as written, by their compared form."""
    pieces = ("".join(sign if sign.isalpha() else " " for sign in text).split() for text in texts)
    return {word.casefold(): word for piece in pieces for word in piece if len(word) >= FEWEST_LETTERS}


def _own_texts(item: ForgetItem) -> tuple[str, ...]:
    return (item.subject, *item.aliases, *item.answers)


def _by_person(items: Iterable[ForgetItem]) -> list[list[ForgetItem]]:
    people: dict[str, list[ForgetItem]] = {}
    for item in items:
        people.setdefault(item.subject, []).append(item)
    return list(people.values())


def _said_of_anybody(data: ErasureData) -> set[str]:
    """Words that questions and plain text hold: stop words, and whatever else names nobody."""
    names = set(_words(name for item in data.retain.items for name in (item.subject, *item.aliases)))
    asked = _words(text for item in data.retain.items for text in (item.prompt, item.statement))
    return (set(asked) | set(_words(data.general_texts))) - names


def subject_tokens(model: TransformersModel, data: ErasureData) -> list[int]:
    """Tokens of the words that only the person's data hold.

    Raises:
        InputError: there is none (numbers only, or words that everybody shares).
    """
    others = _words(text for item in data.retain.items for text in _own_texts(item))
    common = others.keys() | _said_of_anybody(data)
    own = _words(text for item in data.forget.items for text in _own_texts(item))
    tokens = list(word_tokens(model.tokenizer, [word for key, word in own.items() if key not in common]))
    if not tokens:
        raise InputError(
            "The person's data hold no word of their own that could be looked for in the weights (numbers alone cannot "
            "be told from chance); choose another method."
        )
    return tokens


def _control_tokens(model: TransformersModel, data: ErasureData, own: Sequence[int], count: int) -> list[list[int]]:
    """The same of each of ``count`` other people, without what the person's data hold."""
    common, taken = _said_of_anybody(data), set(own)
    found = []
    for items in _by_person(data.retain.items)[:count]:
        words = _words(text for item in items for text in _own_texts(item))
        tokens = word_tokens(model.tokenizer, [word for key, word in words.items() if key not in common])
        found.append([token for token in tokens if token not in taken])
    return found


def _silent(
    model: TransformersModel, blocks: Sequence[MlpBlock], data: ErasureData, settings: LocationSettings
) -> torch.Tensor:
    """(layers, inner) True for neurons that hardly move at the person's answers: what they write is never read."""
    activity = answer_activity(model, blocks, [example.sequence for example in examples_of(model, data.forget.items)])
    return activity < settings.silent_below * activity.mean(dim=1, keepdim=True)


def _scores(logits: torch.Tensor, own: Sequence[int], others: Sequence[Sequence[int]], top: int) -> torch.Tensor:
    """(vectors,) share of the ``top`` tokens that are the person's, less the mean share that are another person's."""
    least = logits.topk(top, dim=1).values[:, -1:]
    shares = [(logits[:, list(tokens)] >= least).sum(dim=1) / top for tokens in (own, *others)]
    return shares[0] - torch.stack(shares[1:]).mean(dim=0)


@torch.no_grad()
def spelling_columns(
    model: TransformersModel,
    blocks: Sequence[MlpBlock],
    unembedding: Unembedding,
    data: ErasureData,
    settings: LocationSettings,
    control: RunControl,
) -> list[Column]:
    """The columns with the best positive scores, at most ``settings.candidates``, each once.

    Raises:
        JobFailedError: no column scores above 0.
    """
    silent = _silent(model, blocks, data, settings)
    control.check_cancelled()
    own = subject_tokens(model, data)
    others = _control_tokens(model, data, own, settings.controls)
    top = unembedding.spelt_tokens(settings.top_tokens, settings.top_share)
    best: dict[tuple[int, int], Column] = {}
    for block in blocks:
        control.check_cancelled()
        for start, logits in unembedding.chunks(block.vectors(Role.DOWN)):
            for sign in (1, -1):
                scores = _scores(sign * logits, own, others, top).cpu()
                scores[silent[block.layer, start : start + len(scores)]] = 0.0
                values, rows = scores.topk(min(settings.candidates, len(scores)))
                for score, row in zip(values.tolist(), rows.tolist(), strict=True):
                    column = Column(block.layer, start + row, sign, score)
                    if score > 0 and (column.place not in best or best[column.place].score < score):
                        best[column.place] = column
    if not best:
        raise JobFailedError(
            "No localised trace found: no column of the model spells the person's words. Nothing was changed; choose a "
            "method that does not depend on a place."
        )
    return sorted(best.values(), key=lambda column: (-column.score, column.place))[: settings.candidates]


# -- 2. prove --------------------------------------------------------------------------------


@contextmanager
def _restored(vector: torch.Tensor) -> Iterator[None]:
    """Whatever is done to the vector is undone again, to the bit."""
    kept = vector.clone()
    try:
        yield
    finally:
        vector.copy_(kept)


def column_noise(block: MlpBlock, column: Column, scale: float, seed: int) -> torch.Tensor:
    """(hidden,) seeded by place and draw, and drawn on the CPU: the same on every device and in any order."""
    weights = block.vectors(Role.DOWN)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + column.layer * 65_537 + column.index)
    drawn = torch.randn(weights.shape[1], generator=generator).to(weights.device, weights.dtype)
    return drawn * (scale * weights.std())


def _said(model: TransformersModel, questions: Sequence[Example]) -> list[str]:
    """The model's greedy answers."""
    prompts = [replace(example.prompt, id=str(number)) for number, example in enumerate(questions)]
    texts = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [ANSWER_TOKENS] * len(prompts))}
    return [texts[prompt.id] for prompt in prompts]


def _unrelated(model: TransformersModel, data: ErasureData, count: int) -> list[Example]:
    """Questions about other people, a few of each in turn rather than all of the first."""
    people = _by_person(data.retain.items)
    longest = max(len(items) for items in people)
    in_turn = [items[turn] for turn in range(longest) for items in people if turn < len(items)]
    return questions_of(model, in_turn[:count])


@dataclass(frozen=True)
class _Asked:
    """Questions, and what the model as it is answers."""

    questions: list[Example]
    said: list[str]

    @classmethod
    def of(cls, model: TransformersModel, questions: list[Example]) -> _Asked:
        return cls(questions, _said(model, questions))

    def drop(self, model: TransformersModel) -> float:
        """What is lost of the answers: 1 - mean ROUGE-L F1 against those before, 0 to 1."""
        now = _said(model, self.questions)
        alike = [1.0 if new == old else rouge_l(new, old).f1 for new, old in zip(now, self.said, strict=True)]
        return 1 - sum(alike) / len(alike)


def _needed(
    model: TransformersModel,
    block: MlpBlock,
    column: Column,
    data: ErasureData,
    known: float,
    settings: LocationSettings,
) -> bool:
    """Whether the answers are clearly less likely without the column."""
    vector = block.vectors(Role.DOWN)[column.index]
    with _restored(vector):
        vector.zero_()
        return token_probability(model, data) <= (1 - settings.least_need) * known


def _tried(
    model: TransformersModel,
    block: MlpBlock,
    column: Column,
    own: _Asked,
    others: _Asked,
    settings: LocationSettings,
) -> Column | None:
    """The column with what the least sufficient noise takes from whom; None where none takes enough."""
    vector = block.vectors(Role.DOWN)[column.index]
    for scale in sorted(settings.noise):
        drops, control_drops = [], []
        for draw in range(settings.draws):
            with _restored(vector):
                vector.add_(column_noise(block, column, scale, settings.seed + 1 + draw))
                drops.append(own.drop(model))
                # Nobody else is asked about a column that does not touch the person's answers: most do not.
                control_drops.append(others.drop(model) if drops[-1] > 0 else 0.0)
        drop = sum(drops) / len(drops)
        if drop >= settings.least_drop:
            return replace(column, noise=scale, drop=drop, control_drop=sum(control_drops) / len(control_drops))
    return None


@torch.no_grad()
def proven_columns(
    model: TransformersModel,
    blocks: Sequence[MlpBlock],
    found: Sequence[Column],
    data: ErasureData,
    settings: LocationSettings,
    control: RunControl,
    steps: int,
) -> list[Column]:
    """The columns on which the person's answers depend, and other people's much less; first those that took most.

    Args:
        steps: of the whole run, for the progress.

    Raises:
        JobFailedError: there is none.
    """
    own = _Asked.of(model, questions_of(model, data.forget.items))
    others = _Asked.of(model, _unrelated(model, data, settings.unrelated))
    passed, known = [], token_probability(model, data)
    for number, column in enumerate(found, start=1):
        control.check_cancelled()
        block = blocks[column.layer]
        needed = _needed(model, block, column, data, known, settings)
        tried = _tried(model, block, column, own, others, settings) if needed else None
        if tried is not None and tried.drop - tried.control_drop >= settings.least_margin:
            passed.append(tried)
        control.progress(number, steps, "Testing which columns carry the data")
    if not passed:
        raise JobFailedError(
            f"No localised trace found: {len(found)} columns spell the person's words, and the answers depend on none "
            "of them. That is normal for private persons and small models. Nothing was changed; choose a method that "
            "does not depend on a place."
        )
    return sorted(passed, key=lambda column: (column.control_drop - column.drop, column.place))
