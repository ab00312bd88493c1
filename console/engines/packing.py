"""Many short sequences in one row, without padding and without seeing each other.

Prompts about one person, or through one chat template, begin alike, and answers that are ranked
follow the very same prompt. A row holds each shared
beginning once and the rest of every sequence behind it; a block mask lets a token attend to its
own sequence and its own beginning only, and positions restart, so every log-probability is the
one that the sequence has alone (a test compares them). On a CPU this halves the work of chat
prompts, whose system turn is as long as the question; and where nothing is padded, no mask can
be derived from a token's value by mistake (open-unlearning #128: pad equals end-of-sequence).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

MINIMUM_SHARED = 6
MANY_ANSWERS = 4  # to one prompt, from which on they are a group of their own: the whole prompt is then read once


@dataclass(frozen=True)
class TokenSequence:
    """Token ids, and from where on they are the answer (the part that is scored or learned).

    ``answer_start`` is at least 1: the first token of a text has no prediction.
    """

    ids: tuple[int, ...]
    answer_start: int

    def __post_init__(self) -> None:
        if not 1 <= self.answer_start < len(self.ids):
            raise ValueError(f"no answer tokens: {len(self.ids)} tokens, answer from {self.answer_start}")

    @property
    def answer_ids(self) -> tuple[int, ...]:
        return self.ids[self.answer_start :]


@dataclass(frozen=True)
class PackedRow:
    """One row for the model.

    Attributes:
        input_ids: (1, time) token ids.
        position_ids: (1, time) position of each token in its own sequence.
        attention_mask: (1, 1, time, time) True where the row's token may attend to the column's.
        members: index of each packed sequence in the caller's list.
        predictors: for each member, the row positions whose output predicts its answer tokens.
        spans: for each member, the row positions of its own tokens and of the shared beginning before them.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor
    members: tuple[int, ...]
    predictors: tuple[tuple[int, ...], ...]
    spans: tuple[tuple[range, range], ...]

    def token_positions(self) -> list[list[int]]:
        """For each member, the row position of each of its tokens, the shared beginning included."""
        return [[*shared, *own] for own, shared in self.spans]

    @property
    def tokens(self) -> int:
        return self.input_ids.shape[1]


def shared_length(sequences: Sequence[tuple[int, ...]], limit: int) -> int:
    """Length of the common beginning of all sequences, at most ``limit``."""
    first, last = min(sequences), max(sequences)
    length = 0
    for left, right in zip(first[:limit], last[:limit], strict=False):
        if left != right:
            break
        length += 1
    return length


@dataclass
class _Group:
    """Sequences that share a beginning of ``shared`` tokens."""

    shared: int
    members: list[int]


def _groups(sequences: Sequence[TokenSequence]) -> list[_Group]:
    """Split into groups with a useful shared beginning; what shares nothing stands alone."""
    answers = Counter(sequence.ids[: sequence.answer_start - 1] for sequence in sequences)
    by_beginning: dict[tuple[int, ...], list[int]] = {}
    for index, sequence in enumerate(sequences):
        # The beginning must stay inside the prompt with one prompt token to spare, because the
        # token before the answer is the one that predicts it and must belong to the sequence itself.
        usable = sequence.answer_start - 1
        prompt = sequence.ids[:usable]
        beginning = prompt if answers[prompt] >= MANY_ANSWERS else prompt[:MINIMUM_SHARED]
        key = beginning if usable >= MINIMUM_SHARED else (-1, index)
        by_beginning.setdefault(key, []).append(index)
    groups = []
    for members in by_beginning.values():
        limit = min(sequences[index].answer_start - 1 for index in members)
        shared = shared_length([sequences[index].ids for index in members], limit) if len(members) > 1 else 0
        groups.append(_Group(shared, members))
    return groups


class _RowBuilder:
    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.spans: list[tuple[range, range]] = []  # (own tokens, shared tokens they may also see)
        self.members: list[int] = []
        self.member_spans: list[tuple[range, range]] = []
        self.predictors: list[tuple[int, ...]] = []

    def add_shared(self, ids: Sequence[int]) -> range:
        span = range(len(self.ids), len(self.ids) + len(ids))
        self.ids.extend(ids)
        self.positions.extend(range(len(ids)))
        if ids:
            self.spans.append((span, range(0)))
        return span

    def add(self, index: int, sequence: TokenSequence, shared: range) -> None:
        start = len(self.ids)
        own = sequence.ids[len(shared) :]
        self.ids.extend(own)
        self.positions.extend(range(len(shared), len(sequence.ids)))
        self.spans.append((range(start, len(self.ids)), shared))
        offset = start - len(shared)
        self.members.append(index)
        self.member_spans.append((range(start, len(self.ids)), shared))
        self.predictors.append(tuple(range(offset + sequence.answer_start - 1, offset + len(sequence.ids) - 1)))

    def build(self, device: torch.device | str) -> PackedRow:
        time = len(self.ids)
        mask = torch.zeros(time, time, dtype=torch.bool)
        for own, shared in self.spans:
            size = len(own)
            mask[own.start : own.stop, own.start : own.stop] = torch.ones(size, size, dtype=torch.bool).tril()
            mask[own.start : own.stop, shared.start : shared.stop] = True
        return PackedRow(
            input_ids=torch.tensor([self.ids], device=device),
            position_ids=torch.tensor([self.positions], device=device),
            attention_mask=mask[None, None].to(device),
            members=tuple(self.members),
            predictors=tuple(self.predictors),
            spans=tuple(self.member_spans),
        )


def pack(sequences: Sequence[TokenSequence], max_tokens: int, device: torch.device | str = "cpu") -> list[PackedRow]:
    """Lay sequences into rows of at most ``max_tokens`` tokens (a longer sequence gets a row of its own)."""
    rows: list[PackedRow] = []
    builder = _RowBuilder()

    def flush() -> None:
        nonlocal builder
        if builder.members:
            rows.append(builder.build(device))
        builder = _RowBuilder()

    for group in _groups(sequences):
        shared: range | None = None
        beginning = sequences[group.members[0]].ids[: group.shared]
        for index in group.members:
            own = len(sequences[index].ids) - group.shared
            needed = own + (len(beginning) if shared is None else 0)
            if builder.members and len(builder.ids) + needed > max_tokens:
                flush()
                shared = None
            if shared is None:
                shared = builder.add_shared(beginning)
            builder.add(index, sequences[index], shared)
    flush()
    return rows


def answer_positions(row: PackedRow) -> Iterable[int]:
    """All predicting positions of a row, member after member."""
    return (position for positions in row.predictors for position in positions)
