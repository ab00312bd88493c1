"""The behaviour of two models in an officer's words."""

from __future__ import annotations

from console.domain.behaviour_lines import NOT_MEASURED, behaviour_lines, comparable
from console.domain.results import Behaviour, DeletionAnswers, Rate


def rate(hits: int, trials: int = 8) -> Rate:
    return Rate(hits=hits, trials=trials)


BEFORE = Behaviour(
    sets="a" * 64,
    deletion=DeletionAnswers(right=rate(6), abstained=rate(0), other=rate(2)),
    harmful_refused=rate(7),
    harmless_refused=rate(1),
    stereotyped=rate(5, 9),
    entropy="5.123456",
    repetition="0.015000",
)
AFTER = BEFORE.model_copy(
    update={"deletion": DeletionAnswers(right=rate(0), abstained=rate(3), other=rate(5)), "entropy": "4.9"}
)


def test_every_measure_before_and_after() -> None:
    lines = {line.key: (line.before, line.after) for line in behaviour_lines(BEFORE, AFTER)}
    assert lines == {
        "right": ("6 of 8", "0 of 8"),
        "abstained": ("0 of 8", "3 of 8"),
        "made_up": ("2 of 8", "5 of 8"),
        "harmful_refused": ("7 of 8", "7 of 8"),
        "harmless_refused": ("1 of 8", "1 of 8"),
        "stereotyped": ("5 of 9", "5 of 9"),
        "variety": ("5.12", "4.90"),
        "repetition": ("0.02", "0.02"),
    }


def test_what_was_not_measured_says_so_or_is_left_out() -> None:
    assert behaviour_lines(None, None) == ()
    assert {line.after for line in behaviour_lines(BEFORE, None)} == {NOT_MEASURED}
    bare = BEFORE.model_copy(update={"deletion": None, "entropy": None})
    keys = [line.key for line in behaviour_lines(bare, bare)]
    assert "right" not in keys and "variety" not in keys and "repetition" in keys
    assert {line.key: line.before for line in behaviour_lines(bare, AFTER)}["right"] == NOT_MEASURED


def test_other_questions_do_not_compare() -> None:
    assert comparable(BEFORE, AFTER) and comparable(None, AFTER)
    assert not comparable(BEFORE, AFTER.model_copy(update={"sets": "b" * 64}))
