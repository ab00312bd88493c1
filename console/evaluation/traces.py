"""Parametric traces: what the value vectors of a model's MLPs spell before and after a change.

The output of an MLP is a weighted sum of the columns of its down projection, its *value vectors*. Projected to the
vocabulary, some spell a concept. A method that makes a model silent and leaves these vectors as they were has not
touched the knowledge (ConceptVectors; Hong et al. 2024, arXiv 2406.11614): similarity 1 and Jaccard 1 say so.

Pure functions over arrays. E is the output matrix (vocabulary, hidden), D a down projection (hidden, inner) as torch's
``Linear`` keeps it, so that v_j = D[:, j] is value vector j, and g the weight of the final norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP_TOKENS = 200
_VECTORS_AT_ONCE = 256

Matrix = NDArray[Any]
Numbers = NDArray[np.float64]


def value_vectors(down_projection: Matrix) -> Matrix:
    """(inner, hidden) the value vectors as rows: v_j = D[:, j]."""
    return down_projection.T


def _projected(vectors: Matrix, head: Matrix, gain: Matrix | None) -> Iterator[Matrix]:
    """E (g * v) for a few vectors at a time; all logits of a layer at once would fill the memory."""
    for start in range(0, len(vectors), _VECTORS_AT_ONCE):
        part = vectors[start : start + _VECTORS_AT_ONCE]
        yield (part if gain is None else part * gain) @ head.T


def top_tokens(vectors: Matrix, head: Matrix, top: int = TOP_TOKENS, gain: Matrix | None = None) -> NDArray[np.intp]:
    """(vectors, top) the tokens with the largest entries of E (g * v), in ascending order of their ids.

    Args:
        vectors: (vectors, hidden).
        head: (vocabulary, hidden) output matrix E.
        top: tokens for each vector; at most the vocabulary.
        gain: (hidden,) weight g of the final norm, which the model applies before E; none leaves it out, as the
            authors' code does.
    """
    count = min(top, len(head))
    rows = [np.argpartition(-logits, count - 1, axis=1)[:, :count] for logits in _projected(vectors, head, gain)]
    return np.sort(np.concatenate(rows), axis=1) if rows else np.empty((0, count), dtype=np.intp)


def jaccard(left: NDArray[np.intp], right: NDArray[np.intp]) -> Numbers:
    """(vectors,) |A and B| / |A or B| of the token sets in the same row of both; each set without repetitions.

    Raises:
        ValueError: another number of rows.
    """
    shared = np.array([len(np.intersect1d(a, b, assume_unique=True)) for a, b in zip(left, right, strict=True)])
    return shared / (left.shape[1] + right.shape[1] - shared)


def cosine(left: Matrix, right: Matrix) -> Numbers:
    """(vectors,) v.v' / (||v|| ||v'||) row by row; 0 where just one of two vectors is zero, 1 where both are."""
    first, second = left.astype(np.float64), right.astype(np.float64)
    sizes, others = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    both = sizes * others
    products = (first * second).sum(axis=1)
    without = np.where(sizes == others, 1.0, 0.0)  # only read where a vector is zero, and so equal where both are
    return np.clip(np.divide(products, both, out=without, where=both > 0), -1.0, 1.0)


def distance(left: Matrix, right: Matrix) -> Numbers:
    """(vectors,) ||v - v'||_2 row by row."""
    return np.linalg.norm(left.astype(np.float64) - right.astype(np.float64), axis=1)


@dataclass(frozen=True)
class TraceChange:
    """How far every value vector of one layer moved; arrays of (vectors,).

    Attributes:
        jaccard: of the sets of top tokens; 1 where the vector still spells the same.
        cosine: of the vectors; 1 where the direction is the same.
        distance: Euclidean, in the units of the weights.
    """

    jaccard: Numbers
    cosine: Numbers
    distance: Numbers

    def most_changed(self, count: int) -> tuple[int, ...]:
        """Numbers of the vectors that spell something else, by Jaccard and then by distance, most changed first."""
        return tuple(int(index) for index in np.lexsort((-self.distance, self.jaccard))[:count])


def trace_change(
    before: Matrix,
    after: Matrix,
    head_before: Matrix,
    head_after: Matrix | None = None,
    *,
    top: int = TOP_TOKENS,
    gain_before: Matrix | None = None,
    gain_after: Matrix | None = None,
) -> TraceChange:
    """Compares the value vectors of one layer.

    A zero vector spells nothing, although its equal logits would name tokens: beside a vector that is not zero its
    Jaccard is 0, and beside another zero vector 1.

    Args:
        before, after: (hidden, inner) down projections D and D'.
        head_before, head_after: (vocabulary, hidden); the one before serves for both where the other is left out.
        gain_before, gain_after: (hidden,) weight of the final norm; the same rule.

    Raises:
        ValueError: down projections of different shapes.
    """
    if before.shape != after.shape:
        raise ValueError(f"a down projection of shape {before.shape} cannot be compared with one of {after.shape}")
    old, new = value_vectors(before), value_vectors(after)
    spelt = top_tokens(old, head_before, top, gain_before)
    spells = top_tokens(
        new,
        head_before if head_after is None else head_after,
        top,
        gain_before if gain_after is None else gain_after,
    )
    silent, silenced = ~old.any(axis=1), ~new.any(axis=1)
    alike = np.where(silent | silenced, np.where(silent & silenced, 1.0, 0.0), jaccard(spelt, spells))
    return TraceChange(jaccard=alike, cosine=cosine(old, new), distance=distance(old, new))
