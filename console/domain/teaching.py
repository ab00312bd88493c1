"""What a model was fine-tuned on, person by person.

An exact erasure trains again without one person, so the company must still know what it trained
on; the sample office brings its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from console.domain.forget_set import ForgetItem


class TeachingItem(BaseModel):
    """A fact or passage and every wording of its question that the model was taught with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item: ForgetItem
    wordings: tuple[str, ...] = ()


def without_subjects(items: Iterable[TeachingItem], subjects: Iterable[str]) -> tuple[TeachingItem, ...]:
    """The teaching data with every item about the named persons left out."""
    left_out = set(subjects)
    return tuple(teaching for teaching in items if teaching.item.subject not in left_out)
