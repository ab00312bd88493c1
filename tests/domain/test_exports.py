"""What a written file may differ by, and where it is said to have gone wrong."""

from __future__ import annotations

import pytest

from console.domain.engine_names import EngineName
from console.domain.exports import ExportForm, Likelihoods, Place, judged, reading_tolerance, rounding_tolerance
from console.domain.suites import FILE_TYPES, QUICK, RECHECK, STANDARD

TEXTS = (-2.0, -3.0, -4.0)


def moved(by: float) -> tuple[float, ...]:
    """One text moved, the others where they were: the furthest counts, not the mean."""
    return (TEXTS[0], TEXTS[1] + by, TEXTS[2])


def test_a_file_that_says_the_same_passes() -> None:
    gate = judged(Likelihoods(TEXTS, moved(0.01), moved(0.015), 60), ["F16"], ["F16"])
    assert gate.failed is Place.NONE
    assert (gate.texts, gate.tokens) == (3, 60)
    assert (gate.rounding, gate.reading, gate.whole) == ("0.0100", "0.0050", "0.0150")


def test_a_wrong_name_or_order_is_told_from_rounding() -> None:
    reading = judged(Likelihoods(TEXTS, TEXTS, moved(0.5), 60), ["F32"], ["F32"])
    assert reading.failed is Place.READING
    assert "llama.cpp reads the written file otherwise" in reading.sentence
    rounding = judged(Likelihoods(TEXTS, moved(0.5), moved(0.5), 60), ["Q4_0"], ["Q4_0"])
    assert rounding.failed is Place.ROUNDING
    assert "Rounding to Q4_0" in rounding.sentence
    assert "Q8_0 or F16" in rounding.sentence


def test_a_number_that_is_none_does_not_pass() -> None:
    none = float("nan")
    assert judged(Likelihoods(TEXTS, TEXTS, moved(none), 1), ["F32"], ["F32"]).failed is Place.READING
    assert judged(Likelihoods(TEXTS, moved(none), moved(none), 1), ["F32"], ["F32"]).failed is not Place.NONE


@pytest.mark.parametrize(
    ("types", "rounding"),
    [(["F32"], "0.005"), (["F16"], "0.02"), (["Q8_0", "Q4_1"], "0.30"), (["Q2_K"], "0.60"), ([], "0.005")],
)
def test_the_coarsest_type_decides(types: list[str], rounding: str) -> None:
    assert str(rounding_tolerance(types)) == rounding
    assert str(reading_tolerance(types)) == ("0.02" if set(types) <= {"F32", "F16"} else "0.10")


def test_every_form_has_words() -> None:
    assert len({form.label for form in ExportForm}) == len(ExportForm)


def test_only_an_engine_that_runs_files_asks_them_in_other_types() -> None:
    assert QUICK.run_by(EngineName.TRANSFORMERS) == QUICK
    assert STANDARD.run_by(EngineName.TRANSFORMERS) == STANDARD
    assert STANDARD.run_by(EngineName.LLAMA).attacks == (*STANDARD.attacks, *FILE_TYPES)


def test_the_quick_suite_stays_too_weak_for_the_word_removed() -> None:
    """Number formats would be evidence from disturbed weights, and all five kinds would be there."""
    assert QUICK.run_by(EngineName.BOTH) == QUICK


def test_a_recheck_asks_no_other_types() -> None:
    assert RECHECK.run_by(EngineName.BOTH) == RECHECK
