"""Probability delta: watch what each layer makes likelier or less likely.

A layer that an edit taught to suppress an answer must push its probability down, and so names it. As in head
projection, every layer's hidden state goes through the final norm and the unembedding; here the attacker
takes the tokens whose probability changes most from one layer to the next, B of them in all.
"""

from __future__ import annotations

from collections.abc import Sequence

from console.attacks.head_projection import WHERE_LOOKED, WRONG_ANSWERS, HeadProjection, Probe
from console.attacks.protocol import AttackInfo
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LayerTails, WhiteBoxModel


class ProbabilityDelta(HeadProjection):
    info = AttackInfo(
        id="probability-delta",
        title="Reading the changes between layers",
        definition=(
            f"The hidden state of every layer at the last token before the answer ({WHERE_LOOKED}) is projected "
            "through the final norm and the output matrix; the tokens whose probability rises or falls most between "
            "consecutive layers, B in all, are the candidates. An attempt hits when the answer's first word token is "
            "among them. Answers made of digits only are left out, because B candidates cover every digit. "
            f"{WRONG_ANSWERS}"
        ),
        source="Patil et al. 2024 (arXiv 2309.17410), probability delta attack",
        access=Access.WHITE_BOX,
        evidence=Evidence.INSIDE,
        needs=frozenset({Capability.HIDDEN_STATES}),
    )

    def tails(self, inside: WhiteBoxModel, probes: Sequence[Probe], depth: int) -> list[list[LayerTails]]:
        return inside.layer_deltas([probe.prompt for probe in probes], [probe.answer for probe in probes], depth)
