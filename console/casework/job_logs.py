"""Jobs as the ledger knows them, and the log that each has left on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from console.casework.office import Office
from console.domain.case_state import JOBS
from console.domain.visible import visible
from console.jobs.job_log import read_log
from console.paths import Places


@dataclass(frozen=True)
class JobLine:
    """One job; ``reason`` says why it ended without a result."""

    job: str
    kind: str
    model: str
    request: str | None
    outcome: str
    reason: str


def job_lines(office: Office) -> tuple[JobLine, ...]:
    """All jobs, the newest first."""
    states = sorted(office.ledger.projection(JOBS).values(), key=lambda state: state["started_seq"], reverse=True)
    return tuple(
        JobLine(
            state["job_id"], state["job"], state["model"], state["request"], state["outcome"], state.get("reason", "")
        )
        for state in states
    )


def log_of(places: Places, job: str) -> str:
    """What the job did, step by step, as it may be shown; nothing personal stands in it.

    Raises:
        InputError: there is no log of this name.
    """
    return visible(read_log(places.jobs, job), keep="\n")
