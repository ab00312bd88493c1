"""The vault: what is sealed comes back exactly, and what is shredded never does."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from console.errors import InputError, LedgerDamagedError, NotPossibleError
from console.ledger.verify import verify_chain

PERSON = {"name": "Zoë Müller-Quandt", "aliases": ["Z. M."], "cafe\u0301": "NFD stays NFD", "score": 0.25, "none": None}


def seal(ledger: Any, request_id: str, value: object, kind: str = "subject") -> str:
    with ledger.transaction() as transaction:
        return transaction.seal(request_id, kind, value)


def test_sealed_values_come_back_exactly(office) -> None:
    with office.create() as ledger:
        item = seal(ledger, "ER-1", PERSON)
        passage = seal(ledger, "ER-1", "a\r\nb\u0000c", kind="passage")
    with office.open(read_only=True) as ledger:
        assert ledger.unseal(item) == PERSON and ledger.unseal(passage) == "a\r\nb\u0000c"
        listed = ledger.sealed_items("ER-1")
        assert [(entry.id, entry.kind, entry.request_id) for entry in listed] == [
            (item, "subject", "ER-1"),
            (passage, "passage", "ER-1"),
        ]
        assert listed[0].created_at < listed[1].created_at
        assert [entry.id for entry in ledger.sealed_items("ER-1", "passage")] == [passage]
        assert ledger.sealed_items("ER-2") == []


@pytest.mark.parametrize("value", [{1: "a"}, [{"a": {2: "b"}}], {"a": b"x"}, {1, 2}, float("nan"), "\ud800"])
def test_what_would_not_come_back_is_refused(office, value: Any) -> None:
    with office.create() as ledger:
        with pytest.raises(InputError):
            seal(ledger, "ER-1", value)
        assert ledger.sealed_items("ER-1") == []


def test_a_commitment_is_keyed_by_request_and_takes_the_canonical_value(office) -> None:
    with office.create() as ledger:
        seal(ledger, "ER-1", PERSON)
        commitment = ledger.commitment("ER-1", {"mail": "zoe\u0308@example.org", "a": 1})
        assert re.fullmatch(r"[0-9a-f]{64}", commitment)
        assert commitment == ledger.commitment("ER-1", {"a": 1, "mail": "zo\u00eb@example.org"})
        assert commitment != ledger.commitment("ER-1", {"a": 2, "mail": "zo\u00eb@example.org"})
        assert commitment != ledger.commitment("ER-2", {"a": 1, "mail": "zo\u00eb@example.org"})
        with pytest.raises(InputError):
            ledger.commitment("ER-1", 0.5)
        with ledger.transaction() as transaction:
            assert transaction.commitment("ER-1", "x") == ledger.commitment("ER-1", "x")
    with office.open(read_only=True) as ledger:
        assert commitment == ledger.commitment("ER-1", {"mail": "zo\u00eb@example.org", "a": 1})
        with pytest.raises(NotPossibleError, match="reading only"):
            ledger.commitment("ER-3", "x")


def test_shredding_one_request_leaves_the_chain_and_the_others(office) -> None:
    with office.create() as ledger:
        items = [seal(ledger, "ER-1", PERSON), seal(ledger, "ER-1", "passage", kind="passage")]
        kept = seal(ledger, "ER-2", "kept")
        with ledger.transaction() as transaction:
            body = {"commitment": transaction.commitment("ER-1", PERSON["name"])}
            transaction.append("registered", body, request_id="ER-1", actor="dpo")
        for words in ("Mira Okonjo asked for it", "", "Mira", "a" * 41):
            with pytest.raises(InputError, match="is a code"):
                ledger.shred("ER-1", "dpo", words)
        event = ledger.shred("ER-1", "dpo", "retention-expired")
        assert (event.kind, event.request_id, event.actor) == ("vault_shredded", "ER-1", "dpo")
        assert event.body["item_count"] == 2 and event.body["reason"] == "retention-expired"
        assert len(event.body["items_digest"]) == 64
        refused = [
            lambda: ledger.unseal(items[0]),
            lambda: ledger.commitment("ER-1", PERSON["name"]),
            lambda: seal(ledger, "ER-1", "again"),
            lambda: ledger.shred("ER-1", "dpo", "again"),
        ]
        for step in refused:
            with pytest.raises(NotPossibleError, match="shredded on 2026-03-01"):
                step()
        assert ledger.sealed_items("ER-1") == [] and ledger.unseal(kept) == "kept"
        assert ledger.events()[-1] == event and verify_chain(ledger).ok


def test_there_is_nothing_to_shred_or_unseal_where_nothing_was_sealed(office) -> None:
    with office.create() as ledger:
        with pytest.raises(NotPossibleError, match="nothing to shred"):
            ledger.shred("ER-1", "dpo", "retention-expired")
        with pytest.raises(InputError):
            ledger.unseal("no such item")
        assert ledger.head().size == 0


def decrypted_pages(path: Path, passphrase: str) -> bytes:
    """All pages of a SQLCipher 4 file in clear, free space included, with the cipher's published defaults."""
    raw = path.read_bytes()
    key = hashlib.pbkdf2_hmac("sha512", passphrase.encode(), raw[:16], 256_000, 32)
    pages = []
    for start in range(0, len(raw), 4096):
        page = raw[start : start + 4096]
        body, iv = page[16 if start == 0 else 0 : 4096 - 80], page[4096 - 80 : 4096 - 64]
        decryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
        pages.append(decryptor.update(body) + decryptor.finalize())
    return b"".join(pages)


