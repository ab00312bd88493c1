"""EVOKE's overfitting measures by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.domain.results import Rate
from console.evaluation.evoke import OverfitRow, OverfitTask, by_task, overfit, overfit_index

HOP, OTHER = OverfitTask.MULTI_HOP, OverfitTask.SUBJECT_SPECIFICITY
probabilities = st.floats(0, 1)


def test_by_hand() -> None:
    found = overfit(
        [
            OverfitRow(HOP, correct=0.5, target=0.1, original=0.2),
            OverfitRow(HOP, correct=0.1, target=0.6, original=0.3),
            OverfitRow(OTHER, correct=0.3, target=0.3),
            OverfitRow(HOP, correct=0.1, target=0.4, original=0.15),
        ]
    )
    assert found.correct_probability == pytest.approx(0.25)
    assert found.direct_probability == pytest.approx(1.4 / 4)
    assert found.original_probability.value == pytest.approx(0.65 / 3)
    assert found.overfit_score == Rate(hits=1, trials=4)  # the tie is no win
    assert found.modify_score.value == Rate(hits=1, trials=3)


def test_without_an_original_answer_two_measures_are_missing() -> None:
    found = overfit([OverfitRow(OTHER, 0.5, 0.1)])
    assert found.original_probability.value is None
    assert found.modify_score.value is None
    assert found.modify_score.reason


def test_tasks_are_kept_apart() -> None:
    found = by_task([OverfitRow(HOP, 0.5, 0.1), OverfitRow(OTHER, 0.1, 0.5), OverfitRow(OTHER, 0.6, 0.5)])
    assert {task: part.overfit_score.hits for task, part in found.items()} == {HOP: 1, OTHER: 1}
    assert found[OTHER].overfit_score.trials == 2


def test_the_index_and_its_alarm() -> None:
    assert overfit_index([0.1, 0.3], [0.2, 0.4]).value == pytest.approx(0.1)
    assert overfit_index([0.1, 0.3], [0.2, 0.4]).alarm
    assert not overfit_index([0.1, 0.3], [0.12, 0.32]).alarm
    assert not overfit_index([0.4], [0.1]).alarm


@given(st.lists(st.tuples(probabilities, probabilities, probabilities), min_size=1, max_size=10))
def test_swapping_answers_swaps_the_scores(rows: list[tuple[float, float, float]]) -> None:
    found = overfit([OverfitRow(HOP, *row) for row in rows])
    swapped = overfit([OverfitRow(HOP, target, correct, original) for correct, target, original in rows])
    ties = sum(correct == target for correct, target, _ in rows)
    assert found.overfit_score.hits + swapped.overfit_score.hits + ties == len(rows)
    assert found.correct_probability == swapped.direct_probability


@pytest.mark.parametrize(("before", "after"), [([], []), ([0.1], [0.1, 0.2])])
def test_the_index_needs_pairs(before: list[float], after: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        overfit_index(before, after)


def test_no_rows_and_no_probabilities() -> None:
    with pytest.raises(ValueError, match="at least one"):
        overfit([])
    with pytest.raises(ValueError, match="between 0 and 1"):
        OverfitRow(HOP, 0.5, 0.5, 1.5)
