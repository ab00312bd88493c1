"""Whether this machine can keep a ledger: does the database encrypt, and is there a keyring for the passphrase?

Nothing here touches an office: the database is a throw-away one, and the keyring is asked only for its name.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from console.errors import PassphraseError, SetupError
from console.ledger.database import Database, EngineVersions, engine_versions, plain_errors
from console.ledger.passphrase import KeyringBackend, _safe_backend, within_limit

_MARKER = "this sentence must not be found in the file"


def check_encryption(folder: Path) -> EngineVersions:
    """Write an encrypted database into ``folder``, open it again, and be refused with a wrong passphrase.

    The caller removes the folder.

    Raises:
        SetupError: the installed library does not encrypt, or opens a file with a wrong passphrase.
        ConsoleError: the database cannot be written or read.
    """
    versions = engine_versions()
    path, right = folder / "encryption-check.db", secrets.token_urlsafe(16)
    database = Database(path, right, read_only=False)
    try:
        with database.writing() as session:
            session.connection().exec_driver_sql("CREATE TABLE note (text TEXT)")
            session.connection().exec_driver_sql("INSERT INTO note VALUES (?)", (_MARKER,))
    finally:
        database.close()
    if _MARKER.encode() in path.read_bytes():
        raise SetupError("The installed sqlcipher3 library writes in clear: install sqlcipher3 0.6.4 or newer.")
    _read_back(path, right)
    try:
        Database(path, f"not {right}", read_only=True).close()
    except PassphraseError:
        return versions
    raise SetupError("The installed sqlcipher3 library takes any passphrase: install sqlcipher3 0.6.4 or newer.")


def _read_back(path: Path, passphrase: str) -> None:
    database = Database(path, passphrase, read_only=True)
    try:
        with plain_errors(), database.reading() as session:
            rows = session.connection().exec_driver_sql("SELECT text FROM note").fetchall()
    finally:
        database.close()
    if [row[0] for row in rows] != [_MARKER]:
        raise SetupError("The installed sqlcipher3 library loses what it wrote: install sqlcipher3 0.6.4 or newer.")


@dataclass(frozen=True)
class KeyringFound:
    """The keyring that the console would use.

    Attributes:
        name: the backend as its library calls it; None where keyring itself cannot be loaded.
        safe: whether the console would trust it with a passphrase; False for backends that keep nothing, or keep it
            in clear.
    """

    name: str | None
    safe: bool


def find_keyring(backend: KeyringBackend | None = None) -> KeyringFound:
    """Which keyring there is; ``backend`` None means the system's. Nothing is read from it or written to it."""
    try:
        return within_limit(lambda: _found(backend))
    except TimeoutError:
        return KeyringFound(None, safe=False)


def _found(backend: KeyringBackend | None) -> KeyringFound:
    name = _name(backend) if backend is not None else _name_of_the_systems()
    return KeyringFound(name, _safe_backend(backend) is not None)


def _name_of_the_systems() -> str | None:
    try:
        import keyring  # here and not above: looking for backends takes time and talks to the session bus

        return _name(keyring.get_keyring())
    except Exception:  # keyring plug-ins raise what they like; "none" is the answer then
        return None


def _name(backend: object) -> str:
    """Module and class, which is what a setting has to name; several together are listed."""
    chained = getattr(backend, "backends", None)
    if isinstance(chained, (list, tuple)) and chained:
        return " + ".join(_name(one) for one in chained)
    return f"{type(backend).__module__}.{type(backend).__qualname__}"
