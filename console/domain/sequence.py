"""Requests one after another on one model: who came before, whether they still hold, and when it is enough.

Each erasure writes a new model from the one before. Later steps may bring back what earlier ones took out, and the
changes add up until the model is damaged. So every new model is searched again for the earlier requests' data, and a
governor looks at the whole change from the first model of the chain:

    relative change   = ||W_n - W_0|| / ||W_0||      Frobenius norm over all weights together
    perplexity ratio  = perplexity(n) / perplexity(0)  of the same held-out text

Growth of the norm as the sign of a model that many edits in a row are wearing out: Gupta, Rao & Anumanchipalli 2024,
"Model Editing at Scale leads to Gradual and Catastrophic Forgetting".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from console.domain.results import Battery, Status
from console.domain.verdict import located

# Names in the metrics of an erasure run.
OWN_CHANGE = "relative_change"  # of the whole model against the model that was erased from
WHOLE_CHANGE = "relative_change_from_first"  # against the first model of the chain


@dataclass(frozen=True)
class Link:
    """One model of a chain; ``request`` is the one whose erasure wrote it, None for a model that was registered."""

    model: str
    request: str | None


def chain_to(model: str, models: Mapping[str, Mapping[str, Any]]) -> tuple[Link, ...]:
    """The models that led to this one, the first model first and this one last.

    Args:
        models: what is known of each model, by name: ``parent`` and ``artefact_of``.
    """
    links: list[Link] = []
    name: str | None = model
    while name is not None:
        links.append(Link(name, models[name]["artefact_of"]))
        name = models[name]["parent"]
    return tuple(reversed(links))


def requests_in(chain: Sequence[Link]) -> tuple[str, ...]:
    """Every request that was carried out on the way, the earliest first."""
    return tuple(dict.fromkeys(link.request for link in chain if link.request is not None))


def earlier_requests(chain: Sequence[Link]) -> tuple[str, ...]:
    """Every request that was carried out before the last model's own, the earliest first."""
    return tuple(number for number in requests_in(chain) if number != chain[-1].request)


def own_artefact(chain: Sequence[Link], request: str) -> str:
    """The last model on the way that this request's erasure wrote."""
    return next(link.model for link in reversed(chain) if link.request == request)


# -- is it still gone ------------------------------------------------------------------------


class Standing(StrEnum):
    """What a later model still gives away of an earlier request."""

    STILL_GONE = "still gone"
    CAME_BACK = "came back"
    NO_WORSE = "no more than after its own erasure, which had left something"
    NOT_KNOWN = "not known"


# A recheck is short and asks nothing again, so it goes on by the rules that judge bare counts.
RECHECK_RULES = 2


@dataclass(frozen=True)
class Rechecked:
    """The word, and the attacks that now find more than after the request's own erasure."""

    standing: Standing
    by: tuple[str, ...] = ()


def recheck(
    now: Battery, then: Battery | None, reference: Battery | None = None, version: int = RECHECK_RULES
) -> Rechecked:
    """Compare a short suite on a later model with what was found right after the request's own erasure.

    The rule is the verdict's own, with the model after its erasure in the reference's place: where nothing was found
    then, one hit is a leak; where something was, it must be significantly more now. Only attacks that ran on both
    count. Wrong hits on strangers' facts count as luck as they do there, but not for an attack that found the data
    even then: that model knew, and its hits were none.

    Args:
        now: the short suite on the later model.
        then: the suite that the request's verdict was reached with; None where there was none.
        reference: the same suite as ``then`` on a model that never knew the data, where there is one.
    """
    if then is None:
        return Rechecked(Standing.NOT_KNOWN)
    ran = {row.attack for row in then.rows if row.status is Status.OK}
    shared = {row.attack for row in now.rows if row.status is Status.OK} & ran
    if not shared:
        return Rechecked(Standing.NOT_KNOWN)
    left = {row.attack for row in located(_only(then, shared), reference, version)}
    more = located(_without_luck(_only(now, shared), left), then, version)
    back = tuple(row.attack for row in more if _share(now, row.attack) > _share(then, row.attack))
    if back:
        return Rechecked(Standing.CAME_BACK, back)
    return Rechecked(Standing.NO_WORSE if left else Standing.STILL_GONE)


