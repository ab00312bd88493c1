"""Why one person prepares and approves: the reason that was given, or that nobody was named; nothing is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_commands import made

from console.casework import cases
from console.cli import case
from console.errors import NotPossibleError


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ("", "No second person was named to approve."),
        ("  ", "No second person was named to approve."),
        ("The deputy is on leave.", "The deputy is on leave."),
    ],
)
def test_reason_is_the_one_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, recorded: str
) -> None:
    asked: list[str] = []

    def refuse(*_arguments: Any, approval_reason: str, **_more: Any) -> Any:
        asked.append(approval_reason)
        raise NotPossibleError("Only the reason was wanted.")

    monkeypatch.setattr(cases, "erase", refuse)
    with pytest.raises(NotPossibleError):
        case.erase(
            "ER-2026-0001", "assistant", "auto", self_approval=given, settings=[], data_dir=made(tmp_path / "office")
        )
    assert asked == [recorded]
