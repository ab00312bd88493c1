"""One writer: the lock that a console holds for as long as it may write to a ledger.

The lock is a SQLite EXCLUSIVE lock on an empty file beside the ledger (``ledger.db.lock``). SQLite takes it with the
locking calls of each system (Windows, macOS, Linux) and the system drops it when the process ends, however it ends:
a killed console leaves no stale lock, and there is no process id to guess about. A lock on the ledger file itself
would also keep readers out, and then nobody could verify a ledger while the console is open.
"""

from __future__ import annotations

from pathlib import Path

from sqlcipher3 import dbapi2 as sqlcipher

from console.errors import InputError, LedgerBusyError


def lock_path(ledger: Path) -> Path:
    """The lock file of a ledger. It stays there, empty, when nobody holds the lock."""
    return ledger.with_name(ledger.name + ".lock")


class WriterLock:
    """The lock, held from construction to ``release``.

    Raises:
        LedgerBusyError: somebody else holds it (also another part of this process). Said at once, without waiting.
        InputError: the folder is missing or cannot be written.
    """

    def __init__(self, ledger: Path) -> None:
        path = lock_path(ledger)
        try:
            self._connection = sqlcipher.connect(str(path), timeout=0, isolation_level=None, check_same_thread=False)
        except sqlcipher.Error as error:
            raise _not_writable(ledger) from error
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlcipher.Error as error:
            self._connection.close()
            if getattr(error, "sqlite_errorcode", None) != sqlcipher.SQLITE_BUSY:
                raise _not_writable(ledger) from error
            raise LedgerBusyError("This ledger is already open in another console: close that one first.") from error

    def release(self) -> None:
        """Give the lock back; doing so twice is harmless."""
        self._connection.close()


def _not_writable(ledger: Path) -> InputError:
    return InputError(f"The folder {ledger.parent} is missing or cannot be written: choose another folder.")
