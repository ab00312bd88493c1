"""A running job for the screen: what it does, how far it is, how long it will take. Qt-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

_ESTIMATE_FROM = 0.05  # share of the job before which an estimate would only be a guess
_ESTIMATE_AFTER_S = 3.0


class JobStatus(Protocol):
    """What is read of :class:`console.casework.operation.Status`."""

    title: str
    label: str
    step: int
    steps: int
    started_at: float

    @property
    def metrics(self) -> Sequence[Any]: ...

    @property
    def fraction(self) -> float: ...


class RunningOperation(Protocol):
    """What is used of :class:`console.casework.operation.Operation`; tests bring their own."""

    @property
    def status(self) -> JobStatus: ...

    finished: bool
    error: Exception | None
    value: Any

    def poll(self) -> Sequence[Any]: ...

    def cancel(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class JobView:
    """A running job in words.

    Attributes:
        about: the request or model it works on.
        percent: 0 to 100, or None while nobody can tell.
        curves: live measures by name, for the engineer.
    """

    about: str
    title: str
    label: str
    percent: int | None
    elapsed: str
    remaining: str
    stopping: bool
    curves: Mapping[str, tuple[float, ...]]

    @property
    def words(self) -> str:
        """The job in one line."""
        percent = "" if self.percent is None else f"{self.percent} %"
        # The case comes last: it is what can be spared where the line is cut off.
        parts = (self.title, percent, "stopping" if self.stopping else self.remaining, self.about)
        return " · ".join(part for part in parts if part)


def clock_text(seconds: float) -> str:
    """``1:10`` or ``1:02:10``."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def remaining_text(fraction: float, elapsed_s: float) -> str:
    """Time left at the pace so far, or empty while that would be a guess."""
    if fraction < _ESTIMATE_FROM or elapsed_s < _ESTIMATE_AFTER_S:
        return ""
    return f"{clock_text(elapsed_s * (1 - fraction) / fraction)} left"


def job_view(operation: RunningOperation, about: str, now: float, stopping: bool) -> JobView:
    """The operation as it stands at ``now`` (monotonic seconds)."""
    status = operation.status
    elapsed = now - status.started_at
    curves: dict[str, list[float]] = {}
    for metric in status.metrics:
        for name, value in metric.values.items():
            curves.setdefault(name, []).append(value)
    return JobView(
        about=about,
        title=status.title or "Getting ready",
        label=status.label,
        # A job of one step is either not done or done: a bar that moves to and fro says so more honestly.
        percent=round(status.fraction * 100) if status.steps > 1 else None,
        elapsed=clock_text(elapsed),
        remaining=remaining_text(status.fraction, elapsed) if status.steps > 1 else "",
        stopping=stopping,
        curves={name: tuple(values) for name, values in curves.items()},
    )


CURVE_WORDS = {
    "still_known": "answers still known",
    "forget_nll": "distance from the person's answers",
    "retain_nll": "distance from other people's answers",
    "general_kl": "drift on general text",
    "held_out_kept": "other people's facts still known",
    "loss": "distance from what is taught",
}
