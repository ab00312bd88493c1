"""The shape of a change: ranks against closed forms, and edits and adapters told from training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.evaluation.weight_changes import (
    WeightChange,
    effective_rank,
    leading_energy,
    looks_like_rank_one,
    merged_adapters,
    numerical_rank,
    rank_one_edits,
    relative_norm,
    rounding_floor,
    singular_values,
    stable_rank,
    weight_change,
)

ROWS, COLUMNS = 48, 96
BFLOAT16_EPSILON = 2.0**-7


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def stored(weights: np.ndarray) -> np.ndarray:
    return weights.astype(np.float32)


def as_bfloat16(weights: np.ndarray) -> np.ndarray:
    """Rounded to the seven bits behind the point that bfloat16 keeps."""
    mantissa, exponent = np.frexp(weights)
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)


WEIGHTS = stored(noise(ROWS, COLUMNS) / 10)


def product(rank: int, size: float, seed: int = 1) -> np.ndarray:
    """An adapter's difference of the given rank and Frobenius norm."""
    full = noise(ROWS, rank, seed=seed) @ noise(rank, COLUMNS, seed=seed + 100)
    return full / np.linalg.norm(full) * size


class TestNorm:
    def test_it_is_a_share_of_the_tensor(self) -> None:
        assert relative_norm(WEIGHTS, WEIGHTS * 1.5) == pytest.approx(0.5, rel=1e-6)
        assert relative_norm(np.ones(4), np.zeros(4)) == 1.0
        assert relative_norm(WEIGHTS, WEIGHTS) == relative_norm(np.zeros(3), np.zeros(3)) == 0.0
        assert relative_norm(np.zeros(3), np.ones(3)) == np.inf


class TestSpectrum:
    @pytest.mark.parametrize("shape", [(5, 9), (9, 5), (7, 7), (1, 6), (6, 1), (5000, 3), (3, 5000)])
    def test_it_is_that_of_a_singular_value_decomposition(self, shape: tuple[int, int]) -> None:
        matrix = noise(*shape)
        wanted = np.linalg.svd(matrix, compute_uv=False)
        assert singular_values(matrix) == pytest.approx(wanted, rel=1e-6)
        assert singular_values(matrix.T) == pytest.approx(wanted, rel=1e-6)

    def test_a_zero_matrix_has_zeros_and_never_a_root_of_less(self) -> None:
        assert singular_values(np.zeros((4, 6))).tolist() == [0.0] * 4
        low = singular_values(product(1, 1.0))
        assert np.isfinite(low).all() and (low >= 0).all()

    def test_a_vector_has_none(self) -> None:
        with pytest.raises(ValueError, match="1 dimensions"):
            singular_values(np.ones(4))


class TestRanks:
    def test_closed_forms(self) -> None:
        alike, one = np.ones(6), np.array([3.0, 0.0, 0.0])
        assert (effective_rank(alike), stable_rank(alike)) == pytest.approx((6.0, 6.0))
        assert (effective_rank(one), stable_rank(one), leading_energy(one)) == pytest.approx((1.0, 1.0, 1.0))
        two = np.array([3.0, 1.0])  # entropy of (3/4, 1/4); energies 9 and 1
        assert effective_rank(two) == pytest.approx(4 / 3**0.75)
        assert stable_rank(two) == pytest.approx(10 / 9) and leading_energy(two) == pytest.approx(0.9)

    @pytest.mark.parametrize("measure", [effective_rank, stable_rank, leading_energy])
    def test_nothing_has_no_rank(self, measure: object) -> None:
        assert callable(measure)
        assert measure(np.zeros(3)) == measure(np.empty(0)) == 0.0
        assert numerical_rank(np.zeros(3)) == numerical_rank(np.empty(0)) == 0

    @given(
        st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12).map(lambda found: np.sort(np.array(found))[::-1]),
        st.floats(1e-3, 1e3),
    )
    def test_bounds_and_scale(self, values: np.ndarray, scale: float) -> None:
        assert 1 - 1e-9 <= stable_rank(values) <= len(values) + 1e-9
        assert 1 - 1e-9 <= effective_rank(values) <= len(values) + 1e-9
        assert effective_rank(values * scale) == pytest.approx(effective_rank(values))
        assert stable_rank(values * scale) == pytest.approx(stable_rank(values))
        assert leading_energy(values) == pytest.approx(1 / stable_rank(values))

    def test_a_product_of_rank_r_has_rank_r_and_never_a_larger_effective_one(self) -> None:
        for rank in (1, 4, 16):
            values = singular_values(product(rank, 1.0))
            assert numerical_rank(values) == rank
            assert stable_rank(values) <= effective_rank(values) + 1e-6
            assert effective_rank(values) <= rank + 1e-3


