"""No report speaks of an erasure that never was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import WHOLE, Case

from console.casework.case_evidence import outline_report
from console.casework.office import Office
from console.casework.requests import confirm_identity, grant
from console.casework.views import case_page
from console.domain.request_terms import Ground
from console.domain.results import Stage
from console.domain.verdict import Word
from console.errors import NotPossibleError


@pytest.fixture
def case(office: Office, add_request: Callable[..., str], tmp_path: Path) -> Case:
    made = Case(office, add_request(), tmp_path)
    made.register_model(made.model, "a")
    return made


def searched(case: Case, office: Office, hits: dict[str, int]) -> int:
    confirm_identity(office, case.number)
    found = case.searched(hits, WHOLE)
    grant(office, case.number, (Ground.CONSENT_WITHDRAWN,))
    return found


@pytest.mark.parametrize("hits", [{"direct": 20}, {"paraphrase": 20}, {"head-projection": 20}, {"membership": 25}])
def test_data_that_was_found_and_not_erased_has_no_report(case: Case, office: Office, hits: dict[str, int]) -> None:
    searched(case, office, hits)
    with pytest.raises(NotPossibleError, match="an erasure that never was"):
        outline_report(office, case.number)
    assert "found the data" in case_page(office, case.number).blocked["report"]


def test_data_that_was_not_found_has_one(case: Case, office: Office) -> None:
    searched(case, office, {})
    assert outline_report(office, case.number).verdict is Word.NOT_LOCATED
    assert case_page(office, case.number).blocked["report"] == ""


def test_an_erased_and_attacked_model_has_one(case: Case, office: Office) -> None:
    before = searched(case, office, {"direct": 20})
    case.erased(WHOLE)
    case.judged(Word.SUPPRESSED, before, case.searched({}, WHOLE, stage=Stage.AFTER))
    assert case_page(office, case.number).blocked["report"] == ""
