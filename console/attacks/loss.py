"""Membership inference by loss: the oldest and plainest score, how likely the model finds the secret."""

from __future__ import annotations

from collections.abc import Sequence

from console.attacks.protocol import AttackInfo, AttackSettings
from console.attacks.scores import COMPARISON, ScoreAttack, SecretText
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel
from console.evaluation.membership import loss_score


class Loss(ScoreAttack):
    info = AttackInfo(
        id="loss",
        title="Membership by loss",
        definition=f"Loss: the mean log-probability of a text's secret tokens. {COMPARISON}",
        source="Yeom et al. 2018, Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting",
        access=Access.LOG_PROBABILITIES,
        evidence=Evidence.MEMBERSHIP,
        needs=frozenset({Capability.SCORE}),
    )

    def scores(self, model: LanguageModel, texts: Sequence[SecretText], settings: AttackSettings) -> list[float]:
        return [loss_score(result.log_probs) for result in model.score([text.request for text in texts])]
