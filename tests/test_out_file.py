"""Files that go where the person says: not over the office's own, over another only if asked, never through a link."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from console.errors import DiskFullError, InputError
from console.out_file import OutFile
from console.paths import PASSPHRASE_FILE_VARIABLE, Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """An office with a ledger, a mark, a key, a model and a job."""
    made = Places(tmp_path / "office", tmp_path / "cache")
    made.create()
    for path in (
        *(made.ledger, made.head_mark, made.passphrase_file, made.keys / "console-ca.p12"),
        *(made.models / "ours" / "model.safetensors", made.jobs / "job.json"),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"the office's own")
    return made


OWN = [
    *("ledger.db", "ledger.head.json", "ledger.db-journal", "ledger.db.lock", "ledger.db-wal", "demo-passphrase"),
    *("keys/console-ca.p12", "keys/new.p12", "models/ours/model.safetensors", "models/new.gguf", "jobs/job.json"),
    *("LEDGER.DB", "Ledger.Head.JSON", "ledger.db.", "ledger.db ", "keys", "reports/../ledger.db"),
]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("replace", [False, True])
def test_the_offices_own_files_are_refused_however_they_are_named(places: Places, name: str, replace: bool) -> None:
    before = {path: path.read_bytes() for path in places.data.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="office's own"):
        OutFile.named(places.data / name, places, replace=replace)
    assert {path: path.read_bytes() for path in places.data.rglob("*") if path.is_file()} == before


def test_another_name_of_the_same_file_is_known(places: Places, tmp_path: Path) -> None:
    (tmp_path / "hard.pdf").hardlink_to(places.ledger)
    (tmp_path / "soft.pdf").symlink_to(places.ledger)
    (tmp_path / "folder").symlink_to(places.data, target_is_directory=True)
    (tmp_path / "keys of it").symlink_to(places.keys, target_is_directory=True)
    for path in ("hard.pdf", "soft.pdf", "folder/ledger.db", "folder/models/x.gguf", "keys of it/x.p12"):
        with pytest.raises(InputError, match="office's own"):
            OutFile.named(tmp_path / path, places, replace=True)


def test_another_offices_files_are_refused_too(places: Places, tmp_path: Path) -> None:
    elsewhere = Places(tmp_path / "somebody else", tmp_path / "cache")
    for name in ("ledger.db", "ledger.head.json", "keys/console-ca.p12"):
        with pytest.raises(InputError, match="office's own"):
            OutFile.named(places.data / name, elsewhere, replace=True)


def test_the_passphrase_file_is_refused(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "passphrase.txt"
    kept.write_text("secret\n", encoding="utf-8")
    monkeypatch.setenv(PASSPHRASE_FILE_VARIABLE, str(kept))
    with pytest.raises(InputError, match="office's own"):
        OutFile.named(kept, places, replace=True)


def test_another_file_is_replaced_only_if_asked(places: Places, tmp_path: Path) -> None:
    path = tmp_path / "minutes.txt"
    path.write_bytes(b"somebody's work")
    with pytest.raises(InputError, match="exists already; choose another, or replace it with --force"):
        OutFile.named(path, places)
    assert path.read_bytes() == b"somebody's work"
    OutFile.named(path, places, replace=True).write(b"new")
    assert path.read_bytes() == b"new"
    out = OutFile.named(tmp_path / "later.txt", places)
    out.path.write_bytes(b"came in between")
    with pytest.raises(InputError, match="exists already"):
        out.write(b"new")
    assert out.path.read_bytes() == b"came in between"


def test_a_link_is_not_followed(places: Places, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"outside")
    for name, target in (("link", outside), ("dangling", tmp_path / "nothing")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(InputError, match="is a link"):
            OutFile.named(tmp_path / name, places, replace=True)
    assert outside.read_bytes() == b"outside" and not (tmp_path / "nothing").exists()


def test_what_is_no_place_for_a_file(places: Places, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        OutFile.named(tmp_path / "none" / "x.json", places)
    with pytest.raises(InputError, match="no ordinary file"):
        OutFile.named(tmp_path, places, replace=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no ordinary file"):
        OutFile.named(tmp_path / "pipe", places, replace=True)
    with pytest.raises(InputError, match="cannot be written"):
        OutFile.named(tmp_path / ("x" * 300), places)


def test_the_folder_for_reports_is_open_and_a_full_disk_leaves_nothing(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = OutFile.named(places.reports / "ER-2026-0001.pdf", places)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFullError, match="No space left"):
            out.write(b"half")
    assert list(places.reports.iterdir()) == []
    out.write(b"whole")
    assert [path.read_bytes() for path in places.reports.iterdir()] == [b"whole"]


def test_what_it_says_of_a_foreign_name_is_escaped(places: Places) -> None:
    with pytest.raises(InputError) as caught:
        OutFile.named(Path(tempfile.gettempdir()) / "no\x1b[31mfolder" / "x.pdf", places)
    assert "\x1b" not in str(caught.value)
