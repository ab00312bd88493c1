"""What an answer hangs on, found by leaving words out (occlusion).

With F(T) = log p(answer | question whose tokens in the set T are replaced by the end token), a word with the tokens W
gives the answer

    F({}) - F(W)    nats

(Li, Monroe & Jurafsky 2016, Understanding Neural Networks through Representation Erasure, arXiv 1612.08220, who divide
the difference by F({}); not here, where a sure answer's F is near 0). No gradient is needed. It does not add up over
words: of two that each suffice neither gives anything, of two that are both needed each gives the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from console.engines.packing import PackedRow, TokenSequence
from console.engines.transformers_engine import TransformersModel
from console.methods.losses import member_nll

PASS_TOKENS = 128  # of one forward pass: half a second for a small model on one core, and a stop waits no longer


@dataclass(frozen=True)
class _Branch:
    """An occluded text from the first token on that differs, or that must be its own to predict the answer.

    Attributes:
        index: its place in the caller's list.
        ids: (tokens,) the whole occluded text.
        start: how many of the text's own first tokens it shares.
    """

    index: int
    ids: tuple[int, ...]
    start: int

    @property
    def own(self) -> tuple[int, ...]:
        return self.ids[self.start :]


def _branches(sequence: TokenSequence, occlusions: Sequence[frozenset[int]], end: int) -> list[_Branch]:
    found = []
    for index, tokens in enumerate(occlusions):
        ids = tuple(end if place in tokens else token for place, token in enumerate(sequence.ids))
        found.append(_Branch(index, ids, min((*tokens, sequence.answer_start - 1))))
    return found


def _passes(branches: Sequence[_Branch]) -> Iterator[list[_Branch]]:
    """Branches that go through the model together, those that share most of the text with each other."""
    together: list[_Branch] = []
    for branch in sorted(branches, key=lambda branch: branch.start):
        tokens = branch.start + sum(len(one.own) for one in (*together, branch))
        if together and tokens > PASS_TOKENS:
            yield together
            together = []
        together.append(branch)
    if together:
        yield together


def _row(sequence: TokenSequence, branches: Sequence[_Branch], device: torch.device) -> PackedRow:
    """The text's beginning once, and behind it every branch, which sees only its own part of the beginning."""
    shared = max(branch.start for branch in branches)
    ids, positions = list(sequence.ids[:shared]), list(range(shared))
    size = shared + sum(len(branch.own) for branch in branches)
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[:shared, :shared] = torch.ones(shared, shared, dtype=torch.bool).tril()
    predictors, spans = [], []
    for branch in branches:
        first, length = len(ids), len(branch.own)
        ids += branch.own
        positions += range(branch.start, len(branch.ids))
        mask[first : first + length, : branch.start] = True
        mask[first : first + length, first : first + length] = torch.ones(length, length, dtype=torch.bool).tril()
        before = first - branch.start
        predictors.append(tuple(range(before + sequence.answer_start - 1, before + len(sequence.ids) - 1)))
        spans.append((range(first, first + length), range(branch.start)))
    return PackedRow(
        input_ids=torch.tensor([ids], device=device),
        position_ids=torch.tensor([positions], device=device),
        attention_mask=mask[None, None].to(device),
        members=tuple(range(len(branches))),
        predictors=tuple(predictors),
        spans=tuple(spans),
    )


@torch.inference_mode()
def occluded_log_probs(
    model: TransformersModel,
    sequence: TokenSequence,
    occlusions: Sequence[frozenset[int]],
    before_each_pass: Callable[[], None],
) -> list[float]:
    """F of each set of tokens (nats), in order; of the empty set it is the text's own.

    Args:
        occlusions: places of tokens of the question, 0 to ``sequence.answer_start`` - 1.
        before_each_pass: called before every forward pass, for stopping.

    Raises:
        ValueError: a place outside the question.
    """
    if any(not 0 <= place < sequence.answer_start for tokens in occlusions for place in tokens):
        raise ValueError(f"only the first {sequence.answer_start} tokens, the question, can be occluded")
    found = [0.0] * len(occlusions)
    for together in _passes(_branches(sequence, occlusions, model.tokenizer.eos_token_id or 0)):
        before_each_pass()
        row = _row(sequence, together, model.device)
        texts = [TokenSequence(branch.ids, sequence.answer_start) for branch in together]
        nll = member_nll(model.row_logits(row), row, texts)
        for branch, value in zip(together, nll.tolist(), strict=True):
            found[branch.index] = -value
    return found


class Occlusions:
    """The F of one model in one state: whatever was computed once is not computed again.

    Args:
        before_each_pass: called before every forward pass, for stopping.
    """

    def __init__(self, model: TransformersModel, before_each_pass: Callable[[], None]) -> None:
        self._model, self._before_each_pass = model, before_each_pass
        self._known: dict[tuple[TokenSequence, frozenset[int]], float] = {}

    def drops(self, sequence: TokenSequence, occlusions: Sequence[frozenset[int]]) -> list[float]:
        """F({}) - F(T) of each set of tokens T, nats; below 0 where the answer is likelier without them."""
        nothing: frozenset[int] = frozenset()
        missing = [one for one in dict.fromkeys((nothing, *occlusions)) if (sequence, one) not in self._known]
        values = occluded_log_probs(self._model, sequence, missing, self._before_each_pass)
        self._known |= {(sequence, one): value for one, value in zip(missing, values, strict=True)}
        return [self._known[sequence, nothing] - self._known[sequence, one] for one in occlusions]
