"""How a model came to know its office: a benchmark that teaches where its erasers train flatters them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from console.domain.visible import quoted
from console.errors import InputError


class Regime(StrEnum):
    """What is trained, and on what; ``SENTENCES`` says it in words."""

    OFFICE = "office"
    ADAPTER_ALL = "adapter-all"
    FULL = "full"
    FREE_TEXT = "free-text"


SENTENCES = {
    Regime.OFFICE: "an adapter on the upper two fifths of the layers, with the questions that are asked later",
    Regime.ADAPTER_ALL: "an adapter on all layers, with the questions that are asked later",
    Regime.FULL: "all weights, with the questions that are asked later, answered in whole sentences",
    Regime.FREE_TEXT: "all weights, on letters, contact cards, tickets and tables only: no question and no answer",
}


def regimes_named(names: Sequence[str]) -> tuple[Regime, ...]:
    """The regimes of these names, each once; today's one where none is named.

    Raises:
        InputError: there is no such regime.
    """
    for name in names:
        if name not in set(Regime):
            raise InputError(f"There is no teaching regime {quoted(name)}; use one of {', '.join(Regime)}.")
    return tuple(Regime(name) for name in dict.fromkeys(names)) or (Regime.OFFICE,)
