"""The whole file: every page, the vault and the projections are held against the events, not only the chain."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from console.errors import InputError, LedgerDamagedError, PassphraseError
from console.ledger import VerificationResult
from console.ledger.verify import verify_ledger

PAGE = 4096
SEALED_BY = {"registered": "forget-set"}


def verified(office, **options: Any) -> VerificationResult:
    given = {"projector": office.projector, "sealed_by": SEALED_BY} | options
    return verify_ledger(office.path, office.passphrase, **given)


@pytest.fixture
def case(office):
    """A ledger with a registered request, a sealed note that its event names, and a request that was shredded."""
    with office.create() as ledger:
        with ledger.transaction() as transaction:
            transaction.seal("ER-1", "forget-set", ["Zoë lives in Varnholt"])
            note = transaction.seal("ER-1", "note", "a reason")
            body = {
                "commitment": transaction.commitment("ER-1", ["Zoë lives in Varnholt"]),
                "sealed_reason": {"item": note, "commitment": transaction.commitment("ER-1", "a reason")},
            }
            transaction.append("registered", body, request_id="ER-1", actor="dpo")
            attempts = transaction.seal("ER-1", "attempts", {"asked": [1, 2]})
            transaction.append("battery", {"attempts": attempts}, request_id="ER-1", actor="dpo")
            transaction.seal("ER-2", "forget-set", ["Mira"])
            body = {"commitment": transaction.commitment("ER-2", ["Mira"])}
            transaction.append("registered", body, request_id="ER-2", actor="dpo")
        ledger.shred("ER-2", "dpo", "retention-expired")
    return office


def test_a_whole_ledger_is_whole_and_says_what_nobody_looked_at(case) -> None:
    result = verified(case)
    assert result.ok and result.checked == 4 and result.findings == ()
    assert [sentence.split(" ")[1] for sentence in result.not_checked] == [
        "settings",
        "each",
        "and",
        "ledger",
    ]
    with case.open(read_only=True) as ledger:
        assert verify_ledger(ledger, projector=case.projector, sealed_by=SEALED_BY) == result
        witness = verify_ledger(ledger, projector=case.projector, witnesses=[])
        assert len(witness.not_checked) == 4


def test_an_empty_ledger_is_not_whole(office, codes) -> None:
    office.create().close()
    assert codes(verified(office)) == {("EMPTY", None)}


def test_one_changed_byte_in_any_page_is_found(case, tmp_path: Path) -> None:
    """Every page at its beginning, middle and seal; the salt, with which the file begins, as well."""
    whole = case.path.read_bytes()
    pages = len(whole) // PAGE
    assert pages > 15
    for page in range(pages):
        for offset in (0, 7, 1234) if page % 5 == 0 else (PAGE - 1 - page,):
            damaged = bytearray(whole)
            damaged[page * PAGE + offset] ^= 1
            case.path.write_bytes(damaged)
            result = verified(case)
            assert not result.ok and result.altered, (page + 1, offset)
            assert {finding.code.value for finding in result.findings} & {"PAGE"}, (page + 1, offset)
            named = " ".join(finding.message for finding in result.findings)
            assert f"page {page + 1}" in named or (page == 0 and "beginning" in named), (page + 1, offset, named)
    case.path.write_bytes(whole)
    assert verified(case).ok


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-PAGE], lambda data: data + data[-PAGE:], lambda data: data + b"more"],
    ids=["cut", "page added", "bytes added"],
)
def test_a_file_of_another_length_is_found(case, codes, change: Any) -> None:
    case.path.write_bytes(change(case.path.read_bytes()))
    assert ("PAGE", None) in codes(verified(case))


def test_a_damaged_first_page_is_not_told_as_a_wrong_passphrase(case) -> None:
    whole = case.path.read_bytes()
    for offset in (3, 100, PAGE - 1):
        damaged = bytearray(whole)
        damaged[offset] ^= 1
        case.path.write_bytes(damaged)
        for read_only in (True, False):
            with pytest.raises(LedgerDamagedError, match="was changed outside the console"):
                case.open(read_only=read_only)
    case.path.write_bytes(whole)
    case.passphrase = "wrong"
    with pytest.raises(PassphraseError):
        verified(case)


VAULT_ATTACKS = {
    "key deleted": ("DELETE FROM vault_key WHERE request_id = 'ER-1'", "key of 'ER-1' is missing; 3 sealed items"),
    "key overwritten": ("UPDATE vault_key SET wrapped = randomblob(60)", "key of 'ER-1' was changed"),
    "item overwritten": ("UPDATE vault_item SET sealed = randomblob(99) WHERE kind = 'attempts'", "item of 'ER-1' was"),
    "items swapped": (
        "UPDATE vault_item SET sealed = (SELECT sealed FROM vault_item WHERE kind = 'note') WHERE kind = 'forget-set'",
        "item of 'ER-1' was changed",
    ),
    "named item deleted": ("DELETE FROM vault_item WHERE kind = 'attempts'", "event 2 names is missing"),
    "committed item deleted": ("DELETE FROM vault_item WHERE kind = 'forget-set'", "is what event 1 committed to"),
    "everything deleted": ("DELETE FROM vault_item; DELETE FROM vault_key", "event 1 committed to is missing"),
    "marked as destroyed": (
        "INSERT INTO vault_tombstone SELECT id, request_id, '2026-03-01T09:00:00.000000Z' FROM vault_item;"
        "DELETE FROM vault_item; DELETE FROM vault_key",
        "'ER-1' is marked as destroyed, but no event says",
    ),
    "tombstone deleted": ("DELETE FROM vault_tombstone", "event 4 destroyed is not what is marked"),
    "tombstone added": (
        "INSERT INTO vault_tombstone VALUES ('x', 'ER-2', '2026-03-01T09:00:00.000000Z')",
        "event 4 destroyed is not what is marked",
    ),
    "brought back": ("UPDATE vault_key SET request_id = 'ER-2'", "Event 4 destroyed the data of 'ER-2', and there is"),
    "misdated": (
        "UPDATE vault_item SET created_at = '1999-01-01T00:00:00Z' WHERE kind = 'note'",
        "time of a sealed item",
    ),
    "destroyed at another time": (
        "UPDATE vault_tombstone SET shredded_at = '2025-03-01T09:00:00.000000Z'",
        "'ER-2' is marked as destroyed at another time than event 4",
    ),
    "destroyed at no time": ("UPDATE vault_tombstone SET shredded_at = 'x'", "at another time than event 4"),
    "signing key": ("UPDATE secret SET value = randomblob(60) WHERE name = 'checkpoint-key'", "does not open"),
}


@pytest.mark.parametrize("attack", VAULT_ATTACKS)
def test_attacks_on_the_vault(case, attack: str) -> None:
    statements, said = VAULT_ATTACKS[attack]
    with case.raw() as connection:
        connection.executescript(statements)
    result = verified(case)
    assert {finding.code.value for finding in result.findings} == {"VAULT"}
    assert said in " ".join(finding.message for finding in result.findings)


def test_an_edited_projection_is_found(case, codes) -> None:
    with case.raw() as connection:
        ((text,),) = connection.execute("SELECT state_json FROM projection WHERE name = 'request' AND key = 'ER-1'")
        edited = json.dumps(json.loads(text) | {"count": 99})
        connection.execute("UPDATE projection SET state_json = ? WHERE name = 'request' AND key = 'ER-1'", (edited,))
    result = verified(case)
    assert codes(result) == {("PROJECTION", None)} and "request 'ER-1'" in result.findings[0].message
    with case.raw() as connection:
        connection.execute("DELETE FROM projection")
    assert {finding.code.value for finding in verified(case).findings} == {"PROJECTION"}


@pytest.mark.parametrize(
    "value", ["'{'", "'[1]'", "'null'", "'{}'", "cast(x'7bff' as text)"], ids=["half", "list", "null", "{}", "no UTF-8"]
)
def test_a_list_row_that_cannot_be_read_is_a_finding(case, codes, value: str) -> None:
    with case.raw() as connection:
        connection.execute(f"UPDATE projection SET state_json = {value} WHERE name = 'request' AND key = 'ER-1'")
    result = verified(case)
    assert codes(result) == {("PROJECTION", None)} and len(result.findings) == 1
    with case.open(read_only=True) as ledger:
        if value not in ("'{}'", "cast(x'7bff' as text)"):
            with pytest.raises(LedgerDamagedError, match="request 'ER-1' was changed outside the console"):
                ledger.projected("request", "ER-1")
            unreadable: dict[str, LedgerDamagedError] = {}
            assert list(ledger.projection("request", unreadable)) == ["ER-2"] and list(unreadable) == ["ER-1"]


def test_the_event_that_a_list_row_names_is_compared(case, codes) -> None:
    with case.raw() as connection:
        connection.execute("UPDATE projection SET seq = 1 WHERE name = 'request' AND key = 'ER-2'")
    result = verified(case)
    assert codes(result) == {("PROJECTION", None)} and "request 'ER-2'" in result.findings[0].message


@pytest.mark.parametrize("claimed", ["x", "", "-1", "0", "99", "01", "١"])
def test_a_version_that_no_projector_has_hides_nothing(case, codes, claimed: str) -> None:
    with case.raw() as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'projector_version'", (claimed,))
        connection.execute("UPDATE projection SET state_json = '{}' WHERE name = 'request' AND key = 'ER-1'")
    messages = [finding.message for finding in verified(case).findings]
    assert codes(verified(case)) == {("PROJECTION", None)} and len(messages) == 2
    assert "does not know" in messages[0] and "request 'ER-1'" in messages[1]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TABLE more (x TEXT) STRICT", "a table 'more' that the console did not make"),
        ("CREATE VIEW seen AS SELECT * FROM vault_item", "a view 'seen'"),
        ("CREATE TRIGGER t AFTER INSERT ON vault_item BEGIN DELETE FROM vault_item; END", "a trigger 't'"),
        ("CREATE INDEX i ON vault_item (kind)", "indexes of the table vault_item"),
        ("DROP INDEX ix_events_request_id", "indexes of the table events"),
        ("ALTER TABLE vault_item ADD COLUMN more TEXT", "The table vault_item does not have the form"),
        ("DROP TABLE setting", "The table setting is missing"),
        ("DROP TABLE vault_tombstone", "The table vault_tombstone is missing"),
        ("PRAGMA user_version = 7", "user_version is 7"),
        ("PRAGMA application_id = 7", "application_id is 7"),
    ],
)
def test_a_file_that_holds_another_thing_than_the_console_makes(case, statement: str, said: str) -> None:
    with case.raw() as connection:
        connection.execute(statement)
    findings = verified(case).findings
    assert findings[0].code.value == "SCHEMA" and said in findings[0].message


@pytest.mark.parametrize("mark", [None, b"{"], ids=["missing", "damaged"])
def test_without_a_mark_vault_and_lists_are_compared_all_the_same(case, codes, mark: bytes | None) -> None:
    case.mark.unlink() if mark is None else case.mark.write_bytes(mark)
    result = verified(case)
    assert codes(result) == {("TRUNCATED", None)}
    assert not any("not compared" in sentence for sentence in result.not_checked)
    with case.raw() as connection:
        connection.execute("DELETE FROM projection")
        connection.execute("DELETE FROM vault_key")
    assert {finding.code.value for finding in verified(case).findings} == {"TRUNCATED", "VAULT", "PROJECTION"}


@pytest.mark.parametrize("cut", [PAGE, 100, PAGE + 100])
def test_a_file_that_was_cut_off_is_not_whole_wherever_the_cut_is(case, codes, cut: int) -> None:
    case.path.write_bytes(case.path.read_bytes()[:-cut])
    assert ("PAGE", None) in codes(verified(case))
    with pytest.raises(LedgerDamagedError) as caught:
        case.open()
    assert "choose another" not in str(caught.value)


def test_a_ledger_that_does_not_begin_with_its_opening_is_named(case, codes) -> None:
    assert verified(case, opening="registered").ok
    result = verified(case, opening="opened")
    assert codes(result) == {("EMPTY", None)} and "never finished" in result.findings[0].message


def test_what_no_file_can_hold_is_not_there(case) -> None:
    half = "ER-\udcff"
    with case.open(read_only=True) as ledger:
        assert ledger.projected("request", half) is None and ledger.events(half) == []
        assert ledger.sealed_items(half) == [] and ledger.setting(half) is None
        with pytest.raises(InputError, match="no sealed item"):
            ledger.unseal(half)


def test_projections_of_another_version_are_said_to_be_unchecked(case) -> None:
    case.projector = type(case.projector)(version=2)
    result = verified(case)
    assert result.ok and result.not_checked[0].startswith("The lists")


def test_vault_and_projections_are_not_judged_by_a_chain_that_was_changed(case) -> None:
    with case.unprotected() as connection:
        connection.execute("UPDATE events SET body = '{}' WHERE seq = 2")
    result = verified(case)
    assert {finding.code.value for finding in result.findings} == {"CONTENT"}
    assert result.not_checked[0].startswith("Vault and lists were not compared")


def test_verifying_leaves_the_folder_as_it_is(case, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(case.path.parent, tmp_path / "copy"))
    (copy / "ledger.db.lock").unlink()
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in copy.iterdir()}
    folder = copy.stat().st_mtime_ns
    case.path = copy / "ledger.db"
    assert verified(case).ok
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in copy.iterdir()} == before
    assert copy.stat().st_mtime_ns == folder
