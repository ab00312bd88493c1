"""The bench of methods on tiny models: one table for every method, nothing run twice, and a failure is a line."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from invented import FACTS, OTHERS, PERSON, teaching_of
from tofu_files import PEOPLE, row, write_tofu

from console.casework import methods_bench
from console.casework.advice import (
    benchmark_of_regimes,
    office_benchmark,
    parse_benchmark,
    read_benchmark,
    shipped_benchmark,
    use_benchmark,
)
from console.casework.bench import Taught
from console.casework.bench_jobs import BenchJobs, code_version
from console.casework.knowledge import Knowledge
from console.casework.methods_bench import BenchOptions, bench_methods, choices, default_methods
from console.casework.tofu_data import mini_tofu, tofu
from console.cli.bench import methods_json, methods_table, unfinished
from console.cli.regimes_table import regimes_table
from console.domain.advice import benchmark_sentence
from console.domain.bench_results import Difference, MethodsBench
from console.domain.regimes import Regime
from console.domain.verdict import Word
from console.errors import InputError
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference
from console.out_file import OutFile
from console.paths import Places
from console.reports.scatter import write_plot

TEACHING = {"epochs": 40, "batch": 4, "learning_rate": 0.01, "lora": {"rank": 16, "alpha": 32, "first_layer": 0.0}}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tofu(tmp_path / "tofu")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(data=tmp_path / "office", cache=tmp_path / "cache")


@pytest.fixture
def base(tmp_path: Path, untaught_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny untaught model in place of the sample model."""
    monkeypatch.setattr(methods_bench, "fetch_model", lambda *_: untaught_folder)
    return untaught_folder


def options(data: Path | None, **more: Any) -> BenchOptions:
    return BenchOptions(data=data, teaching=TEACHING, answer_tokens=6, device="cpu", **more)


def on_mini_tofu(places: Places, data: Path, said: list[str], **more: Any) -> MethodsBench:
    methods = ("retrain", "strong=weight-noise", "rome", "ga")
    settings = {"strong": {"scale": 3.0}, "rome": {"layers": [99]}, "ga": {"speed": 1}}
    return bench_methods(places, "mini-tofu", methods, settings, options(data, **more), say=said.append)


# -- the files ---------------------------------------------------------------------------------


def test_mini_tofu_forgets_the_first_task(data: Path) -> None:
    found = mini_tofu(data, rows=4)
    assert {item.subject for item in found.forget} == {FACTS[0].subject, OTHERS[0].subject}
    assert {item.subject for item in found.retain} == {OTHERS[3].subject, OTHERS[6].subject}
    assert [question.question for question in found.measured.forget] == [item.prompt for item in found.forget[:4]]
    assert (found.sets["forget"].measured, found.sets["forget"].available) == (4, 6)
    assert found.sets["real_authors"].measured == 3


def test_tofu_forgets_a_split_of_the_whole(data: Path) -> None:
    found = tofu(data)
    assert {item.subject for item in found.forget} == {FACTS[0].subject}
    assert len(found.retain) == 9 and len(found.measured.retain) == 9
    with pytest.raises(InputError, match=r"forget05\.jsonl' cannot be read"):
        tofu(data, "forget05")
    with pytest.raises(InputError, match="no split 'forget99'"):
        tofu(data, "forget99")


