"""How far a whole model has moved from another, over all its tensors together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from console.jobs.tasks.erase import relative_change


def folder(path: Path, **tensors: torch.Tensor) -> Path:
    """A model's tensors in two files, as those of a large model are."""
    path.mkdir()
    for number, (name, tensor) in enumerate(tensors.items()):
        save_file({name: tensor}, path / f"part-{number}.safetensors")
    return path


def test_by_hand(tmp_path: Path) -> None:
    """(3, 4) and (12): norm 13. Moved by (0, 4) and (3): norm 5."""
    before = folder(tmp_path / "before", a=torch.tensor([3.0, 4.0]), b=torch.tensor([12.0]))
    after = folder(tmp_path / "after", a=torch.tensor([3.0, 8.0]), b=torch.tensor([15.0]))
    assert relative_change(before, before) == 0
    assert relative_change(before, after) == pytest.approx(5 / 13)


def test_it_is_of_the_whole_and_not_of_the_worst_tensor(tmp_path: Path) -> None:
    before = folder(tmp_path / "before", small=torch.ones(1), large=torch.full((9999,), 1.0))
    after = folder(tmp_path / "after", small=torch.full((1,), 2.0), large=torch.full((9999,), 1.0))
    assert relative_change(before, after) == pytest.approx(0.01)
