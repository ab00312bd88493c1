"""The office: one ledger, its folders, the person at the desk and the clock."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
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
from console.domain.visible import quoted, visible
from console.errors import DiskFullError, InputError, LedgerDamagedError
from console.ledger import Ledger
from console.ledger.database import check_passphrase, engine_versions
from console.ledger.passphrase import find_passphrase, generate_demo_passphrase
from console.paths import PASSPHRASE_FILE_VARIABLE, Places, discard, resource

Clock = Callable[[], datetime]
_ACTOR_SETTING, _ORGANISATION_SETTING, _SAMPLE_SETTING = "actor", "organisation", "sample-office"
DEFAULT_ORGANISATION = "Unnamed organisation"
LONGEST_ORGANISATION = 200  # characters: it stands on one line of every report


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
        say: Callable[[str], None] | None = None,
    ) -> Office:
        """Open the office at ``places``; where there is none, none is made. For reading only, nothing is written.

        Args:
            say: gets a sentence that the person should know and that does not keep the office closed.

        Raises:
            InputError: there is no office at ``places``, or the folder cannot be used.
            LedgerDamagedError: there was one, and its ledger is missing or not what the console wrote; or the making
                of one was never finished.
            PassphraseError, LedgerBusyError, DiskFullError: as the ledger says.
        """
        check_there(places)
        passphrase = find_passphrase(places, prompt=prompt, env=os.environ if env is None else env, say=say).value
        if not read_only:
            _make_folders(places)
        ledger = Ledger.open(places.ledger, passphrase, clock=clock, projector=CaseProjector(), read_only=read_only)
        with ExitStack() as undo:
            undo.callback(ledger.close)
            _refuse_unfinished(places, ledger)
            office = cls(places, ledger, _actor(ledger), clock)
            undo.pop_all()
        return office

    @classmethod
    def create(
        cls,
        places: Places,
        *,
        organisation: str = "",
        prompt: Callable[[], str | None] | None = None,
        clock: Clock = system_clock,
        env: Mapping[str, str] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Office:
        """Make a new office at ``places`` and open it.

        Without a passphrase from anywhere it gets a generated one in a key file that only the user can read;
        ``prompt`` comes first where somebody is there to answer.

        Raises:
            InputError: there is an office already, the folder cannot be used, or the organisation cannot be named so.
            LedgerDamagedError: there was one, and its ledger is missing.
            PassphraseError, DiskFullError: nothing was made.
        """
        name = organisation_name(organisation)
        begun = _ledger_exists(places)
        if begun and places.ledger.stat().st_size:
            folder = quoted(str(places.data))
            raise InputError(f"There is already an office in {folder}: open it, or choose another folder.")
        if not begun:  # an empty file is what a creation leaves that was interrupted; the ledger looks for its mark
            _refuse_remains(places)
        passphrase = _new_passphrase(places, prompt, os.environ if env is None else env, say)
        with ExitStack() as undo:
            undo.callback(discard, places.missing_folders)
            _make_folders(places)
            if passphrase is None:
                value = generate_demo_passphrase(places).value
                undo.callback(places.passphrase_file.unlink, missing_ok=True)
            else:
                value = passphrase
            there = places.own_files
            origin = f"office-{secrets.token_hex(4)}"
            ledger = Ledger.create(places.ledger, value, clock=clock, projector=CaseProjector(), origin=origin)
            # Only now: as long as somebody else may be making the ledger, it is not this creation's to take away.
            undo.callback(_take_away, places, there)
            undo.callback(ledger.close)
            office = cls(places, ledger, _actor(ledger), clock)
            office.name_organisation(name)
            office._record_opening()
            undo.pop_all()
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
        """Set the name that reports carry.

        Raises:
            InputError: it cannot be one (see ``organisation_name``).
        """
        self.ledger.set_setting(_ORGANISATION_SETTING, organisation_name(name))

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


def organisation_name(text: str) -> str:
    """What somebody typed as the name of the organisation; the default where that is nothing.

    Raises:
        InputError: it is too long, or has a line break or another sign that stands for no letter.
    """
    name = text.strip()
    if len(name) > LONGEST_ORGANISATION:
        raise InputError(
            f"The name of the organisation has {len(name)} characters, and {LONGEST_ORGANISATION} are the most; "
            "shorten it."
        )
    if visible(name) != name:
        raise InputError(
            f"The name of the organisation, {quoted(name)}, has a line break, a control character or a byte that is "
            "no text; type it again."
        )
    return name or DEFAULT_ORGANISATION


def check_there(places: Places) -> None:
    """Refuse to open what is not there.

    Raises:
        InputError: there is no office at ``places``.
        LedgerDamagedError: there was one, and its ledger is missing.
    """
    if _ledger_exists(places):
        return
    _refuse_remains(places)
    raise InputError(
        f"There is no office in {quoted(str(places.data))}: choose its folder with --data-dir, or make a new one with "
        "'erasure-console office create'."
    )


def is_absent(places: Places) -> bool:
    """Whether there is no office at ``places`` and nothing is left of one, so that a new one may be offered."""
    return not _ledger_exists(places) and not places.remains


def _refuse_remains(places: Places) -> None:
    if places.remains:
        raise LedgerDamagedError(
            f"The ledger of {quoted(str(places.data))} is missing, but {places.remains[0].name} shows that there was "
            f"one: restore {places.ledger.name} from the newest backup."
        )


def _refuse_unfinished(places: Places, ledger: Ledger) -> None:
    """A ledger that something is missing from says so itself (``continuity``) and can still be looked at."""
    if ledger.continuity is not None or ledger.first_kind == OfficeOpened.kind:
        return
    raise LedgerDamagedError(
        f"The making of the office in {quoted(str(places.data))} was never finished, or the beginning of its ledger "
        "was taken away, so it is not opened: restore the newest backup, or make a new office in another folder."
    )


def _take_away(places: Places, there: frozenset[Path]) -> None:
    """Undo a creation: the office's files that were not ``there`` before go, and a ledger that was empty is again."""
    for path in places.own_files - there:
        path.unlink(missing_ok=True)
    if places.ledger in there:
        places.ledger.write_bytes(b"")


def _ledger_exists(places: Places) -> bool:
    try:
        return places.ledger.exists()
    except OSError as error:
        raise _folder_error(places.data, error) from error


def _make_folders(places: Places) -> None:
    try:
        places.create()
    except OSError as error:
        raise _folder_error(places.data, error) from error


def _new_passphrase(
    places: Places,
    prompt: Callable[[], str | None] | None,
    environment: Mapping[str, str],
    say: Callable[[str], None] | None,
) -> str | None:
    """The passphrase of an office that is about to be made, looked at before anything is; None: generate one."""
    if prompt is None and not environment.get(PASSPHRASE_FILE_VARIABLE) and not places.passphrase_file.exists():
        return None
    found = find_passphrase(places, prompt=prompt, env=environment, say=say).value
    check_passphrase(found)
    return found


def _actor(ledger: Ledger) -> Actor:
    """The person at this desk; the id is made once and kept."""
    kept = ledger.setting(_ACTOR_SETTING)
    if kept is None:
        kept = f"p-{secrets.token_hex(4)}"
        if not ledger.read_only:
            ledger.set_setting(_ACTOR_SETTING, kept)
    return Actor(id=kept, role=Role.DPO, key_fingerprint=kept)


def _folder_error(folder: Path, error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"There is no room left to write to {folder}; free some or choose another folder.")
    return InputError(f"The folder {folder} cannot be used ({error.strerror}); choose another with --data-dir.")
