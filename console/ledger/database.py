"""The encrypted file: one SQLCipher connection behind SQLAlchemy, its settings, and its errors in plain words.

The file keeps a rollback journal (TRUNCATE) with ``synchronous=FULL``: a commit is on the disk when it returns, the
ledger is one file when it is closed, and the WAL-reset corruption of SQLite before 3.51.3 cannot occur.
Journal pages are encrypted like the file's own, and temporary tables stay in memory.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool
from sqlcipher3 import dbapi2 as sqlcipher
from sqlmodel import Session, create_engine

from console.errors import (
    ConsoleError,
    DiskFullError,
    InputError,
    LedgerBusyError,
    LedgerDamagedError,
    NotPossibleError,
    PassphraseError,
    SetupError,
)
from console.ledger.headmark import SALT_BYTES, mark_path, read_mark
from console.ledger.tables import PROTECTED_TABLES

PAGE_BYTES = 4096  # SQLCipher 4 default
_PAGES_NAMED = 3
BUSY_TIMEOUT_MS = 5000  # a verifier reading beside the writer holds its lock for less than this
# What sqlcipher_cipher_ctx_key_derive reads as a raw key, or as one with its salt: the closing quote is not looked at.
_KEY_SYNTAX = re.compile(rb"[xX]'(?:[0-9a-fA-F]{64}|[0-9a-fA-F]{96}).", re.DOTALL)
_PLAIN_HEADER = b"SQLite format 3\x00"
# Random bytes show nearly all 256 values within one page; text, spreadsheets and PDFs do not.
_ENCRYPTED_MIN_BYTE_VALUES = 200

_WRITE_ACTIONS = frozenset({sqlcipher.SQLITE_UPDATE, sqlcipher.SQLITE_DELETE})
_SCHEMA_ACTIONS = frozenset(
    {
        sqlcipher.SQLITE_ALTER_TABLE,
        sqlcipher.SQLITE_ATTACH,
        sqlcipher.SQLITE_CREATE_TEMP_TRIGGER,
        sqlcipher.SQLITE_CREATE_TRIGGER,
        sqlcipher.SQLITE_DROP_TABLE,
        sqlcipher.SQLITE_DROP_TRIGGER,
    }
)
_FIXED_PRAGMAS = frozenset(
    {"journal_mode", "recursive_triggers", "rekey", "secure_delete", "synchronous", "writable_schema"}
)


@dataclass(frozen=True)
class EngineVersions:
    """Which engine wrote or read a ledger, for the report's environment section."""

    sqlite: str
    sqlcipher: str
    binding: str


def engine_versions() -> EngineVersions:
    """The versions in use.

    Raises:
        SetupError: the installed library is plain SQLite, which would write the ledger unencrypted.
    """
    connection = sqlcipher.connect(":memory:")
    try:
        row = connection.execute("PRAGMA cipher_version").fetchone()
    finally:
        connection.close()
    if not row or not row[0]:
        raise SetupError("The installed sqlcipher3 library does not encrypt: install sqlcipher3 0.6.2 or newer.")
    return EngineVersions(sqlite=sqlcipher.sqlite_version, sqlcipher=str(row[0]), binding=sqlcipher.version)


class DamagedPageError(LedgerDamagedError):
    """The passphrase is right and pages of the file are not as they were written."""


