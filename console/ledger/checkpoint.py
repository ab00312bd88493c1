"""Signed checkpoints: one short text that pins the whole ledger up to an event.

The format is a C2SP signed note with a tlog-checkpoint body (https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint)::

    office.example/erasure           origin: the ledger's name, also the name of its key
    1204                             number of events
    qYkT...=                         base64 of the Merkle tree head (RFC 9162) over the event hashes
    chain-head 3f9c...               extension: hash of event 1204
    time 2026-03-01T08:00:00.000000Z extension: when it was signed

    — office.example/erasure Az3g... base64 of key id (4 bytes) and Ed25519 signature over the text above the blank line

A checkpoint that left the house (in a report, in an e-mail) is a witness: nobody can shorten or rewrite the ledger
below it and still verify, not even with the passphrase and the signing key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from console.errors import InputError
from console.ledger.chain import check_origin, parse_instant

_ED25519 = b"\x01"
_SIGNATURE_LINE = re.compile(r"— (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/]+=*)")
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)


@dataclass(frozen=True)
class Checkpoint:
    """The statement of a checkpoint: the first ``size`` events end in ``head`` under the tree head ``root`` (hex)."""

    origin: str
    size: int
    root: str
    head: str
    at: str

    def body(self) -> str:
        """The text that is signed."""
        root = base64.b64encode(bytes.fromhex(self.root)).decode("ascii")
        return f"{self.origin}\n{self.size}\n{root}\nchain-head {self.head}\ntime {self.at}\n"


def verifier_key(origin: str, public_key: Ed25519PublicKey) -> str:
    """The public key as C2SP writes it: ``<name>+<key id>+<base64(0x01 ‖ 32 bytes)>``."""
    encoded = base64.b64encode(_ED25519 + public_key.public_bytes_raw()).decode("ascii")
    return f"{origin}+{_key_id(origin, public_key).hex()}+{encoded}"


def parse_verifier_key(text: str) -> tuple[str, Ed25519PublicKey]:
    """The name and public key of a ``verifier_key`` text.

    Raises:
        InputError: the text is damaged or names another kind of key.
    """
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    raw = _decode(encoded)
    if len(raw) != 33 or raw[:1] != _ED25519:
        raise InputError("The ledger's public key is not an Ed25519 verifier key.")
    public_key = Ed25519PublicKey.from_public_bytes(raw[1:])
    if _key_id(name, public_key).hex() != key_id:
        raise InputError("The ledger's public key does not fit its own key id.")
    return name, public_key


def sign_checkpoint(checkpoint: Checkpoint, private_key: Ed25519PrivateKey) -> str:
    """The signed note of ``checkpoint``."""
    body = checkpoint.body()
    key_id = _key_id(checkpoint.origin, private_key.public_key())
    signature = base64.b64encode(key_id + private_key.sign(body.encode("utf-8"))).decode("ascii")
    return f"{body}\n— {checkpoint.origin} {signature}\n"


def verify_checkpoint(note: str, key: str) -> Checkpoint:
    """The statement of ``note``, if the holder of the verifier key ``key`` signed it.

    Other people's signatures under the same note (witnesses) are allowed and not looked at.

    Raises:
        InputError: the note is damaged, names another ledger, or is not signed by this key.
    """
    name, public_key = parse_verifier_key(key)
    body, separator, signatures = note.partition("\n\n")
    if not separator:
        raise InputError("The checkpoint has no signature.")
    body += "\n"
    checkpoint = _parse_body(body)
    if checkpoint.origin != name:
        raise InputError("The checkpoint belongs to another ledger.")
    key_id = _key_id(name, public_key)
    for line in signatures.splitlines():
        match = _SIGNATURE_LINE.fullmatch(line)
        if not match or match["name"] != name:
            continue
        raw = _decode(match["signature"])
        if raw[:4] == key_id and _signed(public_key, raw[4:], body):
            return checkpoint
    raise InputError("The checkpoint is not signed by the ledger's key.")


def _parse_body(body: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) != 6 or lines[5] or not lines[3].startswith("chain-head ") or not lines[4].startswith("time "):
        raise InputError("The checkpoint is damaged: it does not have the five lines of a checkpoint.")
    head, at = lines[3].removeprefix("chain-head "), lines[4].removeprefix("time ")
    root = _decode(lines[2])
    if not _SIZE.fullmatch(lines[1]) or not _HEX_DIGEST.fullmatch(head) or len(root) != 32:
        raise InputError("The checkpoint is damaged: its size or a hash is not readable.")
    parse_instant(at)
    return Checkpoint(origin=check_origin(lines[0]), size=int(lines[1]), root=root.hex(), head=head, at=at)


def _key_id(name: str, public_key: Ed25519PublicKey) -> bytes:
    # C2SP signed note: SHA-256(key name ‖ 0x0A ‖ signature type ‖ public key), first four bytes.
    return hashlib.sha256(name.encode("utf-8") + b"\n" + _ED25519 + public_key.public_bytes_raw()).digest()[:4]


def _signed(public_key: Ed25519PublicKey, signature: bytes, body: str) -> bool:
    try:
        public_key.verify(signature, body.encode("utf-8"))
    except InvalidSignature:
        return False
    return True


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("The checkpoint or key holds text that is not base64.") from error
