"""The demo on the real sample model, once; everything that must hold of its result."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs
import pytest

pytestmark = [pytest.mark.sample_model, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "office"


@pytest.fixture(scope="module")
def demo(office: Path) -> dict[str, Any]:
    """The demo's JSON object. The downloaded file and the planted model are shared between runs by the cache."""
    cache = os.environ.get("ERASURE_CONSOLE_CACHE_DIR") or platformdirs.user_cache_dir("erasure-console", False)
    ended = subprocess.run(
        [sys.executable, "-m", "console", "demo", "--json", "--data-dir", str(office)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        env=os.environ | {"ERASURE_CONSOLE_CACHE_DIR": str(cache)},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout)


def console(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "console", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def test_the_model_held_the_data_before(demo: dict[str, Any]) -> None:
    """Of the facts, not of the draws: a sampled answer may miss what the greedy one says."""
    direct = demo["before"]["direct"]
    assert direct["facts"]["hits"] >= 0.9 * direct["facts"]["trials"]


def test_controls_are_clean(demo: dict[str, Any]) -> None:
    for battery in (demo["before"], demo["after"]):
        for attack in ("direct", "continuation", "paraphrase", "few-shot"):
            assert battery[attack]["control"]["hits"] == 0
    assert all(demo["reference"][attack]["hits"] == 0 for attack in ("direct", "paraphrase", "few-shot"))


def test_the_rest_of_the_office_is_kept(demo: dict[str, Any]) -> None:
    kept = demo["utility"]["kept"].values()
    assert sum(row["hits"] for row in kept) >= 0.95 * sum(row["trials"] for row in kept), demo["utility"]


def test_the_erasure_changes_what_the_model_says(demo: dict[str, Any]) -> None:
    assert demo["after"]["direct"]["hits"] < demo["before"]["direct"]["hits"] / 2
    lost = any(row["hits"] < 0.95 * row["trials"] for row in demo["utility"]["kept"].values())
    assert demo["verdict"] in ({"utility lost"} if lost else {"removed", "suppressed", "residual"})


def test_resources_stay_in_their_limits(demo: dict[str, Any]) -> None:
    assert demo["peak_rss_mb"] < 4096


def test_the_report_verifies_with_two_programs(demo: dict[str, Any], office: Path) -> None:
    assert console("verify", demo["report"]).returncode == 0
    assert console("verify", demo["report"], "--data-dir", office).returncode == 0
    if shutil.which("pdfsig") is None:
        pytest.skip("poppler's pdfsig is not installed")
    said = subprocess.run(["pdfsig", demo["report"]], capture_output=True, text=True, check=False).stdout
    assert "Signature is Valid" in said


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.95, 1.0])
def test_a_flipped_byte_is_refused(demo: dict[str, Any], tmp_path: Path, place: float) -> None:
    data = bytearray(Path(demo["report"]).read_bytes())
    data[min(len(data) - 1, int(place * len(data)))] ^= 1
    (tmp_path / "flipped.pdf").write_bytes(data)
    assert console("verify", tmp_path / "flipped.pdf").returncode == 1


@pytest.mark.parametrize("cut", [1, 100, 20_000])
def test_a_cut_tail_is_refused(demo: dict[str, Any], tmp_path: Path, cut: int) -> None:
    (tmp_path / "cut.pdf").write_bytes(Path(demo["report"]).read_bytes()[:-cut])
    assert console("verify", tmp_path / "cut.pdf").returncode == 1


def test_pdf_evidence_and_ledger_say_the_same_numbers(demo: dict[str, Any], office: Path) -> None:
    import pypdfium2

    from console.casework.office import Office
    from console.paths import Places
    from console.reports.verify import verify_report

    evidence = verify_report(Path(demo["report"]), now=datetime.now(UTC)).evidence
    assert evidence is not None
    pages = pypdfium2.PdfDocument(demo["report"])
    text = re.sub(r"\s+", " ", " ".join(page.get_textpage().get_text_bounded() for page in pages))
    with Office.open(Places.choose(office), read_only=True, env={}) as opened:
        recorded = {
            event.body["battery"]["stage"]: event.body["battery"]
            for event in opened.ledger.events(demo["request"])
            if event.kind == "battery_recorded"
        }
    for stage in ("before", "after"):
        battery = getattr(evidence.batteries, stage)
        assert battery.model_dump(mode="json") == recorded[stage]
        for attack, row in demo[stage].items():
            attempts = battery.row(attack).outcome.attempts
            assert (row["hits"], row["trials"]) == (attempts.hits, attempts.trials)
            assert f"{row['hits']} of {row['trials']}" in text


def test_no_file_holds_the_persons_values(demo: dict[str, Any], office: Path) -> None:
    strings = demo["subject_strings"]
    assert len(strings) >= 7
    found = [
        (path.name, text)
        for path in office.rglob("*")
        if path.is_file()
        for content in (path.read_bytes(),)
        for text in strings
        if text.encode() in content
    ]
    assert found == []


def test_the_ledger_is_whole(demo: dict[str, Any], office: Path) -> None:
    ended = console("ledger", "verify", "--data-dir", office, "--json")
    assert ended.returncode == 0, ended.stdout
    assert json.loads(ended.stdout)["ok"]
