"""What lies beside the ledger is looked at before SQLite sees it: the journal of another database would ruin it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlcipher3 import dbapi2 as sqlcipher
from test_ledger_opening import everything_in, hot_journal

from console.errors import DiskFullError, LedgerDamagedError, PassphraseError
from console.ledger import side_files
from console.ledger.verify import verify_chain, verify_ledger


def beside(office, ending: str) -> Path:
    return office.path.with_name(office.path.name + ending)


def foreign_journal(office, folder: Path, passphrase: str | None) -> bytes:
    """The whole rollback journal of another database, encrypted like the ledger where there is a passphrase."""
    folder.mkdir()
    other = type(office)(folder / "ledger.db")
    other.passphrase = passphrase or office.passphrase
    if passphrase is not None:
        kept = folder / "kept"
        kept.mkdir()
        return hot_journal(other, kept).with_name("ledger.db-journal").read_bytes()
    connection = sqlcipher.connect(str(folder / "plain.db"), isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (randomblob(90000))")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("PRAGMA cache_size = 2")
    connection.execute("UPDATE t SET x = randomblob(90000)")
    journal = (folder / "plain.db-journal").read_bytes()
    connection.close()
    return journal


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("passphrase", [None, "correct horse 'battery' stäple", "another"])
def test_a_journal_of_another_database_is_refused(office, tmp_path, passphrase: str | None, read_only: bool) -> None:
    office.filled(3)
    beside(office, "-journal").write_bytes(foreign_journal(office, tmp_path / "other", passphrase))
    before = everything_in(office.path.parent)
    for _ in range(2):
        with pytest.raises(LedgerDamagedError, match=r"ledger\.db-journal beside the ledger is not the ledger's own"):
            office.open(read_only=read_only)
    after = everything_in(office.path.parent)
    assert {name: data for name, (_, data) in after.items()} == {name: data for name, (_, data) in before.items()}
    with pytest.raises(LedgerDamagedError):
        verify_ledger(office.path, office.passphrase, projector=office.projector)
    beside(office, "-journal").unlink()
    with office.open() as ledger:
        office.append(ledger, 1)
        assert verify_ledger(ledger, projector=office.projector).ok


def test_an_older_journal_of_the_same_ledger_is_refused(office, tmp_path: Path) -> None:
    """Its pages are sealed with the right key, so only the chain and the mark can tell."""
    stale = hot_journal(office, tmp_path).with_name("ledger.db-journal").read_bytes()
    with office.open() as ledger:
        office.append(ledger, 30)
        ledger.set_setting("k", "v" * 9000)
    beside(office, "-journal").write_bytes(stale)
    before = office.path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(LedgerDamagedError, match="not the ledger's own"):
            office.open(read_only=read_only)
    assert office.path.read_bytes() == before


def test_the_ledgers_own_journal_without_a_mark_is_played_back(office, tmp_path: Path) -> None:
    office.path = hot_journal(office, tmp_path)
    office.mark.unlink()
    with office.open() as ledger:
        assert ledger.head().size == 3 and ledger.setting("1") is None and ledger.continuity is not None


@pytest.mark.parametrize("read_only", [True, False])
def test_a_wrong_passphrase_is_that_also_beside_a_journal(office, tmp_path: Path, read_only: bool) -> None:
    office.path = hot_journal(office, tmp_path)
    right, office.passphrase = office.passphrase, "wrong"
    before = everything_in(tmp_path)
    with pytest.raises((PassphraseError, LedgerDamagedError)):
        office.open(read_only=read_only)
    assert {key: data for key, (_, data) in before.items() if key != "ledger.db.lock"} == {
        key: data for key, (_, data) in everything_in(tmp_path).items() if key != "ledger.db.lock"
    }
    office.passphrase = right
    with office.open() as ledger:
        assert verify_chain(ledger).ok


@pytest.mark.parametrize("read_only", [True, False])
def test_neither_with_nor_without_its_journal_whole(office, tmp_path: Path, read_only: bool) -> None:
    office.path = hot_journal(office, tmp_path)
    journal = beside(office, "-journal")
    damaged = bytearray(journal.read_bytes())
    for at in range(600, len(damaged), 1000):
        damaged[at] ^= 1
    journal.write_bytes(damaged)
    with pytest.raises(LedgerDamagedError, match="Neither"):
        office.open(read_only=read_only)


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("ending", ["-wal", "-shm"])
def test_a_write_ahead_log_is_refused(office, ending: str, read_only: bool) -> None:
    office.filled(2)
    beside(office, ending).write_bytes(b"\x37\x7f\x06\x82" + bytes(4000))
    before = office.path.read_bytes()
    with pytest.raises(LedgerDamagedError, match=f"ledger.db{ending} beside the ledger was not made by this console"):
        office.open(read_only=read_only)
    with pytest.raises(LedgerDamagedError):
        verify_chain(office.path, office.passphrase)
    assert office.path.read_bytes() == before


def test_no_room_for_the_copy(office, tmp_path: Path, monkeypatch) -> None:
    office.path = hot_journal(office, tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(side_files.shutil, "copyfile", full)
    with pytest.raises(DiskFullError, match="no room"):
        office.open(read_only=True)


def test_a_killed_console_leaves_no_journal_of_its_lock(office) -> None:
    with office.create():
        assert sorted(path.name for path in office.path.parent.iterdir() if "lock" in path.name) == ["ledger.db.lock"]


def test_a_copy_that_was_made_to_look_is_gone_when_the_reader_is(office, tmp_path: Path, monkeypatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(side_files.tempfile, "tempdir", str(temporary))
    (tmp_path / "office").mkdir()
    office.path = hot_journal(office, tmp_path / "office")
    with office.open(read_only=True) as ledger:
        assert ledger.head().size == 3 and list(temporary.iterdir())
    assert list(temporary.iterdir()) == []
    shutil.rmtree(temporary)
