"""What a law says about time, as data: one profile for each law, read from JSON.

The rules that turn a profile into dates are in :mod:`console.domain.clock`. Users add a profile by
adding a file; nothing in the code knows the name of a law.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from console.domain.visible import quoted
from console.errors import InputError

PUBLISHED = "+published"  # ends the version of a profile whose period the office has set itself
_NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

Place = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class PeriodUnit(StrEnum):
    """How a period is counted."""

    MONTHS = "months"
    DAYS = "days"
    BUSINESS_DAYS = "business_days"


class RollRule(StrEnum):
    """What happens when the last day is not a working day."""

    NEXT_WORKING_DAY = "next_working_day"
    NONE = "none"


class DueDate(StrEnum):
    """Which of the two due dates counts: without suspensions, or with them."""

    STRICT = "strict"
    EFFECTIVE = "effective"


class SuspensionReason(StrEnum):
    """What the office is waiting for while the clock is said to stand still."""

    IDENTITY = "identity"
    AUTHORITY = "authority"
    CLARIFICATION = "clarification"
    FEE = "fee"

    @property
    def label(self) -> str:
        return _SUSPENSION_LABELS[self]


_SUSPENSION_LABELS = {
    SuspensionReason.IDENTITY: "information that confirms the person's identity",
    SuspensionReason.AUTHORITY: "proof that the representative may act for the person",
    SuspensionReason.CLARIFICATION: "an answer about what the request covers",
    SuspensionReason.FEE: "payment of the fee",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Period(_Frozen):
    """A length of time as a law words it, such as one month or ten business days."""

    count: int = Field(ge=1, le=1000)
    unit: PeriodUnit

    @property
    def words(self) -> str:
        """In words for a sentence, such as ``one month`` or ``45 days``."""
        number = _NUMBER_WORDS[self.count] if self.count < len(_NUMBER_WORDS) else str(self.count)
        noun = self.unit.value.replace("_", " ")
        return f"{number} {noun.removesuffix('s') if self.count == 1 else noun}"

    def plus(self, other: Period) -> Period:
        """Both periods as one, counted from the same start; the units are equal by validation."""
        return Period(count=self.count + other.count, unit=self.unit)


class JurisdictionProfile(_Frozen):
    """The time rules of one law.

    Attributes:
        id: short name in lower case, such as ``eu-gdpr``.
        title: name for a list, such as ``European Union (GDPR)``.
        law: the provisions that the numbers come from.
        version: version of this profile, kept with every computed date.
        places: where this law is the one that applies: ISO 3166 codes of countries, such as ``DE``, or of parts of
            them, such as ``US-CA``. It can be chosen for a request from elsewhere, but then somebody has to say so.
        period: time to answer, or None where the law sets none.
        extension: time that a notice adds. The extended date is counted from the receipt, over
            ``period`` and ``extension`` together, and never from the end of the first period.
        acknowledge: time to confirm the receipt, or None.
        internal_target: goal of the office, earlier than the law's date; never a legal date.
        roll: what happens when the last day is not a working day.
        binds: whether suspensions move the date that counts.
        restarts: reasons whose answer starts the period anew; all other reasons only pause it.
        record_keeping_months: how long the law asks to keep the record of a request, or None.
        notes: sentences for the officer.
    """

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]
    title: Sentence
    law: Sentence
    version: Sentence
    places: tuple[Place, ...] = ()
    period: Period | None
    extension: Period | None = None
    acknowledge: Period | None = None
    internal_target: Period | None = None
    roll: RollRule
    binds: DueDate = DueDate.STRICT
    restarts: tuple[SuspensionReason, ...] = ()
    record_keeping_months: int | None = Field(default=None, ge=1)
    notes: tuple[Sentence, ...] = ()

    @model_validator(mode="after")
    def _extension_fits(self) -> JurisdictionProfile:
        if self.extension is None:
            return self
        if self.period is None:
            raise ValueError("an extension needs a period that it extends")
        if self.extension.unit is not self.period.unit:
            # Both are counted in one go from the receipt, which has no meaning across units.
            raise ValueError("the extension must be counted in the same unit as the period")
        return self

    @property
    def extended_period(self) -> Period | None:
        """Period and extension together, from the receipt; None where nothing can be extended."""
        if self.period is None or self.extension is None:
            return None
        return self.period.plus(self.extension)

    def with_published_period(self, period: Period) -> JurisdictionProfile:
        """This profile with the period that the office has published, for laws that set none.

        Raises:
            InputError: the law sets a period, which no office can replace by its own.
        """
        if self.period is not None:
            raise InputError(
                f"{self.title} sets {self.period.words} by law: an own period can only be set where the law sets none."
            )
        return self.model_copy(update={"period": period, "version": f"{self.version}{PUBLISHED}"})


def parse_profile(text: str) -> JurisdictionProfile:
    """Read a profile from the text of a JSON file.

    Raises:
        InputError: the text is not JSON, or a field is missing, unknown or has a value that cannot be.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"The legal profile is not valid JSON: correct line {error.lineno}, column {error.colno} ({error.msg})."
        ) from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or brackets nested without end.
        raise InputError("The legal profile cannot be used: it holds a number or a nesting without measure.") from error
    try:
        return JurisdictionProfile.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"The legal profile cannot be used: correct {f'the field {place!r}' if place else 'it'} ({reason})."
        ) from error


def resolve_profile(profiles: Mapping[str, JurisdictionProfile], profile_id: str) -> JurisdictionProfile:
    """The profile with this id.

    Raises:
        InputError: no profile has this id; the sentence lists those that exist.
    """
    if profile_id not in profiles:
        raise InputError(f"No legal profile is called {quoted(profile_id)}: choose one of {_names(profiles)}.")
    return profiles[profile_id]


def profile_for_place(
    profiles: Mapping[str, JurisdictionProfile], country: str, subdivision: str | None = None
) -> JurisdictionProfile:
    """The law of a place: that of the part of the country where there is one, else that of the country.

    Args:
        country, subdivision: as :class:`console.domain.holiday_calendar.HolidayCalendar` writes them.

    Raises:
        InputError: no profile names the place, or several do; the sentence says how to choose.
    """
    for place in (f"{country}-{subdivision}", country) if subdivision else (country,):
        found = [profile for profile in profiles.values() if place in profile.places]
        if len(found) == 1:
            return found[0]
        if found:
            several = " and ".join(profile.id for profile in found)
            raise InputError(f"More than one legal profile applies in {place} ({several}): name one with --profile.")
    place = f"{country}-{subdivision}" if subdivision else country
    parts = {
        part: profile.id for profile in profiles.values() for part in profile.places if part.startswith(f"{country}-")
    }
    inside = "".join(f", or for {part} {id} with --subdivision {part[3:]}" for part, id in parts.items())
    raise InputError(
        f"No legal profile is known for {place}: say which law applies by --profile ({_names(profiles)}){inside}."
    )


def _names(profiles: Mapping[str, JurisdictionProfile]) -> str:
    return ", ".join(sorted(profiles)) or "none"
