"""Nothing that was sealed or recorded can be read from the files in the ledger's folder, at any moment."""

from __future__ import annotations

import json

PERSON = "Zoë Müller-Quandt"
ADDRESS = "zoe.quandt@example.org"
BODY = "ground-of-erasure-17-1-b"


def forms(text: str) -> list[bytes]:
    return [text.encode("utf-8"), text.encode("utf-16-le"), json.dumps(text)[1:-1].encode("ascii")]


def readable(office) -> list[str]:
    """Which of the secrets stand in clear in which file."""
    return [
        f"{file.name}: {secret}"
        for file in office.path.parent.iterdir()
        for secret in (PERSON, ADDRESS, BODY, office.passphrase, "CREATE TABLE", "SQLite format 3")
        if any(form in file.read_bytes() for form in forms(secret))
    ]


def record(transaction) -> None:
    transaction.seal("ER-1", "subject", {"name": PERSON, "mail": [ADDRESS] * 3000})
    body = {"ground": BODY, "commitment": transaction.commitment("ER-1", PERSON)}
    transaction.append("registered", body, request_id="ER-1", actor="dpo")


def test_no_file_shows_what_was_sealed_or_recorded(office) -> None:
    with office.create() as ledger:
        with ledger.reading() as session:
            # So small a page cache that pages go to disk, and their old versions to the journal, before the commit.
            session.connection().exec_driver_sql("PRAGMA cache_size = 2")
        with ledger.transaction() as transaction:
            record(transaction)
            files = {file.name: file.stat().st_size for file in office.path.parent.iterdir()}
            assert files["ledger.db-journal"] > 0 and files["ledger.db"] > 100_000
            assert readable(office) == []
        ledger.checkpoint()
        ledger.set_setting("note", ADDRESS)
        assert readable(office) == []
        ledger.shred("ER-1", "dpo", "retention-expired")
        assert readable(office) == []
    assert readable(office) == []
    assert {file.name for file in office.path.parent.iterdir()} == {
        "ledger.db",
        "ledger.db-journal",
        "ledger.db.lock",
        "ledger.head.json",
    }


def test_the_search_itself_can_find_something(office) -> None:
    office.path.parent.joinpath("leak.txt").write_text(f"{PERSON} {BODY}", encoding="utf-16-le")
    assert len(readable(office)) == 2


def test_vault_contents_are_encrypted_inside_the_database_as_well(office) -> None:
    with office.create() as ledger, ledger.transaction() as transaction:
        record(transaction)
    with office.raw() as connection:
        dump = "\n".join(
            repr(row)
            for table in ("vault_item", "events", "projection", "meta", "setting")
            for row in connection.execute(f"SELECT * FROM {table}")
        )
    assert BODY in dump and PERSON not in dump and ADDRESS not in dump
