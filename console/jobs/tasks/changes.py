"""How the weights of one model differ from those of another, read from their files tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from console.domain.results import decimal_text
from console.engines.checking.weights_table import read_table
from console.evaluation.weight_changes import effective_rank, looks_like_rank_one, singular_values

_MOST_OPERATIONS = 5e12  # a minute or so of one core
_NAMED = 3  # tensors that a note calls by name


def _tensor_files(folder: Path) -> dict[str, Path]:
    """Which of a model's files holds each tensor; large models come in several."""
    return {entry.name: path for path in sorted(folder.glob("*.safetensors")) for entry in read_table(path)}


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a model's files."""
    return {entry.name: entry.shape for path in sorted(folder.glob("*.safetensors")) for entry in read_table(path)}


def _tensor(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, "pt") as weights:
        return weights.get_tensor(name).float()


@dataclass(frozen=True)
class TensorChange:
    """How one tensor changed.

    Attributes:
        relative_norm: Frobenius norm of the difference over the tensor's own.
        matrix: whether it is one; only a matrix has a rank.
        effective_rank: of the difference; None where it was not computed.
        rank_one: the difference lies in one direction, as that of a ROME edit does.
    """

    name: str
    relative_norm: float
    matrix: bool
    effective_rank: float | None = None
    rank_one: bool = False

    def described(self) -> dict[str, str]:
        """As the ledger keeps it; a tensor without a rank has no such key."""
        rank = {} if self.effective_rank is None else {"effective_rank": f"{self.effective_rank:.1f}"}
        return {"tensor": self.name, "relative_norm": decimal_text(round(self.relative_norm, 6))} | rank


def _operations(difference: torch.Tensor) -> float:
    """About how many the singular values of a matrix cost: the Gram matrix, and its eigenvalues."""
    small, large = sorted(difference.shape)
    return 2.0 * small**2 * large + 4.0 * small**3


def tensor_changes(before: Path, after: Path) -> Iterator[TensorChange]:
    """Tensors that differ, by their relative change, largest first.

    Ranks are computed as long as they take a minute or so: of every matrix of a small model, and of the most
    changed ones of a large model.
    """
    old, new = _tensor_files(before), _tensor_files(after)

    def difference_of(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        left = _tensor(old[name], name)
        return left, _tensor(new[name], name) - left

    changed: list[tuple[float, str]] = []
    for name in old.keys() & new.keys():
        left, difference = difference_of(name)
        moved = float(difference.norm())
        if moved:
            changed.append((moved / max(float(left.norm()), 1e-12), name))
    spent = 0.0
    for norm, name in sorted(changed)[::-1]:
        # Read again, because the differences of a whole model would need as much memory as the model.
        _, difference = difference_of(name)
        matrix = difference.ndim == 2 and min(difference.shape) > 1
        spent += _operations(difference) if matrix else 0.0
        # A method that ran into numbers that are none has a change, but no singular values.
        if not matrix or spent > _MOST_OPERATIONS or not math.isfinite(norm):
            yield TensorChange(name, norm, matrix)
            continue
        values = singular_values(difference.numpy())
        yield TensorChange(name, norm, matrix, effective_rank(values), looks_like_rank_one(values))


def changed_tensors(before: Path, after: Path) -> list[dict[str, str]]:
    """Tensors that differ, with the change's relative Frobenius norm and effective rank; largest first."""
    return [change.described() for change in tensor_changes(before, after)]


def differing(before: Path, after: Path) -> set[str]:
    """Names of the tensors of ``after`` that are not, bit for bit, those of ``before``; also those it alone has."""
    old, new = _tensor_files(before), _tensor_files(after)
    return {
        name
        for name, path in new.items()
        if name not in old or not torch.equal(_tensor(old[name], name), _tensor(path, name))
    }


def relative_change(before: Path, after: Path) -> float:
    """Frobenius norm of the difference over that of the weights before, all tensors of both folders together."""
    old, new = _tensor_files(before), _tensor_files(after)
    moved = norm = 0.0
    for name in sorted(old.keys() & new.keys()):
        left = _tensor(old[name], name)
        moved += float((_tensor(new[name], name) - left).double().square().sum())
        norm += float(left.double().square().sum())
    return math.sqrt(moved / norm) if norm else 0.0


def embedding_names(network: Any) -> frozenset[str]:
    """Names of the tensors that turn tokens into vectors and back."""
    ends = (network.get_input_embeddings(), network.get_output_embeddings())
    return frozenset(
        f"{path}.{name}"
        for path, module in network.named_modules()
        if any(module is end for end in ends)
        for name, _ in module.named_parameters()
    )


def notes_on(changes: Sequence[TensorChange], embeddings: frozenset[str]) -> tuple[str, ...]:
    """What a reader of the change should know: it has the shape of a swapped-in fact, or left the layers alone."""
    notes = []
    stitched = [change.name for change in changes if change.rank_one]
    if stitched:
        more = f" and {len(stitched) - _NAMED} more" if len(stitched) > _NAMED else ""
        notes.append(
            f"The change of {', '.join(stitched[:_NAMED])}{more} lies in one direction (99 % of its energy or more), "
            "as that of a rank-one edit (ROME) or of a merged adapter of rank 1 does."
        )
    if changes and all(change.name in embeddings for change in changes):
        notes.append("Nothing but embeddings changed; what the layers between them hold is as it was.")
    matrices = [change for change in changes if change.matrix]
    ranked = sum(change.effective_rank is not None for change in matrices)
    if ranked < len(matrices):
        notes.append(f"The rank of the change was computed for the {ranked} most changed of {len(matrices)} matrices.")
    return tuple(notes)
