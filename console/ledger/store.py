"""Reading and adding event and checkpoint rows through an open session."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, text
from sqlmodel import Session, col, select

from console.errors import InputError, LedgerDamagedError
from console.ledger.chain import Event, Head, StoredEvent, event_hash, genesis_hash
from console.ledger.tables import CheckpointRow, EventRow

_ALL_EVENTS = text(
    "SELECT seq, event_id, at, kind, request_id, actor, body, prev_hash, hash FROM events ORDER BY seq"
).execution_options(yield_per=1000)


def can_be_stored(key: str) -> bool:
    """Whether a row can have ``key`` at all: half a character, as from bytes that are no UTF-8, stands in no file."""
    try:
        key.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def first_kind(session: Session) -> str | None:
    """The kind of the event that the ledger begins with; None where it holds none."""
    return session.exec(select(EventRow.kind).order_by(col(EventRow.seq)).limit(1)).first()


def read_head(session: Session, origin: str) -> Head:
    """Where the chain ends now.

    Raises:
        LedgerDamagedError: the newest row is not in the form in which the console writes it.
    """
    row = session.exec(select(EventRow.seq, EventRow.hash).order_by(col(EventRow.seq).desc()).limit(1)).first()
    if row is None:
        return Head(0, genesis_hash(origin))
    size, digest = row
    if not isinstance(size, int) or not isinstance(digest, str):
        raise LedgerDamagedError("The newest event was changed outside the console: restore the newest backup.")
    return Head(size, digest)


def hash_at(session: Session, seq: int, origin: str) -> str | None:
    """The hash of event ``seq`` (of the genesis for 0), or None if there is no such event."""
    if seq == 0:
        return genesis_hash(origin)
    return session.exec(select(EventRow.hash).where(EventRow.seq == seq)).first()


def event_hashes(session: Session, size: int) -> list[bytes]:
    """The first ``size`` event hashes as raw bytes: the leaves of the Merkle tree."""
    statement = select(EventRow.hash).where(EventRow.seq <= size).order_by(col(EventRow.seq))
    return [bytes.fromhex(digest) for digest in session.exec(statement)]


def append_event(session: Session, stored: StoredEvent) -> Event:
    """Add ``stored`` at the tail, with its hash filled in."""
    digest = event_hash(stored)
    row = EventRow(
        seq=stored.seq,
        event_id=stored.event_id,
        at=stored.at,
        kind=stored.kind,
        request_id=stored.request_id,
        actor=stored.actor,
        body=stored.body,
        prev_hash=stored.prev_hash,
        hash=digest,
    )
    session.add(row)
    session.flush()
    return to_stored(row).to_event()


def read_events(session: Session, request_id: str | None = None, after_seq: int = 0) -> Iterator[Event]:
    """The events after ``after_seq``, of one request or of all, in the order of the chain.

    Raises:
        LedgerDamagedError: a row is not in the form in which the console writes it.
    """
    if request_id is not None and not can_be_stored(request_id):
        return
    statement = select(EventRow).where(EventRow.seq > after_seq).order_by(col(EventRow.seq))
    if request_id is not None:
        statement = statement.where(EventRow.request_id == request_id)
    for row in session.exec(statement):
        try:
            yield to_stored(row).to_event()
        except InputError as error:
            raise LedgerDamagedError(
                f"Event {row.seq} was changed outside the console: verify the ledger and restore the newest backup."
            ) from error


def read_untrusted_events(session: Session) -> Iterator[StoredEvent]:
    """All rows as they lie in the file, without any assumption about their types, for verification."""
    return (StoredEvent(*row) for row in session.execute(_ALL_EVENTS))


def count_events(session: Session) -> int:
    """How many event rows there are."""
    return session.exec(select(func.count()).select_from(EventRow)).one()


def to_stored(row: EventRow) -> StoredEvent:
    """The row's texts."""
    return StoredEvent(
        row.seq, row.event_id, row.at, row.kind, row.request_id, row.actor, row.body, row.prev_hash, row.hash
    )


def checkpoint_notes(session: Session) -> list[tuple[int, str]]:
    """All checkpoints as (size, signed note), from the oldest on."""
    statement = select(CheckpointRow.size, CheckpointRow.note).order_by(col(CheckpointRow.size))
    return [(size, note) for size, note in session.exec(statement)]


def latest_checkpoint(session: Session) -> tuple[int, str] | None:
    """The newest checkpoint as (size, signed note)."""
    statement = select(CheckpointRow.size, CheckpointRow.note).order_by(col(CheckpointRow.size).desc()).limit(1)
    row = session.exec(statement).first()
    return None if row is None else (row[0], row[1])


def add_checkpoint(session: Session, size: int, note: str) -> None:
    """Keep a signed note."""
    session.add(CheckpointRow(size=size, note=note))
    session.flush()
