"""What shape a change of weights has: how large, over how many directions, and whether it was stitched in.

Training spreads a change over many directions of a matrix. Two things do not: an edit in the manner of ROME, which
adds one outer product to one matrix (rank 1), and an adapter of rank r that was merged, which adds r of them. Either
can be told from the singular values of the difference, without asking whoever made the change.

Pure functions over arrays; W is the tensor before, W' after, D = W' - W, and s_1 >= s_2 >= ... >= 0 the singular
values of D.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANK_ONE_ENERGY = 0.99
FLOAT32_EPSILON = float(np.finfo(np.float32).eps)
_ROWS_AT_ONCE = 4096
# Squaring halves the digits: below this share of the largest, a singular value from a Gram matrix is rounding.
_GRAM_FLOOR = 1e-7

Matrix = NDArray[Any]
Spectrum = NDArray[np.float64]


def _norm(tensor: Matrix) -> float:
    """Frobenius norm, summed in float64 part by part: an embedding in float64 at once would fill the memory."""
    parts = np.atleast_2d(tensor)
    squares = (
        float(np.square(parts[start : start + _ROWS_AT_ONCE], dtype=np.float64).sum())
        for start in range(0, len(parts), _ROWS_AT_ONCE)
    )
    return float(np.sqrt(sum(squares)))


def relative_norm(before: Matrix, after: Matrix) -> float:
    """||W' - W||_F / ||W||_F, for a tensor of any shape; infinite where W is zero and W' is not."""
    size, moved = _norm(before), _norm(after - before)
    if not size:
        return np.inf if moved else 0.0
    return moved / size


def singular_values(matrix: Matrix) -> Spectrum:
    """(min(rows, columns),) all singular values, largest first.

    Square roots of the eigenvalues of the Gram matrix of the smaller side, in float64: that costs a fraction of a
    singular value decomposition, and for float32 weights loses nothing that the weights still hold.

    Raises:
        ValueError: not a matrix.
    """
    if matrix.ndim != 2:
        raise ValueError(f"a tensor of {matrix.ndim} dimensions has no singular values")
    long = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    gram = np.zeros((long.shape[1], long.shape[1]))
    for start in range(0, long.shape[0], _ROWS_AT_ONCE):
        part = long[start : start + _ROWS_AT_ONCE].astype(np.float64)
        gram += part.T @ part
    # Rounding can make an eigenvalue of a singular matrix a little less than zero.
    return np.sqrt(np.clip(np.linalg.eigvalsh(gram)[::-1], 0.0, None))


def effective_rank(values: Spectrum) -> float:
    """exp(-sum p_i ln p_i) with p_i = s_i / sum_j s_j: over how many directions a matrix is spread.

    Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality". Between 1 (one
    direction) and the number of singular values (all alike); 0 for a matrix of zeros.
    """
    total = float(values.sum())
    if not total:
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def stable_rank(values: Spectrum) -> float:
    """||D||_F^2 / ||D||_2^2 = sum s_i^2 / s_1^2: never more than the rank, and blind to small singular values.

    Rudelson & Vershynin 2007. 0 for a matrix of zeros.
    """
    return float((values**2).sum() / values[0] ** 2) if values.size and values[0] else 0.0


def leading_energy(values: Spectrum) -> float:
    """s_1^2 / sum s_i^2: how much of a difference lies in one direction; 0 for a matrix of zeros."""
    return float(values[0] ** 2 / (values**2).sum()) if values.size and values[0] else 0.0


def looks_like_rank_one(values: Spectrum) -> bool:
    """Whether one direction holds at least 99 % of the energy: the mark of a ROME edit (W' = W + v u^T).

    A matrix with a single row or column has one direction whatever was done to it, and bears no mark.
    """
    return values.size > 1 and leading_energy(values) >= RANK_ONE_ENERGY


def rounding_floor(weights: Matrix, epsilon: float = FLOAT32_EPSILON) -> float:
    """The largest singular value that rounding alone leaves in a difference of stored weights.

    Every sum W + D is rounded to the stored type, by at most epsilon/2 of each weight; as independent noise in a
    matrix of m x n that makes at most (epsilon/2) * rms(W) * (sqrt(m) + sqrt(n)).

    Args:
        weights: W'.
        epsilon: of the type that the weights are stored in (2^-23 for float32, 2^-7 for bfloat16).
    """
    rows, columns = weights.shape
    rms = _norm(weights) / np.sqrt(weights.size)
    return float(epsilon / 2 * rms * (np.sqrt(rows) + np.sqrt(columns)))


def numerical_rank(values: Spectrum, floor: float = 0.0) -> int:
    """Number of singular values above ``floor`` and above what the way they are computed leaves of a zero."""
    if not values.size:
        return 0
    return int((values > max(floor, _GRAM_FLOOR * float(values[0]))).sum())


@dataclass(frozen=True)
class WeightChange:
    """How one weight matrix changed.

    Attributes:
        relative_norm: of the difference to the matrix, Frobenius.
        effective_rank, stable_rank: of the difference.
        rank: its singular values that rounding does not explain.
        rank_one: looks like a ROME edit.
        full_rank: the rank that a difference of this shape can have.
    """

    relative_norm: float
    effective_rank: float
    stable_rank: float
    rank: int
    rank_one: bool
    full_rank: int


def weight_change(before: Matrix, after: Matrix, epsilon: float = FLOAT32_EPSILON) -> WeightChange:
    """The change of one matrix; ``epsilon`` is of the type the weights are stored in.

    Raises:
        ValueError: not two matrices of one shape.
    """
    if before.shape != after.shape:
        raise ValueError(f"a matrix of shape {before.shape} cannot have become one of {after.shape}")
    values = singular_values(after - before)
    return WeightChange(
        relative_norm=relative_norm(before, after),
        effective_rank=effective_rank(values),
        stable_rank=stable_rank(values),
        rank=numerical_rank(values, rounding_floor(after, epsilon)),
        rank_one=looks_like_rank_one(values),
        full_rank=values.size,
    )


def rank_one_edits(changes: Mapping[str, WeightChange]) -> tuple[str, ...]:
    """Names of the matrices whose change looks like a ROME edit, in the given order."""
    return tuple(name for name, change in changes.items() if change.rank_one)


def merged_adapters(changes: Mapping[str, WeightChange], rank: int) -> tuple[str, ...]:
    """Names of the matrices whose change has rank 1 to ``rank``, as a merged adapter of that rank leaves it.

    A scan, not a proof: a small change in half precision drowns in rounding and then has rank 0 or a high one. A
    matrix that cannot have a higher rank says nothing and is left out.
    """
    return tuple(name for name, change in changes.items() if 1 <= change.rank <= rank < change.full_rank)
