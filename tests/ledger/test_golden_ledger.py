"""Ledgers that earlier consoles wrote are read, verified and continued by this one, for ever.

Every version of the layout adds a folder ``tests/golden/ledger-v<n>``; none is ever changed or removed.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from console.ledger import Event, InclusionProof, Ledger
from console.ledger.checkpoint import verify_checkpoint
from console.ledger.export import verify_export
from console.ledger.schema import SCHEMA_VERSION
from console.ledger.verify import verify_chain, verify_ledger

GOLDEN = Path(__file__).parents[1] / "golden"
LEDGERS = sorted(GOLDEN.glob("ledger-v*"))


class LastKind:
    """The projector of the golden ledgers."""

    version = 1

    def keys(self, event: Event) -> list[tuple[str, str]]:
        return [("request", event.request_id)] if event.request_id else []

    def apply(self, table: str, state: dict[str, str] | None, event: Event) -> dict[str, str] | None:
        return {"last": event.kind}


@pytest.fixture(params=LEDGERS, ids=lambda folder: folder.name)
def golden(request, tmp_path: Path, published_key_derivation: None) -> Path:
    """A copy of one golden ledger, so that opening it leaves nothing in the checkout."""
    return Path(shutil.copytree(request.param, tmp_path / request.param.name))


def expected_of(golden: Path) -> dict:
    return json.loads((golden / "expected.json").read_text(encoding="utf-8"))


def opened(golden: Path, **options) -> Ledger:
    passphrase = (golden / "passphrase.txt").read_text(encoding="utf-8").strip()
    clock = lambda: datetime(2027, 1, 1, tzinfo=UTC)  # noqa: E731
    return Ledger.open(golden / "ledger.db", passphrase, clock=clock, projector=LastKind(), **options)


def test_every_layout_has_a_golden_ledger() -> None:
    assert [folder.name for folder in LEDGERS] == [f"ledger-v{n}" for n in range(1, SCHEMA_VERSION + 1)]
    assert sum(file.stat().st_size for folder in LEDGERS for file in folder.iterdir()) < 200 * 1024 * SCHEMA_VERSION


def test_the_whole_file_verifies(golden: Path) -> None:
    """Pages, vault and projections too; a mark and a ledger of an earlier console have all that is looked for."""
    passphrase = (golden / "passphrase.txt").read_text(encoding="utf-8").strip()
    result = verify_ledger(golden / "ledger.db", passphrase, projector=LastKind())
    assert result.ok and result.checked == expected_of(golden)["head"]["size"], result.findings


def test_it_verifies_and_still_says_the_same(golden: Path) -> None:
    expected = expected_of(golden)
    with opened(golden, read_only=True) as ledger:
        result = verify_chain(ledger, verifier_key=expected["verifier_key"], witnesses=expected["checkpoints"])
        assert result.ok and result.checked == expected["head"]["size"] >= 15
        assert ledger.continuity is None and ledger.origin == expected["origin"]
        assert (ledger.head().size, ledger.head().hash) == (expected["head"]["size"], expected["head"]["hash"])
        assert ledger.unseal(expected["item"]) == {"name": "Zoë Müller-Quandt", "score": 0.25}
        assert ledger.commitment("ER-1", "Zoë Müller-Quandt") == expected["commitment"]
        assert ledger.projection("request") == {"ER-1": {"last": "measured"}, "ER-2": {"last": "vault_shredded"}}
        assert ledger.differing_projections() == [] and ledger.setting("model folder") == "models"


def test_its_report_proof_and_export_still_hold(golden: Path) -> None:
    expected = expected_of(golden)
    proof = InclusionProof.from_json(expected["proof"])
    newest = verify_checkpoint(expected["checkpoints"][-1], expected["verifier_key"])
    assert proof.holds() and (proof.root, proof.size) == (newest.root, newest.size)
    result = verify_export(
        golden / "export.jsonl", verifier_key=expected["verifier_key"], witnesses=expected["checkpoints"]
    )
    assert result.ok and result.checked == expected["head"]["size"]


def test_it_can_be_continued(golden: Path) -> None:
    expected = expected_of(golden)
    with opened(golden) as ledger:
        with ledger.transaction() as transaction:
            event = transaction.append("closed", {}, request_id="ER-1", actor="dpo")
        assert event.prev_hash == expected["head"]["hash"]
        ledger.checkpoint()
        assert verify_chain(ledger, witnesses=expected["checkpoints"]).ok


def test_a_changed_golden_ledger_would_be_noticed(golden: Path) -> None:
    mark = golden / "ledger.head.json"
    mark.write_text(mark.read_text(encoding="utf-8").replace('"size":15', '"size":16'), encoding="utf-8")
    with opened(golden, read_only=True) as ledger:
        assert [finding.code for finding in verify_chain(ledger).findings] == ["TRUNCATED"]