def test_shredded_bytes_are_overwritten_in_the_file(office, published_key_derivation) -> None:
    with office.create() as ledger:
        seal(ledger, "ER-1", ["passage"] * 3000)
        seal(ledger, "ER-2", "kept")
    with office.raw() as connection:
        sealed = connection.execute("SELECT sealed FROM vault_item WHERE request_id = 'ER-1'").fetchone()[0]
        wrapped = connection.execute("SELECT wrapped FROM vault_key WHERE request_id = 'ER-1'").fetchone()[0]
    fragments = [bytes(wrapped), bytes(sealed[:64]), bytes(sealed[-64:]), bytes(sealed[9000:9064])]
    before = decrypted_pages(office.path, office.passphrase)
    assert all(fragment in before for fragment in fragments), "the decryption of the pages must see them"
    with office.open() as ledger:
        ledger.shred("ER-1", "dpo", "retention-expired")
    after = decrypted_pages(office.path, office.passphrase)
    assert b"vault_shredded" in after and not any(fragment in after for fragment in fragments)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE vault_item SET sealed = CAST(substr(sealed, 1, 20) || x'00' || substr(sealed, 22) AS BLOB)",
        "UPDATE vault_item SET request_id = 'ER-2' WHERE request_id = 'ER-1'",
        "UPDATE vault_item SET kind = 'other'",
        "UPDATE vault_item SET sealed = (SELECT sealed FROM vault_item WHERE request_id = 'ER-2')",
        "UPDATE vault_item SET sealed = x'00'",
        "UPDATE vault_key SET wrapped = (SELECT wrapped FROM vault_key WHERE request_id = 'ER-2')",
        "DELETE FROM vault_key WHERE request_id = 'ER-1'",
        "DELETE FROM secret WHERE name = 'vault-master'",
    ],
)
def test_ciphertexts_and_keys_are_bound_to_their_ids(office, tampering: str) -> None:
    with office.create() as ledger:
        item = seal(ledger, "ER-1", PERSON)
        seal(ledger, "ER-2", "other")
    with office.raw() as connection:
        connection.execute(tampering)
    with office.open() as ledger:
        with pytest.raises(LedgerDamagedError):
            ledger.unseal(item)
        assert verify_chain(ledger).ok, "the chain does not depend on the vault"
