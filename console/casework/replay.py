"""Recomputing verdicts from what the ledger stores: counts, thresholds, claim, and the version of the rules."""

from __future__ import annotations

from dataclasses import dataclass

from console.casework.cases import claim_of
from console.casework.office import Office
from console.casework.requests import request_state
from console.domain.events import BatteryRecorded, PlanFixed, VerdictReached
from console.domain.results import Battery
from console.domain.verdict import VERSIONS, Thresholds, Verdict, decide
from console.errors import InputError


@dataclass(frozen=True)
class Replayed:
    """One verdict of the ledger and the same again.

    Attributes:
        same: word, rule, reasons and caps are those that were recorded.
    """

    number: str
    artefact: str
    seq: int
    recorded: Verdict
    again: Verdict
    same: bool


def _battery(office: Office, seq: int | None) -> Battery | None:
    if seq is None:
        return None
    return BatteryRecorded.model_validate(office.ledger.events(after_seq=seq - 1)[0].body).battery


def replay(office: Office, version: int | None = None) -> tuple[Replayed, ...]:
    """Every verdict of the ledger, reached again from the stored counts.

    Args:
        version: the rules to decide by; each verdict's own where None. With others, ``same`` says whether the word
            and its reasons would have been the same under them.

    Raises:
        InputError: no such version of the rules, or one that needs counts which the ledger does not hold.
    """
    if version is not None and version not in VERSIONS:
        raise InputError(f"There is no version {version} of the rules; known are {', '.join(map(str, VERSIONS))}.")
    thresholds: dict[str, Thresholds] = {}
    results: list[Replayed] = []
    for event in office.ledger.events():
        if event.kind == PlanFixed.kind and event.request_id:
            plan = PlanFixed.model_validate(event.body)
            thresholds[plan.thresholds_hash] = plan.thresholds
        if event.kind != VerdictReached.kind or not event.request_id:
            continue
        body = VerdictReached.model_validate(event.body)
        if version is not None and version > thresholds[body.thresholds_hash].rules:
            raise InputError(
                f"The verdict on {event.request_id} was planned for version {thresholds[body.thresholds_hash].rules} "
                f"of the rules; version {version} needs thresholds and counts that were not recorded then."
            )
        before, after = _battery(office, body.before_seq), _battery(office, body.after_seq)
        assert before is not None and after is not None
        again = decide(
            before,
            after,
            _battery(office, body.reference_seq),
            body.utility,
            thresholds[body.thresholds_hash],
            claim_of(office, request_state(office, event.request_id), body.artefact),
            version or body.verdict.rules_version,
        )
        if version is None or version == body.verdict.rules_version:
            same = again == body.verdict
        else:
            same = (again.word, again.reasons) == (body.verdict.word, body.verdict.reasons)
        results.append(Replayed(event.request_id, body.artefact, event.seq, body.verdict, again, same))
    return tuple(results)
