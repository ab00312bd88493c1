"""What the legal clock works on and what it answers: suspensions, notices, deadlines and their urgency.

The computation is in :mod:`console.domain.clock`; these are the shapes that are stored and shown.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from console.domain.holiday_calendar import WEEKDAYS
from console.domain.jurisdiction import DueDate, SuspensionReason
from console.errors import InputError

# strftime("%B") speaks the language of the desk's locale; a stored sentence must not.
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

NoteId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class ExtensionState(StrEnum):
    """Whether the longer period holds."""

    NONE = "none"
    VALID = "valid"
    LATE = "late extension"
    NOT_ALLOWED = "not allowed"


class Urgency(StrEnum):
    """What an officer must know at a glance; ``unknown`` where a record allows no date."""

    ON_TRACK = "on_track"
    DUE_SOON = "due_soon"
    CRITICAL = "critical"
    OVERDUE = "overdue"
    PAUSED = "paused"
    ANSWERED = "answered"
    UNKNOWN = "unknown"

    @property
    def label(self) -> str:
        return self.value.replace("_", " ").capitalize()


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Suspension(_Frozen):
    """A time during which the office waits for the person.

    Attributes:
        starts_on: day on which the office asked.
        ends_on: day on which the answer came, or None while it is awaited.
        note_id: id of the note that holds the evidence; never its text.
    """

    reason: SuspensionReason
    starts_on: date
    ends_on: date | None = None
    note_id: NoteId

    @model_validator(mode="after")
    def _in_order(self) -> Suspension:
        if self.ends_on is not None and self.ends_on < self.starts_on:
            raise InputError(
                f"The suspension ends on {day_text(self.ends_on)}, before it starts on {day_text(self.starts_on)}: "
                "correct one of the dates."
            )
        return self


class ExtensionNotice(_Frozen):
    """The notice by which the person was told of the longer period.

    Attributes:
        notified_on: day on which the person was told.
        note_id: id of the note that holds the reasons that were given; never their text.
    """

    notified_on: date
    note_id: NoteId


class Deadline(_Frozen):
    """When to answer, and why then. Stored with the event, never computed again in silence.

    Attributes:
        received: day of receipt in the office's local calendar.
        due: last day of the law's first period, suspensions aside.
        due_extended: last day that holds if the period is extended, suspensions aside; None where the law
            knows no extension.
        effective_due: last day with suspensions, of the period that holds (extended if the extension is valid).
            While ``paused`` it is the earliest day that it can become.
        binding_due: the date that counts under this profile.
        binds: which of the two it is.
        paused: an answer is still awaited that was asked for in time.
        acknowledge_due: last day to confirm the receipt, where the law asks for it.
        internal_target: the office's own earlier goal.
        due_soon_from: first day with a quarter of the time or seven days left.
        critical_from: first day with at most two working days left.
        rule: one or two sentences that say why the date is what it is.
        steps: how it was reached, one short sentence a step.
        calendar: place, library and version of the holidays.
    """

    profile_id: str
    profile_version: str
    received: date
    due: date
    due_extended: date | None
    effective_due: date
    binding_due: date
    binds: DueDate
    extension_state: ExtensionState
    paused: bool
    acknowledge_due: date | None
    internal_target: date | None
    due_soon_from: date
    critical_from: date
    rule: str
    steps: tuple[str, ...]
    calendar: str

    @property
    def clock_stands_still(self) -> bool:
        """Whether the date that counts is held up; an awaited answer does not move a strict date."""
        return self.paused and self.binds is DueDate.EFFECTIVE


def urgency(deadline: Deadline, today: date, answered: bool = False) -> Urgency:
    """How pressing a request is on ``today``.

    The thresholds were fixed as dates when the deadline was computed, so a later version of the
    holiday calendar cannot change the colour of a request.
    """
    if answered:
        return Urgency.ANSWERED
    if deadline.clock_stands_still:
        return Urgency.PAUSED
    if today > deadline.binding_due:
        return Urgency.OVERDUE
    if today >= deadline.critical_from:
        return Urgency.CRITICAL
    if today >= deadline.due_soon_from:
        return Urgency.DUE_SOON
    return Urgency.ON_TRACK


def days_left(deadline: Deadline, today: date) -> int:
    """Calendar days from ``today`` to the date that counts; 0 on the last day, negative when overdue."""
    return (deadline.binding_due - today).days


def day_text(day: date) -> str:
    """A date in words that reads the same on every desk, such as ``Friday 28 February 2025``."""
    return f"{WEEKDAYS[day.weekday()]} {day.day} {MONTHS[day.month - 1]} {day.year}"
