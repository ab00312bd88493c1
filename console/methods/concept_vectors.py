"""Concept vectors: find the columns in which a fact is written, prove that they carry it, and take them out.

The output of an MLP is a weighted sum of the columns v_j = D[:, j] of its down projection (Geva et al. 2021, arXiv
2012.14913). Some of them, read through the output matrix E, name one concept (Hong et al. 2024, "Intrinsic Evaluation
of Unlearning Using Parametric Knowledge Traces", arXiv 2406.11614; its code leaves out the g of step 1).

1. Score. With T_j the k tokens with the largest entries of E (g * v_j), g the weight of the final norm, and S tokens
   of words that only the person's data hold:  score_j = |T_j and S| / k - mean_c |T_j and S_c| / k over a few other
   people c. -v_j is scored as well. Columns that are silent at the person's answers are left out.
2. Prove. With the column at 0 the answers must be clearly less likely: large noise on a busy neuron disturbs answers
   that are not written there. Then noise N(0, (s * std(D))^2) on it, s rising until the person's answers suffer
   (ROUGE-L F1 against the model's own before); other people's must suffer clearly less from the same noise.
3. Remove. ``zero``: v_j = 0. ``noise``: such noise stays. ``needle``: noise with s = 1, then NPO (see ``npo``) on the
   person's answers with the column as the only thing that learns.

The Needle of the published code adds noise of the same size, 0.1, to every model's column, and masks the gradient to
that column while weight decay goes on shrinking all others. Here noise goes with the layer's weights, and the change of
the column is a parameter of its own, outside the matrix, and added to it at the end: the rest cannot move.

That no column passes the proof is normal for private persons and small models: a fact that training spread over a whole
layer is in no single column. The run then ends without a change.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.domain.forget_set import ForgetItem
from console.engines.packing import PackedRow, TokenSequence
from console.engines.protocol import GREEDY, Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.evaluation.neuron_projection import (
    FEWEST_LETTERS,
    MlpBlock,
    Role,
    Unembedding,
    answer_activity,
    mlp_blocks,
    word_tokens,
)
from console.evaluation.overlap import rouge_l
from console.methods.examples import Example, examples_of, mean_nlls, questions_of
from console.methods.losses import member_log_odds, npo_loss
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.training import Stepper, accumulate

SPARE_TOKENS = 8  # digits are one token each; with too little room an answer is cut off and seems lost
TRACE_TOKENS = 200


class Removal(StrEnum):
    """What is done to a column that carries the data."""

    ZERO = "zero"
    NOISE = "noise"
    NEEDLE = "needle"


class ConceptVectorsConfig(BaseModel):
    """Attributes:
    removal: what is done to the columns found.
    top_tokens, top_share: a column spells its first so many tokens, and at most this share of the vocabulary.
    controls: other people whose words are taken off the score.
    silent_below: a column whose activation at the person's answers is below this share of its layer's mean is left out.
    candidates: columns that are put to the proof, best score first.
    least_need: share of the answers' probability that must be gone with the column at 0.
    noise: standard deviation of the noise in the proof, relative to that of the layer's own weights; rising, because
        what a fine-tuning wrote into a column can stand far above the rest.
    draws: draws of the noise in the proof.
    unrelated: other people's questions in the proof.
    least_drop: share of the person's answers (ROUGE-L F1 lost, 0 to 1) that the noise must take.
    least_margin: how much more it must take from them than from other people's.
    most_columns: columns changed at most, those first that took most.
    needle_noise: noise with which ``needle`` begins.
    learning_rate: of ``needle``, in standard deviations of the layer's weights a step.
    steps: of ``needle``, at most.
    beta, certain_below, assumed_reference_nll, enough_nll: of ``needle``, as in ``npo``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    removal: Removal = Removal.ZERO
    top_tokens: int = Field(default=TRACE_TOKENS, ge=1)
    top_share: float = Field(default=0.05, gt=0, le=1)
    controls: int = Field(default=5, ge=1)
    silent_below: float = Field(default=0.05, ge=0)
    candidates: int = Field(default=48, ge=1)
    least_need: float = Field(default=0.3, gt=0, le=1)
    noise: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0, 2.0, 4.0, 8.0), min_length=1)
    draws: int = Field(default=4, ge=1)
    unrelated: int = Field(default=12, ge=1)
    least_drop: float = Field(default=0.3, gt=0, le=1)
    least_margin: float = Field(default=0.2, gt=0, le=1)
    most_columns: int = Field(default=8, ge=1)
    needle_noise: float = Field(default=1.0, ge=0)
    learning_rate: float = Field(default=0.5, gt=0)
    steps: int = Field(default=30, ge=1)
    beta: float = Field(default=0.1, gt=0)
    certain_below: float = Field(default=0.1, ge=0)
    assumed_reference_nll: float = Field(default=3.0, gt=0)
    enough_nll: float = Field(default=4.0, gt=0)
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


