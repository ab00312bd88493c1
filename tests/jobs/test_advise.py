"""Trying the methods: each is timed on its first steps, and each finds the model as its files hold it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from invented import GENERAL, OTHERS, OUTSIDERS, PASSAGE, PERSON, teaching_of
from pydantic import BaseModel

from console.domain.claims import Claim
from console.engines.model_files import identify
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.jobs import worker
from console.jobs.events import CancelledEvent, Done, Failed, decode
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference
from console.jobs.tasks import advise as advise_task
from console.jobs.tasks.advise import AdviceConfig, MeasuredError, Stopwatch
from console.jobs.worker import EventWriter
from console.methods.npo import Npo
from console.methods.protocol import Family, MethodInfo, Outcome, Plan
from console.methods.registry import available

PAYLOAD = JobPayload(forget=PERSON, retain=OTHERS, controls=OUTSIDERS, general=GENERAL, teaching=teaching_of(OTHERS))
QUICK = ("ga", "npo", "output-filter", "refusal", "retrain", "weight-noise")


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """One thread as in every test; what the worker hands to the engineer's log is kept."""
    errors: list[BaseException] = []
    monkeypatch.setattr("console.engines.devices.os.cpu_count", lambda: 1)
    monkeypatch.setattr(sys, "excepthook", lambda _kind, error, _trace: errors.append(error))
    return errors


def reference_to(folder: Path) -> ModelReference:
    return ModelReference(path=str(folder), tree_hash=identify(folder).tree_hash)


def final_of(
    folder: Path,
    cache: Path,
    payload: JobPayload = PAYLOAD,
    reference: Path | None = None,
    *,
    stop: bool = False,
    **settings: Any,
) -> BaseModel:
    spec = JobSpec(
        job_id="advise-1",
        kind=JobKind.ADVISE,
        model=reference_to(folder),
        reference=reference_to(reference) if reference else None,
        cache=str(cache),
        device="cpu",
        settings=settings,
    )
    stream = io.StringIO()
    writer = EventWriter(stream)
    if stop:
        writer.request_stop()
    worker.run(spec, payload, writer)
    return [decode(line) for line in stream.getvalue().splitlines()][-1]


def rows(final: BaseModel) -> dict[str, dict[str, Any]]:
    assert isinstance(final, Done), final
    return {row["id"]: row for row in final.result["methods"]}


class TestStopwatch:
    """With a clock of its own, so that the arithmetic is exact."""

    def watch(self, times: list[float], by_metric: bool = True, planned: int = 20, **config: Any) -> Stopwatch:
        ticks = iter([0.0, *times])
        return Stopwatch(by_metric, planned, AdviceConfig(**config), lambda: None, lambda: next(ticks))

    def test_the_later_steps_count_and_the_preparation_once(self) -> None:
        """10 s of preparation, then 2 s a step: 12, 14, 16; twenty steps take 50 s."""
        watch = self.watch([12.0, 14.0, 16.0])
        watch.metric(1, {})
        watch.metric(2, {})
        with pytest.raises(MeasuredError):
            watch.metric(3, {})
        assert (watch.measured, watch.expected()) == (3, (50.0, False))

    def test_progress_is_not_counted_where_metrics_are(self) -> None:
        watch = self.watch([1.0])
        for _ in range(5):
            watch.progress(1, 20, "Unlearning")
        assert watch.measured == 0

    def test_progress_counts_for_the_others_by_how_far_it_says_they_are(self) -> None:
        """A run that says 0, 5, 10 of 100 after 1, 2 and 3 s takes 1 + 20 s."""
        watch = self.watch([1.0, 2.0, 3.0], by_metric=False, steps=2)
        watch.metric(1, {})
        watch.progress(0, 100, "Teaching")
        watch.progress(5, 100, "Teaching")
        watch.progress(5, 100, "Teaching")
        with pytest.raises(MeasuredError):
            watch.progress(10, 100, "Teaching")
        assert watch.expected() == (21.0, False)

    def test_one_step_alone_carries_its_preparation(self) -> None:
        watch = self.watch([3.0])
        watch.metric(1, {})
        assert watch.expected() == (60.0, False)

    def test_a_step_that_takes_too_long_gives_a_lower_bound(self) -> None:
        watch = self.watch([59.0, 61.0, 61.5])
        watch.check_cancelled()
        with pytest.raises(MeasuredError):
            watch.check_cancelled()
        assert watch.expected() == (61.5, True)

    def test_the_person_s_stop_goes_before_the_time(self) -> None:
        def stop() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Stopwatch(True, 1, AdviceConfig(), stop).check_cancelled()


