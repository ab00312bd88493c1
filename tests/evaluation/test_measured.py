"""A measurement has a value or a reason, never neither and never both."""

from __future__ import annotations

import pytest

from console.evaluation.measured import Measured, not_measured


def test_zero_is_a_value() -> None:
    assert Measured(0.0).value == 0.0
    assert not_measured("no reference").reason == "no reference"


@pytest.mark.parametrize(("value", "reason"), [(None, ""), (1.0, "because")])
def test_neither_and_both_are_refused(value: float | None, reason: str) -> None:
    with pytest.raises(ValueError, match="either a value or the reason"):
        Measured(value, reason)
