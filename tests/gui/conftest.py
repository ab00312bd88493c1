"""A window over a real office in a temporary folder; jobs are played by a stand-in, so that no model is needed."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"

import pytest
import shiboken6
from PySide6.QtCore import QCoreApplication, QEvent, QThread, QTimer
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from console.casework.office import Office
from console.casework.operation import Status
from console.casework.requests import register
from console.domain.forget_set import ForgetItem, ItemKind
from console.gui.app import Look
from console.gui.form_dialog import Question
from console.gui.window import MainWindow
from console.jobs.events import Metric
from console.paths import Places

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
TODAY = date(2026, 11, 25)


@dataclass
class FakeOperation:
    """Plays :class:`console.casework.operation.Operation`: the test moves it along."""

    office: Office
    use_case: Any
    status: Status = field(default_factory=lambda: Status(title="Looking for the data in the model"))
    value: Any = None
    error: Exception | None = None
    finished: bool = False
    cancelled: bool = False
    closed: bool = False
    polls: int = 0

    def poll(self) -> list[Any]:
        self.polls += 1
        return []

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self.closed, self.finished = True, True

    def progress(self, step: int, steps: int, label: str = "Direct question") -> None:
        self.status.step, self.status.steps, self.status.label = step, steps, label

    def measure(self, **values: float) -> None:
        self.status.metrics.append(Metric(step=len(self.status.metrics), values=values))

    def end(self, value: Any = None, error: Exception | None = None) -> None:
        self.value, self.error, self.finished = value, error, True


@dataclass
class Operations:
    """Starts fake operations and keeps them."""

    started: list[FakeOperation] = field(default_factory=list)

    def start(self, office: Office, use_case: Any) -> FakeOperation:
        self.started.append(FakeOperation(office, use_case))
        return self.started[-1]

    @property
    def last(self) -> FakeOperation:
        return self.started[-1]


def agree(dialog: QWidget, *, goes_back: bool = False) -> Question:
    """Answer the question that stands between a form, or the window, and the record."""
    question = next(found for found in dialog.findChildren(Question) if found.isVisible())
    (question.back if goes_back else question.submit_button).click()
    return question


def facts(count: int = 3, subject: str = "Mira Okonjo") -> list[ForgetItem]:
    """Invented facts about one person."""
    return [
        ForgetItem(
            id=f"f{number}",
            kind=ItemKind.QA,
            subject=subject,
            fact_type="phone" if number else "place",
            prompt=f"What is fact {number} about {subject}?",
            answer=f"answer {number}",
        )
        for number in range(count)
    ]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An empty office whose clock stands at ``NOW`` and moves on with every look."""
    ticks = iter(range(10**6))
    opened = Office.create(
        Places(tmp_path / "office", tmp_path / "cache"),
        clock=lambda: NOW + timedelta(milliseconds=next(ticks)),
        env={},
    )
    yield opened
    opened.close()


@pytest.fixture
def add_request(office: Office) -> Callable[..., str]:
    """Registers a request that came in some days ago."""

    def add(days_ago: int = 3, **changes: Any) -> str:
        fields: dict[str, Any] = {"country": "DE", "items": facts(), "summary": "Consent was withdrawn."}
        return register(office, received=TODAY - timedelta(days=days_ago), **(fields | changes))

    return add


@pytest.fixture
def operations() -> Operations:
    return Operations()


@pytest.fixture(scope="session", autouse=True)
def look(qapp: QApplication) -> Look:
    """The product's palette and style sheet."""
    return Look(qapp)


@pytest.fixture
def window(qtbot: QtBot, look: Look, office: Office, operations: Operations) -> Iterator[MainWindow]:
    """A shown window over ``office``; its jobs are fake."""
    made = MainWindow()
    made.recoloured.connect(look.apply)
    qtbot.addWidget(made)
    made.show()
    qtbot.waitExposed(made)
    made.install(office, start=operations.start)
    made.commands.on_case.open_file = lambda _path: True
    made.ask_stop = lambda _title: True
    made.ask_drop = lambda: True
    yield made
    made.close()


@pytest.fixture
def large_letters(qapp: QApplication, look: Look) -> Iterator[None]:
    """The desk's font at 200 %, before any widget is made."""
    before = qapp.font()
    large = QFont(before)
    large.setPointSizeF(before.pointSizeF() * 2)
    qapp.setFont(large)
    yield
    qapp.setFont(before)


def _children() -> set[int]:
    """Child processes of this one, where the system shows them."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return set()
    lists = (task / "children" for task in tasks.iterdir())
    return {int(pid) for children in lists if children.exists() for pid in children.read_text().split()}


@pytest.fixture(autouse=True)
def no_leftovers(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test with a window fails if it leaves a running timer, thread or child process behind."""
    if "qtbot" not in request.fixturenames:
        yield
        return
    threads, children = set(threading.enumerate()), _children()
    yield
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    alive = [thing for thing in gc.get_objects() if isinstance(thing, QTimer | QThread) and shiboken6.isValid(thing)]
    timers = [thing for thing in alive if isinstance(thing, QTimer) and thing.isActive()]
    running = [thing for thing in alive if isinstance(thing, QThread) and thing.isRunning()]
    assert not timers, f"{len(timers)} timers still run after {request.node.name}"
    assert not running, f"{len(running)} Qt threads still run"
    assert set(threading.enumerate()) <= threads, "a Python thread still runs"
    assert _children() <= children, "a child process still runs"


@pytest.fixture(scope="session", autouse=True)
def sound_binding(qapp: QApplication) -> None:
    """PySide6 6.12.0 on Python 3.11 gives away references that it does not own, until the interpreter aborts."""
    before = sys.getrefcount(None)
    for _ in range(200):
        qapp.activeModalWidget()
    assert sys.getrefcount(None) > before - 100, "this PySide6 does not count references on this Python: use another"
