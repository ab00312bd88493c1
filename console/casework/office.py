"""The office: one ledger, its folders, the person at the desk and the clock."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from zoneinfo import ZoneInfo

from console.casework.office_zone import machine_zone_name, recorded_zone, zone_of
from console.domain.case_state import OFFICE, CaseProjector
from console.domain.events import OfficeOpened, OfficeTimezoneSet
from console.domain.jurisdiction import JurisdictionProfile, parse_profile
from console.domain.roles import Actor, Duty, Role, check_duty
from console.errors import DiskFullError, InputError
from console.ledger import Ledger
from console.ledger.database import engine_versions
from console.ledger.passphrase import find_passphrase, generate_demo_passphrase
from console.paths import PASSPHRASE_FILE_VARIABLE, Places, resource

Clock = Callable[[], datetime]
_ACTOR_SETTING, _ORGANISATION_SETTING, _SAMPLE_SETTING = "actor", "organisation", "sample-office"
DEFAULT_ORGANISATION = "Unnamed organisation"


def system_clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def load_profiles() -> dict[str, JurisdictionProfile]:
    """The legal profiles shipped with the product, by id."""
    folder = resource("legal", "profiles")
    profiles = [
        parse_profile(entry.read_text(encoding="utf-8")) for entry in folder.iterdir() if entry.name.endswith(".json")
    ]
    return {profile.id: profile for profile in sorted(profiles, key=lambda profile: profile.id)}


@dataclass
class Office:
    """An open office; close it, or use it in a ``with`` block.

    Attributes:
        actor: who acts; the id is random and stands in the ledger in place of a name.
        clock: the present moment, in UTC; tests bring their own.
    """

    places: Places
    ledger: Ledger
    actor: Actor
    clock: Clock = system_clock
    profiles: Mapping[str, JurisdictionProfile] = field(default_factory=load_profiles)

    @classmethod
    def open(
        cls,
        places: Places,
        *,
        prompt: Callable[[], str | None] | None = None,
        clock: Clock = system_clock,
        env: Mapping[str, str] | None = None,
        read_only: bool = False,
    ) -> Office:
        """Open the office at ``places``; the first time, make it.

        A new office without a passphrase from anywhere gets a generated one in a key file that only the
        user can read; ``prompt`` comes first where somebody is there to answer.

        Raises:
            PassphraseError, LedgerBusyError, LedgerDamagedError, DiskFullError, InputError: as the ledger says.
        """
        known = places.ledger.exists()
        if not known and read_only:
            raise InputError(f"There is no ledger at {places.data}: create one, or choose the folder it is in.")
        try:
            places.create()
        except OSError as error:
            raise _folder_error(places.data, error) from error
        environment = os.environ if env is None else env
        passphrase = (
            find_passphrase(places, prompt=prompt, env=environment).value
            if known
            else _new_passphrase(places, prompt, environment)
        )
        projector = CaseProjector()
        if known:
            ledger = Ledger.open(places.ledger, passphrase, clock=clock, projector=projector, read_only=read_only)
        else:
            ledger = Ledger.create(
                places.ledger, passphrase, clock=clock, projector=projector, origin=f"office-{secrets.token_hex(4)}"
            )
        try:
            office = cls(places, ledger, _actor(ledger), clock)
            if not known:
                office._record_opening()
        except BaseException:
            ledger.close()
            raise
        return office

    def close(self) -> None:
        self.ledger.close()

    def __enter__(self) -> Office:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def organisation(self) -> str:
        return self.ledger.setting(_ORGANISATION_SETTING) or DEFAULT_ORGANISATION

    def name_organisation(self, name: str) -> None:
        """Set the name that reports carry."""
        self.ledger.set_setting(_ORGANISATION_SETTING, name.strip() or DEFAULT_ORGANISATION)

    @property
    def sample_subjects(self) -> str | None:
        """Set when the sample office was loaded: which of its requests belongs to which invented person."""
        return self.ledger.setting(_SAMPLE_SETTING)

    def remember_sample(self, mapping: str) -> None:
        self.ledger.set_setting(_SAMPLE_SETTING, mapping)

    def today(self) -> date:
        """The civil date where the office is: the law counts local days, not UTC ones."""
        return self.local(self.clock()).date()

    def local(self, at: datetime) -> datetime:
        """A moment in the office's time zone; in the machine's, where an older office has none of its own."""
        return at.astimezone(self.zone)

    @property
    def timezone(self) -> str:
        """The IANA name of the office's time zone; empty in an older office that has recorded none."""
        kept = self.ledger.projected(OFFICE, OFFICE)
        return str(kept["timezone"]) if kept else ""

    @property
    def timezone_words(self) -> str:
        """Where the office's days come from, in words."""
        if self.timezone:
            return self.timezone
        return f"{machine_zone_name() or 'as this machine has it'} (this machine's; the office has recorded none)"

    def set_timezone(self, name: str) -> str:
        """Record the time zone whose days the office counts; returns its name.

        Raises:
            InputError: no zone of the IANA database has this name.
        """
        zone = zone_of(name).key
        body = OfficeTimezoneSet(timezone=zone, before=self.timezone)
        with self.ledger.transaction() as transaction:
            transaction.append(OfficeTimezoneSet.kind, body.to_body(), actor=self.actor.id)
        self.__dict__.pop("zone", None)
        return zone

    @cached_property
    def zone(self) -> ZoneInfo | None:
        """The office's time zone; None where an older office has none of its own, and the machine's counts."""
        return recorded_zone(self.timezone) if self.timezone else None

    def require(self, duty: Duty) -> str:
        """The actor's id, if the role includes the duty.

        Raises:
            NotPossibleError: it does not.
        """
        check_duty(self.actor, duty)
        return self.actor.id

    def secret(self, name: str) -> str:
        """A random passphrase of this office, kept in the encrypted ledger file (opens the signing key)."""
        setting = f"secret:{name}"
        value = self.ledger.setting(setting)
        if value is None:
            value = secrets.token_urlsafe(32)
            self.ledger.set_setting(setting, value)
        return value

    def _record_opening(self) -> None:
        versions = engine_versions()
        body = OfficeOpened(
            organisation=self.organisation,
            engine={"sqlite": versions.sqlite, "sqlcipher": versions.sqlcipher},
            timezone=machine_zone_name(),
        )
        with self.ledger.transaction() as transaction:
            transaction.append(OfficeOpened.kind, body.to_body(), actor=self.actor.id)


def _new_passphrase(places: Places, prompt: Callable[[], str | None] | None, environment: Mapping[str, str]) -> str:
    if prompt is None and not environment.get(PASSPHRASE_FILE_VARIABLE) and not places.passphrase_file.exists():
        return generate_demo_passphrase(places).value
    return find_passphrase(places, prompt=prompt, env=environment).value


def _actor(ledger: Ledger) -> Actor:
    """The person at this desk; the id is made once and kept."""
    kept = ledger.setting(_ACTOR_SETTING)
    if kept is None:
        kept = f"p-{secrets.token_hex(4)}"
        if not ledger.read_only:
            ledger.set_setting(_ACTOR_SETTING, kept)
    return Actor(id=kept, role=Role.DPO, key_fingerprint=kept)


def _folder_error(folder: Path, error: OSError) -> Exception:
    if error.errno == errno.ENOSPC:
        return DiskFullError(f"There is no room left to write to {folder}; free some or choose another folder.")
    return InputError(f"The folder {folder} cannot be used ({error.strerror}); choose another with --data-dir.")
