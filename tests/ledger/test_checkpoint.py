"""Signed checkpoints: the C2SP text, and everything that must not pass as one."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from console.errors import InputError
from console.ledger.checkpoint import Checkpoint, parse_verifier_key, sign_checkpoint, verifier_key, verify_checkpoint

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STATEMENT = Checkpoint("office.example/erasure", 7, "ab" * 32, "cd" * 32, "2026-03-01T08:00:00.000000Z")
PUBLIC = verifier_key(STATEMENT.origin, KEY.public_key())


def test_the_note_has_the_published_form() -> None:
    body, blank, signature = sign_checkpoint(STATEMENT, KEY).partition("\n\n")
    assert body.split("\n") == [
        "office.example/erasure",
        "7",
        base64.b64encode(bytes.fromhex("ab" * 32)).decode(),
        "chain-head " + "cd" * 32,
        "time 2026-03-01T08:00:00.000000Z",
    ]
    assert blank and signature.startswith("— office.example/erasure ") and signature.endswith("\n")
    raw = base64.b64decode(signature.split(" ")[2])
    public = KEY.public_key().public_bytes_raw()
    # C2SP signed-note: key ID = SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)[:4]; the signature is over the body text.
    assert raw[:4] == hashlib.sha256(b"office.example/erasure\n\x01" + public).digest()[:4]
    KEY.public_key().verify(raw[4:], (body + "\n").encode())


def test_a_signed_checkpoint_verifies() -> None:
    assert verify_checkpoint(sign_checkpoint(STATEMENT, KEY), PUBLIC) == STATEMENT


def test_the_verifier_key_is_read_back() -> None:
    name, public = parse_verifier_key(PUBLIC)
    assert (name, public.public_bytes_raw()) == (STATEMENT.origin, KEY.public_key().public_bytes_raw())


def test_a_second_signature_under_the_note_does_no_harm() -> None:
    note = sign_checkpoint(STATEMENT, KEY) + "— witness.example " + base64.b64encode(b"x" * 68).decode() + "\n"
    assert verify_checkpoint(note, PUBLIC) == STATEMENT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n7\n", "\n8\n"),
        ("\n7\n", "\n07\n"),
        ("\n7\n", "\n-7\n"),
        ("\n7\n", "\n\u0667\n"),
        ("chain-head cd", "chain-head ce"),
        ("chain-head cd", "chain-head CD"),
        ("2026-03-01", "2026-03-02"),
        ("2026-03-01", "2026-13-01"),
        ("office.example/erasure\n7", "other.example/erasure\n7"),
        ("\n\n—", "\n—"),
        ("time ", "time\n"),
        ("— office", "- office"),
    ],
)
def test_a_changed_note_is_refused(old: str, new: str) -> None:
    note = sign_checkpoint(STATEMENT, KEY)
    assert old in note
    with pytest.raises(InputError):
        verify_checkpoint(note.replace(old, new), PUBLIC)


def test_another_key_with_the_same_name_is_refused() -> None:
    other = Ed25519PrivateKey.generate()
    with pytest.raises(InputError):
        verify_checkpoint(sign_checkpoint(STATEMENT, other), PUBLIC)


def test_another_office_is_refused() -> None:
    with pytest.raises(InputError, match="another ledger"):
        verify_checkpoint(sign_checkpoint(STATEMENT, KEY), verifier_key("other.example", KEY.public_key()))


@pytest.mark.parametrize("key", ["", "name", "name+00000000+AQ==", PUBLIC.replace("+", "+0", 1), PUBLIC + "!"])
def test_a_damaged_key_is_refused(key: str) -> None:
    with pytest.raises(InputError):
        verify_checkpoint(sign_checkpoint(STATEMENT, KEY), key)
