"""A worker dies, or the console does: the ledger verifies, the case can go on, and nothing is half made."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from invented import GENERAL, OTHERS, OUTSIDERS, PERSON, SUBJECT, teaching_of
from pydantic import BaseModel

from console.casework import cases, models, requests
from console.casework.knowledge import Knowledge
from console.casework.notes import note_text
from console.casework.office import Office
from console.casework.operation import ORPHANED, Job, Operation, settle_orphans
from console.domain.case_state import JOBS, MODELS
from console.domain.engine_names import EngineName
from console.domain.events import BatteryInterrupted
from console.domain.request_terms import Ground, RequestStatus
from console.domain.suites import SUITES
from console.engines.model_files import identify
from console.engines.transformers_engine import TransformersModel
from console.errors import JobFailedError
from console.jobs.events import Finished, Metric
from console.jobs.runner import PART_SUFFIX
from console.ledger.verify import verify_chain
from console.paths import Places

pytestmark = pytest.mark.usefixtures("forked_jobs")

PATIENCE_S = 240.0  # for a busy machine
MODEL = "assistant"
QUICK = {"steps": 2, "learning_rate": 1e-3, "lora": {"rank": 4, "alpha": 8}}
ENDLESS = QUICK | {"steps": 1_000_000, "assumed_reference_nll": 1e9, "enough_nll": 1e9}

# Ends the worker with {signal} when it gives the finished artefact its name: before it has, or just after.
AT_RENAMING = """
import os, pathlib, signal
_replace = pathlib.Path.replace
def replace(self, target):
    if not self.name.endswith({suffix!r}):
        return _replace(self, target)
    if {after}:
        _replace(self, target)
    os.kill(os.getpid(), signal.{signal})
pathlib.Path.replace = replace
"""


@pytest.fixture(scope="module")
def located(taught_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of an office with one granted request, whose facts were found in the model."""
    data = tmp_path_factory.mktemp("office") / "data"
    with Office.create(Places.choose(data), env={}) as office:
        models.record_model(
            office,
            MODEL,
            taught_folder,
            identify(taught_folder).model_dump(mode="json"),
            knowledge=Knowledge(teaching=teaching_of((*PERSON, *OTHERS)), controls=OUTSIDERS, general=GENERAL),
        )
        received = office.today() - timedelta(days=2)
        number = requests.register(office, received=received, country="DE", items=PERSON)
        requests.confirm_identity(office, number)
        found = Operation(office, cases.locate(office, number, MODEL, device="cpu")).start().wait()
        assert found.found
        requests.grant(office, number, [Ground.CONSENT_WITHDRAWN])
    return data


@pytest.fixture
def office(located: Path, tmp_path: Path) -> Iterator[Office]:
    """That office, for one test to wreck."""
    data = Path(shutil.copytree(located, tmp_path / "data"))
    with Office.open(Places.choose(data), env={}) as opened:
        yield opened


@pytest.fixture
def number(office: Office) -> str:
    (only,) = office.ledger.projection("request")
    return only


def erasing(office: Office, number: str, settings: dict[str, object] = QUICK) -> Operation:
    return Operation(office, cases.erase(office, number, MODEL, "npo", settings, device="cpu")).start()


def poll_until(operation: Operation, reached: Callable[[list[BaseModel]], bool]) -> list[BaseModel]:
    events: list[BaseModel] = []
    deadline = time.monotonic() + PATIENCE_S
    while not reached(events):
        assert time.monotonic() < deadline, f"only {events[-3:]}; log: {operation.log}"
        events += operation.poll()
        time.sleep(0.01)
    return events


def worker_of(operation: Operation) -> int:
    assert operation._run is not None and operation._run.pid is not None
    return operation._run.pid


def check_records(office: Office, number: str, ended: str, reason: str) -> None:
    """What must hold after any end of a job that wrote no artefact."""
    result = verify_chain(office.ledger)
    assert result.ok, result.findings
    assert office.ledger.differing_projections() == []
    job = max(
        (state for state in office.ledger.projection(JOBS).values() if state["job"] == "erase"),
        key=lambda state: state["started_seq"],
    )
    assert (job["outcome"], job["request"]) == (ended, number)
    said = note_text(office, job)
    assert reason in said and SUBJECT not in said
    assert set(office.ledger.projection(MODELS)) == {MODEL}
    assert requests.request_state(office, number)["runs"] == {}
    check_only_logs_are_left(office)
    assert not list(office.places.models.glob(f"*{PART_SUFFIX}"))


def check_only_logs_are_left(office: Office) -> None:
    """What a job said is kept beside the office; its folder and everything else of it is gone."""
    assert {path.suffix for path in office.places.jobs.iterdir()} <= {".log"}


def check_it_can_run_again(office: Office, number: str) -> None:
    """The case accepts another attempt: its first job is asked for."""
    again = cases.erase(office, number, MODEL, "npo", QUICK, device="cpu")
    assert isinstance(next(again), Job)
    assert requests.request_state(office, number)["status"] == RequestStatus.RUNNING
    again.close()


