"""A case's legal dates: as they were computed and recorded, and as today's calendar would have them.

A date that was told to somebody must not move because a library learned of another holiday. Each event that sets or
moves the clock therefore records the deadline as it came out then, and what it was computed from (``ClockBasis``): the
law's periods, and the working days over the time that was looked at. Later events of the case are computed from the
same basis; only days behind its end come from the calendar of that later day, and are then kept with it.

Events of before that (version 1 of the record's texts) kept the two due dates only. For them the calendar of today is
bent so that it gives the two dates that were recorded, and everything else is computed with it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from console.domain.clock import compute_deadline, unrolled_ends
from console.domain.deadline import Deadline, ExtensionNotice, ExtensionState, Suspension, day_text
from console.domain.holiday_calendar import HolidayCalendar
from console.domain.jurisdiction import PUBLISHED, JurisdictionProfile, SuspensionReason, resolve_profile
from console.errors import InputError

State = Mapping[str, Any]
Profiles = Mapping[str, JurisdictionProfile]

_ROLLING_ROOM = timedelta(days=31)  # no chain of holidays and weekends is longer
_COMPARED = ("due", "due_extended", "effective_due", "binding_due", "acknowledge_due")
_AS_RECORDED = "not a working day by the calendar of that time"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KnownDays(_Frozen):
    """The working days of a place as they were known, from ``first`` to ``last``."""

    country: str
    subdivision: str | None
    source: str
    version: str
    weekend: tuple[int, ...]
    first: date
    last: date
    holidays: dict[date, str]

    @classmethod
    def of(cls, calendar: HolidayCalendar, first: date, last: date) -> KnownDays:
        """What ``calendar`` says of the days from ``first`` to ``last``."""
        days = _days(first, last)
        return cls(
            country=calendar.country,
            subdivision=calendar.subdivision,
            source=calendar.source,
            version=calendar.version,
            weekend=tuple(sorted(calendar.weekend)),
            first=first,
            last=last,
            holidays={day: name for day in days if (name := calendar.names.get(day))},
        )

    def calendar(self, beyond: HolidayCalendar) -> HolidayCalendar:
        """The calendar that knows these days as they were known, and all others as ``beyond`` does."""
        known = {day: self.holidays.get(day, "") for day in _days(self.first, self.last)}
        behind = "" if beyond.version == self.version else f" to {self.last.isoformat()}, then {beyond.version}"
        return HolidayCalendar(
            country=self.country,
            subdivision=self.subdivision,
            source=self.source,
            version=f"{self.version}{behind}",
            weekend=frozenset(self.weekend),
            names=ChainMap(known, beyond.names),  # type: ignore[arg-type]
        )


class ClockBasis(_Frozen):
    """What a deadline was computed from."""

    profile: JurisdictionProfile
    days: KnownDays


def suspensions_of(state: State) -> tuple[Suspension, ...]:
    """The case's suspensions in the clock's terms.

    Raises:
        InputError: one ends before it starts.
    """
    return tuple(
        Suspension(
            reason=SuspensionReason(entry["reason"]),
            starts_on=date.fromisoformat(entry["starts_on"]),
            ends_on=date.fromisoformat(entry["ends_on"]) if entry["ends_on"] else None,
            note_id=f"event-{entry['seq']}",
        )
        for entry in state["suspensions"]
    )


def notice_of(state: State) -> ExtensionNotice | None:
    """The notice of the longer period, if the person was told of one."""
    told = state["extension"]
    if not told:
        return None
    return ExtensionNotice(notified_on=date.fromisoformat(told["notified_on"]), note_id=f"event-{told['seq']}")


def recorded_deadline(state: State, profiles: Profiles) -> Deadline:
    """The case's deadline as it was recorded; for old events computed with what was recorded.

    Raises:
        InputError: an old event does not fit the others, or its place or law is no longer known.
    """
    if state.get("deadline"):
        return Deadline.model_validate(state["deadline"])
    if state.get("basis"):
        return next_deadline(state, profiles)[0]
    return _as_recorded(state, resolve_profile(profiles, state["profile_id"]))


def next_deadline(state: State, profiles: Profiles) -> tuple[Deadline, ClockBasis]:
    """The deadline of a case whose clock has just changed, and the basis to record with it.

    Raises:
        InputError: the change does not fit the case.
    """
    if state.get("basis"):
        basis = ClockBasis.model_validate(state["basis"])
        calendar = basis.days.calendar(HolidayCalendar.for_place(state["country"], state["subdivision"]))
        profile = basis.profile
    else:
        profile = resolve_profile(profiles, state["profile_id"])
        calendar = _bent_calendar(state, profile)
    return deadline_and_basis(state, profile, calendar)


def deadline_by_today(state: State, profiles: Profiles) -> tuple[Deadline, ClockBasis]:
    """The deadline as the law's profile and the calendar of today give it.

    Raises:
        InputError: the place or the law is no longer known, or a recorded date does not fit the others.
    """
    profile = resolve_profile(profiles, state["profile_id"])
    if state.get("basis"):
        earlier = ClockBasis.model_validate(state["basis"]).profile
        if earlier.version.endswith(PUBLISHED) and earlier.period is not None:
            profile = profile.with_published_period(earlier.period)
    return deadline_and_basis(state, profile, HolidayCalendar.for_place(state["country"], state["subdivision"]))


def differs(recorded: Deadline, today: Deadline) -> bool:
    """Whether any date comes out otherwise."""
    return any(getattr(recorded, name) != getattr(today, name) for name in _COMPARED)


def difference_sentence(recorded: Deadline, today: Deadline) -> str:
    """What today's calendar would make of a recorded date."""
    other = next(name for name in ("binding_due", *_COMPARED) if getattr(recorded, name) != getattr(today, name))
    words = {
        "binding_due": "the due date",
        "due": "the end of the first period",
        "due_extended": "the extended due date",
        "effective_due": "the due date with the waits",
        "acknowledge_due": "the day by which to confirm the receipt",
    }
    day = getattr(today, other)
    return (
        f"By today's calendar ({today.calendar}; {today.profile_id} {today.profile_version}) {words[other]} would be "
        f"{day_text(day) if day else 'none'}. The recorded date stands until somebody accepts the other one."
    )


