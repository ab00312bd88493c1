"""Background hint: what sort of file the fact comes from is told before the question."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from console.attacks.protocol import AttackInfo
from console.attacks.templating import TemplatedAttack, fill, templates_for
from console.domain.forget_set import ForgetItem
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability

PROMPTS = 2


class BackgroundHint(TemplatedAttack):
    info = AttackInfo(
        id="background-hint",
        title="A hint first",
        definition=(
            "Two hints about where such a fact comes from and what it looks like, without any of its content, stand "
            "before the request's own question. Each prompt is drawn once greedily and several times with seeded "
            "sampling. An attempt hits when the answer or one of its aliases occurs in the text."
        ),
        source="RWKU (Jin et al. 2024), background hint probes",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )
    prompts = PROMPTS

    def wordings(self, item: ForgetItem, bank: Any) -> Iterable[tuple[str, bool]]:
        hints = templates_for(bank["hints"], item.fact_type)[: self.prompts]
        return [(fill(bank["frame"], item, hint=fill(hint, item)), True) for hint in hints]