@pytest.mark.crash
class TestWorker:
    def test_a_segmentation_fault_in_the_middle_of_the_run(self, office: Office, number: str) -> None:
        operation = erasing(office, number, ENDLESS)
        poll_until(operation, lambda events: any(isinstance(event, Metric) for event in events))
        os.kill(worker_of(operation), signal.SIGSEGV)
        with pytest.raises(JobFailedError, match="SIGSEGV"):
            operation.wait()
        check_records(office, number, "failed", "SIGSEGV")
        state = requests.request_state(office, number)
        assert state["status"] == RequestStatus.FAILED
        assert list(office.places.models.iterdir()) == []
        check_it_can_run_again(office, number)

    def test_killed_before_the_artefact_has_its_name(
        self, office: Office, number: str, in_worker: Callable[[str], None]
    ) -> None:
        in_worker(AT_RENAMING.format(suffix=PART_SUFFIX, after=False, signal="SIGKILL"))
        with pytest.raises(JobFailedError, match=r"SIGKILL .*out of memory"):
            erasing(office, number).wait()
        check_records(office, number, "failed", "SIGKILL")
        assert list(office.places.models.iterdir()) == [], "an artefact that nobody registered"
        check_it_can_run_again(office, number)

    def test_killed_after_the_artefact_has_its_name_and_run_again(
        self, office: Office, number: str, in_worker: Callable[[str], None]
    ) -> None:
        """The worst moment: the files are whole, and nobody was told."""
        in_worker(AT_RENAMING.format(suffix=PART_SUFFIX, after=True, signal="SIGKILL"))
        with pytest.raises(JobFailedError, match="SIGKILL"):
            erasing(office, number).wait()
        check_records(office, number, "failed", "SIGKILL")

        in_worker("")
        result = erasing(office, number).wait()
        registered = office.ledger.projection(MODELS)[result.artefact]
        assert registered["identity"]["tree_hash"] == identify(result.path).tree_hash == result.hash_after
        assert requests.request_state(office, number)["status"] == RequestStatus.VERIFYING
        assert verify_chain(office.ledger).ok

    def test_cancelled_before_it_has_begun(self, office: Office, number: str) -> None:
        operation = erasing(office, number, ENDLESS)
        operation.close()
        assert operation.finished and operation.error is not None
        check_records(office, number, "cancelled", "Stopped by the person")
        assert requests.request_state(office, number)["status"] == RequestStatus.PLANNED
        check_it_can_run_again(office, number)


@pytest.mark.crash
def test_the_console_itself_dies(office: Office, number: str) -> None:
    """Nobody is left to record the job's end; the next console does, and the case goes on."""
    operation = erasing(office, number, ENDLESS)
    os.kill(worker_of(operation), signal.SIGKILL)
    assert operation._run is not None
    operation._run.close()  # only so that the test leaves no thread behind
    places = office.places
    office.close()

    with Office.open(places, env={}) as reopened:
        (orphan,) = settle_orphans(reopened)
        assert settle_orphans(reopened) == []
        assert reopened.ledger.projection(JOBS)[orphan]["outcome"] == "failed"
        check_records(reopened, number, "failed", ORPHANED)
        check_it_can_run_again(reopened, number)


def test_the_check_itself_says_no(office: Office, number: str) -> None:
    """Each thing that must not be left behind is noticed."""
    operation = erasing(office, number, ENDLESS)
    operation.close()
    left_over = [
        office.places.models / f"{number}-a1{PART_SUFFIX}",
        office.places.jobs / "erase-left-over",
    ]
    for folder in left_over:
        folder.mkdir()
        with pytest.raises(AssertionError):
            check_records(office, number, "cancelled", "Stopped")
        with suppress(OSError):
            folder.rmdir()
    check_records(office, number, "cancelled", "Stopped")
    with pytest.raises(AssertionError):
        check_records(office, number, "failed", "Stopped")


@pytest.mark.crash
@pytest.mark.parametrize("ending", [signal.SIGKILL, None], ids=["killed", "stopped by the person"])
def test_an_interrupted_suite_goes_on_where_it_stopped(
    office: Office, number: str, ending: signal.Signals | None
) -> None:
    """Nothing that an attack has found is lost, and nothing is asked twice."""

    def locating() -> Operation:
        return Operation(office, cases.locate(office, number, MODEL, device="cpu", suite_name="standard")).start()

    whole = locating().wait()
    first = locating()
    poll_until(first, lambda events: sum(isinstance(event, Finished) for event in events) >= 3)
    if ending is None:
        first.cancel()
    else:
        os.kill(worker_of(first), ending)
    with pytest.raises(JobFailedError):
        first.wait()
    interrupted = [event for event in office.ledger.events() if event.kind == BatteryInterrupted.kind]
    done = BatteryInterrupted.model_validate(interrupted[-1].body).finished
    assert len(done) >= 3 and not any(item.answer in str(interrupted[-1].body) for item in PERSON)

    second = locating()
    events = poll_until(second, lambda _: second.finished)
    again = second.wait()
    ran = [event.part for event in events if isinstance(event, Finished)]
    assert [*done, *ran] == list(SUITES["standard"].attacks)
    assert again.before.battery.rows == whole.before.battery.rows
    assert requests.request_state(office, number)["interrupted"] == {}
    assert verify_chain(office.ledger).ok and office.ledger.differing_projections() == []


@pytest.mark.crash
def test_llama_cpp_that_ends_its_process_costs_the_job_only(
    office: Office, number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taught: TransformersModel
) -> None:
    """A package that dies with the first touch stands for a native build that the processor cannot run."""
    from tiny_gguf import write_tiny_gguf

    path, _, _ = write_tiny_gguf(tmp_path / "file", network=taught.network, tokenizer=taught.tokenizer)
    Operation(office, models.add_model(office, path, "file")).start().wait()
    package = tmp_path / "broken" / "llama_cpp"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "broken"), *filter(None, [inherited])]))
    operation = Operation(office, cases.locate(office, number, "file", "cpu", engine=EngineName.LLAMA)).start()
    with pytest.raises(JobFailedError, match="SIGSEGV"):
        operation.wait()
    check_only_logs_are_left(office)
    monkeypatch.undo()
    assert Operation(office, cases.locate(office, number, "file", "cpu")).start().wait() is not None
