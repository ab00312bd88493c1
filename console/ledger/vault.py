"""The vault: personal data beside the chain, never in it.

Every request has a 256-bit key of its own. It encrypts the request's items (AES-256-GCM) and makes its commitments
(HMAC-SHA-256), each with a key derived from it (HKDF), and is itself stored wrapped under a master key. Shredding
deletes the wrapped key and the ciphertexts: the commitments that stay in chained events become noise that nobody can
test a guess against, and the chain still verifies. ``secure_delete`` overwrites their bytes in the file at once.

What shredding cannot reach: older copies of the file (backups, file-system snapshots, and what a disk keeps of the
truncated journal, all still encrypted with the ledger's passphrase). They have to expire by themselves.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from sqlalchemy import literal_column
from sqlmodel import Session, select

from console.domain.visible import quoted
from console.errors import InputError, LedgerDamagedError, NotPossibleError
from console.ledger.canonical import canonical_text
from console.ledger.chain import instant_text, parse_instant
from console.ledger.store import can_be_stored
from console.ledger.tables import SecretRow, VaultItemRow, VaultKeyRow, VaultTombstoneRow

KEY_BYTES = 32
NONCE_BYTES = 12  # random 96-bit nonces: far below 2^32 messages a key (NIST SP 800-38D, 8.3)
_MASTER = "vault-master"
_CHECKPOINT_KEY = "checkpoint-key"
_DATA_INFO = b"erasure-console/vault/data/v1"
_COMMITMENT_INFO = b"erasure-console/vault/commitment/v1"


@dataclass(frozen=True)
class SealedItem:
    """A sealed item without its content. ``created_at`` is an aware UTC instant."""

    id: str
    request_id: str
    kind: str
    created_at: datetime


@dataclass(frozen=True)
class Shredded:
    """What a shredding destroyed."""

    key_id: str
    item_ids: tuple[str, ...]

    def items_digest(self) -> str:
        """SHA-256 of the canonical sorted list of item ids: names the items in the chain in constant room."""
        return hashlib.sha256(canonical_text(sorted(self.item_ids)).encode("utf-8")).hexdigest()


class Vault:
    """The vault tables through one open session. Writing needs the session of a write transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def initialise(self, signing_key: Ed25519PrivateKey) -> None:
        """Make the master key of a new ledger and store its checkpoint key."""
        master = secrets.token_bytes(KEY_BYTES)
        wrapped = _encrypt(master, signing_key.private_bytes_raw(), _associated(secret=_CHECKPOINT_KEY))
        self._session.add_all(
            [SecretRow(name=_MASTER, value=master), SecretRow(name=_CHECKPOINT_KEY, value=wrapped)],
        )
        self._session.flush()

    def signing_key(self) -> Ed25519PrivateKey:
        """The key that signs checkpoints.

        Raises:
            LedgerDamagedError: it is missing or was changed.
        """
        raw = _decrypt(self._master(), self._secret(_CHECKPOINT_KEY), _associated(secret=_CHECKPOINT_KEY))
        return Ed25519PrivateKey.from_private_bytes(raw)

    def seal(self, request_id: str, kind: str, value: object, at: datetime) -> str:
        """Encrypt a JSON value under the request's key; returns the item's id.

        Raises:
            InputError: ``value`` is not JSON.
            NotPossibleError: the request's key was shredded.
        """
        item_id = str(uuid.uuid4())
        plain = plain_json(value).encode("utf-8")
        key = _derived(self._request_key(request_id), _DATA_INFO)
        sealed = _encrypt(key, plain, _associated(item=item_id, kind=kind, request=request_id))
        self._session.add(
            VaultItemRow(id=item_id, request_id=request_id, kind=kind, created_at=instant_text(at), sealed=sealed)
        )
        self._session.flush()
        return item_id

    def unseal(self, item_id: str) -> Any:
        """The value of an item.

        Raises:
            NotPossibleError: it was shredded.
            InputError: there never was such an item.
            LedgerDamagedError: its ciphertext, or the ids it is bound to, were changed.
        """
        row = self._session.get(VaultItemRow, item_id) if can_be_stored(item_id) else None
        if row is None:
            self._refuse_if_shredded(item_id)
            raise InputError("There is no sealed item with this id in the ledger.")
        key = self.open_key(row.request_id)
        if key is None:
            raise LedgerDamagedError("The key of a sealed item is missing: restore the newest backup.")
        associated = _associated(item=row.id, kind=row.kind, request=row.request_id)
        return json.loads(_decrypt(_derived(key, _DATA_INFO), row.sealed, associated))

    def items(self, request_id: str, kind: str | None = None) -> list[SealedItem]:
        """The request's items in the order in which they were sealed.

        Raises:
            LedgerDamagedError: the time of one was changed outside the console.
        """
        if not can_be_stored(request_id):
            return []
        statement = select(VaultItemRow).where(VaultItemRow.request_id == request_id)
        if kind is not None:
            statement = statement.where(VaultItemRow.kind == kind)
        # rowid counts up as rows are added; created_at does not when a clock is set back
        rows = self._session.exec(statement.order_by(literal_column("rowid"))).all()
        try:
            return [SealedItem(row.id, row.request_id, row.kind, parse_instant(row.created_at)) for row in rows]
        except InputError as error:
            raise LedgerDamagedError(
                f"The time of a sealed item of {quoted(request_id)} was changed outside the console: verify the ledger "
                "and restore the newest backup."
            ) from error

    def has_key(self, request_id: str) -> bool:
        """Whether the request has a key now."""
        return can_be_stored(request_id) and self._session.get(VaultKeyRow, request_id) is not None

    def commitment(self, request_id: str, value: object) -> str:
        """HMAC-SHA-256 of the canonical text of ``value`` under the request's key, hex.

        Raises:
            InputError: ``value`` cannot be canonical (floats, for example).
            NotPossibleError: the request's key was shredded.
        """
        key = _derived(self._request_key(request_id), _COMMITMENT_INFO)
        return hmac.new(key, canonical_text(value).encode("utf-8"), hashlib.sha256).hexdigest()

    def shred(self, request_id: str, at: datetime) -> Shredded:
        """Delete the request's key and items for ever.

        Raises:
            NotPossibleError: there is nothing to shred (any more).
        """
        key_row = self._session.get(VaultKeyRow, request_id)
        if key_row is None:
            self._refuse_if_request_shredded(request_id)
            raise NotPossibleError("No personal data is sealed for this request, so there is nothing to shred.")
        items = self._session.exec(select(VaultItemRow).where(VaultItemRow.request_id == request_id)).all()
        shredded = Shredded(key_id=key_row.key_id, item_ids=tuple(item.id for item in items))
        for row in (*items, key_row):
            self._session.delete(row)
        for shredded_id in (shredded.key_id, *shredded.item_ids):
            self._session.add(VaultTombstoneRow(id=shredded_id, request_id=request_id, shredded_at=instant_text(at)))
        self._session.flush()
        return shredded

    def _request_key(self, request_id: str) -> bytes:
        existing = self.open_key(request_id)
        if existing is not None:
            return existing
        self._refuse_if_request_shredded(request_id)
        key, key_id = secrets.token_bytes(KEY_BYTES), str(uuid.uuid4())
        wrapped = _encrypt(self._master(), key, _associated(key=key_id, request=request_id))
        self._session.add(VaultKeyRow(request_id=request_id, key_id=key_id, wrapped=wrapped))
        self._session.flush()
        return key

    def open_key(self, request_id: str) -> bytes | None:
        """The request's key; None where there is none.

        Raises:
            LedgerDamagedError: it was changed.
        """
        row = self._session.get(VaultKeyRow, request_id) if can_be_stored(request_id) else None
        if row is None:
            return None
        return _decrypt(self._master(), row.wrapped, _associated(key=row.key_id, request=row.request_id))

    def _refuse_if_shredded(self, item_id: str) -> None:
        tombstone = self._session.get(VaultTombstoneRow, item_id) if can_be_stored(item_id) else None
        if tombstone is not None:
            raise _shredded_error(tombstone)

    def _refuse_if_request_shredded(self, request_id: str) -> None:
        statement = select(VaultTombstoneRow).where(VaultTombstoneRow.request_id == request_id)
        tombstone = self._session.exec(statement).first()
        if tombstone is not None:
            raise _shredded_error(tombstone)

    def _master(self) -> bytes:
        return self._secret(_MASTER)

    def _secret(self, name: str) -> bytes:
        row = self._session.get(SecretRow, name)
        if row is None:
            raise LedgerDamagedError("The ledger's own keys are missing: restore the newest backup.")
        return row.value


