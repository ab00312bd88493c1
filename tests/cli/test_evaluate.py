"""``erasure-console evaluate`` as a user types it: a table, a JSON file that was asked for, and one sentence else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from invented import FACTS, OUTSIDERS
from test_commands import console, told

from console.casework.benchmarks import evaluate_benchmark
from console.cli.evaluate import table
from console.domain.benchmark_results import BenchmarkResult, Figure
from console.errors import ConsoleError
from console.paths import Places

WRONG = {item.fact_type: item.answer for item in OUTSIDERS}
ROWS = [{"question": item.prompt, "answer": item.answer, "perturbed_answer": [WRONG[item.fact_type]]} for item in FACTS]


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that knows nobody, on disk."""
    return tiny.saved(tiny.model(), tmp_path_factory.mktemp("cli") / "model")


def everything_below(folder: Path) -> str:
    return "".join(path.read_text("utf-8", errors="replace") for path in folder.rglob("*") if path.is_file())


def test_a_run_with_a_reference_and_a_result_file(model: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "forget01_perturbed.jsonl", ROWS)
    folder, out = tmp_path / "office", tmp_path / "results.json"
    ended = console(
        *("evaluate", "tofu", "--model", model, "--reference", model, "--file", file, "--out", out),
        *("--set", "answer_tokens=8", "--set", "resamples=100", "--device", "cpu", "--data-dir", folder),
    )
    assert ended.returncode == 0, ended.stderr
    line = next(line for line in ended.stdout.splitlines() if line.startswith("Forget quality"))
    assert line.split()[4] == "1" and "no interval" in line and "n = 3  (KS statistic 0.0000" in line
    assert "not applicable: no file for retain, real-authors, world-facts" in ended.stdout
    assert "0 of 3" in ended.stdout
    value = json.loads(out.read_text(encoding="utf-8"))
    assert [row["question"] for row in value["rows"]["forget"]] == [row["question"] for row in ROWS]
    assert value["models"]["model"] == value["models"]["reference"]
    # The questions are in the file that the person named, and nowhere in the office's folder.
    assert FACTS[0].answer not in everything_below(folder)
    assert FACTS[0].prompt not in ended.stdout and FACTS[0].prompt not in ended.stderr


def test_json_holds_the_rows(model: Path, tmp_path: Path) -> None:
    choices = {"question": "Which letter?", "choices": ["w", "x", "y", "z"], "answer": 1}
    file = written(tmp_path / "mine.jsonl", [choices, {**choices, "answer": "D"}])
    ended = console(
        *("evaluate", "wmdp", "--model", model, "--file", file, "--json", "--device", "cpu"),
        *("--data-dir", tmp_path / "office"),
    )
    assert ended.returncode == 0, ended.stderr
    value = json.loads(ended.stdout)
    assert [row["right"] for row in value["rows"]["questions"]] == ["B", "D"]
    assert value["figures"][0]["n"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tofu", "--file", "forget=FILE"), "Line 2 of 'mine.jsonl': the field 'answer' is missing"),
        (("traces", "--set", "speed=1"), "'speed' cannot be used"),
        (("traces", "--out", "no/such/folder/x.json"), "does not exist"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(
    model: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    file = written(tmp_path / "mine.jsonl", [ROWS[0], {"question": "Who?"}])
    given = [part.replace("FILE", str(file)) for part in arguments]
    ended = console("evaluate", *given, "--model", model, "--device", "cpu", "--data-dir", tmp_path / "office")
    assert said in told(ended)


@pytest.mark.parametrize(
    ("name", "files", "more", "said"),
    [
        ("mmlu", (), {}, "no benchmark 'mmlu'"),
        ("tofu", (), {}, "Name the files of tofu with --file; it reads forget, retain"),
        ("tofu", ("FILE",), {}, "What 'mine.jsonl' is for cannot be told"),
        ("tofu", ("forget=nowhere.jsonl",), {}, "cannot be read"),
        ("tofu", ("forget=BINARY",), {}, "The file 'binary.jsonl' is not text"),
        ("tofu", ("forget=FILE",), {"before": Path("x")}, "uses no --before"),
        ("evoke", ("FILE",), {"reference": Path("x")}, "uses no --reference"),
        ("traces", (), {"model": Path("nowhere")}, "There is no model at nowhere"),
        ("traces", (), {"before": Path("nowhere")}, "There is no model at nowhere"),
        ("traces", (), {"settings": {"before": "x"}}, "named with --before"),
    ],
)
def test_no_job_is_started_for_what_cannot_be_used(
    model: Path, tmp_path: Path, name: str, files: tuple[str, ...], more: dict[str, Any], said: str
) -> None:
    file = written(tmp_path / "mine.jsonl", ROWS)
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\x00\x00\xff")
    named = [part.replace("FILE", str(file)).replace("BINARY", str(binary)) for part in files]
    places = Places.choose(tmp_path / "office")
    with pytest.raises(ConsoleError) as raised:
        evaluate_benchmark(places, name, more.pop("model", model), named, **more)
    assert said in str(raised.value)
    assert not places.jobs.is_dir() or not list(places.jobs.iterdir())


def test_the_table_is_one_line_a_figure() -> None:
    result = BenchmarkResult(
        benchmark="tofu",
        models={"model": "ab" * 32},
        settings={},
        figures=(
            Figure(id="a", title="Rate", n=40, hits=3, value=0.075, low=0.0157, high=0.2039),
            Figure(id="b", title="A longer title", n=40, value=0.5, low=0.25, high=0.75, note="half"),
            Figure(id="c", title="Missing", reason="no file"),
        ),
        rows={},
        notes=("Something was cut.",),
    )
    assert table(result, "folder").splitlines() == [
        "tofu on folder, abababababababab",
        "",
        "Rate                 3 of 40  95 %: 0.0157 to 0.2039      n = 40",
        "A longer title           0.5  95 %: 0.25 to 0.75          n = 40  (half)",
        "Missing         not applicable: no file",
        "Note: Something was cut.",
    ]
