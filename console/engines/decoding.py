"""Batched generation with one prefill a prompt, whatever the number of attempts.

The prompts of a batch share their common beginning's key/value cache, the rest is padded on
the left (locally: the tokenizer's own setting is never touched), attempts that have said the same so
far are one row until they part, and a finished sequence leaves the batch. Samples are drawn by inverse
transform from numbers seeded by prompt and attempt, so an answer does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from console.engines.attention_masks import sees_whole
from console.engines.branching import Branch, DecodeJob, branches_of, parted, spoken
from console.engines.branching import nucleus_choice as nucleus_choice
from console.engines.packing import shared_length
from console.engines.protocol import Attempt


def _prefill(model: Any, batch: Sequence[DecodeJob], pad_id: int) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    """Run the prompts once.

    Returns:
        cache of the batch, attention mask (batch, time), logits (batch, vocab) after the last token.
    """
    device = model.device
    limit = min(len(job.ids) for job in batch) - 1
    # Behind a shared beginning the padding stands inside the texts, and a sliding window is counted over it.
    slots = max(len(job.ids) for job in batch) + max(job.max_new_tokens for job in batch)
    useful = len(batch) > 1 and sees_whole(model, slots)
    shared = shared_length([job.ids for job in batch], limit) if useful else 0
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


@torch.inference_mode()
def decode_batch(
    model: Any, batch: Sequence[DecodeJob], attempts: Sequence[Attempt], stop_ids: frozenset[int], pad_id: int
) -> Iterator[tuple[int, int, Branch]]:
    """Continue every prompt once per attempt.

    Yields:
        (index in the batch, index of the attempt, its branch with the new tokens, without the stop token) in that
        order.
    """
    cache, mask, logits = _prefill(model, batch, pad_id)
    branches = branches_of(batch, attempts)
    going = spoken(logits, branches, stop_ids)
    positions = mask.sum(dim=1, keepdim=True)
    while going:
        origins, tokens = parted(going)
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
        going = spoken(logits, going, stop_ids)
    for place, branch in enumerate(branches):
        yield place // len(attempts), place % len(attempts), branch
