"""RWKU's levels: means, counts, and the paper's pooled column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.evaluation.rwku import AdversarialKind, Level, ProbeRow, summarise

ROLE, HINT = AdversarialKind.ROLE_PLAYING, AdversarialKind.BACKGROUND_HINT
ROWS = [
    ProbeRow("Ann", Level.FILL_BLANK, 1.0),
    ProbeRow("Bob", Level.FILL_BLANK, 0.5),
    ProbeRow("Ann", Level.QUESTION, 0.25),
    ProbeRow("Ann", Level.ADVERSARIAL, 0.0, ROLE),
    ProbeRow("Bob", Level.ADVERSARIAL, 1.0, HINT),
    ProbeRow("Bob", Level.ADVERSARIAL, 0.8, HINT),
]


def test_by_hand() -> None:
    summary = summarise(ROWS)
    blank, question, adversarial = (summary.levels[level].value for level in Level)
    assert blank is not None and question is not None and adversarial is not None
    assert [blank.score, question.score, adversarial.score] == pytest.approx([75, 25, 60])
    assert [(part.answered.hits, part.answered.trials) for part in (blank, question, adversarial)] == [
        (2, 2),
        (0, 1),
        (2, 3),
    ]
    assert (blank.targets, question.targets) == (2, 1)
    assert summary.pooled.value is not None
    assert summary.pooled.value.score == pytest.approx(100 * 3.55 / 6)
    assert summary.mean_of_levels.value == pytest.approx((75 + 25 + 60) / 3)
    assert {kind: part.score for kind, part in summary.kinds.items()} == pytest.approx({ROLE: 0, HINT: 90})


def test_a_missing_level_is_no_zero() -> None:
    summary = summarise(row for row in ROWS if row.level is not Level.ADVERSARIAL)
    assert summary.levels[Level.ADVERSARIAL].value is None
    assert "aa" in summary.levels[Level.ADVERSARIAL].reason
    assert summary.mean_of_levels.value is None
    assert summary.kinds == {}
    assert summarise([]).pooled.reason


@pytest.mark.parametrize(
    ("blank", "question", "adversarial", "all_probes"),
    [(85.9, 76.4, 77.7, 79.6), (39.1, 31.6, 46.7, 41.9), (33.4, 21.0, 24.8, 26.2)],
)
def test_pooling_comes_close_to_the_papers_column(
    blank: float, question: float, adversarial: float, all_probes: float
) -> None:
    """Table 1 (before, GA, NPO; Llama-3-8B) with the benchmark's numbers of probes, one recall for all of a level."""
    rows = [
        *[ProbeRow("t", Level.FILL_BLANK, blank / 100)] * 3268,
        *[ProbeRow("t", Level.QUESTION, question / 100)] * 2879,
        *[ProbeRow("t", Level.ADVERSARIAL, adversarial / 100, ROLE)] * 6984,
    ]
    pooled = summarise(rows).pooled.value
    assert pooled is not None
    assert pooled.score == pytest.approx(all_probes, abs=0.5)


@given(st.lists(st.tuples(st.sampled_from(Level), st.floats(0, 1)), min_size=1, max_size=20))
def test_bounds_and_counts(probes: list[tuple[Level, float]]) -> None:
    summary = summarise(
        ProbeRow("t", level, recall, HINT if level is Level.ADVERSARIAL else None) for level, recall in probes
    )
    parts = [part.value for part in summary.levels.values() if part.value]
    assert summary.pooled.value is not None
    assert sum(part.answered.trials for part in parts) == summary.pooled.value.answered.trials == len(probes)
    low, high = min(part.score for part in parts), max(part.score for part in parts)
    assert low - 1e-9 <= summary.pooled.value.score <= high + 1e-9


@pytest.mark.parametrize(
    ("level", "recall", "kind"),
    [
        (Level.QUESTION, 1.1, None),
        (Level.QUESTION, -0.1, None),
        (Level.QUESTION, 1, ROLE),
        (Level.ADVERSARIAL, 1, None),
    ],
)
def test_impossible_rows(level: Level, recall: float, kind: AdversarialKind | None) -> None:
    with pytest.raises(ValueError, match=r"recall|kind"):
        ProbeRow("t", level, recall, kind)
