"""Parametric traces: what value vectors spell, before and after, against sets and angles known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.engines.transformers_engine import TransformersModel
from console.evaluation import traces
from console.evaluation.traces import cosine, distance, jaccard, top_tokens, trace_change, value_vectors

HIDDEN, INNER, VOCABULARY = 8, 12, 40


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


HEAD = noise(VOCABULARY, HIDDEN)
DOWN = noise(HIDDEN, INNER, seed=1)


class TestTopTokens:
    def test_columns_are_read_through_the_head(self) -> None:
        """With one token for each hidden dimension, a vector spells its largest entries."""
        down = np.array([[3.0, 0.0], [2.0, -1.0], [1.0, 5.0], [0.0, 4.0]])
        assert top_tokens(value_vectors(down), np.eye(4), top=2).tolist() == [[0, 1], [2, 3]]

    def test_the_norm_s_weight_counts(self) -> None:
        vector = np.array([[3.0, 2.0, 1.0]])
        assert top_tokens(vector, np.eye(3), top=1).tolist() == [[0]]
        assert top_tokens(vector, np.eye(3), top=1, gain=np.array([1.0, 1.0, 9.0])).tolist() == [[2]]

    def test_the_vocabulary_bounds_the_set(self) -> None:
        assert top_tokens(DOWN.T, HEAD, top=1000).shape == (INNER, VOCABULARY)
        assert top_tokens(np.empty((0, HIDDEN)), HEAD, top=5).shape == (0, 5)

    def test_how_many_are_projected_at_once_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = top_tokens(DOWN.T, HEAD, top=5)
        monkeypatch.setattr(traces, "_VECTORS_AT_ONCE", 5)
        assert (top_tokens(DOWN.T, HEAD, top=5) == whole).all()
        wanted = np.sort(np.argsort(-(HEAD @ DOWN), axis=0)[:5].T, axis=1)
        assert (whole == wanted).all()


class TestMeasures:
    def test_jaccard_of_known_sets(self) -> None:
        left = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]])
        right = np.array([[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8]])
        assert jaccard(left, right) == pytest.approx([1.0, 1 / 3, 0.0])
        assert (jaccard(left, right) == jaccard(right, left)).all()
        with pytest.raises(ValueError):
            jaccard(left, right[:2])

    def test_cosine_and_distance_of_known_vectors(self) -> None:
        left = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
        right = np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
        assert cosine(left, right) == pytest.approx([1.0, 0.0, -1.0, 1.0, 0.0])
        assert distance(left, right) == pytest.approx([1.0, np.sqrt(10), 2.0, 0.0, 1.0])

    @given(st.integers(0, 1000), st.floats(0.1, 100))
    def test_bounds_symmetry_and_scale(self, seed: int, scale: float) -> None:
        left, right = noise(5, HIDDEN, seed=seed), noise(5, HIDDEN, seed=seed + 1)
        assert (np.abs(cosine(left, right)) <= 1).all()
        assert cosine(left, right) == pytest.approx(cosine(right, left * scale))
        assert distance(left, right) == pytest.approx(distance(right, left))
        spelt = top_tokens(left, HEAD, top=5)
        assert (top_tokens(left * scale, HEAD, top=5) == spelt).all()


class TestChange:
    def test_an_untouched_layer_says_one_one_nought(self) -> None:
        same = trace_change(DOWN, DOWN, HEAD, top=5)
        assert (same.jaccard == 1).all() and same.cosine == pytest.approx(np.ones(INNER))
        assert (same.distance == 0).all() and len(same.jaccard) == INNER

    def test_one_ablated_column_is_found_and_the_others_stay(self) -> None:
        after = DOWN.copy()
        after[:, 7] = 0
        found = trace_change(DOWN, after, HEAD, top=5)
        assert found.most_changed(1) == (7,)
        assert (found.jaccard[7], found.cosine[7]) == (0, 0)
        assert found.distance[7] == pytest.approx(np.linalg.norm(DOWN[:, 7]))
        assert (np.delete(found.jaccard, 7) == 1).all()
        # Compared as sets of the whole vocabulary, any two vectors agree; one that spells nothing agrees with none.
        assert trace_change(DOWN, after, HEAD, top=VOCABULARY).jaccard.tolist() == [float(j != 7) for j in range(INNER)]
        back = trace_change(after, after, HEAD, top=5)
        assert (back.jaccard[7], back.cosine[7], back.distance[7]) == (1, 1, 0)

    def test_a_turned_vector_spells_the_opposite(self) -> None:
        found = trace_change(DOWN, -DOWN, HEAD, top=5)
        assert (found.jaccard == 0).all() and found.cosine == pytest.approx(-np.ones(INNER))

    def test_a_changed_head_or_norm_moves_the_words_and_not_the_vectors(self) -> None:
        moved = trace_change(DOWN, DOWN, HEAD, noise(VOCABULARY, HIDDEN, seed=9), top=5)
        assert moved.jaccard.mean() < 0.5 and (moved.distance == 0).all()
        gains = {"gain_before": np.ones(HIDDEN), "gain_after": -np.ones(HIDDEN)}
        assert (trace_change(DOWN, DOWN, HEAD, top=5, **gains).jaccard == 0).all()
        both = trace_change(DOWN, DOWN, HEAD, top=5, gain_before=-np.ones(HIDDEN))
        assert (both.jaccard == 1).all(), "the norm before serves for both where none is given for after"

    def test_most_changed_goes_by_words_and_then_by_distance(self) -> None:
        found = traces.TraceChange(np.array([1.0, 0.5, 0.5]), np.ones(3), np.array([9.0, 1.0, 2.0]))
        assert found.most_changed(3) == (2, 1, 0)

    def test_other_shapes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="cannot be compared"):
            trace_change(DOWN, DOWN.T, HEAD)

    def test_it_reads_a_network_s_own_weights(self, taught: TransformersModel, untaught: TransformersModel) -> None:
        """Teaching moves the traces; a model beside itself has moved nothing."""

        def parts(model: TransformersModel) -> tuple[np.ndarray, np.ndarray]:
            state = model.network.state_dict()
            return state["model.layers.1.mlp.down_proj.weight"].numpy(), state["lm_head.weight"].numpy()

        (down, head), (down_before, head_before) = parts(taught), parts(untaught)
        learned = trace_change(down_before, down, head_before, head, top=20)
        assert len(learned.jaccard) == 128 and learned.jaccard.mean() < 0.5 and learned.cosine.mean() < 0.99
        assert (trace_change(down, down, head, top=20).jaccard == 1).all()
