"""The bench of erasers on tiny models: every method gets the same, and what is finished is not run again."""

from __future__ import annotations

from pathlib import Path

import pytest
from invented import PERSON

from console.casework import bench
from console.casework.bench import Line, Taught, Trial, bench_erasers, bench_json, trial_payload
from console.casework.bench_jobs import BenchJobs
from console.casework.knowledge import Knowledge
from console.cli.bench import erasers_table
from console.domain.suites import SUITES
from console.domain.verdict import Word
from console.engines.model_files import identify
from console.errors import InputError
from console.jobs.spec import ModelReference
from console.paths import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(data=tmp_path / "office", cache=tmp_path / "cache")


def reference(folder: Path) -> ModelReference:
    return ModelReference(path=str(folder), tree_hash=identify(folder).tree_hash)


def lines(places: Places, taught: Path, untaught: Path, knowledge: Knowledge, said: list[str]) -> list[Line]:
    jobs = BenchJobs(places, "cpu", said.append)
    trial = Trial(
        jobs,
        SUITES["quick"],
        reference(taught),
        reference(untaught),
        trial_payload(knowledge, PERSON),
        knowledge,
        "s01",
    )
    small = {"epochs": 2, "batch": 8, "lora": {"rank": 4, "alpha": 8}}
    return [trial.line("output-filter", {}), trial.line("retrain", small)]


def test_the_lines_say_what_the_attacks_find(
    places: Places, taught_folder: Path, untaught_folder: Path, knowledge: Knowledge
) -> None:
    said: list[str] = []
    filtered, retrained = lines(places, taught_folder, untaught_folder, knowledge, said)
    # The filter hides every answer and leaves every weight: whoever looks inside or scores finds all.
    assert filtered.after["direct"]["hits"] == 0
    assert "inside" in filtered.found_by
    assert float(filtered.after["membership"]["area"]["value"]) > 0.9
    assert filtered.verdict.word is Word.SUPPRESSED
    assert retrained.after["direct"]["facts"]["hits"] == 0
    assert retrained.erase_seconds > 0 and retrained.attack_seconds > 0
    assert retrained.erase_peak_mb > 0 and filtered.given_away.share < 1

    again: list[str] = []
    assert lines(places, taught_folder, untaught_folder, knowledge, again) == [filtered, retrained]
    assert all(line.endswith("kept from before") for line in again)
    assert len([line for line in again if not line.startswith("Asking again")]) == 7


def test_a_method_that_refuses_is_no_line_and_the_next_one_runs(
    places: Places,
    taught_folder: Path,
    untaught_folder: Path,
    knowledge: Knowledge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench, "fetch_model", lambda *_: untaught_folder)
    monkeypatch.setattr(bench, "taught_sample", lambda *_: Taught(reference(taught_folder), {}))
    monkeypatch.setattr(bench, "sample_knowledge", lambda: knowledge)
    monkeypatch.setattr(bench, "sample_items", lambda _: PERSON)
    result = bench_erasers(
        places,
        ("rome", "output-filter"),
        "quick",
        "cpu",
        settings={"rome": {"objective": "sorcery"}},
        say=lambda _: None,
    )
    assert [line.method for line in result.lines] == ["output-filter"]
    assert [one.method for one in result.failed] == ["rome"] and "objective" in result.failed[0].reason
    table = erasers_table(result)
    assert f"rome             s01 failed: {result.failed[0].reason}" in table
    assert "output-filter    s01 suppressed" in table and "found by inside: " in table
    assert list(bench_json(result)["failed"]) == [
        {"method": "rome", "person": "s01", "reason": result.failed[0].reason}
    ]
    assert [(one.id, one.facts) for one in result.people] == [("s01", 3)]


@pytest.mark.parametrize(
    ("methods", "suite", "person", "says"),
    [
        (("sorcery",), "quick", "s01", "no method 'sorcery'"),
        (("npo",), "gentle", "s01", "no suite"),
        (("npo",), "quick", "nobody", "taught nobody 'nobody'; use choosing, reported, or one of s01, s02"),
    ],
)
def test_what_does_not_exist_is_named_before_anything_runs(
    places: Places, methods: tuple[str, ...], suite: str, person: str, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        bench_erasers(places, methods, suite, people=(person,))
    assert not (places.cache / "bench").exists()
