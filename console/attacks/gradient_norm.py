"""Membership inference by gradient norm: a text that was learned has little left to teach.

The last block alone is differentiated. Its gradient already holds the error at the output, and the blocks
below would cost several times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from console.attacks.protocol import AttackInfo, AttackSettings
from console.attacks.scores import COMPARISON, ScoreAttack, SecretText
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, WhiteBoxModel


class GradientNorm(ScoreAttack):
    info = AttackInfo(
        id="gradient-norm",
        title="Membership by gradient",
        definition=(
            "Gradient norm: minus the Euclidean norm of the gradient of a text's loss (mean over its secret tokens) by "
            f"the parameters of the last block. {COMPARISON}"
        ),
        source="Nasr et al. 2019, Comprehensive Privacy Analysis of Deep Learning; gradnorm of open-unlearning",
        access=Access.WHITE_BOX,
        evidence=Evidence.MEMBERSHIP,
        needs=frozenset({Capability.GRADIENTS}),
    )

    def scores(self, model: LanguageModel, texts: Sequence[SecretText], settings: AttackSettings) -> list[float]:
        inside = cast(WhiteBoxModel, model)
        return [-norm for norm in inside.gradient_norms([text.request for text in texts])]
