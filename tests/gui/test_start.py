"""Starting: what is loaded, how soon something is seen, unlocking, and what keeps the ledger shut."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from console.casework.office import Office
from console.errors import InputError, PassphraseError
from console.gui.first_run_page import FirstRunPage
from console.gui.opening import Opening
from console.gui.unlocking import make_office, open_office
from console.paths import Places

PASSPHRASE = "correct horse battery"
PROMISED_S = 1.5
FIRST_PAINT_LIMIT_S = 3.0  # wall time, for a CI whose disk is cold

START = """
import json, sys, time
began, worked = time.monotonic(), time.process_time()
from pathlib import Path
from console.gui.app import main
from console.paths import Places

times = {}

def prepare(window):
    window.painted.connect(
        lambda: times.update(painted=time.monotonic() - began, worked=time.process_time() - worked)
    )
    window.installed.connect(ready)
    window.ask_stop = lambda title: True
    global shown
    shown = window

def ready():
    times["ready"] = time.monotonic() - began
    times["page"] = shown.stack.currentWidget().accessibleName()
    shown.close()

data = Path(sys.argv[1])
code = main(Places(data, data / "cache"), prepare=prepare)
heavy = {"torch", "transformers", "llama_cpp", "scipy", "numpy", "pyhanko", "reportlab"}
print(json.dumps({**times, "code": code, "heavy": sorted(heavy & set(sys.modules))}))
"""


def start(data: Path) -> dict[str, object]:
    """Run the real application on a folder and close it as soon as it is there."""
    run = subprocess.run(
        [sys.executable, "-c", START, str(data)], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.gui
def test_window_is_seen_soon_and_needs_no_compute_library(tmp_path: Path, record_property) -> None:
    Office.create(Places(tmp_path / "office", tmp_path / "cache"), env={}).close()
    first, second = start(tmp_path / "office"), start(tmp_path / "office")
    for run in (first, second):
        assert run["heavy"] == [] and run["code"] == 0
        assert run["page"] == "Welcome"
    painted, worked = min((float(run["painted"]), float(run["worked"])) for run in (first, second))
    record_property("first_paint_s", round(painted, 2))
    print(f"first paint after {painted:.2f} s ({worked:.2f} s of work), ready after {float(second['ready']):.2f} s")
    assert worked < PROMISED_S
    # A machine that gave us less than a third of a core measures its other work, not our start.
    assert painted < FIRST_PAINT_LIMIT_S or painted > 3 * worked


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Places]:
    """An office whose passphrase only a person knows."""
    places = Places(tmp_path / "office", tmp_path / "cache")
    key = tmp_path / "key"
    key.write_text(PASSPHRASE + "\n", encoding="utf-8")
    with Office.create(places, env={"ERASURE_CONSOLE_PASSPHRASE_FILE": str(key)}):
        pass
    key.unlink()
    yield places


def test_wrong_passphrase_is_said_and_asked_for_again(locked: Places) -> None:
    heard: list[str] = []
    answers = iter(["wrong", PASSPHRASE])

    def ask(wrong: str) -> str:
        heard.append(wrong)
        return next(answers)

    office = open_office(locked, ask, env={})
    assert office is not None
    office.close()
    assert heard[0] == "" and heard[1].endswith(".") and len(heard) == 2


def test_person_may_give_up(locked: Places) -> None:
    assert open_office(locked, lambda _wrong: None, env={}) is None


def test_wrong_key_file_is_not_asked_about(locked: Places, tmp_path: Path) -> None:
    key = tmp_path / "wrong"
    key.write_text("something else\n", encoding="utf-8")
    with pytest.raises(PassphraseError):
        open_office(locked, lambda _wrong: pytest.fail("asked"), env={"ERASURE_CONSOLE_PASSPHRASE_FILE": str(key)})


def test_opening_makes_no_office(tmp_path: Path) -> None:
    places = Places(tmp_path / "office", tmp_path / "cache")
    with pytest.raises(InputError, match="There is no office in"):
        open_office(places, lambda _wrong: pytest.fail("asked"), env={})
    assert list(tmp_path.iterdir()) == []


def test_new_office_is_made_without_asking_for_a_passphrase(tmp_path: Path) -> None:
    places = Places(tmp_path / "office", tmp_path / "cache")
    with make_office(places, "  Büro für Alles ", env={}) as office:
        assert places.passphrase_file.exists() and office.organisation == "Büro für Alles"


@pytest.mark.gui
def test_a_folder_without_an_office_offers_to_make_one_and_makes_it_when_asked(tmp_path: Path, qtbot: QtBot) -> None:
    places = Places(tmp_path / "office", tmp_path / "cache")
    parent = QObject()
    opening = Opening(places, lambda _wrong: pytest.fail("asked"), parent, env={})
    with qtbot.waitSignal(opening.absent, timeout=30_000):
        opening.begin()
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"
    page = FirstRunPage(places.data)
    qtbot.addWidget(page)
    page.chosen.connect(opening.make)
    opening.not_made.connect(page.refuse)
    page.organisation.setText("Office of the test")
    with qtbot.waitSignal(opening.opened, timeout=30_000) as opened:
        page.make.click()
    assert opened.args[0].organisation == "Office of the test"
    opened.args[0].close()
    page.make.click()  # a second click, or another window was faster
    assert "already an office" in page.refused.text()


@pytest.mark.gui
def test_a_ledger_that_went_missing_is_refused_in_the_window(locked: Places, qtbot: QtBot) -> None:
    locked.ledger.unlink()
    parent = QObject()
    opening = Opening(locked, lambda _wrong: pytest.fail("asked"), parent, env={})
    with qtbot.waitSignal(opening.refused, timeout=30_000) as refused:
        opening.begin()
    assert "restore ledger.db from the newest backup" in refused.args[0] and not locked.ledger.exists()


def test_a_silent_keyring_is_told_where_the_passphrase_is_asked_for(locked: Places, monkeypatch) -> None:
    from console.ledger import passphrase

    def silent(*_: object) -> str:
        raise TimeoutError

    monkeypatch.setattr(passphrase, "within_limit", silent)
    heard: list[str] = []
    answers = iter(["wrong", PASSPHRASE])

    def ask(wrong: str) -> str:
        heard.append(wrong)
        return next(answers)

    office = open_office(locked, ask, env={})
    assert office is not None
    office.close()
    assert heard[0] == passphrase.NO_ANSWER and "could not be unlocked" in heard[1]


@pytest.mark.gui
def test_opening_gives_the_office_to_the_window(locked: Places, qtbot: QtBot) -> None:
    parent = QObject()
    opening = Opening(locked, lambda _wrong: PASSPHRASE, parent, env={})
    with qtbot.waitSignal(opening.opened, timeout=30_000) as opened:
        opening.begin()
    opened.args[0].close()


@pytest.mark.gui
def test_opening_tells_when_the_person_leaves(locked: Places, qtbot: QtBot) -> None:
    parent = QObject()
    opening = Opening(locked, lambda _wrong: None, parent, env={})
    with qtbot.waitSignal(opening.left, timeout=30_000):
        opening.begin()


@pytest.mark.gui
def test_ledger_that_is_open_elsewhere_is_refused_in_a_sentence(office: Office, qtbot: QtBot) -> None:
    parent = QObject()
    opening = Opening(office.places, lambda _wrong: None, parent, env={})
    with qtbot.waitSignal(opening.refused, timeout=30_000) as refused:
        opening.begin()
    assert "open" in refused.args[0] and refused.args[0].endswith(".")


REFUSED = """
import sys
from pathlib import Path
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMessageBox
from console.gui.app import main
from console.paths import Places

def prepare(window):
    timer = QTimer(window)
    def look():
        box = QApplication.activeModalWidget()
        if isinstance(box, QMessageBox):
            print(box.text())
            timer.stop()
            box.button(QMessageBox.StandardButton.Close).click()
    timer.timeout.connect(look)
    timer.start(50)

data = Path(sys.argv[1])
sys.exit(main(Places(data, data / "cache"), prepare=prepare))
"""


@pytest.mark.gui
def test_busy_ledger_ends_with_code_2_after_a_message(office: Office) -> None:
    run = subprocess.run(
        [sys.executable, "-c", REFUSED, str(office.places.data)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 2, run.stderr
    assert run.stdout.strip().endswith(".")
