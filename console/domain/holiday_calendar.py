"""Which days are working days, and where that knowledge comes from.

Regulation (EEC, Euratom) 1182/71, Art. 2 and 3(4): a period that would end on a public holiday, a
Sunday or a Saturday ends with the following working day, and the holidays are those of the place
where the action is to be taken. Hence a calendar belongs to a country and often to a subdivision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import holidays
from holidays import country_holidays, list_supported_countries

from console.domain.visible import quoted
from console.errors import InputError

SATURDAY_AND_SUNDAY = frozenset({5, 6})
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EXAMPLES_SHOWN = 5
_COUNTRY_EXAMPLES = ("DE", "FR", "IE", "GB", "US")
# Codes that officials write and ISO 3166 does not know.
_COUNTRY_SYNONYMS = {"UK": "GB", "EL": "GR"}


@dataclass(frozen=True)
class HolidayCalendar:
    """Working days of one place, as one version of one source knows them.

    Attributes:
        country: ISO 3166-1 alpha-2 code.
        subdivision: ISO 3166-2 code without the country, or None for the whole country.
        source: name of the library or list that the holidays come from.
        version: version of that source, kept with every computed date, because a later version may
            know other holidays and a closed request is never recomputed in silence.
        weekend: weekdays that are never worked (Monday is 0).
        names: holiday names by date. The library's mapping fills itself year by year on look-up, so
            it is only ever asked for a day, never listed or compared.
    """

    country: str
    subdivision: str | None
    source: str
    version: str
    weekend: frozenset[int] = SATURDAY_AND_SUNDAY
    names: Mapping[date, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def for_place(cls, country: str, subdivision: str | None = None) -> HolidayCalendar:
        """The public holidays of a country, or of a part of it, from the ``holidays`` library.

        Args:
            country: two-letter code in any case; ``UK`` and ``EL`` are understood.
            subdivision: code or name of a state or region, such as ``BY`` or ``Bayern``.

        Raises:
            InputError: the country or the subdivision is unknown.
        """
        code = _known_country(country)
        part = _known_subdivision(code, subdivision)
        # English names, because they stand in English sentences; the library falls back by itself.
        days = country_holidays(code, subdiv=part, language="en_US")
        return cls(
            country=code,
            subdivision=part,
            source="holidays",
            version=holidays.__version__,
            weekend=frozenset(days.weekend),
            names=days,
        )

    @classmethod
    def from_days(cls, country: str, names: Mapping[date, str], version: str) -> HolidayCalendar:
        """A calendar from a fixed list of days, such as an office's own or one in a test."""
        return cls(country=country, subdivision=None, source="fixed list", version=version, names=dict(names))

    @property
    def label(self) -> str:
        """Place, source and version in one line, such as ``DE-BY, holidays 0.109``."""
        place = f"{self.country}-{self.subdivision}" if self.subdivision else self.country
        return f"{place}, {self.source} {self.version}"

    def reason_not_working(self, day: date) -> str | None:
        """Why nobody works on ``day``: the holiday's name, else the weekday; None on a working day."""
        holiday = self.names.get(day)
        if holiday:
            return holiday
        return WEEKDAYS[day.weekday()] if day.weekday() in self.weekend else None

    def is_working_day(self, day: date) -> bool:
        return self.reason_not_working(day) is None

    def next_working_day(self, day: date) -> date:
        """``day`` itself when it is worked, else the first working day after it."""
        while not self.is_working_day(day):
            day += timedelta(days=1)
        return day

    def previous_working_day(self, day: date) -> date:
        """``day`` itself when it is worked, else the last working day before it."""
        while not self.is_working_day(day):
            day -= timedelta(days=1)
        return day

    def add_working_days(self, start: date, count: int) -> date:
        """The ``count``-th working day after ``start``; the day of ``start`` is not counted.

        With ``count`` 0 this is ``start`` itself.
        """
        day = start
        for _ in range(count):
            day = self.next_working_day(day + timedelta(days=1))
        return day

    def working_days_between(self, after: date, last: date) -> int:
        """Number of working days later than ``after`` and not later than ``last``."""
        days = range(1, (last - after).days + 1)
        return sum(self.is_working_day(after + timedelta(days=offset)) for offset in days)


def _known_country(country: str) -> str:
    code = country.strip().upper() if country.isascii() else ""  # "\u00df".upper() is "SS", which is South Sudan
    code = _COUNTRY_SYNONYMS.get(code, code)
    if code not in list_supported_countries(include_aliases=False):
        raise InputError(
            f"No holiday calendar is known for the country {quoted(country)}: "
            f"use a two-letter code such as {', '.join(_COUNTRY_EXAMPLES)}."
        )
    return code


def _known_subdivision(country: str, subdivision: str | None) -> str | None:
    if subdivision is None or not subdivision.strip():
        return None
    wanted = subdivision.strip().casefold().removeprefix(f"{country.casefold()}-")
    aliases = country_holidays(country).get_subdivision_aliases()
    for code, other_names in aliases.items():
        if wanted in {name.casefold() for name in (code, *other_names)}:
            return code
    if not aliases:
        raise InputError(
            f"The holiday calendar of {country} has no parts, so {quoted(subdivision)} is unknown: leave it empty."
        )
    examples = ", ".join(list(aliases)[:_EXAMPLES_SHOWN])
    raise InputError(
        f"The holiday calendar of {country} does not know the subdivision {quoted(subdivision)}: "
        f"use one such as {examples}."
    )
