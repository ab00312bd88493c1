"""A use case that takes minutes: a chain of background jobs with ledger writes in between.

A use case is a generator. It yields the jobs it needs and is sent their results; between the yields it
writes to the ledger. :class:`Operation` drives it without ever waiting, so that a window polls it from a
timer and the command line from a loop, and both write to the ledger from their one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import console.errors as errors
from console.casework.knowledge import OFFICE_SCOPE
from console.casework.notes import seal_note
from console.casework.office import Office
from console.casework.requests import append_status
from console.domain.case_state import JOBS, REQUESTS
from console.domain.events import JobEnded, JobStarted, plain
from console.domain.request_terms import RequestStatus
from console.domain.requests import TransitionFacts
from console.errors import ConsoleError, JobFailedError
from console.jobs.events import CancelledEvent, Done, Failed, Finished, Metric, Progress
from console.jobs.runner import JobRun
from console.jobs.spec import JobPayload, JobSpec

ORPHANED = "The console was closed while the job ran; start it again."


class CancelledByUserError(JobFailedError):
    """The person stopped the job; no model was changed."""


@dataclass(frozen=True)
class Job:
    """A background job that a use case asks for.

    Attributes:
        title: what it does, for the screen.
        model: name of the model it works on, for the ledger.
        share: how much of the whole operation it is, for the bar.
        finished: gets the parts of the job that are done, as they arrive, so that an interruption does not lose them.
    """

    spec: JobSpec
    payload: JobPayload
    title: str
    model: str
    request: str | None = None
    share: float = 1.0
    details: dict[str, Any] = field(default_factory=dict)
    finished: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class JobResult:
    """What a finished job returned and cost."""

    value: dict[str, Any]
    seconds: float
    peak_rss_mb: int


UseCase = Generator[Job, JobResult, Any]


@dataclass
class Status:
    """Where an operation stands, for a bar: ``fraction`` of the running job, 0 to 1."""

    title: str = ""
    label: str = ""
    step: int = 0
    steps: int = 0
    started_at: float = 0.0
    metrics: list[Metric] = field(default_factory=list)

    @property
    def fraction(self) -> float:
        return min(1.0, self.step / self.steps) if self.steps else 0.0


class Operation:
    """Drives one use case; poll it until ``finished``.

    Attributes:
        value: what the use case returned.
        error: why it ended without a result, or None.
        peak_rss_mb: most memory that any of its jobs held.
        job_id: of its newest job; empty before the first.
    """

    def __init__(self, office: Office, use_case: UseCase, clock: Callable[[], float] = time.monotonic) -> None:
        self._office = office
        self._use_case = use_case
        self._clock = clock
        self._job: Job | None = None
        self._run: JobRun | None = None
        self._cancelled = False
        self.status = Status(started_at=clock())
        self.value: Any = None
        self.error: ConsoleError | None = None
        self.finished = False
        self.peak_rss_mb = 0
        self.log = ""
        self.job_id = ""

    def start(self) -> Operation:
        """Run the use case up to its first job."""
        self._advance(lambda: next(self._use_case))
        return self

    def poll(self) -> list[BaseModel]:
        """Events that have arrived; starts the next job, or ends, when one is done. Never blocks."""
        run = self._run
        if run is None:
            return []
        events = run.poll()
        for event in events:
            if isinstance(event, Progress):
                self.status.label, self.status.step, self.status.steps = event.label, event.step, event.steps
            elif isinstance(event, Metric):
                self.status.metrics.append(event)
            elif isinstance(event, Finished) and self._job is not None:
                self._job.finished[event.part] = event.result
        if run.finished:
            self._job_ended(run)
        return events

    def cancel(self) -> None:
        """Ask the running job to stop; ``poll`` goes on until it has."""
        self._cancelled = True
        if self._run is not None:
            self._run.cancel()

    def wait(self, on_poll: Callable[[], None] = lambda: None, interval_s: float = 0.05) -> Any:
        """Run to the end, for callers that may wait; ``on_poll`` is called again and again meanwhile.

        Raises:
            ConsoleError: the use case failed or was cancelled.
        """
        while not self.finished:
            self.poll()
            on_poll()
            if not self.finished:
                time.sleep(interval_s)
        if self.error is not None:
            raise self.error
        return self.value

    def close(self) -> None:
        """End the running job, whatever it is doing, and record that; for a window that closes."""
        self.cancel()
        if self._run is not None:
            self._run.close()
        while not self.finished:
            self.poll()

    # -- inside -----------------------------------------------------------------------------

    def _advance(self, resume: Callable[[], Job]) -> None:
        try:
            job = resume()
        except StopIteration as end:
            self.value, self.finished = end.value, True
            return
        except ConsoleError as error:
            self.error, self.finished = error, True
            return
        self._begin(job)

    def _begin(self, job: Job) -> None:
        office = self._office
        body = JobStarted(job_id=job.spec.job_id, job=job.spec.kind.value, model=job.model, details=plain(job.details))
        with office.ledger.transaction() as transaction:
            transaction.append(JobStarted.kind, body.to_body(), request_id=job.request, actor=office.actor.id)
        self._job, self.job_id = job, job.spec.job_id
        self.status = Status(title=job.title, started_at=self._clock())
        self._run = JobRun(job.spec, job.payload, office.places.jobs / job.spec.job_id)
        try:
            self._run.start()
        except OSError as error:
            self._run.final = Failed(kind="JobFailedError", reason=f"The job could not be started ({error.strerror}).")
        if self._cancelled:
            self._run.cancel()

    def _job_ended(self, run: JobRun) -> None:
        run.close()
        job, final = self._job, run.final
        assert job is not None and final is not None
        self._run, self.log = None, run.log
        outcome, reason, seconds, peak = _summary(final)
        self.peak_rss_mb = max(self.peak_rss_mb, peak)
        office = self._office
        with office.ledger.transaction() as transaction:
            # A library's sentence may quote a file name or a question, and with it a person.
            sealed = seal_note(transaction, job.request or OFFICE_SCOPE, reason)
            body = JobEnded(
                job_id=job.spec.job_id,
                outcome=outcome,
                sealed_reason=sealed,
                seconds=f"{seconds:.1f}",
                peak_rss_mb=peak,
            )
            transaction.append(JobEnded.kind, body.to_body(), request_id=job.request, actor=office.actor.id)
        if isinstance(final, Done):
            result = JobResult(final.result, final.seconds, final.peak_rss_mb)
            self._advance(lambda: self._use_case.send(result))
            return
        error = _as_error(final)
        self._advance(lambda: self._use_case.throw(error))


def _summary(final: Done | Failed | CancelledEvent) -> tuple[str, str, float, int]:
    if isinstance(final, Done):
        return "done", "", final.seconds, final.peak_rss_mb
    if isinstance(final, Failed):
        return "failed", final.reason, 0.0, 0
    return "cancelled", "Stopped by the person at the desk.", 0.0, 0


def _as_error(final: Failed | CancelledEvent) -> ConsoleError:
    if isinstance(final, CancelledEvent):
        return CancelledByUserError("The job was stopped; no model was changed.")
    kind = getattr(errors, final.kind, JobFailedError)
    return kind(final.reason) if issubclass(kind, ConsoleError) else JobFailedError(final.reason)


def settle_orphans(office: Office) -> list[str]:
    """Record as failed every job that was running when a console went away; returns their ids.

    A request whose erasure was cut off fails with it, so that it can be planned again.
    """
    orphans = [job_id for job_id, state in office.ledger.projection(JOBS).items() if state["outcome"] == "running"]
    if not orphans:
        return []
    with office.ledger.transaction() as transaction:
        for job_id in orphans:
            state = office.ledger.projected(JOBS, job_id) or {}
            sealed = seal_note(transaction, state.get("request") or OFFICE_SCOPE, ORPHANED)
            body = JobEnded(job_id=job_id, outcome="failed", sealed_reason=sealed)
            transaction.append(JobEnded.kind, body.to_body(), request_id=state.get("request"), actor=office.actor.id)
            request = transaction.projected(REQUESTS, state["request"]) if state.get("request") else None
            if request is not None and RequestStatus(request["status"]) is RequestStatus.RUNNING:
                facts = TransitionFacts(reason=ORPHANED)
                append_status(transaction, request, RequestStatus.FAILED, facts, office.actor.id)
    return orphans


def model_location(office: Office, name: str) -> Path | None:
    """Where a model's files lie; a setting of this desk, not of the ledger, because a path may carry a name."""
    kept = office.ledger.setting(f"model:{name}")
    return Path(kept) if kept else None
