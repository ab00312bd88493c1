"""Adapter files: llama.cpp computes with base and adapter what it computes with the changed weights."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import dequantised, write_tiny_gguf

from console.engines.gguf_adapter import low_rank, require_adaptable, write_adapter
from console.engines.gguf_header import parts_of, read_gguf_header, read_gguf_layout
from console.engines.gguf_rewrite import rewrite
from console.engines.gguf_tensors import tensors_of
from console.errors import DiskFullError, InputError, ModelFileError

TOKENS = [5, 60, 7, 300, 9, 41, 12, 8, 77, 500, 33, 21]
# One of every matrix that a llama block multiplies by; with 64 inputs, 32 (keys, values) to 128 outputs.
NAMES = tuple(
    f"blk.{block}.{part}.weight"
    for block in (0, 1)
    for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
)


def matrix(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32) * np.float32(0.1)


def made_pairs(path: Path, ranks: tuple[int, ...] = (3,)) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    held = tensors_of(path)
    pairs = {}
    for seed, name in enumerate(NAMES):
        outputs, inputs = held[name].shape
        rank = ranks[seed % len(ranks)]
        pairs[name] = matrix(rank, inputs, seed), matrix(outputs, rank, 100 + seed)
    return pairs


def log_probabilities(path: Path, **adapter: Any) -> np.ndarray:
    """(tokens - 1,) nats: each token after the first, given those before it."""
    llama_cpp = pytest.importorskip("llama_cpp")
    model = llama_cpp.Llama(str(path), n_ctx=32, n_threads=1, logits_all=True, verbose=False, **adapter)
    model.eval(TOKENS)
    logits = np.array(model.scores[: len(TOKENS) - 1], dtype=np.float64)
    model.close()
    largest = logits.max(axis=1, keepdims=True)
    normal = logits - largest - np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
    return normal[np.arange(len(TOKENS) - 1), TOKENS[1:]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("base"))[0]


def written(target: Path, pairs: Any, alpha: float = 0.0) -> Path:
    write_adapter(
        target, architecture="llama", pairs=pairs, alpha=alpha, name="erasure", provenance={"requests": ["R-1", "R-2"]}
    )
    return target


class TestAgainstLlamaCpp:
    @pytest.mark.parametrize(("alpha", "ranks", "factor"), [(0.0, (1, 3, 4), 1.0), (6.0, (3,), 2.0), (4.0, (4,), 1.0)])
    @pytest.mark.parametrize("scale", [1.0, -1.0, 0.5])
    def test_as_the_change_itself(
        self, base: Path, tmp_path: Path, alpha: float, ranks: tuple[int, ...], factor: float, scale: float
    ) -> None:
        pairs = made_pairs(base, ranks)
        adapter = written(tmp_path / "a.gguf", pairs, alpha)
        changed = {
            name: dequantised(base, name) + np.float32(scale * factor) * (b @ a) for name, (a, b) in pairs.items()
        }
        rewrite(base, tmp_path / "t.gguf", changed, provenance={})
        expected = log_probabilities(tmp_path / "t.gguf")
        found = log_probabilities(base, lora_path=str(adapter), lora_scale=scale)
        assert np.abs(found - expected).max() < 1e-4
        assert np.abs(found - log_probabilities(base)).max() > 0.01

    def test_one_step_through_the_ranks_of_a_change(self, base: Path, tmp_path: Path) -> None:
        """From the weights' difference to the adapter and back to the same answers."""
        true = made_pairs(base, (2,))
        found = {name: low_rank(b @ a, tolerance=1e-5, most=8) for name, (a, b) in true.items()}
        assert {a.shape[0] for a, _, _ in found.values()} == {2}
        adapter = written(tmp_path / "a.gguf", {name: (a, b) for name, (a, b, _) in found.items()})
        direct = written(tmp_path / "d.gguf", true)
        assert (
            np.abs(
                log_probabilities(base, lora_path=str(adapter)) - log_probabilities(base, lora_path=str(direct))
            ).max()
            < 1e-4
        )

    def test_on_a_quantised_base(self, tmp_path: Path) -> None:
        base = write_tiny_gguf(tmp_path, file_type="Q8_0")[0]
        pairs = made_pairs(base)
        adapter = written(tmp_path / "a.gguf", pairs)
        changed = {name: dequantised(base, name) + b @ a for name, (a, b) in pairs.items()}
        rewrite(base, tmp_path / "t.gguf", changed, higher_type="F32", provenance={})
        found = log_probabilities(base, lora_path=str(adapter))
        assert np.abs(found - log_probabilities(tmp_path / "t.gguf")).max() < 0.05, "8-bit activations on one side"


