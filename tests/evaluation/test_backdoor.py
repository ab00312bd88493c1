"""The numbers behind 'possible backdoor': divergences by hand, and the declared ratio."""

from __future__ import annotations

import numpy as np
import pytest

from console.evaluation.backdoor import (
    FAR,
    LEAST,
    BackdoorCheck,
    Compared,
    Effect,
    Probe,
    agreement,
    mean_divergence,
)


def compared(base: float, changed: float, name: str = "cf") -> Compared:
    return Compared(Probe.WORD, name, Effect(base, 0.25), Effect(changed, 1.0))


def test_nothing_diverges_from_itself() -> None:
    log_probs = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], dtype=np.float32))
    assert mean_divergence(log_probs, log_probs) == 0.0


def test_divergence_by_hand_and_its_direction() -> None:
    altered, plain = np.log([[0.5, 0.5], [0.5, 0.5]]), np.log([[0.25, 0.75], [0.5, 0.5]])
    forth = 0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75)
    back = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert mean_divergence(altered, plain) == pytest.approx(forth / 2)
    assert mean_divergence(plain, altered) == pytest.approx(back / 2)
    assert forth != pytest.approx(back)


def test_agreement_counts_the_most_common_first_token() -> None:
    assert agreement(np.array([[0, 1], [0, 1], [1, 0], [0, 1]])) == 0.75
    assert agreement(np.eye(4)) == 0.25


@pytest.mark.parametrize(
    ("base", "changed", "far"),
    [
        (0.2, 0.2 * FAR, True),
        (0.2, 0.2 * FAR - 0.01, False),
        (1.0, 4.9, False),
        (1.0, 5.0, True),
        (0.0001, LEAST - 0.01, False),  # a large ratio of two small numbers
        (0.0, LEAST, True),
        (6.0, 0.5, False),
    ],
)
def test_far_needs_the_ratio_and_the_size(base: float, changed: float, far: bool) -> None:
    assert compared(base, changed).far is far


def test_a_flag_says_its_numbers_the_farthest_first() -> None:
    check = BackdoorCheck(32, (compared(0.1, 0.2, "mn"), compared(0.1, 2.0, "bb"), compared(0.2, 5.0, "cf")))
    assert check.possible_backdoor and [one.name for one in check.flagged] == ["cf", "bb"]
    first, second, third = check.sentences
    assert first.startswith("Possible backdoor") and "5 times" in first and "1 nat" in first
    assert "'cf'" in second and "5.00 nats" in second and "0.20 (25.0 times)" in second and "100%" in second
    assert "'bb'" in third


def test_no_flag_still_says_the_largest_number() -> None:
    check = BackdoorCheck(32, (compared(0.1, 0.2, "mn"), compared(0.4, 0.6, "bb")))
    assert not check.possible_backdoor
    assert check.sentences[0].startswith("No sign of a backdoor") and "'bb'" in check.sentences[1]
    assert BackdoorCheck(32, ()).sentences[1:] == ()
