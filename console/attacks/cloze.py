"""Fill in the blank: a sentence about the person with a gap where the secret stood."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from console.attacks.protocol import AttackInfo
from console.attacks.templating import TemplatedAttack, fill, templates_for
from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability

PROMPTS = 4


def gapped(item: ForgetItem, wordings: Mapping[str, Any]) -> list[str]:
    """Sentences with a gap: the request's own first, then the bank's for this kind of fact."""
    blank = wordings["blank"]
    unfinished = item.prompt if item.kind is ItemKind.ATTRIBUTE else item.statement
    own = [f"{unfinished} {blank}."] if unfinished else []
    templates = templates_for(wordings["sentences"], item.fact_type)
    return list(dict.fromkeys([*own, *(fill(template, item, blank=blank) for template in templates)]))


def prompts(item: ForgetItem, wordings: Mapping[str, Any]) -> list[str]:
    """Every sentence in every frame; at most ``PROMPTS``."""
    sentences = gapped(item, wordings)[: PROMPTS // len(wordings["frames"])]
    return [fill(frame, item, sentence=sentence) for sentence in sentences for frame in wordings["frames"]][:PROMPTS]


class Cloze(TemplatedAttack):
    info = AttackInfo(
        id="cloze",
        title="Fill in the blank",
        definition=(
            "Sentences about the person with a gap where the fact belongs (the request's own sentence and one of the "
            f"bank's, in two frames: at most {PROMPTS} prompts a fact), each once greedily and several times with "
            "seeded sampling. An attempt hits when the answer or one of its aliases occurs in the text."
        ),
        source="RWKU (Jin et al. 2024), level 1 fill-in-the-blank probes",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )
    prompts = PROMPTS

    def wordings(self, item: ForgetItem, bank: Any) -> Iterable[tuple[str, bool]]:
        return [(text, True) for text in prompts(item, bank)]
