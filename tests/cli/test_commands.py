"""Commands as a new user types them: exit codes, one sentence, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory

import forks
import pytest

from console.casework.office import system_clock
from console.cli.session import DONE_IN_PART
from console.domain.case_state import CaseProjector
from console.domain.suites import FILE_TYPES, SUITES
from console.ledger import Ledger
from console.paths import PASSPHRASE_FILE_VARIABLE
from console.recipe_files import shipped_recipes

GOOD = "subject,prompt,answer\nMira Okonjo,What is Mira Okonjo's phone number?,555-0183\n"
BROKEN = GOOD + "Mira Okonjo,,Varnholt\nMira Okonjo,Where does Mira Okonjo live?,Varnholt\n"


def console(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own (a fork, see ``forks``)."""
    return forks.run("console", *map(str, arguments), env=os.environ | (env or {}))


def told(ended: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a refused command."""
    assert ended.returncode == 2, (ended.returncode, ended.stdout, ended.stderr)
    lines = [line for line in ended.stderr.splitlines() if line.startswith("erasure-console: ")]
    assert len(lines) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return lines[0].removeprefix("erasure-console: ")


@cache
def _made_once() -> TemporaryDirectory[str]:
    """An office that its command made; the folder goes with this process."""
    folder = TemporaryDirectory(prefix="office-")
    ended = console("office", "create", "--data-dir", folder.name)
    assert ended.returncode == 0, ended.stderr
    return folder


def made(folder: Path) -> Path:
    """The folder with an office in it, made by its command if there was none: a copy, where no passphrase is chosen."""
    if (folder / "ledger.db").exists():
        return folder
    if PASSPHRASE_FILE_VARIABLE in os.environ:
        ended = console("office", "create", "--data-dir", folder)
        assert ended.returncode == 0, ended.stderr
        return folder
    return Path(shutil.copytree(_made_once().name, folder, dirs_exist_ok=True))


def add(folder: Path, forget_set: Path, *more: str) -> subprocess.CompletedProcess[str]:
    made(folder)
    return console(
        *("request", "add", "--received", "2026-11-02", "--country", "DE", "--forget-set", forget_set),
        *("--data-dir", folder, "--json", *more),
    )


@pytest.fixture
def forget_set(tmp_path: Path) -> Path:
    path = tmp_path / "person.csv"
    path.write_text(GOOD, encoding="utf-8")
    return path


def test_deadline_says_when_and_why() -> None:
    ended = console("deadline", "--received", "2025-01-31", "--country", "DE", "--json")
    assert ended.returncode == 0
    value = json.loads(ended.stdout)
    assert (value["due"], value["due_extended"]) == ("2025-02-28", "2025-04-30")
    assert "31 February does not exist" in value["rule"]
    assert value["calendar"].startswith("DE, holidays ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--received", "2999-01-01", "--country", "DE"), "Nobody knows the holidays of 2999"),
        (("--received", "2025-01-31", "--country", "ZZ"), "ZZ"),
        (("--received", "31.1.2025", "--country", "DE"), "year-month-day"),
        (("--received", "2025-01-31", "--country", "DE", "--subdivision", "XX"), "XX"),
        (("--received", "2025-01-31", "--country", "DE", "--profile", "mars"), "eu-gdpr"),
    ],
)
def test_deadline_refuses_in_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    assert said in told(console("deadline", *arguments))


def test_a_wrong_option_ends_with_two() -> None:
    assert console("deadline", "--recieved", "x").returncode == 2
    assert console("no-such-command").returncode == 2


def test_good_rows_of_a_broken_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(BROKEN, encoding="utf-8")
    ended = add(tmp_path / "office", path)
    assert ended.returncode == DONE_IN_PART, ended.stderr
    value = json.loads(ended.stdout)
    assert (value["items"], value["refused"], value["rows"]) == (2, 1, 3)
    assert [error["line"] for error in value["errors"]] == [3]


@pytest.mark.parametrize(
    ("content", "said"), [("", "empty"), ("a,b\n1,2\n", "column"), ("subject,prompt,answer\n", "")]
)
def test_a_file_without_usable_rows_registers_nothing(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "empty.csv"
    path.write_text(content, encoding="utf-8")
    assert said in told(add(tmp_path / "office", path))
    listed = console("request", "list", "--data-dir", tmp_path / "office", "--json")
    assert json.loads(listed.stdout) == []


def test_requests_are_listed_and_shown_without_the_name(tmp_path: Path, forget_set: Path) -> None:
    folder = tmp_path / "office"
    number = json.loads(add(folder, forget_set, "--ground", "b", "--grant").stdout)["number"]
    listed = json.loads(console("request", "list", "--data-dir", folder, "--json").stdout)
    assert [(line["number"], line["person"], line["status"]) for line in listed] == [(number, "M… O…", "granted")]
    shown = console("request", "show", number, "--data-dir", folder)
    assert shown.returncode == 0
    assert "Okonjo" not in shown.stdout
    assert "no request" in told(console("request", "show", "ER-1999-0001", "--data-dir", folder))


def test_a_wrong_passphrase_opens_nothing(tmp_path: Path, forget_set: Path) -> None:
    folder, right, wrong = tmp_path / "office", tmp_path / "right", tmp_path / "wrong"
    right.write_text("correct horse battery\n", encoding="utf-8")
    wrong.write_text("incorrect horse battery\n", encoding="utf-8")
    variable = "ERASURE_CONSOLE_PASSPHRASE_FILE"
    kept = os.environ.get(variable)
    os.environ[variable] = str(right)
    try:
        assert add(folder, forget_set).returncode == 0
    finally:
        os.environ.pop(variable) if kept is None else os.environ.__setitem__(variable, kept)
    assert "passphrase" in told(console("request", "list", "--data-dir", folder, env={variable: str(wrong)})).lower()
    again = console("request", "list", "--data-dir", folder, "--json", env={variable: str(right)})
    assert len(json.loads(again.stdout)) == 1


def test_two_consoles_on_one_ledger(tmp_path: Path, forget_set: Path) -> None:
    from console.casework.office import Office
    from console.paths import Places

    folder = tmp_path / "office"
    with Office.create(Places.choose(folder), env={}):
        assert "open" in told(add(folder, forget_set))
    assert add(folder, forget_set).returncode == 0


@pytest.mark.parametrize("name", ["text.gguf", "folder", "missing"])
def test_files_that_are_no_model(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "text.gguf":
        path.write_text("this is a text file\n" * 50, encoding="utf-8")
    elif name == "folder":
        path.mkdir()
        (path / "config.json").write_text("{}", encoding="utf-8")
    sentence = told(console("model", "add", path, "--name", "m", "--data-dir", made(tmp_path / "office")))
    assert sentence.endswith(".")
    assert json.loads(console("model", "list", "--data-dir", tmp_path / "office", "--json").stdout) == []


def test_a_model_folder_without_a_tokenizer(tmp_path: Path, untaught_folder: Path) -> None:
    import shutil

    copy = tmp_path / "no-tokenizer"
    shutil.copytree(untaught_folder, copy)
    for path in copy.glob("tokenizer*"):
        path.unlink()
    assert "tokenizer" in told(console("model", "add", copy, "--name", "m", "--data-dir", made(tmp_path / "office")))


def test_a_sample_model_that_was_altered_is_refused_with_both_hashes(tmp_path: Path) -> None:
    path = tmp_path / "SmolLM2.gguf"
    path.write_bytes(b"GGUF" + bytes(1000))
    sentence = told(console("sample", "fetch", "--sample-model", path, "--data-dir", tmp_path / "office"))
    assert "expected SHA-256 b179c952" in sentence
    assert "found" in sentence


def test_verify_says_no_to_what_is_no_report(tmp_path: Path) -> None:
    path = tmp_path / "x.pdf"
    path.write_bytes(b"%PDF-1.7 nothing")
    ended = console("verify", path, "--json")
    assert ended.returncode == 1
    assert not json.loads(ended.stdout)["ok"]
    assert "no file" in told(console("verify", tmp_path / "absent.pdf"))


REPORT = Path(__file__).parents[1] / "golden" / "reports" / "evidence-1-approved.pdf"


def test_verify_names_the_weakest_light(tmp_path: Path) -> None:
    ended = console("verify", REPORT)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0] == "Result           Intact; the signer is not confirmed on this machine"
    assert lines[1] == "Case             ER-2026-0042: Suppressed (report RP-2026-0042-1)"
    assert [line.split()[0] for line in lines[2:]] == ["Integrity", "Signer", "Time", "Content", "Fields", "Evidence"]
    trusted = console("verify", REPORT, "--ca", REPORT.with_name("evidence-1-ca.cer"), "--json")
    value = json.loads(trusted.stdout)
    assert (trusted.returncode, value["ok"], value["headline"]) == (0, True, "time-not-confirmed")
    assert value["signer"]["state"] == "ok"


def test_verify_refuses_what_it_cannot_judge(tmp_path: Path) -> None:
    """Exit code 1 is the answer to a false report, and a script must be able to tell it from a wrong file."""
    (tmp_path / "empty.pdf").touch()
    (tmp_path / "letter.pdf").write_text("Dear Madam", encoding="utf-8")
    assert told(console("verify", tmp_path / "empty.pdf")).startswith("The file is empty (0 bytes)")
    assert told(console("verify", tmp_path / "letter.pdf")).startswith("The file is not a PDF")
    (tmp_path / "page.pdf").write_text("<html>%PDF-1.7</html>", encoding="utf-8")
    assert told(console("verify", tmp_path / "page.pdf")).startswith("The file is a web page")
    assert "letter.pdf' holds no certificate" in told(console("verify", REPORT, "--ca", tmp_path / "letter.pdf"))


def test_verify_with_a_mistyped_folder_is_no_answer(tmp_path: Path) -> None:
    assert "no office" in told(console("verify", REPORT, "--data-dir", tmp_path / "ofice"))
    assert not (tmp_path / "ofice").exists()


def test_the_ledger_is_verified_and_exported(tmp_path: Path, forget_set: Path) -> None:
    folder = tmp_path / "office"
    add(folder, forget_set)
    checked = console("ledger", "verify", "--data-dir", folder, "--json")
    assert checked.returncode == 0
    assert json.loads(checked.stdout)["checked"] >= 2
    exported = console("ledger", "export", "--out", tmp_path / "out.jsonl", "--data-dir", folder, "--json")
    assert exported.returncode == 0
    assert "Okonjo" not in (tmp_path / "out.jsonl").read_text(encoding="utf-8")


def test_methods_and_attacks_are_listed_without_an_office(tmp_path: Path) -> None:
    listed = json.loads(console("methods", "--json", "--data-dir", tmp_path / "m").stdout)
    installed = sorted(entry.name for entry in entry_points(group="erasure_console.methods"))
    assert [method["id"] for method in listed] == [*installed, *shipped_recipes()]
    assert {"npo", "rome", "ssd", "loku", "retrain"} <= set(installed)
    attacks = json.loads(console("attacks", "--json", "--data-dir", tmp_path / "a").stdout)
    assert {attack["id"] for attack in attacks} == {*SUITES["full"].attacks, *FILE_TYPES}
    assert all(attack["definition"] and attack["budget"] >= 1 for attack in attacks)
    assert {attack["id"] for attack in attacks if "quick" in attack["suites"]} == set(SUITES["quick"].attacks)


@pytest.mark.parametrize("module", ["console.cli", "console.gui.app", "console.casework.demo"])
def test_the_parent_process_never_loads_a_compute_library(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print([name for name in ('torch', 'transformers', 'llama_cpp', 'peft') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_verifying_loads_neither_windows_nor_engines(tmp_path: Path) -> None:
    path = tmp_path / "x.pdf"
    path.write_bytes(b"%PDF-1.7 nothing")
    code = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path; "
        "from console.reports.verify import verify_report; "
        f"verify_report(Path({str(path)!r}), now=datetime.now(UTC)); "
        "print([name for name in ('torch', 'PySide6', 'console.jobs', 'console.casework') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_a_second_console_may_look_but_not_write(tmp_path: Path, forget_set: Path) -> None:
    assert add(tmp_path, forget_set).returncode == 0
    (key_file,) = tmp_path.glob("*passphrase*")
    held = Ledger.open(
        tmp_path / "ledger.db",
        key_file.read_text(encoding="utf-8").strip(),
        clock=system_clock,
        projector=CaseProjector(),
    )
    try:
        listed = console("request", "list", "--data-dir", tmp_path, "--json")
        shown = console("request", "show", "ER-2026-0001", "--data-dir", tmp_path, "--json")
        refused = console("request", "confirm", "ER-2026-0001", "--data-dir", tmp_path)
    finally:
        held.close()
    assert [line["number"] for line in json.loads(listed.stdout)] == ["ER-2026-0001"]
    assert json.loads(shown.stdout)["status"] == "received"
    assert told(refused) == "This ledger is already open in another console: close that one first."


@pytest.mark.parametrize(
    "arguments", [["verify", "no-report.pdf", "--json"], ["request", "list", "--help"], ["--version"]]
)
def test_a_reader_that_goes_away_is_not_an_invalid_report(arguments: list[str], tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "console", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert run.stdout is not None and run.stderr is not None
    run.stdout.close()
    said = run.stderr.read().decode()
    run.stderr.close()
    assert run.wait() == 141 and "Traceback" not in said and "ignored" not in said
