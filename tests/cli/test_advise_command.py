"""The commands before an erasure, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_commands import add, console, told

GOOD = "subject,prompt,answer\nMira Okonjo,What is Mira Okonjo's phone number?,555-0183\n"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, taught_folder: Path) -> Path:
    """A data folder with one request and the taught model."""
    folder = tmp_path_factory.mktemp("advise")
    (folder / "person.csv").write_text(GOOD, encoding="utf-8")
    assert add(folder / "office", folder / "person.csv").returncode == 0
    added = console("model", "add", taught_folder, "--name", "taught", "--data-dir", folder / "office", "--json")
    assert added.returncode == 0, added.stderr
    return folder / "office"


def test_advice_and_corpus_of_a_request(office: Path) -> None:
    number = json.loads(console("request", "list", "--json", "--data-dir", office).stdout)[0]["number"]
    common = (number, "--model", "taught", "--device", "cpu", "--data-dir", office)
    chosen = ("--method", "weight-noise", "--method", "retrain")
    advised = console("advise", *common, *chosen, "--json")
    assert advised.returncode == 0, advised.stderr
    given = json.loads(advised.stdout)
    assert [one["id"] for one in given["methods"]] == ["weight-noise"]
    assert [one["id"] for one in given["cannot"]] == ["retrain"] and given["cannot"][0]["reason"]
    table = console("advise", *common, *chosen)
    assert table.returncode == 0 and "Cannot run" in table.stdout and " 1. weight-noise" in table.stdout

    few = [part for setting in ("texts=6", "questions=4", "max_new_tokens=24") for part in ("--set", setting)]
    made = console("corpus", *common, *few, "--json")
    assert made.returncode == 0, made.stderr
    value = json.loads(made.stdout)
    assert value["kept"] == len(value["items"]) > 0
    assert "Mira" not in made.stdout and "Okonjo" not in made.stdout
    assert "Okonjo" in console("corpus", *common, *few, "--plain").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("advise", "ER-2026-0001", "--model", "nothing"), "no model 'nothing'"),
        (("advise", "ER-2026-0099", "--model", "taught"), "no request 'ER-2026-0099'"),
        (("advise", "ER-2026-0001", "--model", "taught", "--minutes", "0"), "more than 0 minutes"),
        (("corpus", "ER-2026-0001", "--model", "taught", "--set", "texts=-1"), "'texts'"),
        (
            ("advise", "ER-2026-0001", "--model", "taught", "--benchmark", "nowhere.json"),
            "'nowhere.json' cannot be read",
        ),
        (("bench", "use"), "or --shipped"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(office: Path, arguments: tuple[str, ...], says: str) -> None:
    assert says in told(console(*arguments, "--data-dir", office))


def test_an_office_takes_its_own_benchmark(office: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    method = {"verdict": "failed", "best": "suppressed", "kept_share": 1, "found_by": 2, "seconds": 9}
    own.write_text(json.dumps({"version": 1, "model": "ours", "suite": "brief", "methods": {"npo": method}}))
    number = json.loads(console("request", "list", "--json", "--data-dir", office).stdout)[0]["number"]
    advise = ("advise", number, "--model", "taught", "--device", "cpu", "--method", "weight-noise", "--json")
    once = console(*advise, "--benchmark", own, "--data-dir", office)
    assert "Not benchmarked" in json.loads(once.stdout)["methods"][0]["reasons"][0]

    taken = console("bench", "use", own, "--data-dir", office)
    assert taken.returncode == 0 and "ours" in taken.stdout, taken.stderr
    listed = {
        one["id"]: one["benchmark"] for one in json.loads(console("methods", "--json", "--data-dir", office).stdout)
    }
    assert listed["npo"].startswith("On the benchmark (ours, suite brief)")
    assert listed["npo"].endswith("There it never got beyond 'suppressed'.")
    assert console("bench", "use", "--shipped", "--data-dir", office).returncode == 0
