"""A damaged model is refused, or reads as the sound one; nothing hangs, and nothing else is raised."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_mutations import SPOILERS, run


@pytest.mark.parametrize("name", SPOILERS)
def test_a_damage_is_refused_or_changes_no_tensor(tmp_path: Path, name: str) -> None:
    tally = run(30, tmp_path, name)[name]
    assert not tally.broken
    assert tally.outcomes["refused"] > 5
    assert tally.slowest_s < 20