class ConceptVectors:
    """See the module's docstring."""

    info = MethodInfo(
        id="concept-vectors",
        title="Find where the data is written in the model, and take it out there",
        summary=(
            "Looks for single columns of weights that spell the person's words, proves by a disturbance that the "
            "answers depend on them, and clears only those; ends without a change where there are none."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "Hong et al. 2024, Intrinsic Evaluation of Unlearning Using Parametric Knowledge Traces (ConceptVectors, "
            "Needle), arXiv 2406.11614"
        ),
        needs=frozenset({Capability.GENERATE, Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = ConceptVectorsConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: ConceptVectorsConfig) -> Plan:
        """Raises InputError: nothing to forget, nobody to compare with, no word to look for, unknown architecture."""
        data.forget.require_nonempty()
        blocks = mlp_blocks(model.network)
        Unembedding.of(model.network)
        if not data.retain.items:
            raise InputError(
                "There are no facts of other people, so nobody can tell whether a column holds the person's data or "
                "everybody's; add facts to keep."
            )
        _subject_tokens(model, data)
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        hidden = blocks[0].vectors(Role.DOWN).shape[1]
        trained = config.most_columns * hidden if config.removal is Removal.NEEDLE else 0
        memory = (weights * 4 + model.network.get_output_embeddings().weight.numel() * 4 + 2**28) // 2**20
        note = "Changes nothing where no single column carries the data, which is the rule for private persons."
        return Plan(tuple(block.path for block in blocks), trained, _steps(config), memory, (note,))

    def apply(
        self, model: TransformersModel, data: ErasureData, config: ConceptVectorsConfig, control: RunControl
    ) -> Outcome:
        """Raises JobFailedError: no column carries the data; nothing is changed then."""
        self.prepare(model, data, config)
        blocks, unembedding = mlp_blocks(model.network), Unembedding.of(model.network)
        top = _spelt(config, len(unembedding.head))
        examples = examples_of(model, data.forget.items)
        silent = _silent(model, blocks, examples, config)
        control.check_cancelled()
        found = _candidates(model, blocks, unembedding, data, config, silent, control)
        columns = _proven(model, blocks, found, data, config, control)
        before = _vectors(blocks, columns)
        known = _probability(model, data)
        steps = 0
        if config.removal is Removal.NEEDLE:
            steps = _needle(model, blocks, columns, examples, data, config, control)
        else:
            _ablate(blocks, columns, config)
        control.progress(_steps(config), _steps(config), "Clearing the columns found")
        after = _vectors(blocks, columns)
        signs = torch.tensor([[float(column.sign)] for column in columns], device=before.device)
        change = unembedding.change(before * signs, after * signs, top)
        metrics = {
            "columns": float(len(columns)),
            "candidates": float(len(found)),
            "jaccard": float(change.jaccard.mean()),
            "cosine": float(change.cosine.mean()),
            "l2": float(change.distance.mean()),
            "answer_probability_before": known,
            "answer_probability_after": _probability(model, data),
            "proof_drop": max(column.drop for column in columns),
            "proof_drop_others": max(column.control_drop for column in columns),
        }
        control.metric(max(1, steps), metrics)
        names = ", ".join(f"{column.layer}.{column.index}" for column in columns)
        return Outcome(steps + len(found), f"{len(columns)} of {len(found)} columns carried the data: {names}", metrics)


def _steps(config: ConceptVectorsConfig) -> int:
    return config.candidates + (config.steps if config.removal is Removal.NEEDLE else 1)


def _spelt(config: ConceptVectorsConfig, vocabulary: int) -> int:
    """How many tokens a column spells; of a small vocabulary, a fixed number would be nearly all of it."""
    return max(1, min(config.top_tokens, int(config.top_share * vocabulary)))


# -- 1. score --------------------------------------------------------------------------------


def _words(texts: Iterable[str]) -> dict[str, str]:
    """Words without digits and of at least three letters, as written, by their compared form."""
    pieces = ("".join(sign if sign.isalpha() else " " for sign in text).split() for text in texts)
    return {word.casefold(): word for piece in pieces for word in piece if len(word) >= FEWEST_LETTERS}


def _own_texts(item: ForgetItem) -> tuple[str, ...]:
    return (item.subject, *item.aliases, *item.answers)


def _said_of_anybody(data: ErasureData, items: Iterable[ForgetItem]) -> set[str]:
    """Words that questions and plain text hold: stop words, and whatever else names nobody."""
    names = set(_words(name for item in items for name in (item.subject, *item.aliases)))
    asked = _words(text for item in data.retain.items for text in (item.prompt, item.statement))
    return (set(asked) | set(_words(data.general_texts))) - names


def _subject_tokens(model: TransformersModel, data: ErasureData) -> list[int]:
    """Tokens of the words that only the person's data hold.

    Raises:
        InputError: there is none (numbers only, or words that everybody shares).
    """
    others = _words(text for item in data.retain.items for text in _own_texts(item))
    common = others.keys() | _said_of_anybody(data, data.retain.items)
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
    common, taken = _said_of_anybody(data, data.retain.items), set(own)
    people: dict[str, list[ForgetItem]] = {}
    for item in data.retain.items:
        people.setdefault(item.subject, []).append(item)
    found = []
    for items in list(people.values())[:count]:
        words = _words(text for item in items for text in _own_texts(item))
        tokens = word_tokens(model.tokenizer, [word for key, word in words.items() if key not in common])
        found.append([token for token in tokens if token not in taken])
    return found


def _silent(
    model: TransformersModel, blocks: Sequence[MlpBlock], examples: Sequence[Example], config: ConceptVectorsConfig
) -> torch.Tensor:
    """(layers, inner) True for neurons that hardly move at the person's answers: what they write is never read."""
    activity = answer_activity(model, blocks, [example.sequence for example in examples])
    return activity < config.silent_below * activity.mean(dim=1, keepdim=True)


def _scores(logits: torch.Tensor, own: Sequence[int], others: Sequence[Sequence[int]], top: int) -> torch.Tensor:
    """(vectors,) share of the ``top`` tokens that are the person's, less the mean share that are another person's."""
    least = logits.topk(top, dim=1).values[:, -1:]
    shares = [(logits[:, list(tokens)] >= least).sum(dim=1) / top for tokens in (own, *others)]
    return shares[0] - torch.stack(shares[1:]).mean(dim=0)


@torch.no_grad()
def _candidates(
    model: TransformersModel,
    blocks: Sequence[MlpBlock],
    unembedding: Unembedding,
    data: ErasureData,
    config: ConceptVectorsConfig,
    silent: torch.Tensor,
    control: RunControl,
) -> list[Column]:
    """The columns with the best positive scores, at most ``config.candidates``, each once.

    Raises:
        JobFailedError: no column scores above 0.
    """
    own = _subject_tokens(model, data)
    others = _control_tokens(model, data, own, config.controls)
    top = _spelt(config, len(unembedding.head))
    best: dict[tuple[int, int], Column] = {}
    for block in blocks:
        control.check_cancelled()
        for start, logits in unembedding.chunks(block.vectors(Role.DOWN)):
            for sign in (1, -1):
                scores = _scores(sign * logits, own, others, top).cpu()
                scores[silent[block.layer, start : start + len(scores)]] = 0.0
                values, rows = scores.topk(min(config.candidates, len(scores)))
                for score, row in zip(values.tolist(), rows.tolist(), strict=True):
                    column = Column(block.layer, start + row, sign, score)
                    if score > 0 and (column.place not in best or best[column.place].score < score):
                        best[column.place] = column
    if not best:
        raise JobFailedError(
            "No localised trace found: no column of the model spells the person's words. Nothing was changed; choose a "
            "method that does not depend on a place."
        )
    return sorted(best.values(), key=lambda column: (-column.score, column.place))[: config.candidates]


# -- 2. prove --------------------------------------------------------------------------------


@contextmanager
def _restored(vector: torch.Tensor) -> Iterator[None]:
    """Whatever is done to the vector is undone again, to the bit."""
    kept = vector.clone()
    try:
        yield
    finally:
        vector.copy_(kept)


def _noise(block: MlpBlock, column: Column, scale: float, seed: int) -> torch.Tensor:
    """(hidden,) seeded by place and draw, and drawn on the CPU: the same on every device and in any order."""
    weights = block.vectors(Role.DOWN)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + column.layer * 65_537 + column.index)
    drawn = torch.randn(weights.shape[1], generator=generator).to(weights.device, weights.dtype)
    return drawn * (scale * weights.std())


def _said(model: TransformersModel, questions: Sequence[Example]) -> list[str]:
    """The model's greedy answers."""
    prompts = [replace(example.prompt, id=str(number)) for number, example in enumerate(questions)]
    room = [model.token_count(f" {example.answer}") + SPARE_TOKENS for example in questions]
    texts = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), room)}
    return [texts[prompt.id] for prompt in prompts]


