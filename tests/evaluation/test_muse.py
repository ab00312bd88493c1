"""MUSE's six ways: definitions, signs, and what is said when something is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.evaluation.measured import Measured, not_measured
from console.evaluation.muse import (
    CurvePoint,
    SixWay,
    UtilityCurve,
    Wanted,
    answer_part,
    knowledge_memorisation,
    privacy_leakage,
    verbatim_memorisation,
)

areas = st.floats(0, 1)


class TestMemorisation:
    def test_by_hand(self) -> None:
        # F1 of 1 and of 2 * (1/3 * 1) / (4/3) = 1/2.
        pairs = [("the cat sat", "the cat sat"), ("cat", "the cat sat")]
        assert verbatim_memorisation(pairs) == knowledge_memorisation(pairs) == pytest.approx(75)
        assert verbatim_memorisation([("nothing", "the cat sat")]) == 0

    @pytest.mark.parametrize(
        "text", ["Rome\n\nQuestion: Who?", "Rome\nQuestion: Who?", "Rome Question: Who?", "Rome", "Rome\n\nand more"]
    )
    def test_only_the_answer_counts(self, text: str) -> None:
        assert answer_part(text).strip() == "Rome"
        assert knowledge_memorisation([(text, "Rome")]) == 100

    def test_no_texts_no_score(self) -> None:
        for measure in (verbatim_memorisation, knowledge_memorisation):
            with pytest.raises(ValueError, match="at least one"):
                measure([])


class TestPrivacyLeakage:
    @pytest.mark.parametrize(
        ("area", "retrained", "leakage"),
        [
            (0.5, 0.5, 0),
            (1.0, 0.5, -100),  # still looks like training data: under-unlearned
            (0.0, 0.5, 100),  # looks less familiar than new text: over-unlearned
            (0.75, 0.5, -50),
            (0.6, 0.2, -50),
        ],
    )
    def test_by_hand(self, area: float, retrained: float, leakage: float) -> None:
        assert privacy_leakage(area, retrained).value == pytest.approx(leakage)

    @given(area=areas, retrained=st.floats(0, 0.99))
    def test_it_is_muses_formula_with_its_orientation(self, area: float, retrained: float) -> None:
        theirs = 100 * ((1 - area) - (1 - retrained)) / (1 - retrained)
        assert privacy_leakage(area, retrained).value == pytest.approx(theirs, abs=1e-9)
        assert privacy_leakage(retrained, retrained).value == 0

    def test_an_assumed_reference_says_so(self) -> None:
        assert "assumed" in privacy_leakage(0.5, None).note
        assert not privacy_leakage(0.5, 0.5).note
        assert privacy_leakage(0.7, None).value == privacy_leakage(0.7, 0.5).value

    def test_without_a_scale_there_is_no_number(self) -> None:
        missing = privacy_leakage(0.5, 1.0)
        assert missing.value is None
        assert "scale" in missing.reason

    @pytest.mark.parametrize(("area", "retrained"), [(1.1, 0.5), (-0.1, 0.5), (0.5, 1.2)])
    def test_what_is_no_area(self, area: float, retrained: float) -> None:
        with pytest.raises(ValueError, match="between 0 and 1"):
            privacy_leakage(area, retrained)


class TestCurve:
    def test_by_hand(self) -> None:
        curve = UtilityCurve((CurvePoint(1, 50), CurvePoint(2, 30), CurvePoint(3, 40)))
        assert (curve.lowest, curve.loss) == (30, 10)
        assert curve.slope == pytest.approx(-5)

    def test_flat(self) -> None:
        curve = UtilityCurve((CurvePoint(10, 50), CurvePoint(1000, 50)))
        assert (curve.loss, curve.slope) == (0, 0)

    @pytest.mark.parametrize("places", [[1], [], [1, 1], [2, 1]])
    def test_what_is_no_curve(self, places: list[int]) -> None:
        with pytest.raises(ValueError, match="at least two points"):
            UtilityCurve(tuple(CurvePoint(place, 50) for place in places))


def test_the_table_has_six_rows_and_says_what_is_missing() -> None:
    curve = Measured(UtilityCurve((CurvePoint(1, 50), CurvePoint(2, 40))))
    table = SixWay(
        Measured(0.0),
        Measured(12.5),
        not_measured("no held-out texts"),
        Measured(60.0),
        not_measured("one size only"),
        curve,
    )
    assert [name[:2] for name, _, _ in table.rows()] == ["C1", "C2", "C3", "C4", "C5", "C6"]
    assert [wanted for _, wanted, _ in table.rows()][:4] == [Wanted.LOW, Wanted.LOW, Wanted.ZERO, Wanted.HIGH]
    assert table.missing == {"C3 no privacy leakage": "no held-out texts", "C5 scalability": "one size only"}
