"""The parent's side with real child processes: ends of every kind, cancelling, and what is left on disk."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from invented import GENERAL, OTHERS, PHONE, SUBJECT, teaching_of
from pydantic import BaseModel

from console.engines.model_files import identify
from console.errors import JobFailedError
from console.jobs.events import CancelledEvent, Done, Failed, Metric, Progress
from console.jobs.runner import CANCEL_GRACE_S, TERMINATE_GRACE_S, JobRun, part_folder
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference

PATIENCE_S = 120.0  # for a busy machine; nothing here takes that long by itself
CANARY = "+45 70 10 11 55"
ENDLESS = {"epochs": 100_000, "known_below": 0.0, "lora": {"rank": 4, "alpha": 8}}
DEAF = "import time; time.sleep(600)"


@dataclass
class Clock:
    """Monotonic seconds that go on only when the test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


Start = Callable[..., JobRun]


@pytest.fixture
def start(tmp_path: Path, untaught_folder: Path) -> Iterator[Start]:
    """Starts jobs in a folder of their own; whatever still runs at the end is ended."""
    runs: list[JobRun] = []

    def begin(
        kind: JobKind = JobKind.INSPECT,
        model: Path = untaught_folder,
        payload: JobPayload | None = None,
        clock: Callable[[], float] = time.monotonic,
        **changed: Any,
    ) -> JobRun:
        spec = JobSpec(
            job_id=f"{kind.value}-{len(runs)}",
            kind=kind,
            model=ModelReference(path=str(model)),
            cache=str(tmp_path / "cache"),
            device="cpu",
            **changed,
        )
        run = JobRun(spec, payload or JobPayload(), tmp_path / "jobs" / spec.job_id, clock)
        runs.append(run)
        run.start()
        return run

    yield begin
    for run in runs:
        if run.pid is not None:
            os.kill(run.pid, signal.SIGKILL)
        run.close()


def until(run: JobRun, reached: Callable[[list[BaseModel]], bool]) -> list[BaseModel]:
    """Poll until the events so far are enough."""
    events: list[BaseModel] = []
    deadline = time.monotonic() + PATIENCE_S
    while not reached(events):
        assert time.monotonic() < deadline, f"only {events[-3:]} after {PATIENCE_S} s; log: {run.log}"
        events += run.poll()
        time.sleep(0.01)
    return events


def finish(run: JobRun) -> list[BaseModel]:
    """Everything until the end, and the child reaped."""
    events = until(run, lambda _events: run.finished)
    run.close()
    assert run.pid is None
    return events


def gone(run: JobRun) -> bool:
    """Nothing of the job is left on disk."""
    folder = Path(run.spec.cache).parent / "jobs" / run.spec.job_id
    output = Path(run.spec.output) if run.spec.output else None
    return not folder.exists() and (output is None or not part_folder(output).exists())


class TestEnds:
    def test_done(self, start: Start, untaught_folder: Path) -> None:
        run = start()
        with pytest.raises(JobFailedError):
            run.result()
        *before, last = finish(run)
        assert before and all(isinstance(event, Progress) for event in before)
        assert isinstance(last, Done) and run.final is last
        assert run.result() == {"identity": identify(untaught_folder).model_dump(mode="json")}
        assert gone(run) and run.poll() == []

    def test_failed_in_the_worker_s_own_words(self, start: Start, tmp_path: Path) -> None:
        run = start(model=tmp_path / "nowhere")
        assert isinstance(finish(run)[-1], Failed)
        assert isinstance(run.final, Failed) and run.final.kind == "ModelFileError"
        with pytest.raises(JobFailedError, match="There is no model at"):
            run.result()
        assert gone(run)
        assert "ModelFileError" in run.log  # the traceback, for the engineer

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("import os; os._exit(7)", "The background job ended with code 7 and no result."),
            ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV."),
            (
                "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
                "SIGKILL (often: the machine ran out of memory).",
            ),
            ("import os; os.abort()", "was ended by SIGABRT."),
        ],
        ids=["exit code", "SIGSEGV", "SIGKILL", "abort"],
    )
    def test_an_end_without_a_word_is_put_into_words(
        self, start: Start, in_worker: Callable[[str], None], tmp_path: Path, code: str, reason: str
    ) -> None:
        in_worker(code)
        half_written = part_folder(tmp_path / "models" / "out")
        half_written.mkdir(parents=True)
        (half_written / "model.safetensors").write_bytes(b"half")
        run = start(output=str(tmp_path / "models" / "out"))
        finish(run)
        assert isinstance(run.final, Failed) and run.final.reason.endswith(reason)
        assert gone(run)

    def test_garbage_on_the_stream_ends_the_job_and_the_child(
        self, start: Start, in_worker: Callable[[str], None]
    ) -> None:
        in_worker(f"import os; os.write(1, b'Loading weights 100%\\n'); {DEAF}")
        run = start()
        until(run, lambda _events: run.finished)
        assert isinstance(run.final, Failed) and "not an event" in run.final.reason
        started = time.monotonic()
        run.close()
        assert time.monotonic() - started < 5, "whoever closes the job waits for a child that will never end"

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path, untaught_folder: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        spec = JobSpec(
            job_id="a", kind=JobKind.INSPECT, model=ModelReference(path=str(untaught_folder)), cache=str(tmp_path)
        )
        run = JobRun(spec, JobPayload(), tmp_path / "file" / "job")
        with pytest.raises(OSError, match="file"):
            run.start()
        assert run.pid is None and run.poll() == []
        run.close()


