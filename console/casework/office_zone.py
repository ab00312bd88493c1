"""The office's time zone: a name of the IANA database, at first that of the machine."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from tzlocal import get_localzone_name

from console.domain.visible import quoted
from console.errors import InputError, SetupError

# Names of the database that mean another zone on another machine, or none; and its second copies.
_NO_PLACE = frozenset({"localtime", "factory", "posixrules"})
_COPIES = ("posix/", "right/")


def zone_of(name: str) -> ZoneInfo:
    """The zone with this name, in any case: ``europe/berlin`` is ``Europe/Berlin``.

    Raises:
        InputError: there is none.
    """
    wanted = name.strip().casefold()
    found = next((known for known in available_timezones() if known.casefold() == wanted), None)
    if found is None or wanted in _NO_PLACE or wanted.startswith(_COPIES):
        raise InputError(f"{quoted(name)} is not a time zone: write its name, such as Europe/Berlin.")
    return ZoneInfo(found)


def recorded_zone(name: str) -> ZoneInfo:
    """The zone that an office has recorded.

    Raises:
        SetupError: this machine's list of zones does not know it (any more).
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SetupError(
            f"This machine does not know the office's time zone {quoted(name)}: install the package tzdata."
        ) from error


def machine_zone_name() -> str:
    """The name of this machine's zone; empty where the machine has none that the IANA database knows."""
    try:
        name = get_localzone_name()
        return zone_of(name).key if name else ""
    except (LookupError, ValueError, InputError):
        return ""  # a zone without a name, such as a TZ of "<+05>-5": the machine's own clock is asked then
