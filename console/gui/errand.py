"""Something that takes long and touches no ledger, such as a download, beside the window on a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from console.casework.operation import CancelledByUserError, Status
from console.errors import ConsoleError, JobFailedError


@dataclass
class Errand:
    """Polled and stopped like an operation.

    A thread cannot be stopped from outside: once it is told to stop, it is only no longer waited for, so
    ``work`` must leave nothing half made.
    """

    title: str
    work: Callable[[], Any]
    value: Any = None
    error: Exception | None = None
    finished: bool = False
    status: Status = field(init=False)

    def __post_init__(self) -> None:
        self.status = Status(title=self.title, started_at=time.monotonic())
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="errand", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self.work()
        except BaseException as error:  # raised again or shown on the window's thread
            self._failure = error

    def poll(self) -> list[Any]:
        """See whether it is done."""
        if self.finished or self._thread.is_alive():
            return []
        self.finished = True
        if isinstance(self._failure, ConsoleError):
            self.error = self._failure
        elif self._failure is not None:
            self.error = JobFailedError("The console did not expect this to fail; try again.")
            self.error.__cause__ = self._failure
        return []

    def wait(self, seconds: float) -> None:
        """Wait for it for a moment."""
        self._thread.join(seconds)

    def cancel(self) -> None:
        """Wait for it no longer."""
        self.error, self.finished = CancelledByUserError("Nobody waits for it any more; it can be started again."), True

    def resume(self) -> bool:
        """Wait again for work that goes on after a cancel; False where it has ended."""
        if not self._thread.is_alive():
            return False
        self.error, self.finished = None, False
        return True

    def close(self) -> None:
        self.cancel()
