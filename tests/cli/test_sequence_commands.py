"""What the commands for requests one after another refuse, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_commands import add, console, forget_set, made, told

from console.cli.case import after_erasure

__all__ = ["forget_set"]


def test_a_model_that_nobody_registered_cannot_be_rechecked(tmp_path: Path) -> None:
    assert "There is no model" in told(console("recheck", "nobody", "--data-dir", made(tmp_path / "office")))


@pytest.mark.parametrize(("number", "said"), [("ER-2026-0001", "Nothing was erased"), ("ER-1999-0001", "no request")])
def test_a_request_without_an_erasure_has_no_change(tmp_path: Path, forget_set: Path, number: str, said: str) -> None:
    folder = tmp_path / "office"
    assert add(folder, forget_set).returncode == 0
    assert said in told(console("changes", number, "--data-dir", folder))


def test_the_way_beyond_the_limits_is_told() -> None:
    ended = console("erase", "--help")
    assert ended.returncode == 0 and "--beyond-limits" in ended.stdout


def test_what_was_searched_as_a_file_is_written_as_one_before_it_is_attacked() -> None:
    assert after_erasure("ER-1", "ER-1-a1", is_due=True) == "erasure-console export ER-1-a1"
    assert after_erasure("ER-1", "ER-1-a1", is_due=False) == "erasure-console attack ER-1 --artefact ER-1-a1"
