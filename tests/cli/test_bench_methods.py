"""``erasure-console bench methods`` as a user types it: a table, a JSON file, a picture, and one sentence else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from test_commands import console, told
from tofu_files import write_tofu

TEACHING = ("epochs=2", "batch=4", "lora.rank=4", "lora.first_layer=0")


def test_a_table_a_file_and_a_picture(tmp_path: Path) -> None:
    model = tiny.saved(tiny.model(), tmp_path / "model")
    data, out, plot = write_tofu(tmp_path / "tofu"), tmp_path / "lines.json", tmp_path / "lines.svg"
    ended = console(
        *("bench", "methods", "--on", "mini-tofu", "--data", data, "--model", model, "--device", "cpu"),
        *("--method", "weight-noise", "--set", "weight-noise.scale=2", "--method", "bad=ga", "--set", "bad.speed=1"),
        *(part for pair in TEACHING for part in ("--teach", pair)),
        *("--rows", "3", "--answer-tokens", "4", "--out", out, "--plot", plot, "--data-dir", tmp_path / "office"),
    )
    assert ended.returncode == 0, ended.stderr
    table = ended.stdout.splitlines()
    assert table[0].startswith("mini-tofu on model; rows measured: forget 3 of 6, retain 3 of 6")
    assert "failed: The setting 'speed' cannot be used" in next(line for line in table if line.startswith("bad "))
    assert any(line.startswith("Note: Only the first 3 rows") for line in table)
    value = json.loads(out.read_text(encoding="utf-8"))
    assert [(line["name"], line["status"]) for line in value["lines"]] == [("weight-noise", "done"), ("bad", "failed")]
    assert value["lines"][0]["config"]["scale"] == 2 and value["lines"][0]["cost"]["erase_peak_mb"] > 0
    assert value["settings"]["teaching"]["epochs"] == 2 and value["settings"]["rows"] == 3
    assert "weight-noise" in plot.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--on", "tofu"), "name it with --data"),
        (("--plot", "plot.gif"), "written as .svg or .pdf"),
        (("--out", "no/such/folder/x.json"), "does not exist"),
        (("--method", "sorcery"), "There is no method 'sorcery'"),
        (("--method", "npo", "--set", "ga.steps=3"), "settings for 'ga'"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in told(console("bench", "methods", *arguments, "--data-dir", tmp_path / "office"))
