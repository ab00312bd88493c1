"""What lies beside the ledger file and would be read by SQLite, looked at before SQLite sees it.

A rollback journal is what a console leaves that was killed in the middle of a commit: the pages as they were before.
SQLite plays any journal of the right name back into the database, another ledger's too, and the ledger is lost. So it
is first played back into a private copy, and only what makes the copy whole is let near the file itself.
Write-ahead logs are nothing that this console makes (see ``database``).
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from sqlmodel import Session

from console.errors import DiskFullError, InputError, LedgerDamagedError, NotPossibleError, PassphraseError
from console.ledger.continuity import continuity_finding
from console.ledger.database import Database, damaged_pages
from console.ledger.headmark import SALT_BYTES
from console.ledger.schema import is_empty, required_meta
from console.ledger.store import count_events, read_untrusted_events
from console.ledger.walk import verify_events


def journal_path(ledger: Path) -> Path:
    """The rollback journal of a ledger. It stays there, empty, when nothing is to be rolled back."""
    return ledger.with_name(f"{ledger.name}-journal")


def refuse_foreign_logs(ledger: Path) -> None:
    """Refuse to open a ledger beside which a write-ahead log lies.

    Raises:
        LedgerDamagedError: there is one.
    """
    for ending in ("-wal", "-shm"):
        log = ledger.with_name(f"{ledger.name}{ending}")
        if log.exists():
            raise LedgerDamagedError(
                f"The file {log.name} beside the ledger was not made by this console and would damage the ledger, so "
                "nothing was opened: move that file to another folder."
            )


def refuse_foreign_journal(ledger: Path, passphrase: str) -> None:
    """Let the ledger be opened for writing only if the journal beside it, if any, is its own.

    The caller holds the writer lock, so that no journal is one of a commit that goes on.

    Raises:
        LedgerDamagedError: the journal is not the ledger's, or nothing whole comes out of the two.
        PassphraseError: the passphrase does not open the ledger.
        DiskFullError: there is no room for the copy.
    """
    if _has_journal(ledger):
        with tempfile.TemporaryDirectory(prefix="erasure-console-") as folder:
            _rolled_back(ledger, passphrase, Path(folder))


def open_read_only(ledger: Path, passphrase: str) -> Database:
    """The ledger for reading, also beside a console that is writing to it; nothing is written to its folder.

    What a killed console left half done is rolled back in a private copy, and the copy is what is read.

    Raises:
        PassphraseError, LedgerDamagedError: as ``Database``, and as ``refuse_foreign_journal``.
        DiskFullError: there is no room for the copy.
    """
    refuse_foreign_logs(ledger)
    try:
        return Database(ledger, passphrase, read_only=True)
    except NotPossibleError:  # SQLite would have to write first: there is a journal, and nobody is writing
        pass
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="erasure-console-")))
        database = Database(_rolled_back(ledger, passphrase, folder), passphrase, read_only=True)
        database.path = ledger
        database.at_close = undo.pop_all()
        return database


class _Kind(Enum):
    WHOLE = auto()  # a ledger, every page and the chain
    EMPTY = auto()  # no table: a creation that was interrupted
    LOCKED = auto()  # the passphrase does not open it
    BROKEN = auto()


@dataclass(frozen=True)
class _State:
    """What a copy turned out to be; ``continues`` what the mark beside the ledger says."""

    kind: _Kind
    continues: bool = False


def _rolled_back(ledger: Path, passphrase: str, folder: Path) -> Path:
    """A copy in ``folder`` in which the journal was played back.

    Raises:
        LedgerDamagedError, PassphraseError, DiskFullError: see ``refuse_foreign_journal``.
    """
    played = _copy(ledger, folder, with_journal=True)
    state = _state(played, ledger, passphrase)
    if state.kind is _Kind.WHOLE and state.continues:
        return played
    alone = _state(_copy(ledger, folder, with_journal=False), ledger, passphrase)
    if alone.kind is _Kind.WHOLE and (alone.continues or state.kind is not _Kind.WHOLE):
        raise LedgerDamagedError(
            f"The file {journal_path(ledger).name} beside the ledger is not the ledger's own and would damage it, so "
            "nothing was opened: move that file to another folder and do this again."
        )
    if state.kind in (_Kind.WHOLE, _Kind.EMPTY):
        return played
    if state.kind is _Kind.LOCKED and alone.kind is _Kind.LOCKED:
        raise PassphraseError("The ledger could not be unlocked: check the passphrase or the key file and try again.")
    raise LedgerDamagedError(
        f"Neither {ledger.name} alone nor with {journal_path(ledger).name} beside it is a whole ledger, so nothing was "
        "opened: keep a copy of both and restore the newest backup."
    )


def _state(copy: Path, ledger: Path, passphrase: str) -> _State:
    try:
        database = Database(copy, passphrase, read_only=False)
        try:
            if database.salt != _salt(ledger) and copy.stat().st_size:
                return _State(_Kind.BROKEN)  # another database took its place
            with database.reading() as session:
                return _judged(session, ledger)
        finally:
            database.close()
    except PassphraseError:
        return _State(_Kind.LOCKED)
    except (LedgerDamagedError, InputError):
        return _State(_Kind.BROKEN)


def _judged(session: Session, ledger: Path) -> _State:
    if is_empty(session):
        return _State(_Kind.EMPTY)
    origin, key = required_meta(session, "origin"), required_meta(session, "verifier_key")
    count = count_events(session)
    walked = verify_events(read_untrusted_events(session), count=count, origin=origin)
    if damaged_pages(session) or walked.altered:
        return _State(_Kind.BROKEN)
    return _State(_Kind.WHOLE, continuity_finding(session, ledger, origin, key) is None)


def _has_journal(ledger: Path) -> bool:
    try:
        return journal_path(ledger).stat().st_size > 0
    except FileNotFoundError:
        return False


def _salt(ledger: Path) -> str:
    with ledger.open("rb") as stream:
        return stream.read(SALT_BYTES).hex()


def _copy(ledger: Path, folder: Path, *, with_journal: bool) -> Path:
    inside = folder / ("played" if with_journal else "alone")
    copy = inside / ledger.name
    try:
        inside.mkdir()
        shutil.copyfile(ledger, copy)
        if with_journal:
            shutil.copyfile(journal_path(ledger), journal_path(copy))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"There is no room in {folder.parent} for a copy of the ledger: free some.") from error
        raise LedgerDamagedError(f"The ledger cannot be copied to look at it ({error.strerror}): try again.") from error
    return copy