def test_a_row_about_nobody_is_left_out_and_counted(data: Path) -> None:
    with (data / "forget01_tasks.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row(FACTS[0], task_id="2") | {"question": "what did he do then?"}) + "\n")
    found = mini_tofu(data)
    assert (
        len(found.forget) + len(found.retain)
        == len(PEOPLE)
        == sum(found.sets[name].available for name in ("forget", "retain"))
    )
    assert found.notes and found.notes[0].startswith("1 of 13 rows")


# -- the bench ---------------------------------------------------------------------------------


def test_every_method_gets_the_same_and_a_failure_is_a_line(
    places: Places, data: Path, base: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    result = on_mini_tofu(places, data, said)
    retrain, noise, rome, ga = result.lines
    taught, retrained = result.baselines
    # The retraining is the reference itself: no difference, and it costs nothing more.
    assert retrain.forgetting == retrained.forgetting == 1.0 and retrain.utility == retrained.utility
    assert retrain.utility_interval.low < retrain.utility < retrain.utility_interval.high
    assert retrain.forgetting_interval is None, "a p-value is no estimate"
    # The same model on the same rows: nothing between them, and no spread to make an interval of.
    assert result.against == "retrained" and retrain.utility_difference == Difference(value=0.0)
    assert noise.utility_difference.value == pytest.approx(noise.utility - retrained.utility)
    assert noise.utility_difference.interval.low < 0 and rome.utility_difference is None
    assert result.acceptable(retrain) and sum(text.startswith("Erasing: retrain: kept") for text in said) == 1
    probability = taught.measures["figures"]["forget-probability"]["value"]
    assert probability > 0.8 > retrain.measures["figures"]["forget-probability"]["value"]
    assert taught.forgetting < 1.0 and not any("reference" in id for id in retrain.measures["figures"])
    assert noise.status == "done" and noise.config["scale"] == 3.0 and noise.cost.erase_peak_mb > 0
    assert rome.status == ga.status == "failed" and rome.cost is None
    assert "'speed' cannot be used" in ga.reason and rome.reason
    # The models that methods wrote are gone; the taught one is not.
    kept = [path.name for path in (places.cache / "bench").iterdir() if path.is_dir()]
    assert len(kept) == 1 and kept[0].startswith("taught-")

    again: list[str] = []
    assert on_mini_tofu(places, data, again) == result
    ran = [text for text in again if not text.endswith("kept from before")]
    assert all(text.startswith(("Erasing: rome", "Erasing: ga", "rome failed", "ga failed")) for text in ran), ran

    check_comparisons(places, data)

    value = json.loads(json.dumps(methods_json(result)))
    assert MethodsBench.model_validate({**value, "lines": [drop(line) for line in value["lines"]]}) == result
    assert [line["acceptable"] for line in value["lines"]] == [True, result.acceptable(noise), False, False]
    assert FACTS[0].prompt not in json.dumps(value)
    table = methods_table(result)
    assert "ga                      failed: The setting 'speed'" in table and "forget 6 of 6" in table
    wide = retrain.utility_interval
    assert f"{retrain.utility:.3g} [{wide.low:.2f}, {wide.high:.2f}]" in table

    lost = noise.utility_difference
    assert f"{lost.value:+.3f} [{lost.interval.low:+.3f}, {lost.interval.high:+.3f}]" in table
    assert "against retrained" in table.splitlines()[2]

    write_plot(result, OutFile.named(tmp_path / "plot.svg", places))
    texts = [element.text for element in ElementTree.parse(tmp_path / "plot.svg").iter() if element.text]
    assert "textLength" in (tmp_path / "plot.svg").read_text(encoding="utf-8")
    assert texts.count("strong") == 2 and texts.count("rome") == 1 and "acceptable" in texts
    write_plot(result, OutFile.named(tmp_path / "plot.pdf", places))
    assert (tmp_path / "plot.pdf").read_bytes().startswith(b"%PDF")


def check_comparisons(places: Places, data: Path) -> None:
    """Everything is kept by now; only a method that failed runs again."""

    def run(against: str, *more: str) -> MethodsBench:
        settings = {"strong": {"scale": 3.0}} | {name: {"speed": 1} for name in more}
        lines = ("retrain", "strong=weight-noise", *more)
        return bench_methods(places, "mini-tofu", lines, settings, options(data, against=against), say=lambda _: None)

    retrain, noise = run("strong").lines
    other_way = run("retrained").lines[1].utility_difference
    assert noise.utility_difference is None, "no line is compared with itself"
    assert retrain.utility_difference.value == pytest.approx(-other_way.value)
    assert retrain.utility_difference.interval.high == pytest.approx(-other_way.interval.low)
    taught = run("taught")
    assert taught.lines[0].utility_difference.value == pytest.approx(retrain.utility - taught.baselines[0].utility)
    # The one that is compared with failed: the lines stand, without a difference.
    failed = run("ga", "ga").lines
    assert [line.utility for line in failed] == [retrain.utility, noise.utility, None]
    assert not any(line.utility_difference for line in failed)


def drop(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "acceptable"}


def test_the_office_has_a_line_a_regime_and_goes_on_with_its_file(
    places: Places,
    taught_folder: Path,
    base: Path,
    knowledge: Knowledge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taught = Taught(ModelReference(path=str(taught_folder)), {"known": 3, "facts": 3})
    monkeypatch.setattr(methods_bench, "sample_knowledge", lambda: knowledge)
    monkeypatch.setattr(methods_bench, "sample_items", lambda _: PERSON)
    monkeypatch.setattr(methods_bench, "taught_sample", lambda *_: taught)
    states: list[MethodsBench] = []

    def run(*methods: str, finished: MethodsBench | None = None, **more: Any) -> MethodsBench:
        settings = {"rome": {"x": 1}} if "rome" in methods else {}
        given = BenchOptions(device="cpu", **more)
        return bench_methods(places, "office", methods, settings, given, lambda _: None, finished, states.append)

    found = run("output-filter", "rome", regimes=("office", "full"), people=("s02",))
    assert [(line.method, line.regime, line.person, line.use, line.status) for line in found.lines] == [
        ("output-filter", "office", "s02", "reported", "done"),
        ("rome", "office", "s02", "reported", "failed"),
        ("output-filter", "full", "s02", "reported", "done"),
        ("rome", "full", "s02", "reported", "failed"),
    ]
    assert [len(state.lines) for state in states] == [1, 2, 3, 4] and states[-1] == found
    filtered = found.lines[0]
    assert filtered.measures["verdict"]["word"] == "suppressed" and filtered.measures["found_by"]
    assert set(filtered.measures["kept"]) == {"neighbours", "other people"} and filtered.utility == 1.0
    taught_line, never = found.baselines[:2]
    assert taught_line.forgetting < filtered.forgetting and never.utility is None
    assert "asked" in taught_line.found and not never.found

    table = regimes_table(found)
    assert "office s02: 3 facts; after the teaching the model gave 3 of 3 facts" in table
    assert "s02 reported    suppressed" in table and "failed: " in table and "find the data: direct " in table

    # What its file holds is not run again, except what failed; a file of another suite is not gone on with.
    file = tmp_path / "lines.json"
    assert unfinished(file) is None
    for text, held in (("[1]", None), (json.dumps(methods_json(found)), found)):
        file.write_text(text, encoding="utf-8")
        read = unfinished(file)
        assert read == held
    monkeypatch.setattr(methods_bench, "Trial", None)
    assert run("output-filter", finished=read, regimes=("full", "office"), people=("s02",)) == found
    with pytest.raises(InputError, match=r"another suite \('quick' instead of 'standard'\)"):
        run("output-filter", finished=read, suite="standard")

    with pytest.raises(InputError, match="no line of a reported person"):
        benchmark_of_regimes(found.model_copy(update={"lines": found.lines[1:2]}))
    summary = benchmark_of_regimes(found)
    assert list(summary.methods) == ["output-filter"] and summary.facts == 3
    assert summary.methods["output-filter"].regimes == {Regime.OFFICE: Word.SUPPRESSED, Regime.FULL: Word.SUPPRESSED}
    assert parse_benchmark(summary.model_dump_json()) == summary

    # An office takes its own result for its advice, and the shipped one again.
    assert office_benchmark(places) == shipped_benchmark()
    use_benchmark(places, read_benchmark(file))
    assert office_benchmark(places) == summary
    assert benchmark_sentence("output-filter", summary).endswith("There it never got beyond 'suppressed'.")
    use_benchmark(places, None)
    assert office_benchmark(places) == shipped_benchmark()
    for text in ("no JSON", "[1]", '{"lines": [{}]}'):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"'lines\.json' is no result of a bench of methods"):
            read_benchmark(file)


def test_a_name_is_needed_for_the_same_method_twice() -> None:
    one, other = choices(("npo", "long=npo"), {"long": {"steps": 9}})
    assert (one.method, one.settings, other.method, other.settings) == ("npo", {}, "npo", {"steps": 9})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"on": "moon"}, "no bench on 'moon'"),
        ({"methods": ("sorcery",)}, "no method 'sorcery'"),
        ({"methods": ("npo", "npo")}, "Two lines are called 'npo'"),
        ({"methods": ("a.b=npo",)}, "cannot name a line"),
        ({"methods": ("npo",), "settings": {"ga": {"steps": 1}}}, "settings for 'ga', which is no line"),
        ({"methods": ("npo",), "settings": {"npo": 3}}, r"--set npo\.KEY=VALUE"),
        ({"on": "mini-tofu"}, "name it with --data"),
        ({"on": "mini-tofu", "options": BenchOptions(data=Path("nowhere"))}, r"forget01_tasks\.jsonl' cannot be read"),
        ({"options": BenchOptions(rows=3)}, "office uses no --rows"),
        ({"on": "tofu", "options": BenchOptions(suite="quick")}, "tofu uses no --suite"),
        ({"options": BenchOptions(suite="gentle")}, "no suite"),
        ({"options": BenchOptions(regimes=("school",))}, "no teaching regime 'school'; use one of office"),
        ({"options": BenchOptions(people=("s13",))}, "taught nobody 's13'"),
        ({"on": "tofu", "options": BenchOptions(regimes=("full",))}, "tofu uses no --regime"),
        ({"options": BenchOptions(against="npo")}, "office uses no --against"),
        ({"on": "tofu", "methods": ("ga",), "options": BenchOptions(against="npo")}, "no 'npo' to compare with"),
        ({"on": "tofu", "methods": ("taught=ga",)}, "'taught' is the bench's own model"),
    ],
)
def test_what_does_not_exist_is_named_before_anything_runs(
    places: Places, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        bench_methods(places, say=lambda _: None, **arguments)
    assert not (places.cache / "bench").exists()


def test_all_methods_that_change_weights_by_default() -> None:
    assert {"npo", "retrain", "rome"} <= set(default_methods()) and not {"output-filter", "uoe"} & set(
        default_methods()
    )


# -- the cache ---------------------------------------------------------------------------------


def test_a_changed_source_changes_the_version(tmp_path: Path) -> None:
    source = tmp_path / "methods" / "one.py"
    source.parent.mkdir()
    source.write_text("a = 1\n", encoding="utf-8")
    first = code_version(tmp_path)
    assert code_version(tmp_path) == first
    source.write_text("a = 2\n", encoding="utf-8")
    second = code_version(tmp_path)
    shutil.move(source, source.with_name("two.py"))
    assert len({first, second, code_version(tmp_path)}) == 3


def test_a_result_is_kept_for_its_code_and_what_it_wrote(places: Places, untaught: Any, tmp_path: Path) -> None:
    model = ModelReference(path=str(tiny.saved(untaught, tmp_path / "model")))
    payload = JobPayload()

    def run(code: str) -> list[str]:
        said: list[str] = []
        jobs = BenchJobs(places, "cpu", said.append, code=code)
        found = jobs.job(jobs.spec(JobKind.INSPECT, model), payload, "Looking")
        assert found["value"] and found["peak_rss_mb"] > 0
        return said

    assert "Looking: kept from before" not in run("one")
    assert run("one") == ["Looking: kept from before"]
    assert "Looking: kept from before" not in run("two")
    # A method that only differs in its settings must not find the other's folder.
    jobs = BenchJobs(places, "cpu", print)
    folders = {
        jobs.writing("ga", payload, JobKind.ERASE, model, method="ga", settings={"steps": steps}).output
        for steps in (1, 2)
    }
    assert len(folders) == 2


def test_what_was_interrupted_keeps_nothing_and_starts_again(places: Places, untaught: Any, tmp_path: Path) -> None:
    model = ModelReference(path=str(tiny.saved(untaught, tmp_path / "model")))
    payload = JobPayload(teaching=teaching_of(FACTS))

    def teach(say: Callable[[str], None]) -> JobSpec:
        jobs = BenchJobs(places, "cpu", say)
        spec = jobs.writing("taught", payload, JobKind.TEACH, model, settings={"epochs": 1})
        jobs.job(spec, payload, "Teaching")
        return spec

    def interrupt(_text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach(interrupt)
    assert list((places.cache / "bench").iterdir()) == []
    assert [path.suffix for path in places.jobs.iterdir()] == [".log"]  # what it did is kept, and nothing else
    said: list[str] = []
    assert Path(teach(said.append).output or "").is_dir()
    assert "Teaching: kept from before" not in said