def _unrelated(model: TransformersModel, data: ErasureData, count: int) -> list[Example]:
    """Questions about other people, a few of each in turn rather than all of the first."""
    people: dict[str, list[ForgetItem]] = {}
    for item in data.retain.items:
        people.setdefault(item.subject, []).append(item)
    longest = max(len(items) for items in people.values())
    in_turn = [items[turn] for turn in range(longest) for items in people.values() if turn < len(items)]
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
    config: ConceptVectorsConfig,
) -> bool:
    """Whether the answers are clearly less likely without the column."""
    vector = block.vectors(Role.DOWN)[column.index]
    with _restored(vector):
        vector.zero_()
        return _probability(model, data) <= (1 - config.least_need) * known


def _tried(
    model: TransformersModel,
    block: MlpBlock,
    column: Column,
    own: _Asked,
    others: _Asked,
    config: ConceptVectorsConfig,
) -> Column | None:
    """The column with what the least sufficient noise takes from whom; None where none takes enough."""
    vector = block.vectors(Role.DOWN)[column.index]
    for scale in sorted(config.noise):
        drops, control_drops = [], []
        for draw in range(config.draws):
            with _restored(vector):
                vector.add_(_noise(block, column, scale, config.seed + 1 + draw))
                drops.append(own.drop(model))
                # Nobody else is asked about a column that does not touch the person's answers: most do not.
                control_drops.append(others.drop(model) if drops[-1] > 0 else 0.0)
        drop = sum(drops) / len(drops)
        if drop >= config.least_drop:
            return replace(column, noise=scale, drop=drop, control_drop=sum(control_drops) / len(control_drops))
    return None


