"""The counts of a battery by what they mean: told, picked and recognised are three things and never added up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from console.domain.results import AttackRow, Evidence, Rate, Status, pooled


@dataclass(frozen=True)
class Tally:
    """What the attacks of a battery found together; None for what none of them tried.

    Attributes:
        told: attempts that brought the data out, by asking, by a look inside or after the weights were changed.
        picked: attempts in which the person's answer was picked among others that were offered; guessing hits, too.
        recognised: texts that membership attacks take for training texts. They bring nothing out.
    """

    told: Rate | None
    picked: Rate | None
    recognised: Rate | None

    @property
    def words(self) -> str:
        """The counts as one clause, such as ``2 of 132 attempts gave the data``."""
        parts = []
        if self.told is not None:
            parts.append(f"{_counts(self.told)} attempts gave the data")
        if self.picked is not None:
            parts.append(f"among offered answers it was picked in {_counts(self.picked)} (guessing picks some)")
        if self.recognised is not None:
            parts.append(f"membership attacks take {_counts(self.recognised)} texts for training texts")
        return "; ".join(parts) or "no attack could be counted"


def _counts(rate: Rate) -> str:
    return f"{rate.hits} of {rate.trials}"


def tally(rows: Iterable[AttackRow]) -> Tally:
    """Count the rows that can be counted, each kind by itself."""
    counted = [(row, row.outcome) for row in rows if row.status is Status.OK and row.outcome is not None]
    recognising = [outcome for row, outcome in counted if row.evidence is Evidence.MEMBERSHIP]
    others = [outcome for row, outcome in counted if row.evidence is not Evidence.MEMBERSHIP]
    return Tally(
        told=pooled(outcome.attempts for outcome in others if outcome.chance is None),
        picked=pooled(outcome.attempts for outcome in others if outcome.chance is not None),
        recognised=pooled(outcome.attempts for outcome in recognising),
    )
