"""Which law and calendar hold where a request is answered, and what they make of a day of receipt."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from console.domain.clock import compute_deadline
from console.domain.deadline import Deadline
from console.domain.holiday_calendar import HolidayCalendar
from console.domain.jurisdiction import (
    JurisdictionProfile,
    Period,
    PeriodUnit,
    profile_for_place,
    resolve_profile,
)
from console.errors import InputError

_YEARS_AHEAD = 10
_LONGEST_PUBLISHED = 366  # days


@dataclass(frozen=True)
class Law:
    """Where a request is answered and by which law: all codes as they are kept.

    Attributes:
        chosen_by_place: nobody named the law; it is the one of the place.
    """

    profile: JurisdictionProfile
    calendar: HolidayCalendar
    chosen_by_place: bool

    @property
    def words(self) -> str:
        """The law for a listing, and how it was chosen."""
        how = "the law of the place" if self.chosen_by_place else "as you chose"
        return f"{self.profile.title} [{self.profile.id}], {how}"


def law_of_place(
    profiles: Mapping[str, JurisdictionProfile],
    country: str,
    subdivision: str | None = None,
    profile_id: str | None = None,
    published_days: int | None = None,
) -> Law:
    """The law and the calendar for a place.

    Args:
        profile_id: the law, where somebody names it; None for the one of the place.
        published_days: the office's own period, for a law that sets none.

    Raises:
        InputError: an unknown country, subdivision or profile, or a place whose law no profile knows.
    """
    calendar = HolidayCalendar.for_place(country, subdivision)
    profile = (
        profile_for_place(profiles, calendar.country, calendar.subdivision)
        if profile_id is None
        else resolve_profile(profiles, profile_id.strip().lower())
    )
    if published_days is not None:
        if not 1 <= published_days <= _LONGEST_PUBLISHED:
            raise InputError(f"An own period has 1 to {_LONGEST_PUBLISHED} days, not {published_days}.")
        profile = profile.with_published_period(Period(count=published_days, unit=PeriodUnit.DAYS))
    return Law(profile, calendar, chosen_by_place=profile_id is None)


def calculated_deadline(received: date, law: Law, today: date) -> Deadline:
    """The legal clock as a calculator: for any plausible day of receipt, also one that is still to come.

    Raises:
        InputError: no plausible year, too far ahead for anybody to know the holidays, or the law sets no period.
    """
    if received.year > today.year + _YEARS_AHEAD:
        last = today.year + _YEARS_AHEAD
        raise InputError(f"Nobody knows the holidays of {received.year} yet: give a day of receipt up to {last}.")
    return deadline_under(received, law)


def deadline_under(received: date, law: Law) -> Deadline:
    """The deadline of a receipt, from holidays that are known.

    Raises:
        InputError: the calendar warns that it does not know the holidays of that time, such as movable ones.
    """
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        deadline = compute_deadline(received, law.profile, law.calendar)
    if doubts:
        raise InputError(
            f"The holidays of {law.calendar.country} are not known for that time ({doubts[0].message}): "
            "check the day of receipt."
        )
    return deadline