def plain_json(value: object) -> str:
    """``value`` as JSON exactly as it is (texts are not normalised, floats are allowed), keys sorted.

    Raises:
        InputError: it holds something JSON cannot carry, NaN, a key that is no text, or half a character pair.
    """
    try:
        _refuse_other_keys(value)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        # UnicodeEncodeError is a ValueError
        raise InputError("A value cannot be stored: use text, numbers, lists and objects with text keys.") from error
    return text


def _refuse_other_keys(value: object) -> None:
    # json.dumps writes the key 1 as "1" without a word, so the value would not come back as it was.
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise InputError("A value cannot be stored: an object has a key that is not a text.")
        for item in value.values():
            _refuse_other_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_other_keys(item)


def _derived(key: bytes, info: bytes) -> bytes:
    return HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=info).derive(key)


def _encrypt(key: bytes, plain: bytes, associated: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, associated)


def _decrypt(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except (InvalidTag, ValueError) as error:
        raise LedgerDamagedError("A sealed item or key was changed outside the console: restore a backup.") from error


def _associated(**names: str) -> bytes:
    """The ids a ciphertext is bound to, so that it cannot be moved to another item, kind or request."""
    return canonical_text(names).encode("utf-8")


def _shredded_error(tombstone: VaultTombstoneRow) -> NotPossibleError:
    day = tombstone.shredded_at[:10]
    return NotPossibleError(f"The personal data of this request was shredded on {day} and cannot be read or added to.")
