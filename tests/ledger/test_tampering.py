"""The attack list: an intruder with the file and the passphrase, and the finding that gives the attack away.

Attacks on rows are done with the triggers off and put back afterwards, so that only the chain can tell.
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from console.errors import LedgerDamagedError, NotPossibleError
from console.ledger import Ledger
from console.ledger.checkpoint import Checkpoint, sign_checkpoint, verifier_key
from console.ledger.verify import verify_chain
from console.ledger.walk import CLOCK_TOLERANCE, verify_events


def verified(office, **options: Any):
    return verify_chain(office.path, office.passphrase, **options)


def test_an_untouched_ledger_verifies(office) -> None:
    office.filled(10)
    result = verified(office)
    assert result.ok and not result.altered and result.checked == 10 and result.findings == ()


def test_an_empty_ledger_verifies(office) -> None:
    office.create().close()
    assert verified(office).ok and verified(office).checked == 0


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        ("UPDATE events SET body = '{\"number\":99}' WHERE seq = 5", {("CONTENT", 5)}),
        ("UPDATE events SET actor = 'somebody' WHERE seq = 5", {("CONTENT", 5)}),
        ("UPDATE events SET kind = 'approved' WHERE seq = 5", {("CONTENT", 5)}),
        ("UPDATE events SET request_id = NULL WHERE seq = 5", {("CONTENT", 5)}),
        ("UPDATE events SET event_id = 'another' WHERE seq = 5", {("CONTENT", 5)}),
        ("UPDATE events SET at = '2026-03-01T08:00:05.123457Z' WHERE seq = 5", {("CONTENT", 5)}),
        (f"UPDATE events SET hash = '{'ab' * 32}' WHERE seq = 5", {("CONTENT", 5), ("LINK", 6)}),
        (f"UPDATE events SET prev_hash = '{'ab' * 32}' WHERE seq = 5", {("CONTENT", 5), ("LINK", 5)}),
        ("DELETE FROM events WHERE seq = 5", {("GAP", 5), ("LINK", 6)}),
        ("DELETE FROM events WHERE seq = 1", {("GAP", 1), ("LINK", 2)}),
        ("DELETE FROM events WHERE seq > 7", {("TRUNCATED", 7)}),
        ("DELETE FROM events", {("TRUNCATED", 0)}),
        ("UPDATE events SET seq = -seq WHERE seq = 5", {("GAP", 1), ("LINK", -5), ("CONTENT", -5)}),
    ],
)
def test_edits_and_deletions(office, codes, attack: str, expected: set[tuple[str, int]]) -> None:
    office.filled(10)
    with office.unprotected() as connection:
        connection.execute(attack)
    result = verified(office)
    assert expected <= codes(result) and result.altered and not result.ok
    assert {code for code, _ in codes(result)} <= {code for code, _ in expected} | {"LINK", "GAP", "CONTENT"}


def test_two_rows_swapped(office, codes) -> None:
    office.filled(10)
    with office.unprotected() as connection:
        for change in ("seq = 100 WHERE seq = 5", "seq = 5 WHERE seq = 6", "seq = 6 WHERE seq = 100"):
            connection.execute(f"UPDATE events SET {change}")
    assert codes(verified(office)) == {
        *(("CONTENT", seq) for seq in (5, 6)),
        *(("LINK", seq) for seq in (5, 6, 7)),
    }


def test_an_end_that_is_cut_off_below_a_checkpoint(office, codes) -> None:
    with office.create() as ledger:
        office.append(ledger, 10)
        ledger.checkpoint()
        office.append(ledger, 2)
    with office.unprotected() as connection:
        connection.execute("DELETE FROM events WHERE seq > 8")
    assert ("TRUNCATED", 8) in codes(verified(office))
    office.mark.unlink()
    result = verified(office)
    assert any("checkpoint of 10" in finding.message for finding in result.findings), "without the mark as well"
    with office.open() as ledger, pytest.raises(LedgerDamagedError):
        office.append(ledger, 1)


def test_a_cut_end_is_seen_in_the_rows_of_an_open_ledger_too(office, codes) -> None:
    office.filled(10)
    with office.open(read_only=True) as ledger:
        with office.unprotected() as connection:
            connection.execute("DELETE FROM events WHERE seq > 8")
        assert codes(verify_chain(ledger)) == {("TRUNCATED", 8)}


def test_a_missing_or_damaged_mark_is_no_free_pass(office, codes) -> None:
    office.filled(3)
    good = office.mark.read_text(encoding="utf-8")
    for content in (None, "", "{", "[]", good.replace('"size":3', '"size":"3"'), good.replace("head/1", "head/9")):
        office.mark.unlink() if content is None else office.mark.write_text(content, encoding="utf-8")
        assert codes(verified(office)) == {("TRUNCATED", None)}
        with office.open() as ledger, pytest.raises(LedgerDamagedError):
            office.append(ledger, 1)


def test_a_mark_of_another_ledger_is_noticed(office, codes, tmp_path) -> None:
    other = type(office)(tmp_path / "ledger.db", passphrase="other")
    other.filled(3)
    office.filled(3)
    shutil.copy(other.mark, office.mark)
    assert codes(verified(office)) == {("FORK", None)}


def test_an_older_copy_of_the_whole_file(office, codes, tmp_path) -> None:
    office.filled(5)
    backup = tmp_path / "backup.db"
    shutil.copy(office.path, backup)
    with office.open() as ledger:
        office.append(ledger, 3)
    shutil.copy(backup, office.path)
    assert codes(verified(office)) == {("TRUNCATED", 5)}
    with office.open() as ledger:
        assert ledger.continuity.code == "TRUNCATED"
        for step in (lambda: office.append(ledger, 1), ledger.checkpoint, lambda: ledger.shred("ER-1", "dpo", "x")):
            with pytest.raises(LedgerDamagedError, match=r"once had 8 events and now has 5"):
                step()
        assert len(ledger.events()) == 5, "reading is possible"


def test_a_restored_backup_can_be_accepted_and_that_is_on_record(office, tmp_path) -> None:
    office.filled(5)
    backup = tmp_path / "backup.db"
    shutil.copy(office.path, backup)
    with office.open() as ledger:
        with pytest.raises(NotPossibleError):
            ledger.reanchor("dpo", "nothing happened")
        office.append(ledger, 3)
        lost = ledger.head()
    shutil.copy(backup, office.path)
    with office.open() as ledger:
        event = ledger.reanchor("dpo", "restored-from-backup")
        assert event.kind == "ledger_reanchored" and event.body["found"]["size"] == 5
        assert event.body["expected"] == {"hash": lost.hash, "size": 8} and event.body["finding"] == "TRUNCATED"
        office.append(ledger, 1)
    assert verified(office).ok and verified(office).checked == 7


def test_two_histories_from_one_head(office, codes, tmp_path) -> None:
    office.filled(5)
    branch = tmp_path / "branch"
    branch.mkdir()
    for file in (office.path, office.mark):
        shutil.copy(file, branch)
    with office.open() as ledger:
        office.append(ledger, 3)
        witness = ledger.checkpoint()
    other = type(office)(branch / "ledger.db", clock=office.clock)
    with other.open() as ledger:
        office.append(ledger, 6)
    assert verified(other).ok, "each history is whole in itself"
    assert codes(verified(other, witnesses=[witness])) == {("FORK", 8)}
    shutil.copy(other.path, office.path)
    assert codes(verified(office)) == {("FORK", 8)}, "the mark saw the first one"
    assert verified(type(office)(branch / "ledger.db"), witnesses=[]).ok


def test_a_complete_rewrite_does_not_fit_the_checkpoint(office, codes, rehash) -> None:
    with office.create() as ledger:
        office.append(ledger, 10)
        witness = ledger.checkpoint()
    with office.unprotected() as connection:
        connection.execute("UPDATE events SET body = '{\"number\":99}' WHERE seq = 5")
        rehash(connection)
    assert codes(verified(office)) == {("FORK", 10)}
    with office.unprotected() as connection:
        connection.execute("DELETE FROM checkpoints")
    assert codes(verified(office)) == {("FORK", 10)}, "the mark still tells"
    office.mark.unlink()
    with office.open() as ledger:
        ledger.reanchor("intruder", "nothing-to-see")
    assert verified(office).ok, "this is what nothing inside the folder can tell ..."
    assert codes(verified(office, witnesses=[witness])) == {("FORK", 10)}, "... and every old report can"


def test_a_shortened_rewrite_does_not_fit_an_old_report(office, codes) -> None:
    with office.create() as ledger:
        office.append(ledger, 10)
        witness = ledger.checkpoint()
    with office.unprotected() as connection:
        connection.execute("DELETE FROM checkpoints")
        connection.execute("DELETE FROM events WHERE seq > 8")
    office.mark.unlink()
    with office.open() as ledger:
        ledger.reanchor("intruder", "nothing-to-see")
    assert codes(verified(office, witnesses=[witness])) == {("TRUNCATED", 9)}


def forged_note(ledger: Ledger, key: Ed25519PrivateKey) -> str:
    head = ledger.head()
    root = ledger.inclusion_proof(head.size).root
    return sign_checkpoint(Checkpoint(ledger.origin, head.size, root, head.hash, "2026-03-01T09:00:00.000000Z"), key)


def test_a_forged_event_with_a_valid_chain_and_another_key(office, codes) -> None:
    with office.create() as ledger:
        office.append(ledger, 5)
        ledger.checkpoint()
        office.append(ledger, 1)
        forged = forged_note(ledger, Ed25519PrivateKey.generate())
    with office.raw() as connection:
        connection.execute("INSERT INTO checkpoints VALUES (6, ?)", (forged,))
    assert codes(verified(office)) == {("SIGNATURE", None)}


def test_a_replaced_signing_key_is_noticed_by_mark_and_by_whoever_knows_the_old_one(office, codes) -> None:
    with office.create() as ledger:
        office.append(ledger, 5)
        genuine, witness = ledger.verifier_key, ledger.checkpoint()
    with office.unprotected() as connection:
        stranger = verifier_key(office.origin, Ed25519PrivateKey.generate().public_key())
        connection.execute("UPDATE meta SET value = ? WHERE key = 'verifier_key'", (stranger,))
        connection.execute("DELETE FROM checkpoints")
    assert codes(verified(office)) == {("FORK", None)}
    assert ("SIGNATURE", None) in codes(verified(office, verifier_key=genuine))
    assert ("SIGNATURE", None) in codes(verified(office, witnesses=[witness]))


def test_an_old_checkpoint_put_in_again_for_a_newer_size(office, codes) -> None:
    with office.create() as ledger:
        office.append(ledger, 5)
        old = ledger.checkpoint()
        office.append(ledger, 3)
    with office.raw() as connection:
        connection.execute("INSERT INTO checkpoints VALUES (8, ?)", (old,))
    assert codes(verified(office)) == {("SIGNATURE", 8)}


def test_a_checkpoint_of_another_office_is_no_witness(office, codes, tmp_path) -> None:
    other = type(office)(tmp_path / "ledger.db", origin="other.example")
    with other.create() as ledger:
        office.append(ledger, 3)
        stranger = ledger.checkpoint()
    office.filled(3)
    assert codes(verified(office, witnesses=[stranger, "no note"])) == {("SIGNATURE", None)}


def test_the_name_of_the_ledger_is_in_its_first_event(office, codes) -> None:
    office.filled(3)
    with office.raw() as connection:
        connection.execute("UPDATE meta SET value = 'other.example' WHERE key = 'origin'")
    assert codes(verified(office)) == {("LINK", 1), ("FORK", None)}


def test_a_clock_that_was_set_back(office, codes) -> None:
    with office.create() as ledger:
        office.append(ledger, 3)
        office.clock.now -= CLOCK_TOLERANCE
        office.append(ledger, 3)
        assert verify_chain(ledger).ok, "a small correction is no finding"
        office.clock.now -= CLOCK_TOLERANCE + timedelta(seconds=2)
        office.append(ledger, 3)
        result = verify_chain(ledger)
    assert codes(result) == {("CLOCK", 7)} and not result.ok and not result.altered


@pytest.mark.parametrize(
    "body",
    [
        '{"number":1,"number":2}',
        '{"number":1.0}',
        '{"number":NaN}',
        '{"number": 1}',
        '{"number":1e0}',
        '{"number":9007199254740993}',
        '{"name":"e\u0301"}',
        '{"b":1,"a":2}',
        '["a"]',
        "null",
        "no json",
        "",
        '{"a":"' + "x" * 70_000 + '"}',
        '{"a":' * 40 + "1" + "}" * 40,
    ],
)
def test_ambiguous_bodies_do_not_pass_even_with_fitting_hashes(office, codes, rehash, body: str) -> None:
    office.filled(5)
    with office.unprotected() as connection:
        connection.execute("UPDATE events SET body = ? WHERE seq = 5", (body,))
        rehash(connection)
    office.mark.unlink()
    assert codes(verified(office)) == {("SCHEMA", 5), ("TRUNCATED", None)}
    with office.open(read_only=True) as ledger, pytest.raises(LedgerDamagedError, match="Event 5"):
        ledger.events()


@pytest.mark.parametrize(
    "change",
    [
        "at = '2026-03-01T08:00:05.1Z'",
        "at = '2026-02-30T08:00:05.123456Z'",
        "at = '2026-03-01 08:00:05.123456Z'",
        "kind = ''",
        "actor = 'Ame' || char(769) || 'lie'",
        "actor = 'a' || char(10) || 'b'",
        "request_id = ''",
    ],
)
def test_fields_that_could_not_have_been_recorded(office, codes, rehash, change: str) -> None:
    office.filled(5)
    with office.unprotected() as connection:
        connection.execute(f"UPDATE events SET {change} WHERE seq = 5")
        rehash(connection)
    office.mark.unlink()
    assert codes(verified(office)) == {("SCHEMA", 5), ("TRUNCATED", None)}


def test_nfd_in_the_place_of_recorded_nfc_changes_the_hash(office, codes) -> None:
    with office.create() as ledger, ledger.transaction() as transaction:
        transaction.append("noted", {"text": "\u00e9"}, actor="Am\u00e9lie")
    with office.unprotected() as connection:
        connection.execute("UPDATE events SET actor = 'Ame\u0301lie'")
    assert codes(verified(office)) == {("CONTENT", 1), ("SCHEMA", 1)}


@pytest.mark.parametrize(
    "attack",
    [
        "DROP TRIGGER events_no_update",
        "DROP TRIGGER checkpoints_no_delete",
        "CREATE TRIGGER quiet BEFORE UPDATE ON events BEGIN SELECT RAISE(IGNORE); END",
        "ALTER TABLE events ADD COLUMN remark TEXT",
        "ALTER TABLE checkpoints RENAME COLUMN note TO text",
    ],
)
def test_protection_that_was_taken_off(office, codes, attack: str) -> None:
    office.filled(3)
    with office.raw() as connection:
        connection.execute(attack)
    assert {code for code, _ in codes(verified(office))} == {"SCHEMA"}


def test_a_table_that_takes_anything(office, codes) -> None:
    office.filled(3)
    with office.unprotected() as connection:
        connection.execute("CREATE TABLE copied AS SELECT * FROM events")
        connection.execute("DROP TABLE events")
        connection.execute("ALTER TABLE copied RENAME TO events")
        connection.execute("UPDATE events SET body = NULL WHERE seq = 1")
        connection.execute("UPDATE events SET hash = 5 WHERE seq = 2")
        connection.execute("UPDATE events SET seq = 'three' WHERE seq = 3")
    result = verified(office)
    assert {("SCHEMA", None), ("SCHEMA", 1), ("SCHEMA", 2), ("SCHEMA", 3)} <= codes(result) and result.checked == 3


@pytest.mark.parametrize("table", ["events", "checkpoints"])
def test_a_table_that_is_gone(office, codes, table: str) -> None:
    office.filled(3)
    with office.raw() as connection:
        connection.execute(f"DROP TABLE {table}")
    result = verified(office)
    assert ("SCHEMA", None) in codes(result) and result.checked == 0


def test_rows_that_were_not_read_are_a_failure(office, codes) -> None:
    """A verifier that checked nothing must not say that all is well."""
    assert codes(verify_events([], count=5, origin=office.origin)) == {("GAP", None)}
    assert verify_events([], count=0, origin=office.origin).ok


def test_a_change_in_the_bytes_of_the_file(office, codes) -> None:
    office.filled(60)
    whole = office.path.read_bytes()
    refused = 0
    pages = range(1, len(whole) // 4096, 2)
    for page in pages:
        spoiled = bytearray(whole)
        spoiled[page * 4096 + 2000] ^= 1
        office.path.write_bytes(spoiled)
        try:
            refused += not verified(office).ok
        except LedgerDamagedError:
            refused += 1
    # Pages of tables that the chain does not need are not read; those of 60 events are, and so are their indices.
    assert refused >= 5
    office.path.write_bytes(whole)
    assert verified(office).ok
