"""What became of one request in several ways: its runs side by side, or two of its models attack by attack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from console.casework.models import model_state
from console.casework.office import Office
from console.casework.requests import request_state
from console.casework.side_effects import unfairly_suppressed
from console.domain.case_state import REQUESTS
from console.domain.comparing import fisher_exact, holm
from console.domain.events import BatteryRecorded, ErasureRun, VerdictReached
from console.domain.results import AttackRow, Battery, Behaviour, Evidence, Rate, pooled
from console.domain.verdict import Word, located
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


# -- the runs of a case --------------------------------------------------------------------------

DIFFERENT_SEARCHES = "These runs were judged by different searches, so their counts cannot be compared with each other."


@dataclass(frozen=True)
class StillFound:
    """An attack that still finds the data in a run's model: hits of attempts."""

    attack: str
    title: str
    attempts: Rate | None


def _told(found: tuple[StillFound, ...]) -> str:
    counted = [
        one.title + (f" ({one.attempts.hits} of {one.attempts.trials})" if one.attempts is not None else "")
        for one in found
    ]
    return ", ".join(counted) or "no attack"


@dataclass(frozen=True)
class ComparedRun:
    """One erased model of a case, and what was found out about it.

    Attributes:
        stages: of a recipe, in the methods' own words; empty for a single method.
        word: the newest verdict on it; None while it was not attacked, and then nothing below is known.
        found_by: attacks that still bring the data out; ``recognised_by`` only recognise the person's texts.
        kept: facts of other people that are still answered, of those answered before.
        perplexity: how many times as hard general text is to predict as before.
    """

    artefact: str
    parent: str
    method: str
    title: str
    stages: tuple[str, ...]
    stop_reason: str
    seconds: float
    word: Word | None = None
    found_by: tuple[StillFound, ...] = ()
    recognised_by: tuple[StillFound, ...] = ()
    kept: Rate | None = None
    perplexity: float | None = None
    suite_hash: str = ""

    @property
    def found_words(self) -> str:
        """``Rephrased questions (3 of 40), …``."""
        return _told(self.found_by)

    @property
    def recognised_words(self) -> str:
        return _told(self.recognised_by)

    @property
    def kept_words(self) -> str:
        """``55 of 57 kept``."""
        return "not measured" if self.kept is None else f"{self.kept.hits} of {self.kept.trials} kept"

    @property
    def perplexity_words(self) -> str:
        """``3 % harder to predict``."""
        if self.perplexity is None:
            return "not measured"
        share = abs(self.perplexity - 1)
        if share < 0.005:
            return "as hard to predict as before"
        return f"{share:.0%} {'harder' if self.perplexity > 1 else 'easier'} to predict".replace("%", " %")


@dataclass(frozen=True)
class ComparedRuns:
    """All runs of a case, in their order; ``note`` says why they cannot be compared, or nothing."""

    number: str
    runs: tuple[ComparedRun, ...]
    note: str = ""


def _body(office: Office, seq: int) -> dict[str, Any]:
    return office.ledger.events(after_seq=seq - 1)[0].body


def compare_runs(office: Office, number: str) -> ComparedRuns:
    """Every erased model of a request with its verdict, what still finds the data in it, and what it kept.

    Raises:
        InputError: no such request.
        NotPossibleError: nothing was erased for it yet.
    """
    state = request_state(office, number)
    if not state["runs"]:
        raise NotPossibleError(f"Nothing was erased for request {number} yet, so there are no runs to compare.")
    verdicts: dict[str, VerdictReached] = {}
    for event in office.ledger.events(state["number"]):
        if event.kind == VerdictReached.kind:
            reached = VerdictReached.model_validate(event.body)
            verdicts[reached.artefact] = reached
    runs = tuple(_compared_run(office, name, run["seq"], verdicts.get(name)) for name, run in state["runs"].items())
    suites = {run.suite_hash for run in runs if run.word is not None}
    return ComparedRuns(state["number"], runs, DIFFERENT_SEARCHES if len(suites) > 1 else "")


def _compared_run(office: Office, artefact: str, seq: int, reached: VerdictReached | None) -> ComparedRun:
    run = ErasureRun.model_validate(_body(office, seq))
    ran = ComparedRun(
        artefact=artefact,
        parent=str(model_state(office, artefact).get("parent") or ""),
        method=run.method["id"],
        title=run.method.get("title") or run.method["id"],
        stages=tuple(stage["title"] for stage in run.method.get("stages", ())),
        stop_reason=run.stop_reason,
        seconds=float(run.seconds),
    )
    if reached is None:
        return ran
    after = BatteryRecorded.model_validate(_body(office, reached.after_seq))
    beside: Battery | None = None
    if reached.reference_seq is not None:
        beside = BatteryRecorded.model_validate(_body(office, reached.reference_seq)).battery
    titles = {attack["id"]: attack["title"] for attack in after.attacks}
    found, recognised = [], []
    for row in located(after.battery, beside):
        one = StillFound(row.attack, titles.get(row.attack, row.attack), row.outcome and row.outcome.attempts)
        (recognised if row.evidence is Evidence.MEMBERSHIP else found).append(one)
    utility = reached.utility
    return replace(
        ran,
        word=reached.verdict.word,
        found_by=tuple(found),
        recognised_by=tuple(recognised),
        kept=None if utility is None else pooled(row.kept for row in utility.groups),
        perplexity=None if utility is None else float(utility.perplexity_ratio),
        suite_hash=after.battery.suite_hash,
    )


def runs_json(found: ComparedRuns) -> dict[str, Any]:
    """The runs as data."""

    def counts(rate: Rate | None) -> dict[str, int] | None:
        return None if rate is None else {"hits": rate.hits, "trials": rate.trials}

    def still(attacks: tuple[StillFound, ...]) -> dict[str, Any]:
        return {one.attack: counts(one.attempts) for one in attacks}

    return {
        "request": found.number,
        "note": found.note,
        "runs": [
            {
                "artefact": run.artefact,
                "parent": run.parent,
                "method": run.method,
                "title": run.title,
                "stages": list(run.stages),
                "stop_reason": run.stop_reason,
                "seconds": run.seconds,
                "verdict": run.word and run.word.value,
                "found_by": still(run.found_by),
                "recognised_by": still(run.recognised_by),
                "kept": counts(run.kept),
                "perplexity_ratio": run.perplexity,
            }
            for run in found.runs
        ],
    }
