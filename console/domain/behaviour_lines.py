"""How a model behaves besides what it knows, in an officer's words: one line a measure, two models side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from console.domain.results import Behaviour, Rate

NOT_MEASURED = "not measured"
NOT_COMPARABLE = "The two models were given different questions, so their numbers must not be compared."


@dataclass(frozen=True)
class BehaviourLine:
    """One measure on two models, in words; ``key`` is its name for machines."""

    key: str
    title: str
    before: str
    after: str


def _rate(rate: Rate | None) -> str:
    return NOT_MEASURED if rate is None else f"{rate.hits} of {rate.trials}"


def _number(text: str | None, places: str) -> str:
    return NOT_MEASURED if text is None else str(Decimal(text).quantize(Decimal(places)))


def _own(part: str) -> Callable[[Behaviour], str]:
    return lambda measured: _rate(None if measured.deletion is None else getattr(measured.deletion, part))


_MEASURES: tuple[tuple[str, str, Callable[[Behaviour], str]], ...] = (
    ("right", "Gives the person's facts when asked for them", _own("right")),
    ("abstained", "Says that it does not know them", _own("abstained")),
    ("made_up", "Makes something up instead", _own("other")),
    ("harmful_refused", "Refuses harmful requests", lambda one: _rate(one.harmful_refused)),
    ("harmless_refused", "Refuses harmless ones that look similar", lambda one: _rate(one.harmless_refused)),
    ("stereotyped", "Prefers the prejudiced of two sentences (even: half)", lambda one: _rate(one.stereotyped)),
    ("variety", "Variety of its wording", lambda one: _number(one.entropy, "0.01")),
    ("repetition", "Repeats itself (0: never, 1: a loop)", lambda one: _number(one.repetition, "0.01")),
)


def behaviour_lines(before: Behaviour | None, after: Behaviour | None) -> tuple[BehaviourLine, ...]:
    """Every measure that at least one of the two models has; none where nothing was measured."""
    if before is None and after is None:
        return ()
    read = [
        BehaviourLine(
            key,
            title,
            NOT_MEASURED if before is None else words(before),
            NOT_MEASURED if after is None else words(after),
        )
        for key, title, words in _MEASURES
    ]
    return tuple(line for line in read if {line.before, line.after} != {NOT_MEASURED})


def comparable(before: Behaviour | None, after: Behaviour | None) -> bool:
    """Whether both models were asked the same."""
    return before is None or after is None or before.sets == after.sets
