"""Batched generation with one prefill a prompt, whatever the number of attempts.

The prompts of a batch share their common beginning's key/value cache, the rest is padded on
the left (locally: the tokenizer's own setting is never touched), attempts that have said the same so
far are one row until they part, and a finished sequence leaves the batch. Samples are drawn by inverse
transform from numbers seeded by prompt and attempt, so an answer does not depend on its batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from console.engines.packing import shared_length
from console.engines.protocol import Attempt


@dataclass(frozen=True)
class DecodeJob:
    """One prompt to continue: its id (seeds the samples), token ids, and how many tokens at most."""

    prompt_id: str
    ids: tuple[int, ...]
    max_new_tokens: int


def _uniforms(job: DecodeJob, attempt: Attempt) -> list[float]:
    """``max_new_tokens`` numbers in [0, 1) fixed by the prompt's id and the attempt's seed; none where it is greedy."""
    if attempt.seed is None:
        return []
    digest = hashlib.sha256(f"{attempt.seed}\0{job.prompt_id}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.rand(job.max_new_tokens, generator=generator).tolist()


_LIKELY = 256  # picking so many of 49,152 took a twentieth of sorting them all (5 ms, 95 ms; 40 rows, two cores)


def _draw(ordered: torch.Tensor, order: torch.Tensor, top_p: float, uniform: torch.Tensor) -> torch.Tensor:
    """Draw from the beginning of each row's distribution, most likely first, that reaches ``top_p``."""
    before = ordered.cumsum(dim=-1) - ordered
    ordered = ordered * (before < top_p)
    cumulative = ordered.cumsum(dim=-1)
    drawn = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    return order.gather(-1, drawn.clamp(max=ordered.shape[-1] - 1)).squeeze(-1)


def nucleus_choice(logits: torch.Tensor, attempt: Attempt, uniform: torch.Tensor) -> torch.Tensor:
    """Draw one token a row from the smallest set of tokens whose probability reaches ``top_p``.

    Rows are sorted whole only where the most likely tokens do not reach ``top_p``; which way a row goes
    depends on that row alone, so a draw does not depend on the batch.

    Args:
        logits: (rows, vocab) float32.
        uniform: (rows,) numbers in [0, 1).
    """
    probabilities = torch.softmax(logits / attempt.temperature, dim=-1)
    ordered, order = probabilities.topk(min(_LIKELY, logits.shape[-1]), dim=-1)
    chosen = _draw(ordered, order, attempt.top_p, uniform)
    wide = (ordered.sum(dim=-1) < attempt.top_p).nonzero().squeeze(-1)
    if len(wide):
        ordered, order = probabilities[wide].sort(dim=-1, descending=True)
        chosen[wide] = _draw(ordered, order, attempt.top_p, uniform[wide])
    return chosen


def _prefill(model: Any, batch: Sequence[DecodeJob], pad_id: int) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    """Run the prompts once.

    Returns:
        cache of the batch, attention mask (batch, time), logits (batch, vocab) after the last token.
    """
    device = model.device
    limit = min(len(job.ids) for job in batch) - 1
    shared = shared_length([job.ids for job in batch], limit) if len(batch) > 1 else 0
    cache = DynamicCache(config=model.config)
    if shared:
        beginning = torch.tensor([batch[0].ids[:shared]], device=device)
        model(beginning, cache=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(batch))
    longest = max(len(job.ids) for job in batch) - shared
    ids = torch.full((len(batch), longest), pad_id)
    own = torch.zeros(len(batch), longest, dtype=torch.long)
    for row, job in enumerate(batch):
        rest = job.ids[shared:]
        ids[row, longest - len(rest) :] = torch.tensor(rest)
        own[row, longest - len(rest) :] = 1
    mask = torch.cat([torch.ones(len(batch), shared, dtype=torch.long), own], dim=1).to(device)
    positions = (shared + own.cumsum(dim=1) - 1).clamp(min=0).to(device)
    output = model(
        ids.to(device),
        attention_mask=mask,
        position_ids=positions,
        cache=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cache, mask, output.logits[:, -1].float()


@dataclass
class _Branch:
    """One attempt on one prompt: the row of the batch it follows, and what it has said."""

    job: DecodeJob
    attempt: Attempt
    uniforms: list[float]
    row: int
    tokens: list[int] = field(default_factory=list)


def _choose(logits: torch.Tensor, branches: Sequence[_Branch]) -> list[int]:
    """Next token of every branch: its row's most likely one, or a draw with its own number.

    Args:
        logits: (rows, vocab) float32.
    """
    greedy = logits.argmax(dim=-1).tolist()
    chosen = [greedy[branch.row] for branch in branches]
    for attempt in dict.fromkeys(branch.attempt for branch in branches if branch.attempt.seed is not None):
        places = [place for place, branch in enumerate(branches) if branch.attempt == attempt]
        numbers = [branches[place].uniforms[len(branches[place].tokens)] for place in places]
        uniform = torch.tensor(numbers, device=logits.device)
        rows = torch.tensor([branches[place].row for place in places], device=logits.device)
        drawn = nucleus_choice(logits[rows], attempt, uniform).tolist()
        for place, token in zip(places, drawn, strict=True):
            chosen[place] = token
    return chosen


def _parted(branches: Sequence[_Branch]) -> tuple[list[int], list[int]]:
    """Give every branch its row in the next step; branches of one row that said the same stay together.

    Returns:
        for each new row, the old row it comes from and the token it goes on with.
    """
    rows: dict[tuple[int, int], int] = {}
    for branch in branches:
        branch.row = rows.setdefault((branch.row, branch.tokens[-1]), len(rows))
    return [old for old, _ in rows], [token for _, token in rows]


@torch.inference_mode()
def decode_batch(
    model: Any, batch: Sequence[DecodeJob], attempts: Sequence[Attempt], stop_ids: frozenset[int], pad_id: int
) -> Iterator[tuple[int, int, list[int]]]:
    """Continue every prompt once per attempt.

    Yields:
        (index in the batch, index of the attempt, new token ids without the stop token) in that order.
    """
    cache, mask, logits = _prefill(model, batch, pad_id)
    branches = [
        _Branch(job, attempt, _uniforms(job, attempt), row) for row, job in enumerate(batch) for attempt in attempts
    ]
    going = branches
    positions = mask.sum(dim=1, keepdim=True)
    while going:
        spoken = []
        for branch, token in zip(going, _choose(logits, going), strict=True):
            if token not in stop_ids:
                branch.tokens.append(token)
                if len(branch.tokens) < branch.job.max_new_tokens:
                    spoken.append(branch)
        going = spoken
        if not going:
            break
        origins, tokens = _parted(going)
        if origins != list(range(len(mask))):
            kept = torch.tensor(origins, device=logits.device)
            cache.batch_select_indices(kept)
            mask, positions = mask[kept], positions[kept]
        mask = torch.cat([mask, mask.new_ones(len(origins), 1)], dim=1)
        output = model(
            torch.tensor(tokens, device=logits.device)[:, None],
            attention_mask=mask,
            position_ids=positions,
            cache=cache,
            use_cache=True,
        )
        positions = positions + 1
        logits = output.logits[:, -1].float()
    for place, branch in enumerate(branches):
        yield place // len(attempts), place % len(attempts), branch.tokens
