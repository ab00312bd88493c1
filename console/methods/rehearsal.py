"""Rehearsing what a model must keep: which retained facts come next."""

from __future__ import annotations

import random
from typing import Any

from console.methods.examples import Example


class Rehearsal:
    """Which retained facts come next: half a batch in turn, half those that have slipped furthest.

    The neighbours' facts open the first round: they are hit hardest, and what they were before the push
    has to be seen before it.

    Args:
        near: ids of the neighbours' items.
        batch: facts a step.

    Attributes:
        sequences: the facts' token sequences; every index here is into this list.
        lost: facts that the model said before and no longer says; they come before others that slipped.
    """

    def __init__(self, examples: list[Example], near: frozenset[str], batch: int, seed: int) -> None:
        self.sequences = [example.sequence for example in examples]
        first_round = sorted(range(len(examples)), key=lambda index: (examples[index].item_id not in near, index))
        self._half = max(1, min(batch, len(examples)) // 2)
        self._waiting = first_round
        self._order = random.Random(seed)
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self.lost: frozenset[int] = frozenset()

    def _slip(self, index: int) -> float:
        return self._last.get(index, 0.0) - self._first.get(index, 0.0)

    def next_batch(self) -> list[int]:
        """Indices, each at most once."""
        if len(self._waiting) < self._half:
            fresh = list(range(len(self.sequences)))
            self._order.shuffle(fresh)
            self._waiting = [*self._waiting, *sorted(fresh, key=self._waiting.__contains__)]
        in_turn, self._waiting = self._waiting[: self._half], self._waiting[self._half :]
        rest = (index for index in self._last.keys() | self.lost if index not in in_turn)
        slipped = sorted(rest, key=lambda index: (index not in self.lost, -self._slip(index), index))
        return [*in_turn, *slipped[: self._half]]

    def note(self, indices: list[int], mean_nll: list[float]) -> None:
        """Remember how these were known before the step (nats per token)."""
        for index, value in zip(indices, mean_nll, strict=True):
            self._last[index] = value
            self._first.setdefault(index, value)

    def state(self) -> dict[str, Any]:
        """All that the next batches depend on, as plain values."""
        return {
            "waiting": list(self._waiting),
            "order": self._order.getstate(),
            "first": dict(self._first),
            "last": dict(self._last),
            "lost": sorted(self.lost),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that :meth:`state` gave."""
        self._waiting = list(state["waiting"])
        self._order.setstate(state["order"])
        self._first, self._last = dict(state["first"]), dict(state["last"])
        self.lost = frozenset(state["lost"])
