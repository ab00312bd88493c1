"""A change of weights as a LoRA adapter file that llama.cpp loads beside the untouched model.

llama.cpp adds (alpha / r)·B·A to a weight, or B·A itself when alpha is 0 (``llama-adapter.h``). A scale of −1
takes the change away instead. Only the matrices of the blocks are taken: an adapter for the embedding ends the
process (llama-cpp-python 0.3.36), and one for the output, which shares its tensor with the embedding in many
models, is not made by llama.cpp's own converter either (llama.cpp #11554).

The rank of a change comes from its singular values: W* − W = U·diag(s)·Vᵀ, cut after the first r with
√(Σ_{i>r} sᵢ²) ≤ tolerance·‖W* − W‖, which no other pair of that rank does better (Eckart and Young, 1936).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np

from console.engines.gguf_header import shown
from console.engines.gguf_rewrite import provenance_entries, written_whole
from console.errors import InputError

_BLOCK_WEIGHT = re.compile(r"blk\.\d+\.[a-z0-9_]+\.weight")
_NAMES_TOO_LONG = 63 - len(".lora_a")
_OVERSAMPLED, _ITERATIONS = 16, 4
_FLOAT32_NOISE = 2e-7  # what storing A and B in float32 adds to the relative error, at most about

Pair = tuple[np.ndarray, np.ndarray]


def require_adaptable(name: str) -> None:
    """Whether llama.cpp applies an adapter to this tensor.

    Raises:
        InputError: it does not; the sentence says what to do.
    """
    if name in {"token_embd.weight", "output.weight", "per_layer_token_embd.weight"}:
        raise InputError(
            f"The change of '{name}' cannot go into an adapter, because llama.cpp does not load one for embedding and "
            "output everywhere; leave both unchanged, or write the whole model."
        )
    if (
        not _BLOCK_WEIGHT.fullmatch(name)
        or name.endswith(("_norm.weight", "_exps.weight"))
        or len(name) > _NAMES_TOO_LONG
    ):
        raise InputError(
            f"The change of '{shown(name)}' cannot go into an adapter, which holds only the weight matrices of the "
            "model's blocks and none of routed experts; leave it unchanged, or write the whole model."
        )


def _checked(name: str, pair: Pair) -> Pair:
    require_adaptable(name)
    a, b = (np.ascontiguousarray(matrix, dtype=np.float32) for matrix in pair)
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or not a.size or not b.size:
        raise InputError(
            f"The adapter's matrices for '{name}' have the shapes {list(a.shape)} and {list(b.shape)}; give A as "
            "(rank, inputs) and B as (outputs, rank)."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(
            f"The adapter's matrices for '{name}' hold values that are not numbers; run the erasure again."
        )
    return a, b


def write_adapter(
    target: Path,
    *,
    architecture: str,
    pairs: Mapping[str, Pair],
    alpha: float,
    name: str,
    provenance: Mapping[str, str | Sequence[str]],
) -> None:
    """Write a LoRA adapter in float32.

    Args:
        architecture: the base model's own ``general.architecture``; llama.cpp refuses another.
        pairs: by the base tensor's GGUF name, A (r, inputs) and B (outputs, r).
        alpha: each pair counts (alpha / r) times; 0 for B·A as it is, whatever the rank.
        provenance: as ``gguf_rewrite.rewrite``.

    Raises:
        InputError: no pairs, one that llama.cpp would not apply, wrong shapes, or a target that cannot be
            written; DiskFullError: no room. Nothing is left behind.
    """
    checked = {tensor: _checked(tensor, pair) for tensor, pair in sorted(pairs.items())}
    if not checked:
        raise InputError("Nothing was changed, so there is no adapter to write; write none.")
    if not (math.isfinite(alpha) and alpha >= 0):
        raise InputError(f"The adapter's alpha is {alpha}; give a number from 0 upwards.")
    provenance_entries({"name": name, "architecture": architecture})  # plain text too
    entries = provenance_entries(provenance)
    with written_whole(target) as (part,):
        writer = gguf.GGUFWriter(part, architecture)
        try:
            _fill(writer, checked, alpha, name, entries)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def _fill(
    writer: gguf.GGUFWriter,
    pairs: Mapping[str, Pair],
    alpha: float,
    name: str,
    entries: Sequence[tuple[str, str | list[str]]],
) -> None:
    writer.add_string("general.type", "adapter")
    writer.add_string("general.name", name)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for key, value in entries:
        if isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for tensor, (a, b) in pairs.items():
        writer.add_tensor(f"{tensor}.lora_a", a)
        writer.add_tensor(f"{tensor}.lora_b", b)


def low_rank(delta: np.ndarray, *, tolerance: float, most: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The pair of smallest rank, up to ``most``, whose product is ``delta`` within ``tolerance``.

    Args:
        delta: (outputs, inputs), float.
        tolerance: largest ‖delta − B·A‖ / ‖delta‖ (Frobenius).
        most: the largest rank; where it does not suffice, its pair comes back with its error above
            ``tolerance``, and whoever asked refuses it.

    Returns:
        A (r, inputs), B (outputs, r), both float32, and the relative error of their product. A ``delta`` of
        zeros gives rank 1 and error 0.

    Raises:
        InputError: ``delta`` is not a matrix of numbers.
    """
    exact = np.asarray(delta, dtype=np.float64)
    if exact.ndim != 2 or not exact.size or not np.isfinite(exact).all():
        raise InputError(
            "A change of weights can be made an adapter only if it is a matrix of numbers; give such a one."
        )
    most = max(1, min(most, *exact.shape))
    norm = float(np.linalg.norm(exact))
    if not norm:
        return np.zeros((1, exact.shape[1]), np.float32), np.zeros((exact.shape[0], 1), np.float32), 0.0
    left, values, right = _singular(exact, most)
    rank = _first_rank(values, norm, tolerance - _FLOAT32_NOISE, most)
    root = np.sqrt(values[:rank])
    a, b = (root[:, None] * right[:rank]).astype(np.float32), (left[:, :rank] * root).astype(np.float32)
    return a, b, float(np.linalg.norm(exact - b.astype(np.float64) @ a.astype(np.float64))) / norm


def _first_rank(values: np.ndarray, norm: float, tolerance: float, most: int) -> int:
    left_out = np.sqrt(np.maximum(norm**2 - np.cumsum(values**2), 0)) / norm
    enough = np.flatnonzero(left_out <= tolerance)
    return min(int(enough[0]) + 1, most) if enough.size else most


def _singular(exact: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular vectors and values: all of a small matrix, the first ``most`` of a large one.

    For a large one within the range of a random sketch after four rounds of subspace iteration (Halko,
    Martinsson and Tropp, 2011), exact for a change whose rank is at most ``most``; the full decomposition
    of one matrix of a 7B model would take minutes.
    """
    columns = most + _OVERSAMPLED
    if min(exact.shape) <= 4 * columns:
        left, values, right = np.linalg.svd(exact, full_matrices=False)
        return left, values, right
    basis = np.linalg.qr(exact @ np.random.default_rng(0).standard_normal((exact.shape[1], columns)))[0]
    for _ in range(_ITERATIONS):
        basis = np.linalg.qr(exact @ np.linalg.qr(exact.T @ basis)[0])[0]
    inner, values, right = np.linalg.svd(basis.T @ exact, full_matrices=False)
    return basis @ inner, values, right
