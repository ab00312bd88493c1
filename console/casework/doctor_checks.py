"""What the doctor's checks have in common: one finding each, and what all of them together mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SCHEMA_VERSION = 1


class Status(StrEnum):
    """``missing`` is not installed or not there; ``failed`` is there and does not work."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: stable, for programs; ``title`` is for people.
        sentence: what was found, and what to do where something is wrong.
        details: JSON values for the engineer; ``command`` is what to type, where the sentence says so.
        needed: without it the console cannot do its work.
    """

    name: str
    title: str
    status: Status
    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict)
    needed: bool = False

    @property
    def bad(self) -> bool:
        return self.status in (Status.MISSING, Status.FAILED)


@dataclass(frozen=True)
class Examination:
    """All findings.

    Attributes:
        engines: names of the engines; one that works is enough.
        seconds: how long it took.
    """

    checks: Sequence[Check]
    engines: Sequence[str]
    device: str
    seconds: float

    @property
    def working(self) -> list[Check]:
        """The engines that work."""
        return [check for check in self.checks if check.name in self.engines and not check.bad]

    @property
    def lacking(self) -> list[Check]:
        """What keeps the console from working."""
        needed = [check for check in self.checks if check.needed and check.bad]
        return needed if self.working else [*(check for check in self.checks if check.name in self.engines), *needed]

    @property
    def ready(self) -> bool:
        return not self.lacking

    @property
    def summary(self) -> str:
        """All in one sentence."""
        if self.lacking:
            names = ", ".join(check.title for check in self.lacking)
            return f"The console cannot do its work on this machine yet: see {names}."
        engines = " and ".join(check.title for check in self.working)
        return f"The console can do its work on this machine, with {engines}."

    def as_json(self, console_version: str) -> dict[str, Any]:
        """One object with stable keys."""
        return {
            "schema_version": SCHEMA_VERSION,
            "console": console_version,
            "ready": self.ready,
            "summary": self.summary,
            "device": self.device,
            "engines": [check.name for check in self.working],
            "lacking": [check.name for check in self.lacking],
            "seconds": round(self.seconds, 3),
            "checks": [
                {
                    "name": check.name,
                    "title": check.title,
                    "status": check.status.value,
                    "needed": check.needed,
                    "sentence": check.sentence,
                    "details": dict(check.details),
                }
                for check in self.checks
            ],
        }
