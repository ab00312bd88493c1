"""The legal clock: by which day a request must be answered, and why on that day.

GDPR Art. 12(3) gives one month from receipt and two further months where the person is told of
them, with reasons, within the first. Regulation (EEC, Euratom) 1182/71 counts the months:

- the day of receipt is not counted (Art. 3(1));
- a period in months ends on the same date of its last month, or on that month's last day where the
  date does not exist (Art. 3(2)(c); CJEU C-171/03, Toeters);
- a last day that is a public holiday, Sunday or Saturday moves to the next working day (Art. 3(4)).

Three traps that this module is built around: thirty days are not a month; the extended date is
counted from the receipt in one go, not from the end of the first month; and a date that was rolled
over a weekend does not move what is counted after it. Every computed date carries its reasons,
the profile's version and the calendar's version, so that it can be stored and never re-derived.
"""

from __future__ import annotations

import calendar as gregorian
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from console.domain.deadline import (
    MONTHS,
    Deadline,
    ExtensionNotice,
    ExtensionState,
    Suspension,
    Urgency,
    day_text,
    days_left,
    urgency,
)
from console.domain.holiday_calendar import WEEKDAYS, HolidayCalendar
from console.domain.jurisdiction import DueDate, JurisdictionProfile, Period, PeriodUnit, RollRule
from console.errors import InputError

__all__ = [
    "Deadline",
    "ExtensionNotice",
    "ExtensionState",
    "Suspension",
    "Urgency",
    "check_received",
    "compute_deadline",
    "day_text",
    "days_left",
    "unrolled_ends",
    "urgency",
]

_PLAUSIBLE_YEARS = range(1900, 3000)
_DUE_SOON_DAYS = 7
_DUE_SOON_SHARE = 4  # a quarter of the time
_CRITICAL_WORKING_DAYS = 2


@dataclass(frozen=True)
class _End:
    """Where a period ends, before and after rolling, with one phrase for the rule and its steps."""

    raw: date
    due: date
    phrase: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class _Effective:
    """The same period with its suspensions."""

    due: date
    paused: bool
    steps: tuple[str, ...]


def check_received(received: date, today: date) -> None:
    """Refuse a date of receipt that cannot be.

    Raises:
        InputError: the date lies in the future or is not a plausible year.
    """
    _check_plausible(received, "date of receipt")
    if received > today:
        raise InputError(
            f"The date of receipt {received.isoformat()} lies in the future: "
            f"enter the day on which the request arrived, at the latest {today.isoformat()}."
        )


