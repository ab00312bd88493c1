"""The tables of the ledger file, and the triggers that keep events where they are.

``events`` and ``checkpoints`` only ever grow. Everything else is either local (``setting``), secret (``secret``,
``vault_*``) or can be computed again from the events (``projection``).
All tables are STRICT: a column holds the type it names, whoever writes.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Integer, LargeBinary, Text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from console.ledger.chain import MAX_BODY_BYTES

STRICT = {"sqlite_strict": True}


class LedgerTable(SQLModel, registry=registry()):
    """Base of the ledger's tables, with a metadata of its own."""


class EventRow(LedgerTable, table=True):
    """One event; ``body`` is canonical JSON, hashed byte for byte as it stands here."""

    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint("seq > 0"),
        CheckConstraint("length(hash) = 64 AND length(prev_hash) = 64"),
        CheckConstraint(f"octet_length(body) <= {MAX_BODY_BYTES}"),
        STRICT,
    )
    seq: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    event_id: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    at: str = Field(sa_column=Column(Text, nullable=False))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    request_id: str | None = Field(sa_column=Column(Text, nullable=True, index=True))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    body: str = Field(sa_column=Column(Text, nullable=False))
    prev_hash: str = Field(sa_column=Column(Text, nullable=False))
    hash: str = Field(sa_column=Column(Text, nullable=False))


class CheckpointRow(LedgerTable, table=True):
    """A signed note over the first ``size`` events."""

    __tablename__ = "checkpoints"
    __table_args__ = (STRICT,)
    size: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    note: str = Field(sa_column=Column(Text, nullable=False))


class MetaRow(LedgerTable, table=True):
    """What the file says about itself: schema version, origin, verifier key, projector version."""

    __tablename__ = "meta"
    __table_args__ = (STRICT,)
    key: str = Field(sa_column=Column(Text, primary_key=True))
    value: str = Field(sa_column=Column(Text, nullable=False))


class SecretRow(LedgerTable, table=True):
    """The vault's master key, and the checkpoint key wrapped under it."""

    __tablename__ = "secret"
    __table_args__ = (STRICT,)
    name: str = Field(sa_column=Column(Text, primary_key=True))
    value: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class VaultKeyRow(LedgerTable, table=True):
    """The 256-bit key of one request, wrapped under the master key (nonce ‖ ciphertext ‖ tag)."""

    __tablename__ = "vault_key"
    __table_args__ = (STRICT,)
    request_id: str = Field(sa_column=Column(Text, primary_key=True))
    key_id: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    wrapped: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class VaultItemRow(LedgerTable, table=True):
    """One sealed personal item (nonce ‖ ciphertext ‖ tag)."""

    __tablename__ = "vault_item"
    __table_args__ = (STRICT,)
    id: str = Field(sa_column=Column(Text, primary_key=True))
    request_id: str = Field(sa_column=Column(Text, nullable=False, index=True))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    created_at: str = Field(sa_column=Column(Text, nullable=False))
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class VaultTombstoneRow(LedgerTable, table=True):
    """A key or item that was shredded: its id and when, so that asking for it gets a true answer."""

    __tablename__ = "vault_tombstone"
    __table_args__ = (STRICT,)
    id: str = Field(sa_column=Column(Text, primary_key=True))
    request_id: str = Field(sa_column=Column(Text, nullable=False, index=True))
    shredded_at: str = Field(sa_column=Column(Text, nullable=False))


class ProjectionRow(LedgerTable, table=True):
    """The folded state of one key after event ``seq``."""

    __tablename__ = "projection"
    __table_args__ = (STRICT,)
    name: str = Field(sa_column=Column(Text, primary_key=True))
    key: str = Field(sa_column=Column(Text, primary_key=True))
    state_json: str = Field(sa_column=Column(Text, nullable=False))
    seq: int = Field(sa_column=Column(Integer, nullable=False))


class SettingRow(LedgerTable, table=True):
    """A local setting, for example where a model file lies. Not part of the record."""

    __tablename__ = "setting"
    __table_args__ = (STRICT,)
    key: str = Field(sa_column=Column(Text, primary_key=True))
    value: str = Field(sa_column=Column(Text, nullable=False))


PROTECTED_TABLES = ("events", "checkpoints")

TRIGGERS: dict[str, str] = {
    "events_no_update": """
        CREATE TRIGGER events_no_update BEFORE UPDATE ON events
        BEGIN SELECT RAISE(ABORT, 'a recorded event cannot be changed'); END""",
    "events_no_delete": """
        CREATE TRIGGER events_no_delete BEFORE DELETE ON events
        BEGIN SELECT RAISE(ABORT, 'a recorded event cannot be deleted'); END""",
    # Fires before REPLACE removes the row it collides with, so INSERT OR REPLACE cannot rewrite the last event.
    "events_only_at_tail": """
        CREATE TRIGGER events_only_at_tail BEFORE INSERT ON events
        WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events)
          OR NEW.prev_hash IS NOT (SELECT coalesce((SELECT hash FROM events ORDER BY seq DESC LIMIT 1), NEW.prev_hash))
          OR EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id)
        BEGIN SELECT RAISE(ABORT, 'an event can only follow the last one'); END""",
    "checkpoints_no_update": """
        CREATE TRIGGER checkpoints_no_update BEFORE UPDATE ON checkpoints
        BEGIN SELECT RAISE(ABORT, 'a checkpoint cannot be changed'); END""",
    "checkpoints_no_delete": """
        CREATE TRIGGER checkpoints_no_delete BEFORE DELETE ON checkpoints
        BEGIN SELECT RAISE(ABORT, 'a checkpoint cannot be deleted'); END""",
    "checkpoints_only_forward": """
        CREATE TRIGGER checkpoints_only_forward BEFORE INSERT ON checkpoints
        WHEN NEW.size <= (SELECT max(size) FROM checkpoints)
        BEGIN SELECT RAISE(ABORT, 'a checkpoint can only follow the last one'); END""",
}
