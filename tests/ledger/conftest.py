"""An office with a ledger, a clock that the test moves, and an intruder who has the passphrase."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from console.ledger import Event, Ledger, VerificationResult
from console.ledger.tables import TRIGGERS

PASSPHRASE = "correct horse 'battery' stäple"
ORIGIN = "office.example/erasure"
PUBLISHED_ROUNDS = 256_000  # SQLCipher 4


@dataclass
class FakeClock:
    """A clock that goes one second further with every look."""

    now: datetime = datetime(2026, 3, 1, 8, 0, 0, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


class CountingProjector:
    """Counts events per request and per kind; a ``closed`` event takes its request away again."""

    def __init__(self, version: int = 1) -> None:
        self.version = version

    def keys(self, event: Event) -> Sequence[tuple[str, str]]:
        keys = [("kind", event.kind)]
        return [*keys, ("request", event.request_id)] if event.request_id else keys

    def apply(self, table: str, state: dict[str, Any] | None, event: Event) -> dict[str, Any] | None:
        if table == "request" and event.kind == "closed":
            return None
        return {"count": (state or {"count": 0})["count"] + self.version, "last": event.event_id}


@dataclass
class Office:
    """One ledger file and what is needed to open it."""

    path: Path
    clock: FakeClock = field(default_factory=FakeClock)
    projector: CountingProjector = field(default_factory=CountingProjector)
    passphrase: str = PASSPHRASE
    origin: str = ORIGIN

    def create(self) -> Ledger:
        return Ledger.create(self.path, self.passphrase, clock=self.clock, projector=self.projector, origin=self.origin)

    def open(self, **options: Any) -> Ledger:
        arguments = {"clock": self.clock, "projector": self.projector} | options
        return Ledger.open(self.path, self.passphrase, **arguments)

    def filled(self, count: int = 10) -> None:
        """A closed ledger with ``count`` events."""
        with self.create() as ledger:
            self.append(ledger, count)

    @staticmethod
    def append(ledger: Ledger, count: int) -> None:
        """``count`` events in one transaction."""
        with ledger.transaction() as transaction:
            for number in range(count):
                transaction.append("noted", {"number": number}, request_id="ER-1", actor="dpo")

    @property
    def mark(self) -> Path:
        return self.path.with_name("ledger.head.json")

    @contextmanager
    def raw(self) -> Iterator[Any]:
        """The file through plain SQLCipher, as a thief of file and passphrase opens it."""
        with closing(sqlcipher.connect(str(self.path), isolation_level=None)) as connection:
            quoted = self.passphrase.replace("'", "''")
            connection.execute(f"PRAGMA key = '{quoted}'")
            yield connection

    @contextmanager
    def unprotected(self) -> Iterator[Any]:
        """As ``raw``, with the triggers off for the time being and put back unchanged afterwards."""
        with self.raw() as connection:
            for name in TRIGGERS:
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute("PRAGMA ignore_check_constraints = ON")
            yield connection
            for statement in TRIGGERS.values():
                connection.execute(statement)


@pytest.fixture(autouse=True)
def fast_key_derivation() -> Iterator[None]:
    """Files made in these tests take 1,000 rounds to unlock instead of 256,000, which is the time of the whole run."""
    _set_key_derivation_rounds(1_000)
    yield
    _set_key_derivation_rounds(PUBLISHED_ROUNDS)


@pytest.fixture
def published_key_derivation(fast_key_derivation: None) -> None:
    """SQLCipher's own default, for tests that open files made elsewhere."""
    _set_key_derivation_rounds(PUBLISHED_ROUNDS)


def _set_key_derivation_rounds(rounds: int) -> None:
    with closing(sqlcipher.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA cipher_default_kdf_iter = {rounds}")  # of the whole process


@pytest.fixture
def office(tmp_path: Path) -> Office:
    folder = tmp_path / "Büro mit Raum #1"
    folder.mkdir()
    return Office(folder / "ledger.db")


@pytest.fixture
def rehash() -> Callable[[Any], None]:
    """Recompute every hash of a tampered chain from the documented definition, not with the product's code."""

    def rehash_chain(connection: Any) -> None:
        previous = hashlib.sha256(b"erasure-console/ledger/genesis/v1\n" + ORIGIN.encode()).hexdigest()
        rows = connection.execute("SELECT seq, event_id, at, kind, request_id, actor, body FROM events ORDER BY seq")
        for seq, event_id, at, kind, request_id, actor, body in rows.fetchall():
            fields = {"actor": actor, "at": at, "event_id": event_id, "kind": kind, "prev_hash": previous}
            fields |= {"request_id": request_id, "seq": seq, "body": None}
            parts = [
                f'"{name}":{body if name == "body" else json.dumps(value, ensure_ascii=False)}'
                for name, value in sorted(fields.items())
            ]
            text = "{" + ",".join(parts) + "}"
            digest = hashlib.sha256(b"erasure-console/ledger/event/v1\n" + text.encode()).hexdigest()
            connection.execute("UPDATE events SET prev_hash = ?, hash = ? WHERE seq = ?", (previous, digest, seq))
            previous = digest

    return rehash_chain


@pytest.fixture
def codes() -> Callable[[VerificationResult], set[tuple[str, int | None]]]:
    return lambda result: {(finding.code.value, finding.seq) for finding in result.findings}
