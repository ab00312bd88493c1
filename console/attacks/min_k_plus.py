"""Membership inference by Min-K%++: every token is judged against what the model expects at its place.

Where many words could follow, each is unlikely, familiar or not. Min-K%++ measures how far a token's
log-probability lies from the mean of the model's own distribution, in that distribution's deviations.
"""

from __future__ import annotations

from collections.abc import Sequence

from console.attacks.protocol import AttackInfo, AttackSettings
from console.attacks.scores import COMPARISON, ScoreAttack, SecretText
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel
from console.errors import NotPossibleError
from console.evaluation.membership import min_k_plus_score


class MinKPlus(ScoreAttack):
    info = AttackInfo(
        id="min-k-plus",
        title="Membership by standardised log-probabilities",
        definition=(
            "Min-K%++: each secret token's log-probability, minus its mean and divided by its standard deviation under "
            f"the model's own distribution at that place; the mean of the lowest 40 %. {COMPARISON}"
        ),
        source="Zhang et al. 2024, Min-K%++: Improved Baseline for Detecting Pre-Training Data (arXiv 2404.02936)",
        access=Access.LOG_PROBABILITIES,
        evidence=Evidence.MEMBERSHIP,
        needs=frozenset({Capability.SCORE}),
    )

    def scores(self, model: LanguageModel, texts: Sequence[SecretText], settings: AttackSettings) -> list[float]:
        scored = model.score([text.request for text in texts])
        if not all(result.deviations for result in scored):
            raise NotPossibleError(
                "This engine does not say how the probabilities of all tokens are spread, which Min-K%++ needs; "
                "leave that attack out."
            )
        return [
            min_k_plus_score(result.log_probs, result.means, result.deviations, settings.min_k) for result in scored
        ]