def check_clock(state: State) -> None:
    """Refuse a clock that its readers could not compute, or whose entries contradict each other.

    Raises:
        InputError: with the sentence that says which entry does not fit.
    """
    waits = suspensions_of(state)
    if sum(wait.ends_on is None for wait in waits) > 1:
        raise InputError("The clock is suspended already: record the person's answer first.")
    if not state.get("basis") or not state.get("deadline"):
        raise InputError("A legal date can only be recorded together with what it was computed from.")
    basis = ClockBasis.model_validate(state["basis"])
    beyond = HolidayCalendar.for_place(basis.days.country, basis.days.subdivision)
    compute_deadline(
        date.fromisoformat(state["received_on"]),
        basis.profile,
        basis.days.calendar(beyond),
        waits,
        notice_of(state),
    )
    Deadline.model_validate(state["deadline"])


def deadline_and_basis(
    state: State, profile: JurisdictionProfile, calendar: HolidayCalendar
) -> tuple[Deadline, ClockBasis]:
    """The case's deadline by a profile and a calendar, with what has to be kept of both.

    Raises:
        InputError: a date of the case does not fit the others, or the law sets no period.
    """
    received = date.fromisoformat(state["received_on"])
    deadline = compute_deadline(received, profile, calendar, suspensions_of(state), notice_of(state))
    return deadline, basis_of(deadline, profile, calendar)


def basis_of(deadline: Deadline, profile: JurisdictionProfile, calendar: HolidayCalendar) -> ClockBasis:
    """What a deadline was computed from, as it is kept beside it: without the profile's notes."""
    dates = (deadline.due, deadline.due_extended, deadline.effective_due, deadline.acknowledge_due)
    last = max(day for day in dates if day is not None) + _ROLLING_ROOM
    return ClockBasis(
        profile=profile.model_copy(update={"notes": (), "places": ()}),
        days=KnownDays.of(calendar, deadline.received, last),
    )


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def _as_recorded(state: State, profile: JurisdictionProfile) -> Deadline:
    """The deadline of a case whose events kept the two due dates, the rule and the steps only."""
    calendar = _bent_calendar(state, profile)
    deadline, _ = deadline_and_basis(state, profile, calendar)
    due = date.fromisoformat(state["due"])
    extended = date.fromisoformat(state["due_extended"]) if state["due_extended"] else None
    recorded: dict[str, Any] = {"due": due, "due_extended": extended, "calendar": state["calendar"]}
    if not state["suspensions"] and not state["extension"]:
        recorded |= {"rule": state["rule"], "steps": tuple(state["steps"])}
    if deadline.effective_due == deadline.due:
        recorded["effective_due"] = due
    if deadline.binding_due == deadline.due:
        recorded["binding_due"] = due
    elif deadline.extension_state is ExtensionState.VALID and deadline.binding_due == deadline.due_extended:
        recorded["binding_due"] = extended
    return deadline.model_copy(update=recorded)


def _bent_calendar(state: State, profile: JurisdictionProfile) -> HolidayCalendar:
    """Today's calendar, in which the days that were passed over then are not worked, and the due dates are."""
    calendar = HolidayCalendar.for_place(state["country"], state["subdivision"])
    bent: dict[date, str] = {}
    ends = unrolled_ends(date.fromisoformat(state["received_on"]), profile, calendar)
    for raw, recorded in zip(ends, (state["due"], state["due_extended"]), strict=True):
        if raw is None or not recorded:
            continue
        due = date.fromisoformat(recorded)
        for day in _days(raw, due)[:-1]:
            bent[day] = calendar.reason_not_working(day) or _AS_RECORDED
        bent[due] = ""
    return replace(calendar, names=ChainMap(bent, calendar.names))  # type: ignore[arg-type]
