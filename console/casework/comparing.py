"""Two attacked models of one request side by side: what each attack found in the one and in the other."""

from __future__ import annotations

from dataclasses import dataclass

from console.casework.models import model_state
from console.casework.office import Office
from console.casework.side_effects import unfairly_suppressed
from console.domain.case_state import REQUESTS
from console.domain.comparing import fisher_exact, holm
from console.domain.events import BatteryRecorded
from console.domain.results import AttackRow, Behaviour, Rate
from console.errors import NotPossibleError


@dataclass(frozen=True)
class ComparedRow:
    """One attack on both models.

    Attributes:
        p_value: that the two rates are one, adjusted for the number of attacks (Fisher, Holm); None where a model
            has no count, or where membership inference gives an area instead.
    """

    attack: str
    title: str
    left: AttackRow
    right: AttackRow
    p_value: float | None


@dataclass(frozen=True)
class Comparison:
    """All attacks on both models.

    Attributes:
        suppressed: unfair suppression: other people's facts that the left model tells step by step and the right one
            does not, of those that the left one tells; None where nobody was asked so.
        behaviour: how each of the two behaves besides; None where it was not measured.
    """

    number: str
    left: str
    right: str
    rows: tuple[ComparedRow, ...]
    suppressed: Rate | None = None
    behaviour: tuple[Behaviour | None, Behaviour | None] = (None, None)


def _batteries(office: Office, model: str) -> dict[tuple[str, str], BatteryRecorded]:
    """The model's recorded batteries, by request and suite."""
    found = {}
    for number, state in office.ledger.projection(REQUESTS).items():
        for key, kept in state["batteries"].items():
            if key.partition("/")[2] == model:
                body = BatteryRecorded.model_validate(office.ledger.events(after_seq=kept["seq"] - 1)[0].body)
                found[number, body.battery.suite_hash] = body
    return found


def compare(office: Office, left: str, right: str) -> Comparison:
    """The newest request whose suite was run on both models.

    Raises:
        InputError: an unknown model.
        NotPossibleError: no suite was run on both, so their counts cannot be compared.
    """
    names = [model_state(office, name)["name"] for name in (left, right)]
    first, second = (_batteries(office, name) for name in names)
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise NotPossibleError(
            f"No suite was run on both '{names[0]}' and '{names[1]}'; run locate or attack on them for one request."
        )
    key = shared[-1]
    a, b = first[key], second[key]
    titles = {attack["id"]: attack["title"] for attack in a.attacks}
    pairs = [(row, other) for row in a.battery.rows if (other := b.battery.row(row.attack)) is not None]
    raw = {
        row.attack: fisher_exact(row.outcome.attempts, other.outcome.attempts)
        for row, other in pairs
        if row.outcome and other.outcome and row.outcome.area is None and other.outcome.area is None
    }
    adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
    rows = tuple(
        ComparedRow(row.attack, titles.get(row.attack, row.attack), row, other, adjusted.get(row.attack))
        for row, other in pairs
    )
    suppressed = unfairly_suppressed(office.ledger.unseal(a.attempts), office.ledger.unseal(b.attempts))
    return Comparison(key[0], names[0], names[1], rows, suppressed, (a.behaviour, b.behaviour))
