"""Several consoles at once: one writes, the others are told so, and the chain stays one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import console
from console.ledger.verify import verify_chain

PROCESSES = 3
APPENDS = 10

# Opens the ledger again for every event, so that the processes really contend; prints how often it was told "busy".
WRITER = """
import sys, time
from datetime import datetime, UTC
from pathlib import Path
from console.errors import LedgerBusyError
from console.ledger import Ledger
from sqlcipher3 import dbapi2 as sqlcipher

sqlcipher.connect(":memory:").execute("PRAGMA cipher_default_kdf_iter = 1000")  # as in conftest.py

class NoProjection:
    version = 1
    def keys(self, event):
        return []
    def apply(self, table, state, event):
        return state

path, passphrase, name, appends = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
busy, deadline = 0, time.monotonic() + 60
for number in range(appends):
    while True:
        assert time.monotonic() < deadline, "never got the ledger"
        try:
            ledger = Ledger.open(path, passphrase, clock=lambda: datetime.now(UTC), projector=NoProjection())
        except LedgerBusyError:
            busy += 1
            time.sleep(0.002)
            continue
        with ledger, ledger.transaction() as transaction:
            transaction.append("noted", {"number": number}, actor=name)
        break
print(busy)
"""


def test_processes_append_to_one_linear_chain(office) -> None:
    office.passphrase = "shared passphrase"
    office.create().close()
    root = Path(console.__file__).parents[1]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(office.path), office.passphrase, f"console-{number}", str(APPENDS)],
            cwd=root,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    busy = [int(writer.communicate(timeout=120)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * PROCESSES
    assert sum(busy) > 0, "they never met, so the test shows nothing"
    with office.open() as ledger:
        events = ledger.events()
        assert [event.seq for event in events] == list(range(1, PROCESSES * APPENDS + 1))
        for number in range(PROCESSES):
            own = [event.body["number"] for event in events if event.actor == f"console-{number}"]
            assert own == list(range(APPENDS))
        assert verify_chain(ledger).ok and ledger.continuity is None
