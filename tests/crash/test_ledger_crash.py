"""Kill the writer at random points: all it acknowledged is there, what is there verifies, nothing is half written."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

import console
from console.ledger import Event, Ledger
from console.ledger.verify import verify_chain

KILLS = 25
FEWEST_KILLS = 12
TIME_LIMIT_S = 20  # a busy machine stops after the fewest kills instead of taking minutes
SEED = 20260301
PASSPHRASE = "crash test passphrase"
PASSAGE = "y" * 2000

# Every transaction is two events and one sealed item; a line is printed when it is committed.
WRITER = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from sqlcipher3 import dbapi2 as sqlcipher
from console.ledger import Ledger

class CountingProjector:
    version = 1
    def keys(self, event):
        return [("request", event.request_id)]
    def apply(self, table, state, event):
        return {"count": (state or {"count": 0})["count"] + 1}

sqlcipher.connect(":memory:").execute("PRAGMA cipher_default_kdf_iter = 1000")
path, passphrase, passage = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.stdin.readline()
with Ledger.open(path, passphrase, clock=lambda: datetime.now(UTC), projector=CountingProjector()) as ledger:
    while True:
        with ledger.transaction() as transaction:
            transaction.append("started", {"padding": "x" * 2000}, request_id="ER-1", actor="operator")
            transaction.seal("ER-1", "passage", passage)
            event = transaction.append("finished", {}, request_id="ER-1", actor="operator")
        print(json.dumps([event.seq, event.hash]), flush=True)
        if event.seq % 10 == 0:
            ledger.checkpoint()
"""


class CountingProjector:
    """How many events each request has: the writer's projector."""

    version = 1

    def keys(self, event: Event) -> list[tuple[str, str]]:
        return [("request", str(event.request_id))]

    def apply(self, table: str, state: dict[str, Any] | None, event: Event) -> dict[str, Any] | None:
        return {"count": (state or {"count": 0})["count"] + 1}


@pytest.fixture(autouse=True)
def fast_key_derivation() -> Iterator[None]:
    """1,000 rounds to unlock instead of 256,000, so that the kills hit the writing and not the key derivation."""
    with closing(sqlcipher.connect(":memory:")) as connection:
        connection.execute("PRAGMA cipher_default_kdf_iter = 1000")
        yield
        connection.execute("PRAGMA cipher_default_kdf_iter = 256000")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty ledger."""
    path = tmp_path / "ledger.db"
    Ledger.create(path, PASSPHRASE, origin="crash.example", clock=now, projector=CountingProjector()).close()
    return path


def now() -> datetime:
    return datetime.now(UTC)


def start_writer(path: Path) -> subprocess.Popen[str]:
    """A writer that has imported everything and waits for a line before it opens the ledger."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), PASSPHRASE, PASSAGE],
        cwd=Path(console.__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_and_kill(writer: subprocess.Popen[str], chance: random.Random) -> dict[int, str]:
    """Let the writer go, kill it, and return what it acknowledged as {seq: hash}.

    It is killed while it opens the ledger (one time in four), or at some point after its first to fifth transaction.
    """
    assert writer.stdin is not None and writer.stdout is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()
    lines = []
    if chance.random() < 0.75:
        lines += [writer.stdout.readline() for _ in range(chance.randint(1, 5))]
    time.sleep(chance.uniform(0, 0.04))
    writer.kill()
    lines += writer.stdout.readlines()
    writer.wait()
    writer.stdin.close()
    writer.stdout.close()
    # A line that was cut by the kill was not acknowledged.
    return dict(json.loads(line) for line in lines if line.endswith("]\n"))


def check(path: Path, promised: dict[int, str]) -> None:
    """Everything acknowledged is there, once and whole; opening for writing at once shows that no lock is left."""
    with Ledger.open(path, PASSPHRASE, clock=now, projector=CountingProjector()) as ledger:
        events = ledger.events()
        assert promised.items() <= {event.seq: event.hash for event in events}.items()
        assert [event.kind for event in events] == ["started", "finished"] * (len(events) // 2)
        items = ledger.sealed_items("ER-1")
        assert len(items) == len(events) // 2
        assert all(ledger.unseal(item.id) == PASSAGE for item in items[-3:])
        assert ledger.differing_projections() == [] and ledger.continuity is None
        result = verify_chain(ledger)
        assert result.ok and result.checked == len(events), result.findings
        with ledger.reading() as session:
            assert session.connection().exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


@pytest.mark.crash
def test_a_killed_writer_loses_nothing_it_acknowledged(path: Path) -> None:
    chance = random.Random(SEED)
    promised: dict[int, str] = {}
    end = time.monotonic() + TIME_LIMIT_S
    waiting = start_writer(path)
    try:
        for kills in range(KILLS):
            if kills >= FEWEST_KILLS and time.monotonic() > end:
                break
            writer, waiting = waiting, start_writer(path)  # the next one loads while this one runs
            promised |= run_and_kill(writer, chance)
            check(path, promised)
    finally:
        waiting.kill()
        waiting.communicate()
    assert len(promised) >= FEWEST_KILLS, "the writer was hardly ever killed in the middle of its work"


def test_the_check_itself_says_no(path: Path) -> None:
    with Ledger.open(path, PASSPHRASE, clock=now, projector=CountingProjector()) as ledger:
        event = record(ledger, whole=True)
    check(path, {event.seq: event.hash})
    for broken_promise in ({3: "ab" * 32}, {2: "ab" * 32}):
        with pytest.raises(AssertionError):
            check(path, broken_promise)
    with Ledger.open(path, PASSPHRASE, clock=now, projector=CountingProjector()) as ledger:
        record(ledger, whole=False)
    with pytest.raises(AssertionError):
        check(path, {})


def record(ledger: Ledger, *, whole: bool) -> Event:
    """What the writer records in one transaction, or the first half of it."""
    with ledger.transaction() as transaction:
        event = transaction.append("started", {}, request_id="ER-1", actor="operator")
        if whole:
            transaction.seal("ER-1", "passage", PASSAGE)
            event = transaction.append("finished", {}, request_id="ER-1", actor="operator")
        return event