class TestFile:
    def test_what_it_says(self, base: Path, tmp_path: Path) -> None:
        adapter = written(tmp_path / "a.gguf", made_pairs(base), 6.0)
        fields = gguf.GGUFReader(adapter).fields
        said = {key: fields[key].contents() for key in fields if not key.startswith("GGUF")}
        assert said == {
            "general.architecture": "llama",
            "general.type": "adapter",
            "general.name": "erasure",
            "adapter.type": "lora",
            "adapter.lora.alpha": 6.0,
            "erasure_console.requests": ["R-1", "R-2"],
        }
        shapes = {tensor.name: tensor.shape for tensor in read_gguf_layout(adapter).tensors}
        assert shapes["blk.0.attn_k.weight.lora_a"] == (64, 3)  # ggml's order, inputs first
        assert shapes["blk.0.attn_k.weight.lora_b"] == (3, 32)
        assert len(shapes) == 2 * len(NAMES)

    def test_the_same_bytes_every_time(self, base: Path, tmp_path: Path) -> None:
        pairs = made_pairs(base)
        turned = dict(reversed(pairs.items()))
        assert written(tmp_path / "a", pairs).read_bytes() == written(tmp_path / "b", turned).read_bytes()

    def test_it_is_no_model(self, base: Path, tmp_path: Path) -> None:
        adapter = written(tmp_path / "a.gguf", made_pairs(base))
        for read in (read_gguf_header, parts_of):
            with pytest.raises(ModelFileError, match=r"a\.gguf is a LoRA adapter, not a model"):
                read(adapter)


