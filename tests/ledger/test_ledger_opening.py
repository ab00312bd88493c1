"""Opening, locking, creating: one writer, the right words for every refusal, and nothing half made."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from console.errors import (
    DiskFullError,
    InputError,
    LedgerBusyError,
    LedgerDamagedError,
    NotPossibleError,
    PassphraseError,
    SetupError,
)
from console.ledger import Ledger, headmark
from console.ledger.database import engine_versions
from console.ledger.schema import migrate, schema_version, set_meta
from console.ledger.verify import verify_chain


def test_the_engine_encrypts_and_says_which_it_is() -> None:
    versions = engine_versions()
    assert versions.sqlcipher.startswith("4.") and versions.sqlite.startswith("3.") and versions.binding


def test_a_plain_sqlite_library_is_refused(monkeypatch) -> None:
    import sqlite3

    from console.ledger import database

    monkeypatch.setattr(database.sqlcipher, "connect", sqlite3.connect)
    with pytest.raises(SetupError, match="does not encrypt"):
        engine_versions()


def test_the_connection_is_set_up_as_documented(office) -> None:
    with office.create() as ledger, ledger.reading() as session:
        connection = session.connection()

        def value(name: str) -> Any:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar()

        assert (value("journal_mode"), value("synchronous"), value("secure_delete")) == ("truncate", 2, 1)
        assert (value("recursive_triggers"), value("foreign_keys"), value("temp_store")) == (1, 1, 2)
        strict = connection.exec_driver_sql(
            "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'"
        ).all()
        assert len(strict) >= 9 and all(flag for _, flag in strict)


def test_a_second_writer_is_told_at_once(office) -> None:
    with office.create() as ledger:
        with pytest.raises(LedgerBusyError, match="already open in another console"):
            office.open()
        with pytest.raises(LedgerBusyError):
            office.create()
        office.append(ledger, 1)
    with office.open() as ledger:
        office.append(ledger, 1)


def test_a_reader_works_beside_the_writer(office) -> None:
    with office.create() as writer:
        office.append(writer, 2)
        with office.open(read_only=True) as reader:
            assert len(reader.events()) == 2
            office.append(writer, 1)
            assert len(reader.events()) == 3 and verify_chain(reader).ok
            with writer.transaction() as transaction:
                transaction.append("noted", {}, actor="dpo")
                assert len(reader.events()) == 3, "what is not committed is not seen"
            assert len(reader.events()) == 4


@pytest.mark.parametrize("read_only", [False, True])
def test_a_wrong_passphrase_is_one_sentence_and_leaves_no_lock(office, read_only: bool, capfd) -> None:
    office.filled(1)
    for wrong in ("wrong", office.passphrase + " ", "x'" + "00" * 32 + "'"):
        with pytest.raises(PassphraseError, match="could not be unlocked") as caught:
            Ledger.open(office.path, wrong, clock=office.clock, projector=office.projector, read_only=read_only)
        assert wrong not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "SQLCipher prints nothing either"
    with office.open() as ledger:
        assert ledger.head().size == 1


@pytest.mark.parametrize("passphrase", ["", "two\nlines", "nul\x00byte"])
def test_a_passphrase_that_cannot_be_typed_is_refused(office, passphrase: str) -> None:
    office.passphrase = passphrase
    with pytest.raises(PassphraseError):
        office.create()
    assert not office.path.exists()


def test_a_passphrase_typed_in_nfd_opens_what_nfc_locked(office) -> None:
    office.passphrase = "sta\u0308ple"
    office.filled(1)
    office.passphrase = "st\u00e4ple"
    with office.open() as ledger:
        assert ledger.head().size == 1


def plain_database(path: Path) -> None:
    connection = sqlcipher.connect(str(path))
    connection.execute("CREATE TABLE events (seq INTEGER)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    "content",
    [b"hello", b"a,b,c\n" * 4096, b"\x00" * 8192, b"PK\x03\x04" * 1024, b"", None, b"%PDF-1.7\n" + b"1 " * 50_000],
)
def test_a_file_that_is_no_ledger(office, content: bytes | None, read_only: bool) -> None:
    plain_database(office.path) if content is None else office.path.write_bytes(content)
    before = office.path.read_bytes()
    with pytest.raises(LedgerDamagedError):
        office.open(read_only=read_only)
    with pytest.raises(LedgerDamagedError):
        verify_chain(office.path, office.passphrase)
    assert office.path.read_bytes() == before


def test_an_encrypted_database_that_is_no_ledger(office) -> None:
    with office.raw() as connection:
        connection.execute("CREATE TABLE t (x)")
    for options in ({}, {"read_only": True}):
        with pytest.raises(LedgerDamagedError, match="no ledger in this file"):
            office.open(**options)


def test_no_file_at_all(office) -> None:
    for options in ({}, {"read_only": True}):
        with pytest.raises(InputError, match="no ledger at"):
            office.open(**options)
    with pytest.raises(InputError):
        verify_chain(office.path, office.passphrase)
    assert list(office.path.parent.iterdir()) == []
    office.path = office.path.parent / "missing" / "ledger.db"
    with pytest.raises(InputError, match="missing or cannot be written"):
        office.create()


def test_create_never_overwrites(office) -> None:
    office.filled(2)
    before = office.path.read_bytes()
    with pytest.raises(InputError, match="already a file"):
        office.create()
    office.passphrase = "another"
    with pytest.raises(InputError, match="already a file"):
        office.create()
    assert office.path.read_bytes() == before


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "x" * 201, "line\n", "nul\x00"])
def test_a_name_that_cannot_stand_in_a_checkpoint(office, origin: str) -> None:
    office.origin = origin
    with pytest.raises(InputError):
        office.create()
    assert not office.path.exists()


def test_an_interrupted_creation_can_be_repeated(office, monkeypatch) -> None:
    from console.ledger import creation

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(creation, "set_meta", interrupted)
        with pytest.raises(KeyboardInterrupt):
            office.create()
    assert not office.path.exists()
    with office.raw() as connection:  # what a rolled-back creation leaves on the disk
        connection.execute("CREATE TABLE t (x)")
        connection.execute("DROP TABLE t")
    assert office.path.stat().st_size > 0
    office.filled(2)
    assert verify_chain(office.path, office.passphrase).checked == 2


def test_a_disk_that_fills_up_during_an_append(office) -> None:
    with office.create() as ledger:
        office.append(ledger, 2)
        with ledger.reading() as session:
            pages = session.connection().exec_driver_sql("PRAGMA page_count").scalar()
            session.connection().exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")
        before = ledger.head(), ledger.projection("request"), office.mark.read_bytes()
        with pytest.raises(DiskFullError, match="nothing was recorded"), ledger.transaction() as transaction:
            transaction.append("noted", {}, actor="dpo")
            transaction.seal("ER-1", "passage", ["x" * 1000] * 100)
        assert (ledger.head(), ledger.projection("request"), office.mark.read_bytes()) == before
        with ledger.reading() as session:
            session.connection().exec_driver_sql("PRAGMA max_page_count = 100000")
        office.append(ledger, 1)
        assert verify_chain(ledger).ok and ledger.sealed_items("ER-1") == []


def test_a_disk_that_is_full_at_creation(office, monkeypatch) -> None:
    from console.ledger import database

    def tight(connection: Any, *arguments: Any, configure: Any = database._configure, **options: Any) -> None:
        configure(connection, *arguments, **options)
        connection.execute("PRAGMA max_page_count = 8")

    monkeypatch.setattr(database, "_configure", tight)
    with pytest.raises(DiskFullError):
        office.create()
    assert [file.name for file in office.path.parent.iterdir()] == ["ledger.db.lock"]


def test_a_mark_that_cannot_be_written_does_not_undo_what_is_recorded(office, monkeypatch, caplog) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with office.create() as ledger:
        office.append(ledger, 1)
        with monkeypatch.context() as patch:
            patch.setattr(headmark.os, "fsync", full)
            office.append(ledger, 1)
        assert "could not be written" in caplog.text and ledger.head().size == 2
        assert '"size":1' in office.mark.read_text(encoding="utf-8"), "the old mark is still there and still true"
        assert not list(office.path.parent.glob("*.part")) and verify_chain(ledger).ok
        office.append(ledger, 1)
        assert '"size":3' in office.mark.read_text(encoding="utf-8")


def test_a_mark_that_lags_after_a_crash_is_brought_up_to_date(office) -> None:
    office.filled(3)
    lagging = office.mark.read_bytes()
    with office.open() as ledger:
        office.append(ledger, 1)
    office.mark.write_bytes(lagging)
    assert verify_chain(office.path, office.passphrase).ok
    with office.open() as ledger:
        assert ledger.continuity is None and '"size":4' in office.mark.read_text(encoding="utf-8")


def hot_journal(office, folder: Path) -> Path:
    """A copy of the ledger as a console leaves it that is killed while it writes pages: with a journal to roll back."""
    office.filled(3)
    with office.raw() as connection:
        connection.execute("PRAGMA cache_size = 2")
        connection.execute("BEGIN IMMEDIATE")
        for number in range(40):
            connection.execute("INSERT INTO setting VALUES (?, ?)", (str(number), "x" * 4000))
        for file in (office.path, office.path.with_name("ledger.db-journal"), office.mark):
            shutil.copy(file, folder)
        connection.execute("ROLLBACK")
    assert (folder / "ledger.db-journal").stat().st_size > 4096
    return folder / "ledger.db"


def everything_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file in a folder: when it was written, and what is in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.parametrize("read_only", [True, False])
def test_a_killed_writers_journal_is_rolled_back_for_reader_and_writer(office, tmp_path, read_only: bool) -> None:
    office.path = hot_journal(office, tmp_path)
    before = everything_in(tmp_path)
    with office.open(read_only=read_only) as ledger:
        assert ledger.head().size == 3 and ledger.setting("1") is None and verify_chain(ledger).ok
        assert ledger.path == office.path
    journal = tmp_path / "ledger.db-journal"
    if read_only:
        assert everything_in(tmp_path) == before, "a reader rolls a copy back and leaves the folder as it is"
    else:
        assert not journal.exists() or journal.stat().st_size == 0


def test_a_ledger_of_a_newer_console_is_left_alone(office) -> None:
    office.filled(1)
    with office.raw() as connection:
        connection.execute("UPDATE meta SET value = '2' WHERE key = 'schema_version'")
    for step in (office.open, lambda: verify_chain(office.path, office.passphrase)):
        with pytest.raises(SetupError, match="newer console"):
            step()


def test_a_migration_moves_tables_but_never_an_event(office) -> None:
    office.filled(3)
    with office.raw() as connection:
        connection.execute("UPDATE meta SET value = '0' WHERE key = 'schema_version'")

    def add_settings(session: Any) -> None:
        set_meta(session, "added", "yes")

    def touch_events(session: Any) -> None:
        for statement in ("DROP TRIGGER events_no_update", "UPDATE events SET actor = 'x' WHERE seq = 2"):
            session.connection().exec_driver_sql(statement)

    from console.ledger.database import Database

    database = Database(office.path, office.passphrase, read_only=False)
    with pytest.raises(LedgerDamagedError, match="would have changed recorded events"), database.writing() as session:
        migrate(session, {0: touch_events}, target=1)
    with database.writing() as session:
        assert schema_version(session) == 0
        migrate(session, {0: add_settings}, target=1)
    with database.reading() as session:
        assert schema_version(session) == 1
    database.close()
    assert verify_chain(office.path, office.passphrase).ok


def test_close_gives_everything_back(office) -> None:
    ledger = office.create()
    office.append(ledger, 1)
    ledger.close()
    ledger.close()
    with pytest.raises(Exception, match="closed"):
        ledger.head()
    with office.open() as again, pytest.raises(NotPossibleError):
        again.reanchor("dpo", "nothing to accept")


KEY_LIKE = ["x'" + "ab" * 32 + "'", "X'" + "AB" * 32 + "'", "x'" + "ab" * 48 + "'", "x'" + "ab" * 32 + "z"]


@pytest.mark.parametrize("passphrase", KEY_LIKE)
def test_a_passphrase_that_looks_like_a_key_is_text(office, passphrase: str) -> None:
    """The digits between the quotes alone must not open the file, and upper case is another passphrase."""
    office.passphrase = passphrase
    office.filled(2)
    with office.raw() as connection, pytest.raises(sqlcipher.Error):
        connection.execute("SELECT count(*) FROM sqlite_master")
    for read_only in (True, False):
        with office.open(read_only=read_only) as ledger:
            assert ledger.head().size == 2
    office.passphrase = passphrase.swapcase()
    with pytest.raises(PassphraseError):
        office.open()


@pytest.mark.parametrize("passphrase", KEY_LIKE[:2])
def test_a_ledger_that_was_locked_with_the_digits_still_opens(office, monkeypatch, passphrase: str) -> None:
    from console.ledger import database

    office.passphrase = passphrase
    with monkeypatch.context() as patch:  # an earlier console handed every passphrase over as it is
        patch.setattr(database, "_KEY_SYNTAX", database.re.compile(rb"nothing"))
        office.filled(2)
    with office.raw() as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (2,)
    for read_only in (True, False):
        with office.open(read_only=read_only) as ledger:
            assert ledger.head().size == 2


def test_other_passphrases_reach_the_engine_as_before(office) -> None:
    for number, passphrase in enumerate(["x'12'", "x'" + "ab" * 31 + "'", "0x" + "ab" * 32, "it''s", "x'" + "zz" * 32]):
        office.path = office.path.with_name(f"{number}.db")
        office.passphrase = passphrase
        office.filled(1)
        with office.raw() as connection:
            assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)


def test_a_ledger_that_went_missing_is_never_made_anew(office) -> None:
    office.filled(3)
    office.path.unlink()
    before = everything_in(office.path.parent)
    for step in (
        office.create,
        office.open,
        lambda: office.open(read_only=True),
        lambda: verify_chain(office.path, office.passphrase),
    ):
        with pytest.raises(LedgerDamagedError, match=r"is missing, but ledger\.head\.json beside it shows"):
            step()
    assert everything_in(office.path.parent) == before
    office.path.touch()
    for step in (office.open, lambda: office.open(read_only=True), lambda: verify_chain(office.path, "x")):
        with pytest.raises(LedgerDamagedError, match="is empty: restore the newest backup") as caught:
            step()
        assert "create" not in str(caught.value)
    with pytest.raises(LedgerDamagedError, match="missing"):
        office.create()
    assert office.path.stat().st_size == 0


def refusing(name: str) -> Any:
    """A connection whose statements fail as SQLite fails on a full disk."""
    error = sqlcipher.OperationalError("database or disk is full")
    error.sqlite_errorcode = getattr(sqlcipher, name)

    class Refusing:
        def execute(self, _statement: str) -> None:
            raise error

        def close(self) -> None:
            pass

    return Refusing()


@pytest.mark.parametrize(
    ("code", "free", "expected"),
    [
        ("SQLITE_FULL", 10, DiskFullError),
        ("SQLITE_IOERR", 0, DiskFullError),
        ("SQLITE_CANTOPEN", 0, DiskFullError),
        ("SQLITE_IOERR", 10, InputError),
        ("SQLITE_CANTOPEN", 10, InputError),
    ],
)
def test_a_disk_that_is_full_while_opening(
    office, monkeypatch, code: str, free: int, expected: type[Exception]
) -> None:
    from console.ledger import lock

    office.filled(1)
    monkeypatch.setattr(lock.sqlcipher, "connect", lambda *_a, **_k: refusing(code))
    monkeypatch.setattr(lock.shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(10, 10 - free, free))
    with pytest.raises(expected, match="no room left" if expected is DiskFullError else "missing or cannot be written"):
        office.open()


def test_opening_what_is_up_to_date_needs_no_room(office, monkeypatch, caplog) -> None:
    office.filled(2)
    before = office.path.read_bytes(), office.mark.read_bytes(), office.mark.stat().st_mtime_ns

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(headmark.os, "fsync", full)
    with office.open() as ledger:
        assert ledger.head().size == 2
    assert (office.path.read_bytes(), office.mark.read_bytes(), office.mark.stat().st_mtime_ns) == before
    assert caplog.text == ""