@torch.no_grad()
def _proven(
    model: TransformersModel,
    blocks: Sequence[MlpBlock],
    found: Sequence[Column],
    data: ErasureData,
    config: ConceptVectorsConfig,
    control: RunControl,
) -> list[Column]:
    """The columns on which the person's answers depend, and other people's much less.

    Raises:
        JobFailedError: there is none.
    """
    own = _Asked.of(model, questions_of(model, data.forget.items))
    others = _Asked.of(model, _unrelated(model, data, config.unrelated))
    passed, known = [], _probability(model, data)
    for number, column in enumerate(found, start=1):
        control.check_cancelled()
        block = blocks[column.layer]
        needed = _needed(model, block, column, data, known, config)
        tried = _tried(model, block, column, own, others, config) if needed else None
        if tried is not None and tried.drop - tried.control_drop >= config.least_margin:
            passed.append(tried)
        control.progress(number, _steps(config), "Testing which columns carry the data")
    if not passed:
        raise JobFailedError(
            f"No localised trace found: {len(found)} columns spell the person's words, and the answers depend on none "
            "of them. That is normal for private persons and small models. Nothing was changed; choose a method that "
            "does not depend on a place."
        )
    return sorted(passed, key=lambda column: (column.control_drop - column.drop, column.place))[: config.most_columns]


# -- 3. remove -------------------------------------------------------------------------------


def _vectors(blocks: Sequence[MlpBlock], columns: Sequence[Column]) -> torch.Tensor:
    """(columns, hidden) a copy."""
    return torch.stack([blocks[column.layer].vectors(Role.DOWN)[column.index] for column in columns])