class Database:
    """The open file. Reads see one consistent state; writes are one ``BEGIN IMMEDIATE`` transaction.

    Threads of one process take turns. Reads inside a write transaction see what it has written so far.

    Raises:
        PassphraseError: the passphrase does not open the file.
        LedgerDamagedError: the file is no encrypted database.
    """

    def __init__(self, path: Path, passphrase: str, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self.turn = threading.RLock()  # held by the thread that is using the connection
        self.at_close = ExitStack()  # what goes with the open file
        self._active: Session | None = None
        # Opened here and not by the pool's first use, so that a wrong passphrase is met in one place.
        self._connection = _open_connection(path, passphrase, read_only=read_only)
        self._engine = _engine_over(self._connection)

    def close(self) -> None:
        """Close the file; doing so twice is harmless."""
        with self.turn:
            self._engine.dispose()
            self._connection.close()
            self.at_close.close()

    @property
    def salt(self) -> str:
        """How the file begins, hex: SQLCipher's salt. Asked of the connection, because to open and close the file
        by any other handle would drop this process's locks on it (POSIX)."""
        with self.turn, plain_errors():
            return str(self._connection.execute("PRAGMA cipher_salt").fetchone()[0])

    def protect(self) -> None:
        """From now on refuse, on this connection, every statement that would change or unprotect recorded events."""
        self._connection.set_authorizer(_authorize)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session in one read transaction, or the one of the write transaction that this thread is in."""
        with self.turn, plain_errors():
            if self._active is not None:
                yield self._active
                return
            with Session(self._engine) as session:
                yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session in one write transaction: all of it is on the disk when the block ends, or none of it.

        Raises:
            NotPossibleError: opened for reading only.
            LedgerBusyError, DiskFullError, LedgerDamagedError: nothing was written.
            RuntimeError: a transaction is already open in this thread (a programming error).
        """
        if self.read_only:
            raise NotPossibleError("This ledger is open for reading only: open it in the console to record something.")
        with self.turn, plain_errors():
            if self._active is not None:
                raise RuntimeError("a ledger transaction is already open in this thread")
            with Session(self._engine.execution_options(ledger_begin="IMMEDIATE")) as session:
                session.connection()  # takes the write lock now, before anything is read
                self._active = session
                try:
                    yield session
                    session.commit()
                finally:
                    self._active = None


def damaged_pages(session: Session) -> list[str]:
    """What is wrong with the file below the tables, in the engine's words: pages whose seal does not fit, then form.

    Raises:
        LedgerDamagedError: the file cannot be walked through at all.
    """
    connection = session.connection()
    with plain_errors():
        # In a read transaction, so that no writer changes a page that is being looked at.
        session.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one()
        sealed = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA cipher_integrity_check")]
        if sealed:
            return sealed
        return [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what SQLite says into the console's errors.

    Raises:
        DiskFullError, LedgerBusyError, LedgerDamagedError: see ``console.errors``.
    """
    try:
        yield
    except sqlcipher.ProgrammingError:
        raise  # use after close and the like: the console's mistake, not the file's
    except DBAPIError as error:
        if isinstance(error.orig, sqlcipher.Error) and not isinstance(error.orig, sqlcipher.ProgrammingError):
            raise _plain_error(error.orig) from error
        raise
    except sqlcipher.Error as error:
        raise _plain_error(error) from error


def _plain_error(error: Exception) -> ConsoleError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
    if code == sqlcipher.SQLITE_FULL:
        return DiskFullError("The disk is full and nothing was recorded: free some space and do the step again.")
    if code in (sqlcipher.SQLITE_BUSY, sqlcipher.SQLITE_LOCKED):
        return LedgerBusyError("Another program is using the ledger and nothing was recorded: try again in a moment.")
    if code == sqlcipher.SQLITE_READONLY:
        return NotPossibleError(
            "The ledger file is write-protected: allow writing to it and its folder, then try again."
        )
    kind = DamagedPageError if code in (sqlcipher.SQLITE_CORRUPT, sqlcipher.SQLITE_NOTADB) else LedgerDamagedError
    return kind(f"The ledger could not be read or written ({error}): check the disk, or restore the newest backup.")


def _open_connection(path: Path, passphrase: str, *, read_only: bool) -> Any:
    engine_versions()
    *earlier, last = _key_statements(passphrase)
    for key in earlier:
        try:
            return _connect(path, key, read_only=read_only)
        except PassphraseError:
            continue
    return _connect(path, last, read_only=read_only)


def _connect(path: Path, key: str, *, read_only: bool) -> Any:
    mode = "ro" if read_only else "rwc"
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    try:
        connection = sqlcipher.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
        )
    except sqlcipher.Error as error:
        raise InputError(
            f"The ledger {path} cannot be opened: check that the folder exists and may be used."
        ) from error
    try:
        _configure(connection, key, read_only=read_only)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlcipher.Error as error:
        changed = _changed_pages(connection, path)
        connection.close()
        raise _opening_error(error, path, changed) from error
    return connection


def _configure(connection: Any, key: str, *, read_only: bool) -> None:
    # SQLCipher prints its own lines to stderr otherwise; what went wrong is raised instead.
    connection.execute("PRAGMA cipher_log_level = NONE")
    connection.execute(key)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA recursive_triggers = ON")  # else REPLACE deletes rows without the DELETE trigger
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    if not read_only:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone leaves data in the drive's cache
        connection.execute("PRAGMA journal_mode = TRUNCATE").fetchone()


def check_passphrase(passphrase: str) -> str:
    """A passphrase that can lock a ledger, in the one form of its characters.

    Raises:
        PassphraseError: it is empty or holds a control character.
    """
    text = unicodedata.normalize("NFC", passphrase)  # the same keys typed on macOS and Windows give one passphrase
    if not text or not text.isprintable():
        raise PassphraseError("The passphrase is empty or holds a line break or control character: type it again.")
    return text


def _key_statements(passphrase: str) -> tuple[str, ...]:
    """What hands the passphrase to SQLCipher; the ways to try, in this order. A pragma takes no bound parameters.

    SQLCipher takes ``x'…'`` around 64 or 96 hex digits for the key itself and not for a text to derive one from. Such
    a passphrase goes in as bytes with a NUL behind them, which no typed passphrase has, and so it stays a text. A
    ledger that an earlier console locked with the digits as the key still opens, by the second way.
    """
    text = check_passphrase(passphrase)
    as_it_is = "PRAGMA key = '{}'".format(text.replace("'", "''"))
    raw = text.encode("utf-8")
    if _KEY_SYNTAX.fullmatch(raw) is None:
        return (as_it_is,)
    return (f"PRAGMA hexkey = '{(raw + bytes(1)).hex()}'", as_it_is)


def _changed_pages(connection: Any, path: Path) -> str:
    """Which pages are damaged, in the engine's words; empty where the key fits none and so may be the wrong one."""
    try:
        failed = [str(row[0]) for row in connection.execute("PRAGMA cipher_integrity_check")]
        return "; ".join(failed[:_PAGES_NAMED]) if len(failed) < path.stat().st_size // PAGE_BYTES else ""
    except (sqlcipher.Error, OSError):
        return ""


def _opening_error(error: Exception, path: Path, changed: str) -> ConsoleError:
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary not in (sqlcipher.SQLITE_NOTADB, sqlcipher.SQLITE_CORRUPT):
        return _plain_error(error)
    if not _looks_encrypted(path):
        if mark_path(path).exists():
            return DamagedPageError(
                f"{path.name} is damaged or cut off: {mark_path(path).name} beside it shows that it was a ledger. "
                "Restore the newest backup."
            )
        return LedgerDamagedError(
            f"The file {path.name} is not a ledger of this console: choose another or restore a backup."
        )
    if changed:
        return DamagedPageError(f"{path.name} was changed outside the console ({changed}): restore the newest backup.")
    if _begins_otherwise(path):
        return DamagedPageError(
            f"The beginning of {path.name} was changed outside the console: restore the newest backup."
        )
    if primary == sqlcipher.SQLITE_CORRUPT:
        return _plain_error(error)
    return PassphraseError("The ledger could not be unlocked: check the passphrase or the key file and try again.")


def _begins_otherwise(path: Path) -> bool:
    """Whether the mark beside the file says that it began with other bytes. As ``_looks_encrypted``: when closed."""
    try:
        mark = read_mark(path)
        with path.open("rb") as stream:
            return mark is not None and mark.file_salt not in (None, stream.read(SALT_BYTES).hex())
    except (InputError, OSError):
        return False


def _looks_encrypted(path: Path) -> bool:
    """Whether the file may be a SQLCipher file: whole pages of what looks like random bytes.

    Asked only after the connection is closed: on POSIX, closing any handle of a file drops the process's locks on it.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            first_page = stream.read(PAGE_BYTES)
    except OSError:
        return False
    if size % PAGE_BYTES or first_page.startswith(_PLAIN_HEADER):
        return False
    return len(set(first_page)) >= _ENCRYPTED_MIN_BYTE_VALUES


def _engine_over(connection: Any) -> Engine:
    engine = create_engine("sqlite://", creator=lambda: connection, module=sqlcipher, poolclass=StaticPool)
    # The driver's own implicit BEGIN is off (isolation_level=None): it would start transactions too late and DEFERRED.
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('ledger_begin', 'DEFERRED')}")


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    """SQLite's authorizer: ``first`` is the table or pragma, ``second`` the column, value or (triggers) the table."""
    if action in _WRITE_ACTIONS and first in PROTECTED_TABLES:
        return int(sqlcipher.SQLITE_DENY)
    if action in _SCHEMA_ACTIONS:
        return int(sqlcipher.SQLITE_DENY)
    if action == sqlcipher.SQLITE_PRAGMA and first in _FIXED_PRAGMAS and second is not None:
        return int(sqlcipher.SQLITE_DENY)
    return int(sqlcipher.SQLITE_OK)
