"""Where the passphrase comes from: the order, what is refused, and that nothing falls through to clear text."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from keyring.backends import fail, null

from console.errors import InputError, PassphraseError
from console.ledger import passphrase, setup_check
from console.ledger.passphrase import (
    PassphraseSource,
    find_passphrase,
    generate_demo_passphrase,
    remember_passphrase,
)
from console.paths import PASSPHRASE_FILE_VARIABLE, Places


class MemoryKeyring:
    """A keyring that keeps its entries in a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[(service, username)] = password


class BrokenKeyring(MemoryKeyring):
    """What a locked or half-installed keyring does: plug-ins raise errors of their own."""

    def get_password(self, service: str, username: str) -> str | None:
        raise RuntimeError("org.freedesktop.DBus.Error.ServiceUnknown")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError("org.freedesktop.DBus.Error.ServiceUnknown")


PlaintextKeyring = type("PlaintextKeyring", (MemoryKeyring,), {"__module__": "keyrings.alt.file"})


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.choose(tmp_path / "Daten ü")


def find(places: Places, **options: Any):
    arguments = {"prompt": None, "env": {}, "keyring_backend": fail.Keyring()} | options
    return find_passphrase(places, **arguments)


def key_file(folder: Path, content: bytes) -> dict[str, str]:
    path = folder / "key file"
    path.write_bytes(content)
    return {PASSPHRASE_FILE_VARIABLE: str(path)}


def test_the_order_of_the_places(places: Places, tmp_path: Path) -> None:
    keyring = MemoryKeyring()
    assert remember_passphrase(places, "from keyring", keyring_backend=keyring)
    assert list(keyring.entries) == [("erasure-console", str(places.ledger))]
    demo = generate_demo_passphrase(places)
    everything = {
        "env": key_file(tmp_path, b"from file\n"),
        "keyring_backend": keyring,
        "prompt": lambda: "from prompt",
    }
    found = find(places, **everything)
    assert (found.value, found.source) == ("from file", PassphraseSource.FILE)
    found = find(places, **everything | {"env": {PASSPHRASE_FILE_VARIABLE: ""}})
    assert (found.value, found.source) == ("from keyring", PassphraseSource.KEYRING)
    found = find(places, prompt=lambda: "from prompt")
    assert (found.value, found.source) == (demo.value, PassphraseSource.DEMO)
    places.passphrase_file.unlink()
    found = find(places, prompt=lambda: "from prompt")
    assert (found.value, found.source) == ("from prompt", PassphraseSource.PROMPT)


@pytest.mark.parametrize("prompt", [None, lambda: None, lambda: ""])
def test_no_passphrase_anywhere(places: Places, prompt: Any) -> None:
    with pytest.raises(PassphraseError, match="no passphrase was given"):
        find(places, prompt=prompt)


@pytest.mark.parametrize("content", [b"", b"\n", b"   \n", b"one\ntwo\n", b"\xff\xfe\x00", b"\nlate\n"])
def test_a_key_file_that_cannot_be_used_is_not_skipped(places: Places, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PassphraseError, match="key file"):
        find(places, env=key_file(tmp_path, content), prompt=lambda: "from prompt")


def test_a_key_file_that_is_missing_is_not_skipped(places: Places, tmp_path: Path) -> None:
    with pytest.raises(PassphraseError, match="cannot be read"):
        find(places, env={PASSPHRASE_FILE_VARIABLE: str(tmp_path / "missing")}, prompt=lambda: "from prompt")


@pytest.mark.parametrize(
    "content", [b"key with spaces \xc3\xbc", b"key with spaces \xc3\xbc\r\n", b"\xef\xbb\xbfkey with spaces \xc3\xbc\n"]
)
def test_line_ends_and_byte_order_marks_are_not_part_of_the_passphrase(
    places: Places, tmp_path: Path, content: bytes
) -> None:
    assert find(places, env=key_file(tmp_path, content)).value == "key with spaces ü"


@pytest.mark.parametrize("backend", [fail.Keyring(), null.Keyring(), BrokenKeyring()])
def test_a_machine_without_a_keyring_falls_through_to_the_prompt(places: Places, backend: Any) -> None:
    assert find(places, keyring_backend=backend, prompt=lambda: "typed").source is PassphraseSource.PROMPT
    assert not remember_passphrase(places, "secret", keyring_backend=backend)


def test_the_systems_own_keyring_is_asked_and_may_be_broken(places: Places, monkeypatch) -> None:
    import keyring

    backend = MemoryKeyring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)
    assert remember_passphrase(places, "kept")
    assert find(places, keyring_backend=None).value == "kept"

    def broken() -> None:
        raise ImportError("no such backend")

    monkeypatch.setattr(keyring, "get_keyring", broken)
    assert find(places, keyring_backend=None, prompt=lambda: "typed").value == "typed"
    assert not remember_passphrase(places, "secret")


def test_a_keyring_in_clear_text_is_neither_written_nor_read(places: Places) -> None:
    plaintext = PlaintextKeyring()
    assert not remember_passphrase(places, "secret", keyring_backend=plaintext) and plaintext.entries == {}
    plaintext.set_password("erasure-console", str(places.ledger), "secret")
    assert find(places, keyring_backend=plaintext, prompt=lambda: "typed").value == "typed"


def test_the_demo_key_is_random_private_and_never_overwritten(places: Places, tmp_path: Path) -> None:
    first = generate_demo_passphrase(places)
    assert find(places).value == first.value and len(first.value) >= 40
    if os.name == "posix":
        assert places.passphrase_file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="already exists"):
        generate_demo_passphrase(places)
    assert find(places).value == first.value
    assert generate_demo_passphrase(Places.choose(tmp_path / "second")).value != first.value


def test_a_demo_key_that_cannot_be_written_leaves_no_file(places: Places, monkeypatch) -> None:
    from console.errors import DiskFullError
    from console.ledger import passphrase

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(passphrase.os, "fsync", full)
    with pytest.raises(DiskFullError):
        generate_demo_passphrase(places)
    assert not places.passphrase_file.exists()


def test_a_passphrase_stays_out_of_logs(places: Places) -> None:
    found = find(places, prompt=lambda: "top secret")
    assert "top secret" not in repr(found) and "top secret" not in str(found)


class SilentKeyring(MemoryKeyring):
    """Waits for a service that never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self.over.wait()
        return "too late"

    def set_password(self, service: str, username: str, password: str) -> None:
        self.over.wait()


def test_a_keyring_that_never_answers_is_left_out_after_a_while(places: Places, monkeypatch) -> None:
    monkeypatch.setattr(passphrase, "KEYRING_LIMIT_S", 0.05)
    keyring, said = SilentKeyring(), []
    found = find(places, keyring_backend=keyring, prompt=lambda: "typed", say=said.append)
    assert found == passphrase.Passphrase("typed", PassphraseSource.PROMPT)
    assert said == ["The system's keyring does not answer within 5 seconds and is left out."]
    with pytest.raises(PassphraseError, match="no passphrase was given"):
        find(places, keyring_backend=keyring, say=said.append)
    assert not remember_passphrase(places, "kept", keyring_backend=keyring)
    keyring.over.set()


def test_a_keyring_that_does_not_even_say_its_name_is_no_keyring(monkeypatch) -> None:
    monkeypatch.setattr(passphrase, "KEYRING_LIMIT_S", 0.05)
    over = threading.Event()
    monkeypatch.setattr(setup_check, "_name_of_the_systems", over.wait)
    assert setup_check.find_keyring() == setup_check.KeyringFound(None, safe=False)
    over.set()
