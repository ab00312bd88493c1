"""Probability delta: watch what each layer makes likelier or less likely.

A layer that an edit taught to suppress an answer must push its probability down, and so names it. As in head
projection, every layer's hidden state goes through the final norm and the unembedding; here the attacker
takes the tokens whose probability changes most from one layer to the next, B of them in all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from console.attacks.asking import Ask, leaking
from console.attacks.head_projection import HeadProjection, candidates, layer_probes
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, WhiteBoxModel


class ProbabilityDelta:
    info = AttackInfo(
        id="probability-delta",
        title="Reading the changes between layers",
        definition=(
            "The hidden state of every layer at the last token before the answer is projected through the final norm "
            "and the output matrix; the tokens whose probability rises or falls most between consecutive layers, B in "
            "all, are the candidates. An attempt hits when the answer's first word token is among them. Answers made "
            "of digits only are left out, because B candidates cover every digit."
        ),
        source="Patil et al. 2024 (arXiv 2309.17410), probability delta attack",
        access=Access.WHITE_BOX,
        evidence=Evidence.INSIDE,
        needs=frozenset({Capability.HIDDEN_STATES}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return settings.head_budget

    def inapplicable(self, target: AttackTarget) -> str | None:
        return HeadProjection().inapplicable(target)

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        inside = cast(WhiteBoxModel, model)
        budget = target.settings.head_budget
        # An attacker who names B tokens names a right one now and then; how often, only many strangers can show, and a
        # stranger costs no more than a place in the forward pass.
        strangers = target.controls if target.settings.prompt_controls else ()
        drawn = (*layer_probes(target.items, control=False), *layer_probes(strangers, control=True))
        probes = [probe for probe in drawn if not leaking(Ask(probe.item, probe.prompt))]
        depth = -(-budget // 2)
        tails = inside.layer_deltas([probe.prompt for probe in probes], [probe.answer for probe in probes], depth)
        for probe, layers in zip(probes, tails, strict=True):
            named = candidates(layers, budget) if layers else ()  # a network of one block has no change to read
            wanted = inside.first_answer_token(probe.prompt, probe.answer)
            yield AttemptRow(
                item_id=probe.item.id,
                prompt_id=probe.prompt.id.replace(HeadProjection.info.id, self.info.id, 1),
                attempt=0,
                hit=wanted in named,
                candidates=len(named),
                control=probe.control,
                shown=probe.prompt.text,
                answer=" ".join(str(token) for token in named),
            )
