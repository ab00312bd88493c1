"""Asking again for what attacks hit, until the verdict can tell a leak from luck.

The rules say what fresh draws would settle (``console.domain.rules_3``); the model and, for what was hit, the reference
are asked, and each battery is recorded once more with the new counts beside the old ones.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from console.casework.batteries import Suite, case_payload, with_sealed
from console.casework.knowledge import Knowledge
from console.casework.models import new_job_id, reference_to
from console.casework.office import Office
from console.casework.operation import Job, JobResult
from console.domain.events import BatteryRecorded, plain
from console.domain.results import FactCount, Stage
from console.domain.roles import Duty
from console.domain.rules_3 import FIRST_LOOK, MOST_ROUNDS, not_yet, to_ask_again
from console.domain.verdict import Thresholds
from console.jobs.spec import JobKind, JobPayload, JobSpec

AGAIN = "attempts_again"  # kind of the sealed item
Recorded = tuple[int, BatteryRecorded]
Wanted = Mapping[str, tuple[int, ...]]


class Unasked:
    """What has not been asked yet.

    The seeds go by the number of draws, so asking once more gives the same answers: a fact whose draws were cut off
    inside a thought has none afterwards either.
    """

    def __init__(self) -> None:
        self._asked: set[tuple[Stage, int, str, int]] = set()

    def of(self, stage: Stage, wanted: Wanted, draws: int) -> dict[str, tuple[int, ...]]:
        """Those facts, by attack, that this model was not asked for with so many draws; from now on they are asked."""
        left: dict[str, tuple[int, ...]] = {}
        for attack, facts in wanted.items():
            fresh = tuple(fact for fact in facts if (stage, draws, attack, fact) not in self._asked)
            self._asked |= {(stage, draws, attack, fact) for fact in fresh}
            if fresh:
                left[attack] = fresh
        return left


def settle(
    office: Office,
    number: str,
    suite: Suite,
    knowledge: Knowledge,
    device: str,
    found: Recorded,
    reference: Recorded | None,
    thresholds: Thresholds,
    before: Recorded | None = None,
) -> Generator[Job, JobResult, tuple[Recorded, Recorded | None]]:
    """Ask again for what a battery hit, and return it and the reference's with the fresh draws beside their counts.

    Args:
        before: the battery from before the erasure; None in a search, whose own battery is ``found``.
    """
    unasked = Unasked()
    for _round in range(MOST_ROUNDS):
        again = to_ask_again(
            found[1].battery,
            before[1].battery if before is not None else None,
            reference[1].battery if reference is not None else None,
            thresholds,
        )
        short = unasked.of(Stage.AFTER, again.short, FIRST_LOOK)
        hit = unasked.of(Stage.AFTER, again.hit, thresholds.draws)
        missing: Wanted = {}
        if reference is not None:
            missing = unasked.of(Stage.REFERENCE, not_yet(again, reference[1].battery, thresholds), thresholds.draws)
        if not (short or hit or missing):
            break
        found = yield from _asked(office, number, suite, knowledge, device, found, short, FIRST_LOOK)
        found = yield from _asked(office, number, suite, knowledge, device, found, hit, thresholds.draws)
        if reference is not None:
            reference = yield from _asked(
                office, number, suite, knowledge, device, reference, missing, thresholds.draws
            )
    return found, reference


def asking_again(payload: JobPayload, wanted: Wanted, draws: int) -> JobPayload:
    """What the worker is told: the facts by their ids, and how many draws each."""
    items = [item.id for item in payload.forget]
    again = {attack: tuple(items[fact] for fact in facts) for attack, facts in wanted.items()}
    return payload.model_copy(update={"behaviour": None, "again": again, "draws": draws})


def fresh_counts(value: Mapping[str, Any]) -> dict[str, list[FactCount]]:
    """A finished job's counts by attack."""
    return {attack: [FactCount.model_validate(one) for one in counts] for attack, counts in value["counts"].items()}


def _asked(
    office: Office,
    number: str,
    suite: Suite,
    knowledge: Knowledge,
    device: str,
    recorded: Recorded,
    wanted: Wanted,
    draws: int,
) -> Generator[Job, JobResult, Recorded]:
    """Fresh draws on one model, recorded beside its battery; the battery itself where nothing is wanted."""
    if not wanted:
        return recorded
    body = recorded[1]
    payload, _told = with_sealed(office, suite, case_payload(office, number, knowledge))
    payload = asking_again(payload, wanted, draws)
    spec = JobSpec(
        job_id=new_job_id(JobKind.ASK_AGAIN),
        kind=JobKind.ASK_AGAIN,
        model=reference_to(office, body.model),
        cache=str(office.places.cache),
        attacks=tuple(wanted),
        settings=dict(suite.settings),
        device=device,
        engine=suite.engine,
    )
    title = "Asking again for what was hit" if draws > FIRST_LOOK else "Asking a few times more"
    result = yield Job(spec, payload, title, body.model, number, details={"suite": suite.hash})
    counts = fresh_counts(result.value)
    with office.ledger.transaction() as transaction:
        sealed = transaction.seal(number, AGAIN, plain(result.value["attempts"]))
        body = body.model_copy(
            update={
                "job_id": spec.job_id,
                "battery": body.battery.asked_again(counts),
                "again": (*body.again, sealed),
            }
        )
        event = transaction.append(
            BatteryRecorded.kind, body.to_body(), request_id=number, actor=office.require(Duty.VERIFY)
        )
    return event.seq, body
