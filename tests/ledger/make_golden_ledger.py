"""Make the golden ledger of the present layout: ``python tests/ledger/make_golden_ledger.py``.

Run once for every ``SCHEMA_VERSION`` and never again for an old one: the files are verified for ever by
``test_golden_ledger.py``, so that no later console forgets how to read and verify what this one wrote.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from console.ledger import Event, Ledger
from console.ledger.export import export_events
from console.ledger.schema import SCHEMA_VERSION
from console.out_file import OutFile
from console.paths import Places

FOLDER = Path(__file__).parents[1] / "golden" / f"ledger-v{SCHEMA_VERSION}"
PASSPHRASE = "golden ledger passphrase"


class LastKind:
    """The kind of the last event of each request."""

    version = 1

    def keys(self, event: Event) -> Sequence[tuple[str, str]]:
        return [("request", event.request_id)] if event.request_id else []

    def apply(self, table: str, state: dict[str, Any] | None, event: Event) -> dict[str, Any] | None:
        return {"last": event.kind}


def main() -> None:
    """Write the files; refuses to touch a golden ledger that is already there."""
    FOLDER.mkdir(parents=True)
    now = datetime(2026, 3, 1, 8, 0, 0, 123456, tzinfo=UTC)

    def clock() -> datetime:
        nonlocal now
        now += timedelta(seconds=7)
        return now

    path = FOLDER / "ledger.db"
    with Ledger.create(path, PASSPHRASE, clock=clock, projector=LastKind(), origin="golden.example/erasure") as ledger:
        expected = record(ledger)
        export_events(ledger, OutFile.named(FOLDER / "export.jsonl", Places(FOLDER / "office", FOLDER / "cache")))
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8", newline="\n")
    (FOLDER / "passphrase.txt").write_text(PASSPHRASE + "\n", encoding="utf-8", newline="\n")
    for by_product in ("ledger.db-journal", "ledger.db.lock"):
        (FOLDER / by_product).unlink()


def record(ledger: Ledger) -> dict[str, Any]:
    """Something of everything; returns what every later console must find."""
    with ledger.transaction() as transaction:
        item = transaction.seal("ER-1", "subject", {"name": "Zoë Müller-Quandt", "score": 0.25})
        commitment = transaction.commitment("ER-1", "Zoë Müller-Quandt")
        body = {"commitment": commitment, "ground": "17(1)(b)", "count": 3, "urgent": False, "note": None}
        transaction.append("registered", body, request_id="ER-1", actor="dpo")
    with ledger.transaction() as transaction:
        transaction.seal("ER-2", "subject", "to be shredded")
        transaction.append("registered", {"ground": "größer \U0001f600"}, request_id="ER-2", actor="Amélie")
    first_checkpoint = ledger.checkpoint()
    ledger.shred("ER-2", "dpo", "retention-expired")
    for number in range(12):
        with ledger.transaction() as transaction:
            transaction.append("measured", {"k": number, "rate": "0.125"}, request_id="ER-1", actor="operator")
    ledger.set_setting("model folder", "models")
    latest_checkpoint = ledger.checkpoint()
    head = ledger.head()
    return {
        "checkpoints": [first_checkpoint, latest_checkpoint],
        "commitment": commitment,
        "head": {"hash": head.hash, "size": head.size},
        "item": item,
        "origin": ledger.origin,
        "proof": ledger.inclusion_proof(3).to_json(),
        "verifier_key": ledger.verifier_key,
    }


if __name__ == "__main__":
    main()
