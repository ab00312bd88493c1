"""One writer: the lock that a console holds for as long as it may write to a ledger.

The lock is a SQLite EXCLUSIVE lock on an empty file beside the ledger (``ledger.db.lock``). SQLite takes it with the
locking calls of each system (Windows, macOS, Linux) and the system drops it when the process ends, however it ends:
a killed console leaves no stale lock, and there is no process id to guess about. A lock on the ledger file itself
would also keep readers out, and then nobody could verify a ledger while the console is open.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from sqlcipher3 import dbapi2 as sqlcipher

from console.errors import ConsoleError, DiskFullError, InputError, LedgerBusyError


def lock_path(ledger: Path) -> Path:
    """The lock file of a ledger. It stays there, empty, when nobody holds the lock."""
    return ledger.with_name(ledger.name + ".lock")


class WriterLock:
    """The lock, held from construction to ``release``.

    Raises:
        LedgerBusyError: somebody else holds it (also another part of this process). Said at once, without waiting.
        DiskFullError: there is no room for the lock file.
        InputError: the folder is missing or cannot be written.
    """

    def __init__(self, ledger: Path) -> None:
        path = lock_path(ledger)
        try:
            self._connection = sqlcipher.connect(str(path), timeout=0, isolation_level=None, check_same_thread=False)
        except sqlcipher.Error as error:
            raise _not_locked(ledger, error) from error
        try:
            # Else a journal is made beside the lock file, and a console that is killed leaves it there.
            self._connection.execute("PRAGMA journal_mode = MEMORY").fetchone()
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlcipher.Error as error:
            self._connection.close()
            if _primary(error) != sqlcipher.SQLITE_BUSY:
                raise _not_locked(ledger, error) from error
            raise LedgerBusyError("This ledger is already open in another console: close that one first.") from error

    def release(self) -> None:
        """Give the lock back; doing so twice is harmless."""
        self._connection.close()


def _primary(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _not_locked(ledger: Path, error: Exception) -> ConsoleError:
    full = _primary(error) == sqlcipher.SQLITE_FULL
    # A file that cannot be made or written on a full disk is told as CANTOPEN or IOERR.
    if full or (_primary(error) in (sqlcipher.SQLITE_CANTOPEN, sqlcipher.SQLITE_IOERR) and _is_full(ledger.parent)):
        return DiskFullError(f"There is no room left in {ledger.parent}: free some and open the ledger again.")
    return InputError(f"The folder {ledger.parent} is missing or cannot be written: choose another folder.")


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free == 0
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
