"""The governor of a run: facts of other people that no stage sees are asked, and what loses them is taken back.

Before anything is changed, a fixed share of the retained questions is held out (people who share traits with the
person among them), drawn by a seed and given to no stage; the model is asked them, greedily. What it gave is remembered
with the form in which it gave it, and is asked again after every stage, and whenever a method asks within its run.

**The rule.** At most 2 % of what it knew may be lost. Which facts were held out is luck, so a few lost ones among few
asked show nothing: too many are lost once the exact 95 % lower bound (one-sided, Clopper and Pearson 1934) of the share
that is lost lies above 2 %. That is 1 of 2, 2 of 14, 3 of 40. Greedy answers hold no luck of their own. Fewer lost ones
are not taken back, and are told: the count stands in every outcome.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.intervals import clopper_pearson
from console.domain.matching import answer_in
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.methods.protocol import ErasureData, RunControl

MAY_BE_LOST = 0.02  # share of the facts of others that the verdict lets go, too
_TWO_SIDED = 0.90  # whose lower end is the one-sided 95 % bound
_LEAST_RETAINED = 5  # fewer questions are all needed for the rehearsal


class GovernorSettings(BaseModel):
    """Attributes:
    share: of the retained questions that are held out; 0 leaves nobody to watch.
    most: questions that are held out at most.
    answer_tokens: room for an answer.
    halvings: how often a stage's change is halved before all of it is taken back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(default=0.2, ge=0, le=0.5)
    most: int = Field(default=40, ge=1)
    answer_tokens: int = Field(default=48, ge=1)
    halvings: int = Field(default=2, ge=0)


def hold_out(data: ErasureData, settings: GovernorSettings, seed: int) -> tuple[ErasureData, tuple[ForgetItem, ...]]:
    """What the stages may see, and the retained questions that they may not; none where there are too few."""
    asked = [item for item in data.retain.items if item.kind is not ItemKind.VERBATIM]
    if len(asked) < _LEAST_RETAINED or not settings.share:
        return data, ()
    near = [item for item in asked if item.subject in data.neighbours]
    far = [item for item in asked if item.subject not in data.neighbours]
    drawn = random.Random(seed)
    count = min(settings.most, math.ceil(settings.share * len(asked)))
    # Neighbours are hit first: as many as everybody's share is, and never none of them.
    of_near = min(len(near), max(math.ceil(count * len(near) / len(asked)), 1)) if near else 0
    of_far = min(len(far), count - of_near)
    held = (*drawn.sample(near, of_near), *drawn.sample(far, of_far))
    ids = {item.id for item in held}
    seen = tuple(item for item in data.retain.items if item.id not in ids)
    teaching = tuple(taught for taught in data.teaching if taught.item.id not in ids)
    return replace(data, retain=data.retain.model_copy(update={"items": seen}), teaching=teaching), held


@dataclass(frozen=True)
class Kept:
    """How many held-out facts are still given, of those that were given before."""

    kept: int
    known: int

    @property
    def lost(self) -> int:
        return self.known - self.kept

    @property
    def too_many_lost(self) -> bool:
        return self.lost > 0 and clopper_pearson(self.lost, self.known, _TWO_SIDED)[0] > MAY_BE_LOST

    @property
    def words(self) -> str:
        """``38 of 40 held-out facts of others kept``."""
        return f"{self.kept} of {self.known} held-out facts of others kept"


class Governor:
    """Watches one run of one model. It asks when it is made, so it is made before anything is changed."""

    def __init__(
        self, model: TransformersModel, held_out: Sequence[ForgetItem], settings: GovernorSettings, control: RunControl
    ) -> None:
        self._model, self._settings, self._control = model, settings, control
        self._items = {item.id: item for item in held_out}
        chat = {item.id: Prompt(f"held/{item.id}", item.prompt) for item in held_out}
        given = self._given(chat)
        # A model that was taught on records and letters may say it only outside of a chat.
        plain = {
            id: Prompt(f"held/{id}", f"Question: {self._items[id].prompt}\nAnswer:", chat=False)
            for id in chat
            if id not in given
        }
        self._known = {id: chat[id] for id in given} | {id: plain[id] for id in self._given(plain)}

    @property
    def known(self) -> int:
        """How many held-out facts the model gave before anything was changed."""
        return len(self._known)

    def ask(self) -> Kept:
        """Ask what was given before; the network may have an adapter on it."""
        return Kept(len(self._given(self._known)), len(self._known))

    def check(self, step: int) -> bool:
        """Whether what must be kept is kept, for a method that looks within its run."""
        asked = self.ask()
        self._control.metric(step, {"held_out_kept": float(asked.kept)})
        return not asked.too_many_lost

    def _given(self, prompts: dict[str, Prompt]) -> set[str]:
        """Ids of the items whose answer the model says."""
        if not prompts:
            return set()
        ids = {prompt.id: id for id, prompt in prompts.items()}
        found = set()
        self._control.check_cancelled()
        for said in self._model.generate([*prompts.values()], (GREEDY,), [self._settings.answer_tokens] * len(prompts)):
            self._control.check_cancelled()
            if answer_in(said.text, self._items[ids[said.prompt_id]].answers):
                found.add(ids[said.prompt_id])
        return found


class WeightsBefore:
    """A copy of all weights in main memory, to go back to. Tensors are found by name, whatever was laid over them."""

    def __init__(self, network: Any) -> None:
        self._kept = {name: weight.detach().to("cpu", copy=True) for name, weight in _weights(network)}

    @torch.no_grad()
    def go_back(self, network: Any) -> None:
        """Put every weight back, bit for bit."""
        for name, weight in _weights(network):
            weight.copy_(self._kept[name])

    @torch.no_grad()
    def go_half_way_back(self, network: Any) -> None:
        """Halve the change of every weight; what did not change stays as it is, bit for bit."""
        for name, weight in _weights(network):
            kept = self._kept[name].to(weight.device)
            if not torch.equal(kept, weight):
                weight.copy_((weight.float() + kept.float()) / 2)


def _weights(network: Any) -> Iterable[tuple[str, torch.Tensor]]:
    return ((name, weight) for name, weight in network.named_parameters())


@dataclass(frozen=True)
class Settled:
    """What the governor left of a stage.

    Attributes:
        share: of the stage's change, 0 to 1.
        asked: what was kept with the whole change.
        left: what is kept with what was left of it.
    """

    share: float
    asked: Kept
    left: Kept


def settle(governor: Governor, network: Any, before: WeightsBefore, halvings: int) -> Settled:
    """Ask after a stage; where too much is lost, halve its change until no longer, or take all of it back."""
    asked = governor.ask()
    left, share = asked, 1.0
    for _ in range(halvings):
        if not left.too_many_lost:
            return Settled(share, asked, left)
        before.go_half_way_back(network)
        share /= 2
        left = governor.ask()
    if not left.too_many_lost:
        return Settled(share, asked, left)
    before.go_back(network)
    return Settled(0.0, asked, governor.ask())
