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
from console.domain.results import Battery, FactCount
from console.domain.roles import Duty
from console.domain.rules_3 import FIRST_LOOK, Again, to_ask_again
from console.domain.verdict import Thresholds
from console.jobs.spec import JobKind, JobSpec

AGAIN = "attempts_again"  # kind of the sealed item
_MOST_ROUNDS = 3  # a few draws that hit are followed by many; after that nothing is left to ask
Recorded = tuple[int, BatteryRecorded]


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
    for _round in range(_MOST_ROUNDS):
        again = to_ask_again(
            found[1].battery,
            before[1].battery if before is not None else None,
            reference[1].battery if reference is not None else None,
            thresholds,
        )
        if again.nothing:
            break
        found = yield from _asked(office, number, suite, knowledge, device, found, again.short, FIRST_LOOK)
        found = yield from _asked(office, number, suite, knowledge, device, found, again.hit, thresholds.draws)
        if reference is not None:
            missing = _not_yet(again, reference[1].battery, thresholds)
            reference = yield from _asked(
                office, number, suite, knowledge, device, reference, missing, thresholds.draws
            )
    return found, reference


def _not_yet(again: Again, reference: Battery, thresholds: Thresholds) -> dict[str, tuple[int, ...]]:
    """What the reference has not been asked again yet, in this case's earlier attempts."""
    missing = {}
    for attack, facts in again.hit.items():
        row = reference.row(attack)
        if row is None or row.outcome is None:
            continue
        kept = {count.fact for count in row.again if count.trials >= thresholds.draws}
        if left := tuple(fact for fact in facts if fact not in kept):
            missing[attack] = left
    return missing


def _asked(
    office: Office,
    number: str,
    suite: Suite,
    knowledge: Knowledge,
    device: str,
    recorded: Recorded,
    wanted: Mapping[str, tuple[int, ...]],
    draws: int,
) -> Generator[Job, JobResult, Recorded]:
    """Fresh draws on one model, recorded beside its battery; the battery itself where nothing is wanted."""
    if not wanted:
        return recorded
    body = recorded[1]
    payload, _told = with_sealed(office, suite, case_payload(office, number, knowledge))
    items = [item.id for item in payload.forget]
    payload = payload.model_copy(
        update={
            "behaviour": None,
            "again": {attack: tuple(items[fact] for fact in facts) for attack, facts in wanted.items()},
            "draws": draws,
        }
    )
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
    import time

    t0 = time.time()
    print("AGAIN", body.battery.stage, draws, wanted, flush=True)
    result = yield Job(spec, payload, title, body.model, number, details={"suite": suite.hash})
    print("TOOK", time.time() - t0, result.value["counts"], flush=True)
    counts = {attack: [FactCount.model_validate(one) for one in found] for attack, found in _counts(result).items()}
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


def _counts(result: JobResult) -> dict[str, list[dict[str, Any]]]:
    return dict(result.value["counts"])