class TestRefused:
    @pytest.mark.parametrize("name", ["token_embd.weight", "output.weight"])
    def test_embedding_and_output(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match="for embedding and output"):
            written(tmp_path / "a.gguf", {name: (matrix(2, 4, 1), matrix(4, 2, 1))})
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        "name",
        [
            "blk.0.attn_norm.weight",
            "blk.0.ffn_up_exps.weight",
            "blk.0.attn_q.bias",
            "../x.weight",
            "",
            f"blk.0.{'x' * 60}.weight",
        ],
    )
    def test_other_tensors(self, name: str) -> None:
        with pytest.raises(InputError, match="only the weight matrices"):
            require_adaptable(name)

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            (np.zeros((2, 4)), np.zeros((4, 3))),
            (np.zeros((2, 4)), np.zeros(4)),
            (np.zeros((0, 4)), np.zeros((4, 0))),
            (np.full((2, 4), np.nan), np.zeros((4, 2))),
        ],
    )
    def test_matrices_that_do_not_fit(self, tmp_path: Path, a: np.ndarray, b: np.ndarray) -> None:
        with pytest.raises(InputError, match=r"blk\.0\.attn_q\.weight"):
            written(tmp_path / "a.gguf", {NAMES[0]: (a, b)})
        assert not list(tmp_path.iterdir())

    def test_no_change(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="Nothing was changed"):
            written(tmp_path / "a.gguf", {})

    @pytest.mark.parametrize("alpha", [-1.0, float("nan"), float("inf")])
    def test_an_alpha_that_is_no_scale(self, base: Path, tmp_path: Path, alpha: float) -> None:
        with pytest.raises(InputError, match="alpha"):
            written(tmp_path / "a.gguf", made_pairs(base), alpha)

    def test_a_full_disk_leaves_nothing(self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
        with pytest.raises(DiskFullError):
            written(tmp_path / "a.gguf", made_pairs(base))
        assert not list(tmp_path.iterdir())


class TestLowRank:
    @settings(deadline=None, max_examples=40, database=None)
    @given(rows=st.integers(1, 40), columns=st.integers(1, 40), rank=st.integers(1, 8), seed=st.integers(0, 1000))
    def test_a_merged_adapter_is_found_again(self, rows: int, columns: int, rank: int, seed: int) -> None:
        delta = matrix(rows, rank, seed) @ matrix(rank, columns, seed + 1)
        a, b, error = low_rank(delta, tolerance=1e-5, most=8)
        assert a.shape[0] == b.shape[1] <= min(rank, rows, columns)
        assert np.linalg.norm(delta - b @ a) <= 2e-5 * np.linalg.norm(delta)
        assert error <= 1e-5

    @pytest.mark.parametrize(("tolerance", "rank"), [(0.5, 1), (0.05, 2), (0.005, 3), (1e-9, 4)])
    def test_the_smallest_rank(self, tolerance: float, rank: int) -> None:
        """Singular values 1, 0.1, 0.01, 0.001: leaving out all but the first leaves a tenth."""
        left, right = (np.linalg.qr(matrix(12, 12, seed))[0] for seed in (1, 2))
        delta = (left[:, :4] * [1, 0.1, 0.01, 0.001]) @ right[:4]
        a, _, error = low_rank(delta, tolerance=tolerance, most=4)
        assert a.shape[0] == rank
        assert error == pytest.approx([0.1, 0.01, 0.001, 0][rank - 1], rel=0.1, abs=1e-6)

    def test_at_the_very_tolerance_the_stored_pair_keeps_it(self) -> None:
        """Leaving out the second value is just within the tolerance, and float32 must not take it above."""
        left, right = (np.linalg.qr(matrix(64, 64, seed))[0] for seed in (1, 2))
        delta = (left[:, :2].astype(np.float64) * [1, 1e-3]) @ right[:2].astype(np.float64)
        exact = np.linalg.svd(delta, compute_uv=False)
        tolerance = float(exact[1] / np.linalg.norm(exact[:2])) * (1 + 1e-9)
        a, _, error = low_rank(delta, tolerance=tolerance, most=4)
        assert error <= tolerance and a.shape[0] == 2
        assert low_rank(delta, tolerance=tolerance + 1e-6, most=4)[0].shape[0] == 1

    def test_more_than_the_most_is_told_by_the_error(self) -> None:
        delta = np.eye(10)
        a, b, error = low_rank(delta, tolerance=0.01, most=4)
        assert (a.shape, b.shape) == ((4, 10), (10, 4))
        assert error == pytest.approx(np.sqrt(0.6))

    def test_a_large_matrix_goes_through_the_sketch(self) -> None:
        delta = matrix(300, 5, 1) @ matrix(5, 200, 2)
        a, _, error = low_rank(delta, tolerance=1e-5, most=8)
        assert a.shape[0] == 5 and error <= 1e-5
        assert np.array_equal(a, low_rank(delta, tolerance=1e-5, most=8)[0]), "nothing is left to chance"
        noisy = matrix(300, 200, 3)
        _, _, found = low_rank(noisy, tolerance=0, most=8)
        values = np.linalg.svd(noisy, compute_uv=False)
        best = np.sqrt((values[8:] ** 2).sum() / (values**2).sum())
        assert best <= found + 1e-6 < best * 1.001, "close to the best also where the values fall slowly"

    def test_no_change_has_rank_one_and_no_error(self) -> None:
        a, b, error = low_rank(np.zeros((3, 4)), tolerance=0, most=4)
        assert (a.shape, b.shape, error) == ((1, 4), (3, 1), 0)

    @pytest.mark.parametrize("delta", [np.zeros(3), np.zeros((0, 3)), np.full((2, 2), np.inf)])
    def test_not_a_matrix_of_numbers(self, delta: np.ndarray) -> None:
        with pytest.raises(InputError, match="matrix of numbers"):
            low_rank(delta, tolerance=0.1, most=2)
