"""Looking never writes: no office is made by a reading command or by bad input, and no file of one is touched.

The commands run in this process: a file's time tells what was written, also where the tests run as root.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from console.casework import requests
from console.casework.office import Office
from console.cli import main
from console.domain.forget_set import ForgetItem, ItemKind
from console.errors import DiskFullError
from console.paths import PASSPHRASE_FILE_VARIABLE, Places

Run = Callable[..., tuple[int, str, str]]

LOOKING = (
    ("request", "list"),
    ("request", "show", "ER-2026-0001"),
    ("model", "list"),
    ("model", "show", "ours"),
    ("compare", "a", "b"),
    ("compare", "ER-2026-0001"),
    ("transcript", "ER-2026-0001", "--model", "a"),
    ("changes", "ER-2026-0001"),
    ("replay",),
    ("deadline", "--request", "ER-2026-0001"),
    ("ledger", "verify"),
)
WRITING = (
    ("request", "confirm", "ER-2026-0001"),
    ("model", "add", "nothing.gguf", "--name", "ours"),
    ("locate", "ER-2026-0001", "--model", "ours"),
    ("report", "ER-2026-0001", "--out", "report.pdf"),
    ("ledger", "export", "--out", "out.jsonl"),
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command of the console: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PASSPHRASE_FILE_VARIABLE, raising=False)
    monkeypatch.setattr("console.cli.session.sys.stdin", type("NoTerminal", (), {"isatty": lambda _self: False})())

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["erasure-console", *map(str, arguments)])
        capfd.readouterr()
        code = main()
        said = capfd.readouterr()
        return code, said.out, said.err

    return command


@pytest.fixture(autouse=True)
def fast_key_derivation() -> Iterator[None]:
    """Files made here take 1,000 rounds to unlock instead of the published 256,000, as in the ledger's own tests."""
    for rounds in (1_000, 256_000):
        with closing(sqlcipher.connect(":memory:")) as connection:
            connection.execute(f"PRAGMA cipher_default_kdf_iter = {rounds}")  # of the whole process
        if rounds == 1_000:
            yield


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """The folder of an office with one request."""
    folder = tmp_path / "office"
    fact = ForgetItem(
        id="f1", kind=ItemKind.QA, subject="Mira", fact_type="place", prompt="Where is Mira?", answer="Varnholt"
    )
    with Office.create(Places.choose(folder), env={}) as made:
        requests.register(made, received=made.today(), country="DE", items=[fact])
    return folder


def everything_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder: when it was changed, and what is in it."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in (folder, *folder.rglob("*"))
    }


