"""What a suite says that it may prove is what its attacks give."""

from __future__ import annotations

import pytest

from console.attacks.registry import chosen
from console.domain.results import Evidence
from console.domain.suites import SUITES, SuitePlan


@pytest.mark.parametrize("plan", SUITES.values(), ids=lambda plan: plan.name)
def test_removed_needs_every_kind_of_evidence(plan: SuitePlan) -> None:
    kinds = {attack.info.evidence for attack in chosen(plan.attacks)}
    assert plan.may_remove is (set(Evidence) <= kinds)
