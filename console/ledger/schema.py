"""Making, moving forward and checking the tables of a ledger file.

``schema_version`` in ``meta`` says which layout the file has. A migration may change any table but never an event: the
bytes of all event rows are hashed before and after it, in the same transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from sqlalchemy import text
from sqlmodel import Session

from console.domain.visible import quoted
from console.errors import LedgerDamagedError, SetupError
from console.ledger.findings import Finding, FindingCode
from console.ledger.tables import TRIGGERS, LedgerTable, MetaRow

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
    """What of the file's tables, indexes, triggers and views is not what ``create_schema`` makes."""
    return [
        *_trigger_findings(session),
        *_table_findings(session),
        *_view_findings(session),
        *_version_findings(session),
    ]


def _trigger_findings(session: Session) -> list[Finding]:
    found_sql = session.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
    triggers = {name: _one_line(sql) for name, sql in found_sql}
    expected = {name: _one_line(sql) for name, sql in TRIGGERS.items()}
    off = [
        _schema_finding(f"The protection {name} of the recorded tables was taken off or changed.")
        for name, sql in expected.items()
        if triggers.get(name) != sql
    ]
    return off + [
        _schema_finding(f"The ledger has a trigger {quoted(name)} that the console did not make.")
        for name in sorted(triggers.keys() - expected.keys())
    ]


def _table_findings(session: Session) -> list[Finding]:
    tables = set(session.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars())
    findings = []
    for table in LedgerTable.metadata.tables:
        if table not in tables:
            findings.append(_schema_finding(f"The table {table} is missing."))
        elif _table_shape(session, table) != _expected_shape(table):
            findings.append(_schema_finding(f"The table {table} does not have the form that the console made."))
        elif _indexes(session, table) != _expected_indexes(table):
            findings.append(_schema_finding(f"The indexes of the table {table} are not those that the console made."))
    return findings + [
        _schema_finding(f"The ledger has a table {quoted(name)} that the console did not make.")
        for name in sorted(tables - LedgerTable.metadata.tables.keys())
    ]


def _view_findings(session: Session) -> list[Finding]:
    views = session.execute(text("SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name")).scalars()
    return [_schema_finding(f"The ledger has a view {quoted(name)} that the console did not make.") for name in views]


def _version_findings(session: Session) -> list[Finding]:
    """The two numbers in the file's header that are for a program's own use: the console uses neither."""
    connection = session.connection()
    return [
        _schema_finding(f"The file's {pragma} is {value}, and the console leaves it 0.")
        for pragma in ("user_version", "application_id")
        if (value := connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()) != 0
    ]


def _indexes(session: Session, table: str) -> set[tuple[bool, tuple[str, ...]]]:
    """The table's indexes as (unique, columns), those of its own constraints included and its primary key not."""
    listed = session.execute(
        text("SELECT name, \"unique\" FROM pragma_index_list(:table) WHERE origin <> 'pk'"), {"table": table}
    ).all()
    return {(bool(unique), _index_columns(session, name)) for name, unique in listed}


def _index_columns(session: Session, index: str) -> tuple[str, ...]:
    rows = session.execute(text("SELECT name FROM pragma_index_info(:name) ORDER BY seqno"), {"name": index})
    return tuple(str(name) for name in rows.scalars())


def _expected_indexes(table: str) -> set[tuple[bool, tuple[str, ...]]]:
    columns = LedgerTable.metadata.tables[table].columns
    marked = [(True, column.name) for column in columns if column.unique]
    marked += [(False, column.name) for column in columns if column.index]
    return {(unique, (name,)) for unique, name in marked}


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
