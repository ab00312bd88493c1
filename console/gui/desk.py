"""The desk: the one gateway from the window to the office.

Pages ask it to do things and reload when it says that something changed; they never talk to each other.
Long work is an operation that a timer polls; short work runs at once, with its error turned into a sentence.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import QObject, QTimer, Signal

from console.casework.job_logs import log_of
from console.errors import ConsoleError, InputError
from console.gui.progress import JobView, RunningOperation, job_view

if TYPE_CHECKING:
    from console.casework.office import Office
    from console.casework.operation import UseCase

POLL_MS = 80
_LOG_LINES = 30  # of a failed job, under the sentence; 'job log' on the command line shows all
# Long enough for the window to paint the sentence before work that holds it up begins.
PAINT_MS = 60

StartOperation = Callable[["Office", "UseCase"], RunningOperation]


def start_operation(office: Office, use_case: UseCase) -> RunningOperation:
    """Start the real thing: a background job."""
    from console.casework.operation import Operation

    return Operation(office, use_case).start()


class Pending(Protocol):
    """Short work that goes on elsewhere: a value, or None while there is none yet."""

    def poll(self) -> Any: ...

    def close(self) -> None: ...


@dataclass
class _Running:
    operation: RunningOperation
    about: str
    done: Callable[[Any], None]
    title: str = ""
    stopping: bool = field(default=False)


class Desk(QObject):
    """The open office, and at most one running operation.

    Signals:
        changed: something was recorded; reload.
        failed: a sentence, and technical details (may be empty).
        stopped: the person stopped the job; a sentence.
        job_changed: a :class:`JobView`, or None when no job runs.
        busy: what holds the window up for a moment, or empty when it is over.
    """

    changed = Signal()
    failed = Signal(str, str)
    stopped = Signal(str)
    job_changed = Signal(object)
    busy = Signal(str)

    def __init__(self, office: Office, parent: QObject | None = None, *, start: StartOperation = start_operation):
        super().__init__(parent)
        self.office = office
        self._start = start
        self._running: _Running | None = None
        self._is_preparing = False
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        self._pending: tuple[Pending, Callable[[Any], None], str] | None = None
        self._pending_timer = QTimer(self)
        self._pending_timer.setInterval(POLL_MS)
        self._pending_timer.timeout.connect(self._poll_pending)

    # -- short work ---------------------------------------------------------------------------

    def do(self, work: Callable[[], Any]) -> bool:
        """Do something short; on failure say why and return False."""
        try:
            work()
        except ConsoleError as error:
            self._say(error)
            return False
        self.changed.emit()
        return True

    def do_after_paint(self, sentence: str, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do something that holds the window up for a second or two, after it has said so.

        Until it is done nothing else of the kind begins: a key that is pressed again asks for the same once more.
        """
        if self._is_preparing:
            return
        self._is_preparing = True

        def run() -> None:
            try:
                value = work()
            except ConsoleError as error:
                self._say(error)
                return
            finally:
                self._is_preparing = False
                self.busy.emit("")
            self.changed.emit()
            done(value)

        self.busy.emit(sentence)
        QTimer.singleShot(PAINT_MS, self, run)

    def do_elsewhere(
        self, sentence: str, start: Callable[[], Pending], done: Callable[[Any], None], *, about: str
    ) -> None:
        """Start something that takes seconds in another process, and go on; the newest takes the place of an older.

        Args:
            about: what a refusal is about, such as the name of a file.
        """
        self._drop_pending()
        try:
            self._pending = (start(), done, about)
        except ConsoleError as error:
            self._say(error, about=about)
            return
        self.busy.emit(sentence)
        self._pending_timer.start()

    def _poll_pending(self) -> None:
        assert self._pending is not None
        pending, done, about = self._pending
        try:
            value = pending.poll()
        except ConsoleError as error:
            self._drop_pending()
            self._say(error, about=about)
            return
        if value is not None:
            self._drop_pending()
            done(value)

    def _drop_pending(self) -> None:
        self._pending_timer.stop()
        if self._pending is not None:
            pending, self._pending = self._pending[0], None
            pending.close()
            self.busy.emit("")

    # -- long work ----------------------------------------------------------------------------

    @property
    def job(self) -> JobView | None:
        """The running job, or None."""
        running = self._running
        if running is None:
            return None
        return job_view(running.operation, running.about, time.monotonic(), running.stopping)

    def run(self, use_case: Callable[[], UseCase], about: str, done: Callable[[Any], None]) -> None:
        """Start a use case that takes minutes; ``done`` gets what it returns.

        Only one runs at a time: the actions that start one are greyed meanwhile.
        """
        try:
            operation = self._start(self.office, use_case())
        except ConsoleError as error:
            self._say(error)
            return
        self.attend(operation, about, done)

    def attend(self, operation: RunningOperation, about: str, done: Callable[[Any], None]) -> None:
        """Poll something that was started, until it ends."""
        assert self._running is None, "a job is running"
        self._running = _Running(operation, about, done)
        if operation.finished:
            self._end()
            return
        self._timer.start()
        self.changed.emit()
        self.job_changed.emit(self.job)

    def cancel(self) -> None:
        """Ask the running job to stop; it goes on until it has."""
        if self._running is None:
            return
        self._running.stopping = True
        self._running.operation.cancel()
        self.job_changed.emit(self.job)

    def close(self) -> None:
        """End what runs, and record it; for a window that closes. Idempotent."""
        self._timer.stop()
        self._drop_pending()
        if self._running is not None:
            running, self._running = self._running, None
            running.operation.close()
        self.office.close()

    def _poll(self) -> None:
        running = self._running
        if running is None:
            self._timer.stop()
            return
        try:
            running.operation.poll()
        except Exception:
            # Polling on would show a job for ever that nothing can end.
            self._running = None
            self._timer.stop()
            self.job_changed.emit(None)
            raise
        if running.operation.finished:
            self._end()
            return
        if running.operation.status.title != running.title:
            running.title = running.operation.status.title
            self.changed.emit()
        self.job_changed.emit(self.job)

    def _end(self) -> None:
        running, self._running = self._running, None
        assert running is not None
        self._timer.stop()
        self.job_changed.emit(None)
        self.changed.emit()
        error = running.operation.error
        if error is None:
            running.done(running.operation.value)
        elif running.stopping:
            self.stopped.emit(str(error))
        else:
            self._say(error, getattr(running.operation, "job_id", ""))

    def _say(self, error: Exception, job: str = "", *, about: str = "") -> None:
        cause = error.__cause__
        details = type(error).__name__ if cause is None else f"{type(error).__name__}: {type(cause).__name__}"
        if job:
            with contextlib.suppress(InputError):  # it may not have come as far as a log
                details = "\n".join([details, *log_of(self.office.places, job).splitlines()[-_LOG_LINES:]])
        self.failed.emit(f"{about}: {error}" if about else str(error), details)
