"""Where the ledger's passphrase comes from, in a fixed order, and never from a place that keeps it in clear by default.

1. the file that ``ERASURE_CONSOLE_PASSPHRASE_FILE`` names (servers, containers, tests);
2. the system's keyring (Windows Credential Locker, macOS Keychain, Secret Service);
3. the demo's key file, if the demo made one;
4. asking the person.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar, cast

from console.errors import DiskFullError, InputError, PassphraseError
from console.paths import APP_NAME, PASSPHRASE_FILE_VARIABLE, Places

SERVICE = APP_NAME
KEYRING_LIMIT_S = 5.0  # a keyring that is unlocked answers within a tenth of a second
NO_ANSWER = f"The system's keyring does not answer within {KEYRING_LIMIT_S:.0f} seconds and is left out."
_DEMO_BYTES = 32

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class PassphraseSource(StrEnum):
    """Which place the passphrase came from."""

    FILE = "file"
    KEYRING = "keyring"
    DEMO = "demo"
    PROMPT = "prompt"


@dataclass(frozen=True)
class Passphrase:
    """A passphrase and its source. The value stays out of ``repr`` and so out of logs and tracebacks."""

    value: str = field(repr=False)
    source: PassphraseSource


class KeyringBackend(Protocol):
    """What is used of a ``keyring`` backend."""

    def get_password(self, service: str, username: str) -> str | None: ...

    def set_password(self, service: str, username: str, password: str) -> None: ...


def find_passphrase(
    places: Places,
    *,
    prompt: Callable[[], str | None] | None,
    env: Mapping[str, str],
    keyring_backend: KeyringBackend | None = None,
    say: Callable[[str], None] | None = None,
) -> Passphrase:
    """The passphrase from the first place that has one.

    ``keyring_backend`` None means the system's. ``prompt`` returns None when the person cancels. ``say`` gets the
    sentence that the keyring does not answer, before another place is asked.

    Raises:
        PassphraseError: no place has one, or a key file that was named cannot be used (no other place is tried then).
    """
    named = env.get(PASSPHRASE_FILE_VARIABLE)
    if named:
        return Passphrase(_read_key_file(Path(named)), PassphraseSource.FILE)
    try:
        kept = within_limit(lambda: _from_keyring(places, keyring_backend))
    except TimeoutError:
        (say or _log.warning)(NO_ANSWER)
        kept = None
    if kept:
        return Passphrase(kept, PassphraseSource.KEYRING)
    if places.passphrase_file.exists():
        return Passphrase(_read_key_file(places.passphrase_file), PassphraseSource.DEMO)
    typed = prompt() if prompt is not None else None
    if typed:
        return Passphrase(typed, PassphraseSource.PROMPT)
    raise PassphraseError(
        f"The ledger is locked and no passphrase was given: type it, or name a key file in {PASSPHRASE_FILE_VARIABLE}."
    )


def remember_passphrase(places: Places, value: str, *, keyring_backend: KeyringBackend | None = None) -> bool:
    """Keep the passphrase of this office's ledger in the system's keyring; False if there is none that is safe."""

    def keep() -> bool:
        backend = _safe_backend(keyring_backend)
        if backend is not None:
            backend.set_password(SERVICE, str(places.ledger), value)
        return backend is not None

    try:
        return within_limit(keep)
    except Exception as error:  # keyring plug-ins raise what they like (D-Bus, COM, their own)
        _log.info("the keyring did not keep the passphrase: %s", type(error).__name__)
        return False


def generate_demo_passphrase(places: Places) -> Passphrase:
    """Make the demo's random passphrase and its key file (readable by the user only).

    Raises:
        InputError: there already is one, or the folder cannot be used.
        DiskFullError: there was no room; no file is left.
    """
    value = secrets.token_urlsafe(_DEMO_BYTES)
    path = places.passphrase_file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL: an existing key is never overwritten, because the ledger it opens would be lost.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise InputError(
            f"The demo's key file {path.name} already exists: use it, or choose another folder."
        ) from error
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(value + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _write_error(path, error) from error
    return Passphrase(value, PassphraseSource.DEMO)


def within_limit(ask: Callable[[], Answer]) -> Answer:
    """What ``ask`` returns or raises. A keyring may wait for a service or a dialog that never comes, and no call of
    its library takes a limit, so it is asked on a thread that is left behind.

    Raises:
        TimeoutError: no answer within ``KEYRING_LIMIT_S``.
    """
    answers: queue.SimpleQueue[tuple[Answer | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as error:  # raised again where the answer is awaited
            answers.put((None, error))

    threading.Thread(target=run, name="keyring", daemon=True).start()
    try:
        answer, error = answers.get(timeout=KEYRING_LIMIT_S)
    except queue.Empty as error:
        raise TimeoutError(NO_ANSWER) from error
    if error is not None:
        raise error
    return cast(Answer, answer)


def _read_key_file(path: Path) -> str:
    """The one line of a key file; its line end is not part of the passphrase."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PassphraseError(f"The key file {path} cannot be read: check that it exists and is text.") from error
    lines = text.splitlines()
    if len(lines) != 1 or not lines[0].strip():
        raise PassphraseError(f"The key file {path} must hold the passphrase in exactly one line.")
    return lines[0]


def _from_keyring(places: Places, backend: KeyringBackend | None) -> str | None:
    safe = _safe_backend(backend)
    if safe is None:
        return None
    try:
        return safe.get_password(SERVICE, str(places.ledger))
    except Exception as error:  # keyring plug-ins raise what they like (D-Bus, COM, their own)
        _log.info("the keyring cannot be used: %s", type(error).__name__)
        return None


def _safe_backend(backend: KeyringBackend | None) -> KeyringBackend | None:
    """The backend to use, or None: no keyring on this machine, or one that keeps its entries in clear."""
    if backend is None:
        try:
            import keyring  # here and not above: looking for backends takes time and talks to the session bus

            backend = keyring.get_keyring()
        except Exception as error:  # a broken plug-in or configuration must not keep the person from typing
            _log.info("the keyring cannot be used: %s", type(error).__name__)
            return None
    # keyrings.alt holds the file backends, plain text and home-made encryption; fail and null keep nothing.
    module = type(backend).__module__
    if module.startswith(("keyrings.alt", "keyring.backends.fail", "keyring.backends.null")):
        return None
    return backend


def _write_error(path: Path, error: OSError) -> DiskFullError | InputError:
    if error.errno == errno.ENOSPC:
        return DiskFullError(f"There is no room for the key file {path.name}: free some space and try again.")
    return InputError(f"The key file {path} cannot be written: choose another folder.")
