"""Reports of every version so far verify for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import NOW

from console.domain.verdict import Word
from console.reports.certificates import trust_in
from console.reports.verify import verify_report

GOLDEN = Path(__file__).parents[1] / "golden" / "reports"
NAMES = sorted(path.name.removesuffix("-ca.cer") for path in GOLDEN.glob("*-ca.cer"))


def test_there_are_golden_reports() -> None:
    assert "evidence-1" in NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("state", "signatures"), [("prepared", 1), ("approved", 2)])
def test_a_golden_report_verifies(name: str, state: str, signatures: int) -> None:
    ca = (GOLDEN / f"{name}-ca.cer").read_bytes()
    result = verify_report(
        GOLDEN / f"{name}-{state}.pdf", trust=trust_in([ca]), expected_signatures=signatures, now=NOW
    )
    assert result.ok, result
    assert len(result.signatures) == signatures
    assert result.evidence is not None
    assert result.evidence.verdict.word is Word.SUPPRESSED