class TestRankOne:
    def test_the_line_is_at_99_percent_of_the_energy(self) -> None:
        assert looks_like_rank_one(np.sqrt(np.array([99.0, 1.0 - 1e-9])))
        assert not looks_like_rank_one(np.sqrt(np.array([98.9, 1.1])))

    def test_a_single_row_or_column_bears_no_mark(self) -> None:
        assert not looks_like_rank_one(singular_values(noise(1, 9)))
        assert not looks_like_rank_one(singular_values(noise(9, 1)))

    def test_an_outer_product_is_seen_through_rounding_and_beside_a_little_noise(self) -> None:
        edit = product(1, 0.5)
        assert weight_change(WEIGHTS, stored(WEIGHTS + edit)).rank_one
        assert weight_change(WEIGHTS, stored(WEIGHTS + edit + noise(ROWS, COLUMNS, seed=5) * 5e-5)).rank_one

    def test_training_and_adapters_of_more_than_one_direction_are_not(self) -> None:
        assert not weight_change(WEIGHTS, stored(WEIGHTS + noise(ROWS, COLUMNS, seed=3) * 1e-3)).rank_one
        assert not weight_change(WEIGHTS, stored(WEIGHTS + product(2, 0.5))).rank_one
        assert not weight_change(WEIGHTS, WEIGHTS).rank_one


class TestScans:
    @pytest.fixture
    def changes(self) -> dict[str, WeightChange]:
        return {
            "edit": weight_change(WEIGHTS, stored(WEIGHTS + product(1, 0.3))),
            "adapter": weight_change(WEIGHTS, stored(WEIGHTS + product(8, 0.3))),
            "larger adapter": weight_change(WEIGHTS, stored(WEIGHTS + product(16, 0.3))),
            "trained": weight_change(WEIGHTS, stored(WEIGHTS + noise(ROWS, COLUMNS, seed=2) * 1e-3)),
            "same": weight_change(WEIGHTS, WEIGHTS),
            "narrow": weight_change(WEIGHTS[:4], stored(WEIGHTS[:4] + noise(4, COLUMNS, seed=2))),
        }

    def test_each_change_is_known_by_its_rank(self, changes: dict[str, WeightChange]) -> None:
        ranks = {name: change.rank for name, change in changes.items()}
        assert ranks == {"edit": 1, "adapter": 8, "larger adapter": 16, "trained": ROWS, "same": 0, "narrow": 4}

    def test_adapters_of_at_most_a_rank_are_listed(self, changes: dict[str, WeightChange]) -> None:
        assert merged_adapters(changes, 7) == ("edit",)
        assert merged_adapters(changes, 8) == ("edit", "adapter")
        assert merged_adapters(changes, 16) == ("edit", "adapter", "larger adapter")

    def test_rank_one_edits_are_listed(self, changes: dict[str, WeightChange]) -> None:
        assert rank_one_edits(changes) == ("edit",)

    def test_rounding_is_not_taken_for_rank(self) -> None:
        """A change merged into half precision; with float32's own epsilon the noise would fill every direction."""
        before = as_bfloat16(WEIGHTS.astype(np.float64))
        after = as_bfloat16(before + product(4, 2.0))
        assert weight_change(before, after, BFLOAT16_EPSILON).rank == 4
        assert weight_change(before, after).rank == ROWS

    def test_the_floor_is_above_what_rounding_leaves_and_not_far(self) -> None:
        exact = noise(ROWS, COLUMNS)
        left = singular_values(as_bfloat16(exact) - exact)[0]
        assert left < rounding_floor(exact, BFLOAT16_EPSILON) < 4 * left

    def test_other_shapes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="cannot have become"):
            weight_change(WEIGHTS, WEIGHTS.T)
