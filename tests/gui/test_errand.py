"""Work beside the window on a thread, and the sample office that needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Operations
from pytestqt.qtbot import QtBot

from console.casework import sample
from console.errors import SetupError
from console.gui.errand import Errand
from console.gui.window import MainWindow


def ended(errand: Errand) -> Errand:
    errand._thread.join(10)
    errand.poll()
    return errand


def test_errand_gives_its_value_or_its_sentence() -> None:
    assert ended(Errand("Fetching", lambda: 7)).value == 7

    def offline() -> None:
        raise SetupError("The sample model could not be fetched.")

    assert isinstance(ended(Errand("Fetching", offline)).error, SetupError)


def test_error_that_nobody_expected_does_not_leave_a_job_for_ever() -> None:
    errand = ended(Errand("Fetching", lambda: 1 // 0))
    assert errand.finished and isinstance(errand.error.__cause__, ZeroDivisionError)


def test_cancelled_errand_can_be_waited_for_again() -> None:
    gate = threading.Event()
    errand = Errand("Fetching", gate.wait)
    assert errand.poll() == [] and not errand.finished
    errand.cancel()
    assert errand.finished and errand.error is not None
    assert errand.resume() and not errand.finished
    gate.set()
    assert ended(errand).value is True and errand.error is None
    assert not errand.resume()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds the download of the sample model back."""
    event = threading.Event()

    def fetch(_places: object, _given: object, _on_step: object) -> Path:
        event.wait(10)
        return Path("model.gguf")

    monkeypatch.setattr(sample, "fetch_model", fetch)
    yield event
    event.set()


@pytest.mark.gui
def test_sample_office_shows_its_requests_before_the_model_is_there(
    window: MainWindow, operations: Operations, gate: threading.Event, qtbot: QtBot
) -> None:
    window.registry.action("office.sample").trigger()
    assert window.busy_words.text() == "Loading the sample requests…"
    qtbot.waitUntil(lambda: window.stack.currentWidget() is window.commands.inbox, timeout=30_000)
    assert window.commands.inbox.model.rowCount() == 8
    qtbot.waitUntil(window.job_strip.isVisible)
    assert window.job_strip.words.startswith("Fetching the sample model")
    assert window.registry.why_not("office.sample").startswith("A job is running")
    gate.set()
    qtbot.waitUntil(lambda: bool(operations.started), timeout=10_000)
    operations.last.end({"known": 74, "facts": 74})
    qtbot.waitUntil(window.notice.isVisible)
    assert window.notice.sentence.text().startswith("The sample office is loaded")
