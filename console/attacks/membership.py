"""Membership inference by Min-K%: does the model recognise the person's texts?

The secret part of each text is scored after its beginning, and the mean of its least likely tokens
is compared with the same score of texts about held-out invented subjects, which no model was taught.
"""

from __future__ import annotations

from collections.abc import Sequence

from console.attacks.protocol import AttackInfo, AttackSettings
from console.attacks.scores import COMPARISON, ScoreAttack, SecretText
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel
from console.evaluation.membership import min_k_score


class Membership(ScoreAttack):
    info = AttackInfo(
        id="membership",
        title="Membership inference",
        definition=f"Min-K%: the mean log-probability of the least likely 40 % of a text's secret tokens. {COMPARISON}",
        source=(
            "Shi et al. 2024, Detecting Pretraining Data from Large Language Models (arXiv 2310.16789); MUSE PrivLeak"
        ),
        access=Access.LOG_PROBABILITIES,
        evidence=Evidence.MEMBERSHIP,
        needs=frozenset({Capability.SCORE}),
    )

    def scores(self, model: LanguageModel, texts: Sequence[SecretText], settings: AttackSettings) -> list[float]:
        scored = model.score([text.request for text in texts])
        return [min_k_score(result.log_probs, settings.min_k) for result in scored]