def compute_deadline(
    received: date,
    profile: JurisdictionProfile,
    calendar: HolidayCalendar,
    suspensions: Sequence[Suspension] = (),
    extension: ExtensionNotice | None = None,
) -> Deadline:
    """The deadline of one request.

    Args:
        received: day of receipt in the office's local calendar (not UTC), whatever the hour or weekday.
        profile: the law's periods.
        calendar: working days of the place where the answer is given.
        suspensions: waits for the person, in any order.
        extension: the notice by which the person was told of the longer period.

    Raises:
        InputError: the law sets no period and none was published, or a suspension or notice lies before the receipt.
    """
    period = profile.period
    if period is None:
        raise InputError(
            f"{profile.title} sets no number of days to answer: enter the period that your organisation has published."
        )
    _check_dates(received, suspensions, extension)

    base = _end_of(received, period, profile, calendar)
    longer = profile.extended_period
    extended = _end_of(received, longer, profile, calendar) if longer is not None else None
    base_effective = _with_suspensions(received, period, profile, calendar, suspensions)
    state = _extension_state(profile, base, base_effective, extension)

    holds_longer = state is ExtensionState.VALID and longer is not None and extended is not None
    strict_due = extended.due if holds_longer else base.due
    effective = _with_suspensions(received, longer, profile, calendar, suspensions) if holds_longer else base_effective
    binding_due = strict_due if profile.binds is DueDate.STRICT else effective.due

    acknowledge = _end_of(received, profile.acknowledge, profile, calendar) if profile.acknowledge else None
    target = _end_of(received, profile.internal_target, profile, calendar) if profile.internal_target else None
    extension_words = _extension_sentence(state, extension, base, base_effective, extended, profile)
    waiting_words = _waiting_sentence(profile, strict_due, effective)
    steps = [f"Received on {day_text(received)}; the day of receipt is not counted.", *base.steps]
    if extended is not None:
        steps.append(f"If extended: {_lower_first(extended.phrase)}")
    if extension_words:
        steps.append(extension_words)
    steps.extend(effective.steps)
    if acknowledge is not None:
        steps.append(f"Confirm the receipt: {_lower_first(acknowledge.phrase)}")
    return Deadline(
        profile_id=profile.id,
        profile_version=profile.version,
        received=received,
        due=base.due,
        due_extended=extended.due if extended is not None else None,
        effective_due=effective.due,
        binding_due=binding_due,
        binds=profile.binds,
        extension_state=state,
        paused=effective.paused,
        acknowledge_due=acknowledge.due if acknowledge is not None else None,
        internal_target=min(target.raw, base.due) if target is not None else None,
        due_soon_from=binding_due
        - timedelta(days=max(_DUE_SOON_DAYS, (binding_due - received).days // _DUE_SOON_SHARE)),
        critical_from=_working_days_before(binding_due, calendar),
        rule=" ".join(sentence for sentence in (base.phrase, extension_words, waiting_words) if sentence),
        steps=tuple(steps),
        calendar=calendar.label,
    )


def unrolled_ends(
    received: date, profile: JurisdictionProfile, calendar: HolidayCalendar
) -> tuple[date | None, date | None]:
    """The last days of the first and of the extended period before they are moved to a working day."""
    periods = (profile.period, profile.extended_period)
    first, extended = (_raw_end(received, period, calendar)[0] if period else None for period in periods)
    return first, extended


def _check_plausible(day: date, what: str) -> None:
    if day.year not in _PLAUSIBLE_YEARS:
        raise InputError(f"The {what} {day.isoformat()} cannot be right: check the year.")


def _check_dates(received: date, suspensions: Sequence[Suspension], extension: ExtensionNotice | None) -> None:
    _check_plausible(received, "date of receipt")
    for suspension in suspensions:
        _check_plausible(suspension.ends_on or suspension.starts_on, "date of the suspension")
        if suspension.starts_on < received:
            raise InputError(
                f"A suspension starts on {day_text(suspension.starts_on)}, before the request was received "
                f"on {day_text(received)}: correct one of the dates."
            )
    if extension is not None and extension.notified_on < received:
        raise InputError(
            f"The extension was notified on {day_text(extension.notified_on)}, before the request was received "
            f"on {day_text(received)}: correct one of the dates."
        )


def _add_months(start: date, months: int) -> tuple[date, str]:
    """Same date ``months`` later, and the date that does not exist, in words, where it had to be clamped."""
    index = start.year * 12 + start.month - 1 + months
    year, month = index // 12, index % 12 + 1
    last_day = gregorian.monthrange(year, month)[1]
    if start.day <= last_day:
        return date(year, month, start.day), ""
    return date(year, month, last_day), f"{start.day} {MONTHS[month - 1]}"


def _raw_end(start: date, period: Period, calendar: HolidayCalendar) -> tuple[date, str]:
    """Last day of a period before rolling, and the missing date where a month is too short."""
    match period.unit:
        case PeriodUnit.MONTHS:
            return _add_months(start, period.count)
        case PeriodUnit.DAYS:
            return start + timedelta(days=period.count), ""
        case PeriodUnit.BUSINESS_DAYS:
            return calendar.add_working_days(start, period.count), ""


def _roll(raw: date, profile: JurisdictionProfile, calendar: HolidayCalendar) -> date:
    return calendar.next_working_day(raw) if profile.roll is RollRule.NEXT_WORKING_DAY else raw


def _end_of(start: date, period: Period, profile: JurisdictionProfile, calendar: HolidayCalendar) -> _End:
    """Where a period that runs from the receipt ends, with its reasons."""
    raw, missing = _raw_end(start, period, calendar)
    due = _roll(raw, profile, calendar)
    counted = _upper_first(f"{period.words} from receipt")
    if period.unit is PeriodUnit.MONTHS:
        counted += ", same date"
    clamp = f"; {missing} does not exist, so the last day of the month" if missing else ""
    steps = [f"{counted}{clamp}: {day_text(raw)}."]
    steps.extend(_rolling_steps(raw, due, calendar))
    if due == raw:
        return _End(raw, due, steps[0], tuple(steps))
    reason = calendar.reason_not_working(raw)
    why = "is not a working day" if reason in WEEKDAYS else f"is a public holiday ({reason})"
    phrase = f"{counted}{clamp}: {day_text(raw)} {why}, so the next working day, {day_text(due)}."
    return _End(raw, due, phrase, tuple(steps))


def _rolling_steps(raw: date, due: date, calendar: HolidayCalendar) -> list[str]:
    """One sentence for each day that is passed over, with the holiday's name, and one for the day reached."""
    if due == raw:
        reason = calendar.reason_not_working(raw)
        return [f"{day_text(raw)} is not a working day; this law's profile does not move the date."] if reason else []
    steps = []
    for offset in range((due - raw).days):
        day = raw + timedelta(days=offset)
        reason = calendar.reason_not_working(day)
        steps.append(
            f"{day_text(day)} is not a working day."
            if reason in WEEKDAYS
            else f"{day_text(day)} is a public holiday: {reason}."
        )
    return [*steps, f"The next working day is {day_text(due)}."]


def _with_suspensions(
    received: date,
    period: Period,
    profile: JurisdictionProfile,
    calendar: HolidayCalendar,
    suspensions: Sequence[Suspension],
) -> _Effective:
    """The end of a period whose clock stood still, or started anew, while the office waited.

    A wait counts only if the office asked before the time was over. Some answers start the period
    anew (UK GDPR Art. 12A(2): the latest of receipt, information and fee); the others pause it for
    the days after the question up to and including the day of the answer, overlapping days once.
    """
    start = received
    pauses: list[tuple[date, date]] = []
    paused = False
    steps: list[str] = []
    for wait in sorted(suspensions, key=lambda item: (item.starts_on, item.ends_on or date.max)):
        due_so_far = _roll(_paused_end(start, period, pauses, calendar), profile, calendar)
        asked = f"On {day_text(wait.starts_on)} the office asked for {wait.reason.label}"
        if wait.starts_on > due_so_far:
            steps.append(f"{asked}, after the time was over on {day_text(due_so_far)}; the wait does not count.")
        elif wait.ends_on is None:
            paused = True
            steps.append(f"{asked}; the answer is still awaited.")
        elif wait.reason in profile.restarts:
            start = max(start, wait.ends_on)
            steps.append(f"{asked}; the period runs from the answer on {day_text(wait.ends_on)}.")
        else:
            pauses.append((wait.starts_on, wait.ends_on))
            steps.append(f"{asked}; the clock stood still until the answer on {day_text(wait.ends_on)}.")
    due = _roll(_paused_end(start, period, pauses, calendar), profile, calendar)
    if steps:
        earliest = " at the earliest" if paused else ""
        steps.append(f"With these waits the time is over on {day_text(due)}{earliest}.")
    return _Effective(due, paused, tuple(steps))


def _paused_end(start: date, period: Period, pauses: Sequence[tuple[date, date]], calendar: HolidayCalendar) -> date:
    """Last day of a period, before rolling, moved by the days on which its clock stood still."""
    raw, _ = _raw_end(start, period, calendar)
    counted_until = start
    stood_still = 0
    for asked, answered in sorted(pauses):
        begin = max(asked, counted_until)
        if answered <= begin:
            continue
        if period.unit is PeriodUnit.BUSINESS_DAYS:
            stood_still += calendar.working_days_between(begin, answered)
        else:
            stood_still += (answered - begin).days
        counted_until = answered
    if period.unit is PeriodUnit.BUSINESS_DAYS:
        return calendar.add_working_days(raw, stood_still)
    return raw + timedelta(days=stood_still)


def _notice_limit(profile: JurisdictionProfile, base: _End, base_effective: _Effective) -> date:
    return base.due if profile.binds is DueDate.STRICT else base_effective.due


def _extension_state(
    profile: JurisdictionProfile, base: _End, base_effective: _Effective, extension: ExtensionNotice | None
) -> ExtensionState:
    if extension is None:
        return ExtensionState.NONE
    if profile.extended_period is None:
        return ExtensionState.NOT_ALLOWED
    stands_still = base_effective.paused and profile.binds is DueDate.EFFECTIVE
    if extension.notified_on <= _notice_limit(profile, base, base_effective) or stands_still:
        return ExtensionState.VALID
    return ExtensionState.LATE


def _extension_sentence(
    state: ExtensionState,
    extension: ExtensionNotice | None,
    base: _End,
    base_effective: _Effective,
    extended: _End | None,
    profile: JurisdictionProfile,
) -> str:
    if extension is None:
        return ""
    told = f"the notice of {day_text(extension.notified_on)}"
    if state is ExtensionState.NOT_ALLOWED or extended is None:
        return f"{profile.title} knows no extension, so {told} does not move the date."
    if state is ExtensionState.LATE:
        limit = _notice_limit(profile, base, base_effective)
        return f"Late extension: {told} came after {day_text(limit)}, so it is invalid and does not move the date."
    return f"Extended by {told}: {_lower_first(extended.phrase)}"


def _waiting_sentence(profile: JurisdictionProfile, strict_due: date, effective: _Effective) -> str:
    """What waiting for the person changes; empty where it changes nothing."""
    if profile.binds is DueDate.STRICT:
        if effective.paused:
            return "An answer of the person is awaited, which does not move the date that counts here."
        if effective.due != strict_due:
            return f"Counting the waits for the person it would be {day_text(effective.due)}; the earlier date counts."
        return ""
    if effective.paused:
        return (
            f"The clock stands still until the person answers; the date is {day_text(effective.due)} at the earliest."
        )
    if effective.due != strict_due:
        return f"Counting the waits for the person: {day_text(effective.due)}."
    return ""


def _working_days_before(due: date, calendar: HolidayCalendar) -> date:
    """First day on which no more than the critical number of working days is left."""
    day = calendar.previous_working_day(due)
    for _ in range(_CRITICAL_WORKING_DAYS):
        day = calendar.previous_working_day(day - timedelta(days=1))
    return day


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