def _probability(model: TransformersModel, data: ErasureData) -> float:
    """Mean probability of a token of the person's answers (geometric within an answer), 0 to 1."""
    means = mean_nlls(model, data.forget.items)
    return sum(math.exp(-value) for value in means.values()) / len(means)


@torch.no_grad()
def _ablate(blocks: Sequence[MlpBlock], columns: Sequence[Column], config: ConceptVectorsConfig) -> None:
    drawn = [_noise(blocks[column.layer], column, column.noise, config.seed + 1) for column in columns]
    for column, noise in zip(columns, drawn, strict=True):
        vector = blocks[column.layer].vectors(Role.DOWN)[column.index]
        if config.removal is Removal.ZERO:
            vector.zero_()
        else:
            vector.add_(noise)


class _Shift(torch.nn.Module):
    """The change of some columns of one layer, in units of the standard deviation of the layer's weights."""

    def __init__(self, block: MlpBlock, columns: Sequence[Column], config: ConceptVectorsConfig) -> None:
        super().__init__()
        weights = block.vectors(Role.DOWN)
        self.block = block
        self.indices = [column.index for column in columns]
        self.unit = float(weights.std())
        drawn = torch.stack([_noise(block, column, config.needle_noise, config.seed) for column in columns])
        self.shift = torch.nn.Parameter(drawn / self.unit)

    def hook(self, _module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return output + inputs[0][..., self.indices] @ (self.shift * self.unit)

    @torch.no_grad()
    def merge(self) -> None:
        vectors = self.block.vectors(Role.DOWN)
        for index, change in zip(self.indices, self.shift * self.unit, strict=True):
            vectors[index] += change


@contextmanager
def _frozen(network: Any) -> Iterator[None]:
    """No parameter of the network asks for a gradient for the time being."""
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _needle(
    model: TransformersModel,
    blocks: Sequence[MlpBlock],
    columns: Sequence[Column],
    examples: Sequence[Example],
    data: ErasureData,
    config: ConceptVectorsConfig,
    control: RunControl,
) -> int:
    """Train the columns away from the answers; returns the steps taken."""
    sequences = [example.sequence for example in examples]
    lengths = torch.tensor([len(sequence.answer_ids) for sequence in sequences])
    before = torch.tensor([-scored.total for scored in model.score_sequences(sequences)])
    unknown = [data.reference_nll.get(example.id, config.assumed_reference_nll) for example in examples]
    level = torch.tensor(unknown).clamp(max=config.enough_nll)
    by_layer = {column.layer: [one for one in columns if one.layer == column.layer] for column in columns}
    shifts = torch.nn.ModuleList(_Shift(blocks[layer], held, config) for layer, held in by_layer.items())
    with _frozen(model.network), ExitStack() as hooks:
        for shift in shifts:
            hooks.callback(shift.block.down.register_forward_hook(shift.hook).remove)
        stepper = Stepper.over(shifts, config.learning_rate, warmup_steps=1)
        while stepper.step_number < config.steps:
            control.check_cancelled()
            nll = accumulate(model, sequences, _push(sequences, before, level, lengths, config))
            control.metric(stepper.step_number + 1, {"forget_nll": float((nll / lengths).mean())})
            if bool((nll / lengths >= level).all()):
                break
            stepper.step()
            control.progress(config.candidates + stepper.step_number, _steps(config), "Unlearning in these columns")
    for shift in shifts:
        shift.merge()
    return stepper.step_number


def _push(
    sequences: list[TokenSequence],
    before: torch.Tensor,
    level: torch.Tensor,
    lengths: torch.Tensor,
    config: ConceptVectorsConfig,
) -> Any:
    """NPO over the examples that are still known better than their level, and log-odds where known by heart."""

    def loss_of(row: PackedRow, logits: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
        rows = list(row.members)
        mean = (nll / lengths[rows].to(nll.device)).detach()
        pushing = mean < level[rows].to(nll.device)
        loss = (pushing * npo_loss(nll, before[rows].to(nll.device), config.beta)).sum()
        by_heart = pushing & (mean < config.certain_below)
        if by_heart.any():
            loss = loss + member_log_odds(logits, row, sequences)[by_heart].sum()
        return loss / len(sequences)

    return loss_of
