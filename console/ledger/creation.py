"""Making a new ledger file: all in one transaction, so that an interruption leaves nothing that looks like one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlmodel import Session

from console.errors import InputError, LedgerDamagedError, PassphraseError
from console.ledger.checkpoint import verifier_key
from console.ledger.database import Database
from console.ledger.schema import create_schema, is_empty, set_meta
from console.ledger.vault import Vault

PROJECTOR_VERSION = "projector_version"


def create_database(path: Path, passphrase: str, *, origin: str, projector_version: int) -> Database:
    """The open database of a new ledger. The caller holds the writer lock.

    Raises:
        InputError: there is already something at ``path``, or the folder cannot be used.
        PassphraseError: the passphrase is empty or holds control characters.
        DiskFullError: nothing was created.
    """
    existed = path.exists()
    if existed and path.stat().st_size and not _creation_was_interrupted(path, passphrase):
        raise InputError(f"There is already a file {path.name} in this folder: open it, or choose another folder.")
    with ExitStack() as undo:
        if not existed:
            undo.callback(_remove_unfinished, path)
        database = Database(path, passphrase, read_only=False)
        undo.callback(database.close)  # before the file is removed
        with database.writing() as session:
            _fill(session, origin, projector_version)
        undo.pop_all()
    return database


def _fill(session: Session, origin: str, projector_version: int) -> None:
    create_schema(session)
    signing_key = Ed25519PrivateKey.generate()
    Vault(session).initialise(signing_key)
    set_meta(session, "origin", origin)
    set_meta(session, "verifier_key", verifier_key(origin, signing_key.public_key()))
    set_meta(session, PROJECTOR_VERSION, str(projector_version))


def _creation_was_interrupted(path: Path, passphrase: str) -> bool:
    """Whether the file is a database in which nothing is left once SQLite has rolled its journal back."""
    try:
        database = Database(path, passphrase, read_only=False)
    except (LedgerDamagedError, PassphraseError):
        return False
    try:
        with database.reading() as session:
            return is_empty(session)
    finally:
        database.close()


def _remove_unfinished(path: Path) -> None:
    for leftover in (path, path.with_name(path.name + "-journal")):
        leftover.unlink(missing_ok=True)