def _only(battery: Battery, attacks: set[str]) -> Battery:
    return battery.model_copy(update={"rows": tuple(row for row in battery.rows if row.attack in attacks)})


def _without_luck(battery: Battery, attacks: set[str]) -> Battery:
    """These attacks without their control, so that they are compared with the other model alone."""
    rows = tuple(
        row.model_copy(update={"outcome": row.outcome.model_copy(update={"control": None})})
        if row.attack in attacks and row.outcome is not None
        else row
        for row in battery.rows
    )
    return battery.model_copy(update={"rows": rows})


def _share(battery: Battery, attack: str) -> float:
    row = battery.row(attack)
    assert row is not None and row.outcome is not None
    return row.outcome.attempts.share


# -- when it is enough -----------------------------------------------------------------------


class ChainLimits(BaseModel):
    """How far a chain of erasures may go. Defaults live here and nowhere else.

    Attributes:
        relative_change: most that all weights together may have moved from the first model, as a share of their norm.
            No source gives a number. One erasure of a four-fact request moved the tests' tiny model by 6 % and the
            fourth in a row by 11 % in all, so this lets a handful pass; how far a large one goes was not measured.
        perplexity_ratio: most that held-out general text may have become less likely than to the first model; twice
            and a half what one erasure may cost (see ``Thresholds.perplexity_ratio``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    relative_change: str = "0.15"
    perplexity_ratio: str = "1.25"

    @field_validator("relative_change", "perplexity_ratio")
    @classmethod
    def _a_number(cls, text: str) -> str:
        if not Decimal(text).is_finite():
            raise ValueError("a limit must be a number")
        return text


@dataclass(frozen=True)
class ChainMeasure:
    """How far a chain has gone; None where it was not measured.

    Attributes:
        relative_change: of the last model's weights against the first model's.
        bound: the change is not measured but at most this, added up from the single steps.
        perplexity_ratio: of the last model against the first.
    """

    first: str
    last: str
    relative_change: Decimal | None
    bound: bool
    perplexity_ratio: Decimal | None


def whole_change(runs: Sequence[Mapping[str, str]]) -> tuple[Decimal | None, bool]:
    """The change from the first model after these runs, from their metrics, and whether it is only an upper bound.

    A run that could not be compared with the first model (its files were gone) leaves the change against its own
    parent; by the triangle inequality ``c + r (1 + c)`` then bounds the whole, where ``c`` bounds what was before.
    """
    change: Decimal | None = Decimal(0)
    bound = False
    for metrics in runs:
        if WHOLE_CHANGE in metrics:
            change, bound = Decimal(metrics[WHOLE_CHANGE]), False
        elif OWN_CHANGE in metrics and change is not None:
            own = Decimal(metrics[OWN_CHANGE])
            bound = bound or change != 0
            change = change + own * (1 + change)
        else:
            change, bound = None, False
    return change, bound


def beyond(measure: ChainMeasure, limits: ChainLimits) -> tuple[str, ...]:
    """For each limit that is passed, what passed it: the middle of a sentence."""
    passed = []
    if (change := measure.relative_change) is not None and _over(change, limits.relative_change):
        most = "at most " if measure.bound else ""
        passed.append(f"its weights moved by {most}{_percent(change)} ({_percent(limits.relative_change)} is allowed)")
    if (ratio := measure.perplexity_ratio) is not None and _over(ratio, limits.perplexity_ratio):
        passed.append(
            f"general text became {_percent(ratio - 1)} harder to predict "
            f"({_percent(Decimal(limits.perplexity_ratio) - 1)} is allowed)"
        )
    return tuple(passed)


def _over(value: Decimal, limit: str) -> bool:
    return not value.is_finite() or value > Decimal(limit)  # a number that is none has passed every limit


def _percent(share: Decimal | str) -> str:
    value = Decimal(share)
    return f"{value:.1%}" if value.is_finite() else "an amount that is no number"
