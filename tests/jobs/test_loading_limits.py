"""A worker that opens a model has limits, and every job leaves a log in which nothing personal stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.errors import InputError, JobFailedError, ModelFileError
from console.jobs.events import Done, Failed, Log, Progress
from console.jobs.job_log import JobLog, places_of, read_log
from console.jobs.loading_watch import LoadingWatch
from console.jobs.spec import JobKind, JobSpec, ModelReference

SECRET = "Ilse Brandt lives in Kiel"


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(bytes(1_000_000))
    return JobSpec(
        job_id="attack-1",
        kind=JobKind.ATTACK,
        model=ModelReference(path=str(tmp_path / "model")),
        cache=str(tmp_path / "cache"),
    )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class TestWatch:
    def test_memory_far_beyond_the_files_ends_the_opening(self, spec: JobSpec) -> None:
        clock, held = Clock(), 0
        watch = LoadingWatch(spec, clock, lambda _pid: held)
        clock.now, held = 1.0, watch.most_bytes
        assert watch.breach(1) is None
        clock.now, held = 2.0, watch.most_bytes + 1
        breach = watch.breach(1)
        assert breach is not None and breach.kind == "ModelFileError" and "1.5 GB" in breach.reason

    def test_time_without_another_step_ends_the_opening(self, spec: JobSpec) -> None:
        clock = Clock()
        watch = LoadingWatch(spec, clock, lambda _pid: 0)
        clock.now = watch.most_s - 1
        watch.heard(Progress(step=0, steps=1, label="Opening the model"))
        assert watch.breach(1) is None
        clock.now += 2
        breach = watch.breach(1)
        assert breach is not None and "without coming further" in breach.reason

    def test_what_comes_after_the_opening_is_not_limited(self, spec: JobSpec) -> None:
        clock = Clock()
        watch = LoadingWatch(spec, clock, lambda _pid: 10**15)
        watch.heard(Progress(step=1, steps=9, label="Asking directly"))
        clock.now = 10**6
        assert watch.breach(1) is None
        watch.heard(Progress(step=1, steps=9, label="Opening the file's weights in torch"))
        assert watch.breach(1) is not None

    def test_a_larger_model_may_hold_more(self, spec: JobSpec, tmp_path: Path) -> None:
        small = LoadingWatch(spec).most_bytes
        (tmp_path / "model" / "model.safetensors").write_bytes(bytes(9_000_000))
        assert LoadingWatch(spec).most_bytes == small + 8_000_000 * 5


class TestLog:
    def test_it_names_kinds_and_places_and_no_foreign_words(self) -> None:
        try:
            try:
                raise ValueError(SECRET)
            except ValueError as cause:
                raise ModelFileError("The model cannot be loaded.") from cause
        except ModelFileError as error:
            told = places_of(error)
        assert SECRET not in told and "Ilse" not in told
        assert "builtins.ValueError" in told and "ModelFileError: The model cannot be loaded." in told
        assert "test_loading_limits.py:" in told

    def test_steps_and_the_end_are_written(self, spec: JobSpec, tmp_path: Path) -> None:
        jobs = tmp_path / "jobs"
        jobs.mkdir()
        log = JobLog(jobs / "attack-1.log", spec)
        for event in (
            Progress(step=0, steps=2, label="Opening the model"),
            Log(text="builtins.KeyError"),
            Failed(kind="JobFailedError", reason="It failed."),
        ):
            log.heard(event)
        log.write()
        text = read_log(jobs, "attack-1")
        assert text == read_log(jobs, "atta")
        assert all(
            said in text for said in ("attack-1 (attack)", "step 0 of 2: Opening the model", "failed: It failed.")
        )
        with pytest.raises(InputError, match="no log of a job 'other'"):
            read_log(jobs, "other")

    def test_a_result_is_not_written(self, spec: JobSpec, tmp_path: Path) -> None:
        log = JobLog(tmp_path / "attack-1.log", spec)
        log.heard(Done(result={"said": SECRET}, seconds=1.0, peak_rss_mb=1))
        log.write()
        assert SECRET not in (tmp_path / "attack-1.log").read_text(encoding="utf-8")

    def test_only_the_newest_are_kept(self, spec: JobSpec, tmp_path: Path) -> None:
        for number in range(205):
            JobLog(tmp_path / f"a-{number}.log", spec).write()
        assert len(list(tmp_path.glob("*.log"))) == 200


def test_a_broken_event_is_not_what_the_log_is_about() -> None:
    assert "JobFailedError: why" in places_of(JobFailedError("why"))
