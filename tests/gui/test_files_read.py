"""Files that a form asks for: read beside the window, shown as they were read, and never mistaken for one another."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from console.casework.office import Office
from console.casework.training_record import example, example_text
from console.gui import facts_preview
from console.gui.forget_file import FactsPreview
from console.gui.model_dialog import ModelDialog, NewModel
from console.gui.request_dialog import RequestDialog

pytestmark = pytest.mark.gui

HEADER = "subject,prompt,answer\n"
GOOD = HEADER + "Mira Okonjo,Where does Mira Okonjo live?,Lindau\n"


@pytest.fixture
def registered() -> list[str]:
    return []


@pytest.fixture
def dialog(qtbot: QtBot, office: Office, registered: list[str]) -> RequestDialog:
    made = RequestDialog(None, office, registered.append)
    made.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.csv"
    path.write_text(GOOD, encoding="utf-8")
    return path


def shown(dialog: RequestDialog) -> list[str]:
    return [label.text() for label in dialog.facts.findChildren(QLabel) if label.isVisible()]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds the reading of files back."""
    event, read = threading.Event(), facts_preview.read_facts

    def slowly(*arguments: Any) -> FactsPreview:
        event.wait(10)
        return read(*arguments)

    monkeypatch.setattr(facts_preview, "read_facts", slowly)
    yield event
    event.set()


def test_nothing_of_an_earlier_file_is_left_when_another_is_chosen(
    dialog: RequestDialog, good: Path, registered: list[str], qtbot: QtBot
) -> None:
    """A number of 5,000 digits once left the file before it in the pane, and that one was registered."""
    dialog.take_file(good)
    qtbot.waitUntil(lambda: dialog.facts.preview is not None)
    bad = good.with_name("bad.jsonl")
    bad.write_text('{"subject": "Mira", "weight": ' + "1" * 5000 + "}\n[" * 3, encoding="utf-8")
    dialog.take_file(bad)
    qtbot.waitUntil(lambda: not dialog.facts.reading.is_running)
    assert dialog.facts.preview is None or dialog.facts.preview.items == ()
    assert "'bad.jsonl'" in dialog.facts.pane.sentence.text()
    dialog.submit()
    assert registered == [] and dialog.isVisible()


def test_while_a_file_is_read_the_pane_is_empty_and_nothing_is_registered(
    dialog: RequestDialog, good: Path, registered: list[str], gate: threading.Event, qtbot: QtBot
) -> None:
    gate.set()
    dialog.take_file(good)
    qtbot.waitUntil(lambda: dialog.facts.preview is not None)
    gate.clear()
    other = good.with_name("other.csv")
    other.write_text(GOOD + "Mira Okonjo,Who is Mira Okonjo?,a baker\n", encoding="utf-8")
    dialog.take_file(other)
    assert dialog.facts.preview is None
    assert dialog.facts.pane.sentence.text() == "'other.csv' is being read…"
    dialog.submit()
    assert dialog.error.text().startswith("'other.csv' is still being read") and registered == []
    gate.set()
    qtbot.waitUntil(lambda: dialog.facts.preview is not None)
    dialog.submit()
    assert len(registered) == 1


def test_the_last_file_chosen_is_the_one_that_is_shown(
    dialog: RequestDialog, good: Path, gate: threading.Event, qtbot: QtBot
) -> None:
    dialog.take_file(good)
    dialog.take_file(good.with_name("missing.csv"))
    gate.set()
    qtbot.waitUntil(lambda: not dialog.facts.reading.is_running)
    assert "missing.csv" in dialog.facts.pane.sentence.text() and dialog.facts.preview is None
    qtbot.waitUntil(lambda: not [thread for thread in threading.enumerate() if thread.name == "errand"])


def test_the_encoding_is_shown_and_can_be_chosen(dialog: RequestDialog, tmp_path: Path, qtbot: QtBot) -> None:
    path = tmp_path / "facts.csv"
    path.write_bytes((HEADER + "J\u00f6rg,Where is J\u00f6rg?,K\u00f6ln\n").replace(",", ";").encode("cp850"))
    dialog.take_file(path)
    qtbot.waitUntil(lambda: dialog.facts.preview is not None)
    assert any("(a guess), separator semicolon" in text and "which is a guess" in text for text in shown(dialog))
    dialog.facts.encoding.setCurrentIndex(dialog.facts.encoding.findData("cp850"))
    qtbot.waitUntil(lambda: dialog.facts.preview is not None)
    assert "Read as DOS 850 (Western Europe), separator semicolon." in shown(dialog)
    assert dialog.facts.preview.items[0].answer == "K\u00f6ln"


