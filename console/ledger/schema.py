"""Making, moving forward and checking the tables of a ledger file.

``schema_version`` in ``meta`` says which layout the file has. A migration may change any table but never an event: the
bytes of all event rows are hashed before and after it, in the same transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from sqlalchemy import text
from sqlmodel import Session

from console.errors import LedgerDamagedError, SetupError
from console.ledger.findings import Finding, FindingCode
from console.ledger.tables import PROTECTED_TABLES, TRIGGERS, LedgerTable, MetaRow

SCHEMA_VERSION = 1

Migration = Callable[[Session], None]

# From version n to n + 1. Empty as long as there is one version.
MIGRATIONS: Mapping[int, Migration] = {}

_EVENT_COLUMNS = "seq, event_id, at, kind, request_id, actor, body, prev_hash, hash"


def is_empty(session: Session) -> bool:
    """Whether the file holds no table at all (new, or its creation was interrupted and rolled back)."""
    return session.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one() == 0


def create_schema(session: Session) -> None:
    """Make every table and trigger inside the open transaction."""
    connection = session.connection()
    LedgerTable.metadata.create_all(connection)
    for statement in TRIGGERS.values():
        connection.execute(text(statement))
    set_meta(session, "schema_version", str(SCHEMA_VERSION))


def meta(session: Session, key: str) -> str | None:
    """A value of the ``meta`` table."""
    row = session.get(MetaRow, key)
    return row.value if row else None


def required_meta(session: Session, key: str) -> str:
    """A value of the ``meta`` table that every ledger has.

    Raises:
        LedgerDamagedError: it is not there.
    """
    value = meta(session, key)
    if value is None:
        raise LedgerDamagedError(f"The ledger does not say its {key}: restore the newest backup.")
    return value


def set_meta(session: Session, key: str, value: str) -> None:
    """Write a value of the ``meta`` table."""
    session.merge(MetaRow(key=key, value=value))
    session.flush()


def schema_version(session: Session) -> int:
    """The layout that the file has.

    Raises:
        LedgerDamagedError: the file is no ledger or does not say.
        SetupError: the layout is newer than this console knows.
    """
    tables = session.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
    value = meta(session, "schema_version") if "meta" in tables else None
    if value is None or not value.isdecimal():
        raise LedgerDamagedError("There is no ledger in this file: restore the newest backup.")
    if int(value) > SCHEMA_VERSION:
        raise SetupError("This ledger was written by a newer console: install the newest version to open it.")
    return int(value)


def migrate(session: Session, migrations: Mapping[int, Migration] = MIGRATIONS, target: int = SCHEMA_VERSION) -> None:
    """Move the file to layout ``target`` inside the open transaction.

    Raises:
        LedgerDamagedError: a migration touched an event; the transaction must not be committed.
    """
    found = schema_version(session)
    if found == target:
        return
    before = events_digest(session)
    for version in range(found, target):
        migrations[version](session)
    if events_digest(session) != before:
        raise LedgerDamagedError("Updating the ledger would have changed recorded events, so it was not updated.")
    set_meta(session, "schema_version", str(target))


def events_digest(session: Session) -> str:
    """SHA-256 over every column of every event row, hex."""
    digest = hashlib.sha256()
    for row in session.execute(text(f"SELECT {_EVENT_COLUMNS} FROM events ORDER BY seq")):
        digest.update(repr(tuple(row)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def schema_findings(session: Session) -> list[Finding]:
    """What is wrong with the recorded tables: missing, changed or additional triggers, a table of another form."""
    triggers = {
        name: _one_line(sql)
        for name, sql in session.execute(
            text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('events', 'checkpoints')")
        )
    }
    expected = {name: _one_line(sql) for name, sql in TRIGGERS.items()}
    found = [
        _schema_finding(f"The protection {name} of the recorded tables was taken off or changed.")
        for name, sql in expected.items()
        if triggers.get(name) != sql
    ]
    found += [
        _schema_finding(f"The recorded tables have a trigger {name} that the console did not make.")
        for name in triggers.keys() - expected.keys()
    ]
    return found + [
        _schema_finding(f"The table {table} does not have the form that the console made.")
        for table in PROTECTED_TABLES
        if _table_shape(session, table) != _expected_shape(table)
    ]


def _table_shape(session: Session, table: str) -> tuple[bool, list[tuple[str, str, bool, bool]]]:
    """Whether the table is STRICT, and its columns as (name, type, required, in primary key)."""
    strict = session.execute(
        text("SELECT strict FROM pragma_table_list WHERE schema = 'main' AND name = :table"), {"table": table}
    ).scalar()
    columns = session.execute(text('SELECT name, type, "notnull", pk FROM pragma_table_info(:table)'), {"table": table})
    return bool(strict), [(name, kind, bool(required), bool(key)) for name, kind, required, key in columns]


def _expected_shape(table: str) -> tuple[bool, list[tuple[str, str, bool, bool]]]:
    columns = LedgerTable.metadata.tables[table].columns
    return True, [(c.name, str(c.type), not c.nullable, c.primary_key) for c in columns]


def _one_line(sql: str) -> str:
    return " ".join(sql.split())


def _schema_finding(message: str) -> Finding:
    return Finding(FindingCode.SCHEMA, None, message)