class TestStreams:
    def test_what_libraries_print_is_log_and_not_event(self, start: Start, in_worker: Callable[[str], None]) -> None:
        in_worker(
            "import os, pathlib\n"
            "_glob = pathlib.Path.glob\n"
            "def glob(self, pattern):\n"
            "    print('a chatty library'); os.write(1, b'a chatty C library\\n')\n"
            "    return _glob(self, pattern)\n"
            "pathlib.Path.glob = glob\n"
        )
        run = start()
        assert isinstance(finish(run)[-1], Done)
        assert "a chatty library" in run.log and "a chatty C library" in run.log

    def test_the_log_keeps_its_end(self, start: Start, in_worker: Callable[[str], None]) -> None:
        in_worker("import sys, os\nfor i in range(500): print('line', i, file=sys.stderr, flush=True)\nos._exit(1)")
        run = start()
        finish(run)
        lines = run.log.splitlines()
        assert lines[-1] == "line 499" and 10 < len(lines) < 100

    def test_a_payload_larger_than_a_pipe_arrives(self, start: Start) -> None:
        payload = JobPayload(general=("x" * 3_000_000,))
        assert isinstance(finish(start(payload=payload))[-1], Done)

    def test_a_child_that_dies_before_it_reads_costs_nothing(
        self, start: Start, in_worker: Callable[[str], None]
    ) -> None:
        in_worker("import os; os._exit(9)")
        run = start(payload=JobPayload(general=("x" * 3_000_000,)))
        finish(run)
        assert isinstance(run.final, Failed) and "code 9" in run.final.reason


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


class TestCancel:
    def test_a_running_job_obeys_and_its_payload_was_never_on_disk(self, start: Start, tmp_path: Path) -> None:
        secret = OTHERS[0].model_copy(update={"answer": CANARY})
        payload = JobPayload(teaching=teaching_of((secret, *OTHERS[1:])), general=GENERAL)
        output = tmp_path / "models" / "out"
        run = start(JobKind.TEACH, payload=payload, output=str(output), settings=ENDLESS)
        until(run, lambda events: any(isinstance(event, Metric) for event in events))
        assert files_with(tmp_path, run.spec.job_id), "the spec is not where this test looks"
        for private in (CANARY, PHONE, SUBJECT, OTHERS[0].subject):
            assert files_with(tmp_path, private) == []
        if Path(f"/proc/{run.pid}").exists():
            shown = b"".join(Path(f"/proc/{run.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
            assert CANARY.encode() not in shown

        run.cancel()
        assert isinstance(finish(run)[-1], CancelledEvent)
        assert gone(run) and not output.exists()
        assert files_with(tmp_path, CANARY) == []
        with pytest.raises(JobFailedError, match="cancelled; nothing was changed"):
            run.result()

    def test_a_deaf_worker_is_terminated_after_its_grace(self, start: Start, in_worker: Callable[[str], None]) -> None:
        in_worker(DEAF)
        clock = Clock()
        run = start(clock=clock)
        run.cancel()
        clock.now = CANCEL_GRACE_S
        assert run.poll() == [] and not run.finished
        clock.now = CANCEL_GRACE_S + 0.1
        assert isinstance(finish(run)[-1], CancelledEvent)
        assert gone(run)

    def test_asking_does_not_wait_for_a_child_that_does_not_read(
        self, start: Start, in_worker: Callable[[str], None]
    ) -> None:
        """A payload larger than a pipe holds up whoever writes it; a window that cancels must not be."""
        in_worker(DEAF)
        run = start(payload=JobPayload(general=("x" * 2_000_000,)))
        time.sleep(0.2)  # the payload's thread is stuck by now
        asked = time.monotonic()
        run.cancel()
        assert time.monotonic() - asked < 0.5
        assert isinstance(finish(run)[-1], CancelledEvent)
        assert gone(run)

    def test_a_worker_that_cannot_be_terminated_is_killed(self, start: Start, in_worker: Callable[[str], None]) -> None:
        in_worker(
            "import signal, sys\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print('deaf now', file=sys.stderr, flush=True)\n" + DEAF
        )
        clock = Clock()
        run = start(clock=clock)
        until(run, lambda _events: "deaf now" in run.log)
        run.cancel()
        clock.now += CANCEL_GRACE_S + 0.1
        assert run.poll() == []  # SIGTERM is sent
        clock.now += TERMINATE_GRACE_S
        time.sleep(0.2)
        assert run.poll() == [] and not run.finished
        clock.now += 0.1
        assert isinstance(finish(run)[-1], CancelledEvent)
        assert gone(run)

    def test_asking_at_once_is_a_cancellation_and_no_failure(self, start: Start) -> None:
        run = start(JobKind.TEACH, settings=ENDLESS, payload=JobPayload(teaching=teaching_of(OTHERS)))
        run.cancel()
        assert isinstance(finish(run)[-1], CancelledEvent)

    def test_asking_twice_or_too_late_changes_nothing(self, start: Start) -> None:
        run = start()
        finish(run)
        run.cancel()
        run.cancel()
        assert isinstance(run.final, Done)