def test_weak_facts_and_foreign_names_are_told_safely(dialog: RequestDialog, tmp_path: Path, qtbot: QtBot) -> None:
    path = tmp_path / "\u202efacts.csv"
    path.write_text("subject,prompt,answer,\x1b[2J\nMira,How old is Mira?,7,x\n", encoding="utf-8")
    dialog.take_file(path)
    qtbot.waitUntil(lambda: dialog.facts.preview is not None)
    qtbot.wait(20)
    texts = "\n".join(shown(dialog))
    assert "Line 2, answer, kept" in texts and "turns up by chance" in texts
    assert "The column '\\x1b[2j' is not known" in texts and "'\\u202efacts.csv': 1 of 1" in texts


def longest_wait(dialog: RequestDialog, path: Path, qtbot: QtBot) -> float:
    """The longest time in seconds that this program worked on and did not look at its window while it read a file.

    Counted in processor time, because what other programs take on a busy machine says nothing about this one.
    """
    beats: list[float] = []
    clock = QTimer()
    clock.setInterval(2)
    clock.timeout.connect(lambda: beats.append(time.process_time()))
    clock.start()
    qtbot.wait(50)
    beats[:] = [time.process_time()]
    dialog.take_file(path)
    beats.append(time.process_time())
    qtbot.waitUntil(lambda: not dialog.facts.reading.is_running, timeout=120_000)
    beats.append(time.process_time())
    clock.stop()
    return max(later - earlier for earlier, later in itertools.pairwise(beats))


def test_a_large_file_keeps_nobody_waiting(dialog: RequestDialog, tmp_path: Path, qtbot: QtBot) -> None:
    path = tmp_path / "large.csv"
    row = "Mira Okonjo,Where does Mira Okonjo live in year {0}?,Lindau {0}," + "by the lake " * 80 + "\n"
    rows = "".join(row.format(number) for number in range(3000))
    path.write_text(HEADER.replace("\n", ",note\n") + rows, encoding="utf-8")
    assert path.stat().st_size > 3_000_000
    waits = []
    for _ in range(3):  # a machine with too few processors may let the thread run on for its turn
        waits.append(longest_wait(dialog, path, qtbot))
        assert len(dialog.facts.preview.items) == 3000
        if waits[-1] < 0.05:
            return
    pytest.fail(f"the window did not answer for {[f'{wait * 1000:.0f} ms' for wait in waits]}")


# -- a training record -----------------------------------------------------------------------


@pytest.fixture
def models(qtbot: QtBot, office: Office, tmp_path: Path) -> tuple[ModelDialog, list[NewModel]]:
    saved: list[NewModel] = []
    dialog = ModelDialog(None, office, (), saved.append)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    dialog.show()
    dialog.path.setText(str(tmp_path))
    dialog.name.setText("ours")
    return dialog, saved


def test_a_training_record_is_read_and_said(
    models: tuple[ModelDialog, list[NewModel]], tmp_path: Path, qtbot: QtBot
) -> None:
    dialog, saved = models
    path = tmp_path / "record.json"
    path.write_text(example_text(), encoding="utf-16")
    dialog.record.path.setText(str(path))
    dialog.record.path.editingFinished.emit()
    qtbot.waitUntil(lambda: not dialog.record.reading.is_running)
    assert dialog.record.sentence.text() == "2 facts that were taught, 1 controls, 2 texts."
    dialog.submit()
    assert [model.knowledge for model in saved] == [example()]


def test_a_training_record_that_cannot_be_used_is_told_by_its_place(
    models: tuple[ModelDialog, list[NewModel]], tmp_path: Path, qtbot: QtBot
) -> None:
    dialog, saved = models
    path = tmp_path / "record.json"
    path.write_text('{"teaching": [{"wordings": []}]}', encoding="utf-8")
    dialog.record.path.setText(str(path))
    qtbot.waitUntil(lambda: dialog.submit() or "being read" not in dialog.error.text())
    assert "teaching, first entry, item: it is missing; an entry has item" in dialog.error.text() and saved == []
    path.write_text(example_text(), encoding="utf-8")
    qtbot.waitUntil(lambda: dialog.submit() or bool(saved))
    assert saved[0].knowledge == example()