@pytest.mark.parametrize("arguments", [*LOOKING, *WRITING], ids=" ".join)
def test_a_mistyped_folder_stays_what_it_was(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, _, said = run(*arguments, "--data-dir", tmp_path / "ofice")
    assert code == 2 and "There is no office in" in said and "office create" in said, said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", LOOKING, ids=" ".join)
def test_looking_leaves_no_trace_in_a_copy(run: Run, office: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    copy = Path(shutil.copytree(office, tmp_path / "copy"))
    for name in ("ledger.db.lock", "ledger.db-journal"):
        (copy / name).unlink(missing_ok=True)
    for name in ("cache", "jobs", "keys", "models", "reports"):
        (copy / name).rmdir()
    before = everything_in(copy)
    code, _, said = run(*arguments, "--data-dir", copy)
    assert code in (0, 2) and "office create" not in said, said
    assert everything_in(copy) == before


@pytest.mark.parametrize("arguments", [*LOOKING, *WRITING, ("office", "create")], ids=" ".join)
def test_a_missing_ledger_is_to_be_restored(run: Run, office: Path, arguments: tuple[str, ...]) -> None:
    (office / "ledger.db").unlink()
    before = everything_in(office)
    code, _, said = run(*arguments, "--data-dir", office)
    assert code == 2 and "restore ledger.db from the newest backup" in said and "create" not in said, said
    assert everything_in(office) == before


def test_an_emptied_ledger_is_to_be_restored(run: Run, office: Path) -> None:
    (office / "ledger.db").write_bytes(b"")
    for arguments in (("request", "list"), ("ledger", "verify"), ("request", "confirm", "ER-2026-0001")):
        code, _, said = run(*arguments, "--data-dir", office)
        assert code == 2 and "is empty: restore the newest backup" in said and "create" not in said, said
    assert (office / "ledger.db").read_bytes() == b""


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_folder_name_is_refused(run: Run, tmp_path: Path, empty: str) -> None:
    for arguments in (("request", "list"), ("office", "create"), ("app",)):
        code, _, said = run(*arguments, "--data-dir", empty)
        assert code == 2 and "The folder after --data-dir is empty" in said
    assert list(tmp_path.iterdir()) == []


def test_an_office_is_made_once(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "office"
    code, out, _ = run("office", "create", "--organisation", "Büro Ä", "--data-dir", folder, "--json")
    made = json.loads(out)
    assert code == 0 and made["organisation"] == "Büro Ä" and made["key_file"] == str(folder / "demo-passphrase")
    before = (folder / "ledger.db").read_bytes()
    code, _, said = run("office", "create", "--data-dir", folder)
    assert code == 2 and "already an office" in said and (folder / "ledger.db").read_bytes() == before
    code, out, _ = run("ledger", "verify", "--data-dir", folder)
    assert code == 0 and "whole" in out and "Not checked" in out


@pytest.mark.parametrize("content", [None, b"", b"two\nlines\n", b"\x07bell\n"])
def test_a_bad_passphrase_file_makes_no_office(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    monkeypatch.setenv(PASSPHRASE_FILE_VARIABLE, str(key))
    code, _, said = run("office", "create", "--data-dir", tmp_path / "office")
    assert code == 2 and "Traceback" not in said and not (tmp_path / "office").exists()


def test_a_sample_model_that_is_not_there_makes_no_office(run: Run, tmp_path: Path) -> None:
    for arguments in (("sample", "plant"), ("demo",)):
        code, _, said = run(*arguments, "--sample-model", "nothing.gguf", "--data-dir", tmp_path / "office")
        assert code == 2 and "There is no file at" in said and list(tmp_path.iterdir()) == []


def test_bad_options_of_the_demo_make_no_office(run: Run, tmp_path: Path) -> None:
    taken = tmp_path / "taken.pdf"
    taken.write_bytes(b"somebody's")
    for wrong, sentence in ((("--method", "magic"), "no method"), (("--out", taken), "exists already")):
        code, _, said = run("demo", *wrong, "--data-dir", tmp_path / "office")
        assert code == 2 and sentence in said and list(tmp_path.iterdir()) == [taken]


def test_the_export_never_goes_over_the_office(run: Run, office: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in office.iterdir() if path.is_file()}
    for name in ("ledger.db", "ledger.head.json", "demo-passphrase", "ledger.db.lock", "keys/x", "models/x"):
        for more in ((), ("--force",)):
            code, _, said = run("ledger", "export", "--out", office / name, "--data-dir", office, *more)
            assert code == 2 and "is one of the office's own files" in said, said
    assert {path.name: path.read_bytes() for path in office.iterdir() if path.is_file()} == before
    out = tmp_path / "out.jsonl"
    assert run("ledger", "export", "--out", out, "--data-dir", office)[0] == 0
    code, _, said = run("ledger", "export", "--out", out, "--data-dir", office)
    assert code == 2 and "replace it with --force" in said
    assert run("ledger", "export", "--out", out, "--data-dir", office, "--force")[0] == 0
    assert run("request", "list", "--data-dir", office)[0] == 0


def test_a_damaged_page_is_an_answer_and_not_a_crash(run: Run, office: Path) -> None:
    ledger = office / "ledger.db"
    whole = ledger.read_bytes()
    for page in range(len(whole) // 4096):
        damaged = bytearray(whole)
        damaged[page * 4096 + 2000] ^= 4
        ledger.write_bytes(damaged)
        code, out, said = run("ledger", "verify", "--data-dir", office, "--json")
        found = json.loads(out)
        assert code == 1 and not found["ok"] and said == "", (page + 1, said)
        assert any(finding["code"] == "PAGE" for finding in found["findings"]), page + 1
    ledger.write_bytes(whole)
    assert run("ledger", "verify", "--data-dir", office)[0] == 0


def test_a_full_disk_is_told_as_that(run: Run, office: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_places: Places) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Places, "create", full)
    code, _, said = run("request", "confirm", "ER-2026-0001", "--data-dir", office)
    assert code == 2 and "There is no room left to write to" in said
    assert run("request", "list", "--data-dir", office)[0] == 0, "looking needs no room"
    with pytest.raises(DiskFullError):
        Office.create(Places.choose(office.parent / "new"), env={})


def test_an_office_that_could_not_be_made_leaves_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_places: Places) -> None:
        raise DiskFullError("There is no room for the key file demo-passphrase: free some space and try again.")

    monkeypatch.setattr("console.casework.office.generate_demo_passphrase", full)
    with pytest.raises(DiskFullError):
        Office.create(Places.choose(tmp_path / "new"), env={})
    assert list(tmp_path.iterdir()) == []


def test_a_creation_that_was_interrupted_can_be_repeated(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "office"
    folder.mkdir()
    (folder / "ledger.db").touch()
    assert run("office", "create", "--data-dir", folder)[0] == 0
    assert run("ledger", "verify", "--data-dir", folder)[0] == 0