class TestAdvise:
    def test_every_installed_method_is_timed_or_says_why_not(
        self, taught_folder: Path, untaught_folder: Path, tmp_path: Path, logged: list[BaseException]
    ) -> None:
        found = rows(final_of(taught_folder, tmp_path, reference=untaught_folder, seconds_each=20.0))
        assert list(found) == list(available())
        assert not logged, logged
        for row in found.values():
            if not row["refusal"]:
                assert row["seconds"] > 0 and row["steps"] >= 1, row
                assert row["measured"] >= 1 or row["whole"] or row["at_least"], row
        assert not any(found[name]["refusal"] for name in QUICK)
        assert found["npo"]["measured"] == 3 and found["npo"]["claim"] == Claim.REMOVAL_INTENDED.value
        assert found["output-filter"]["whole"]

    def test_the_expected_time_is_about_the_time_of_a_run(
        self, taught: TransformersModel, taught_folder: Path, tmp_path: Path
    ) -> None:
        """Within a factor of three: a shared machine is no clock, but a guess in the wrong unit is seen."""
        expected = rows(final_of(taught_folder, tmp_path, methods=["ga"]))["ga"]
        method = available()["ga"]
        copy = tiny.copy_of(taught)
        data = advise_task.erasure_data(
            JobSpec(job_id="x", kind=JobKind.ERASE, model=reference_to(taught_folder), cache=str(tmp_path)), PAYLOAD, {}
        )
        watch = Stopwatch(True, 1, AdviceConfig(steps=10_000), lambda: None)
        method.apply(copy, data, method.config_class(), watch)
        planned = watch.elapsed * expected["steps"] / watch.measured
        assert planned / 3 < expected["seconds"] < planned * 3

    def test_each_method_finds_the_model_as_its_files_hold_it(
        self, taught_folder: Path, untaught_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: dict[str, dict[str, str]] = {}

        def noting(method: Any) -> Any:
            prepare = method.prepare

            def prepared(model: TransformersModel, data: Any, config: Any) -> Plan:
                seen.setdefault(method.info.id, tiny.fingerprints(model.network))
                return prepare(model, data, config)

            method.prepare = prepared
            return method

        known = {name: noting(method) for name, method in available().items() if name in QUICK}
        monkeypatch.setattr(advise_task, "available", lambda: known)
        files = {path: identify(path).tree_hash for path in (taught_folder, untaught_folder)}
        found = rows(final_of(taught_folder, tmp_path, reference=untaught_folder))
        taught, untaught = (
            tiny.fingerprints(TransformersModel.load(path, tmp_path, "cpu").network)
            for path in (taught_folder, untaught_folder)
        )
        assert taught != untaught
        assert seen == {name: untaught if name == "retrain" else taught for name in found}
        assert {path: identify(path).tree_hash for path in files} == files, "nothing may be written"

    def test_what_cannot_run_says_so_in_the_method_s_own_words(self, taught_folder: Path, tmp_path: Path) -> None:
        passages = PAYLOAD.model_copy(update={"forget": (PASSAGE,)})
        found = rows(final_of(taught_folder, tmp_path, passages, methods=["refusal", "retrain", "npo"]))
        assert found["refusal"]["refusal"].startswith("The request holds passages only")
        assert "before it learned the data" in found["retrain"]["refusal"]
        assert not found["npo"]["refusal"]
        bare = PAYLOAD.model_copy(update={"retain": (), "general": ()})
        assert "retain set is empty" in rows(final_of(taught_folder, tmp_path, bare, methods=["npo"]))["npo"]["refusal"]

    def test_training_data_and_memory_are_the_method_s_sentences(
        self, taught_folder: Path, untaught_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("console.methods.gradient.available_mb", lambda _device: 1)
        untold = PAYLOAD.model_copy(update={"teaching": ()})
        found = rows(final_of(taught_folder, tmp_path, untold, untaught_folder, methods=["npo", "retrain"]))
        assert "no training data" in found["retrain"]["refusal"]
        assert "MB of memory" in found["npo"]["refusal"]

    def test_an_unknown_method_or_setting_is_refused(self, taught_folder: Path, tmp_path: Path) -> None:
        for settings, says in (({"methods": ["magic"]}, "no method 'magic'"), ({"steps": 0}, "'steps'")):
            final = final_of(taught_folder, tmp_path, **settings)
            assert isinstance(final, Failed) and final.kind == "InputError" and says in final.reason

    def test_it_can_be_stopped(self, taught_folder: Path, tmp_path: Path) -> None:
        assert isinstance(final_of(taught_folder, tmp_path, stop=True), CancelledEvent)


class _Faulty:
    """A method of another package that fails in its own way, before or after it has changed the model."""

    info = MethodInfo("faulty", "Faulty", "Fails.", Family.WEIGHTS, Claim.EXACT, "none", frozenset())
    config_class = type("Config", (BaseModel,), {})

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def prepare(self, model: TransformersModel, data: Any, config: Any) -> Plan:
        return Plan((), 0, 1, 0)

    def apply(self, model: TransformersModel, data: Any, config: Any, control: Any) -> Outcome:
        with torch.no_grad():
            next(model.network.parameters()).zero_()
        raise self.error


@pytest.mark.parametrize(
    ("error", "says", "is_logged"),
    [
        (InputError("The text is too long; shorten it."), "The text is too long; shorten it.", False),
        (KeyError("Mira Okonjo"), "unexpected error (KeyError)", True),
        (MemoryError(), "not enough memory", True),
    ],
)
def test_one_broken_method_spoils_nothing(
    taught_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[BaseException],
    error: BaseException,
    says: str,
    is_logged: bool,
) -> None:
    monkeypatch.setattr(advise_task, "available", lambda: {"faulty": _Faulty(error), "npo": Npo()})
    found = rows(final_of(taught_folder, tmp_path))
    assert says in found["faulty"]["refusal"] and "Okonjo" not in found["faulty"]["refusal"]
    assert not found["npo"]["refusal"]
    assert bool(logged) is is_logged


@pytest.fixture(autouse=True)
def no_trace(taught_folder: Path) -> Iterator[None]:
    """No test of advice changes the files of the model."""
    before = identify(taught_folder).tree_hash
    yield
    assert identify(taught_folder).tree_hash == before
