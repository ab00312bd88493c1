"""Membership inference by zlib ratio: a likely text counts for less where it would be likely to any model.

The secret's log-likelihood is divided by its compressed length. A short secret compresses to little more
than its own bytes, so for single facts this is nearly the likelihood a byte; passages gain most from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from console.attacks.protocol import AttackInfo, AttackSettings
from console.attacks.scores import COMPARISON, ScoreAttack, SecretText
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel
from console.evaluation.membership import zlib_score


class ZlibRatio(ScoreAttack):
    info = AttackInfo(
        id="zlib",
        title="Membership by likelihood against compression",
        definition=(
            "zlib ratio: the log-likelihood of a text's secret part, divided by the number of bytes to which zlib "
            f"compresses that part. {COMPARISON}"
        ),
        source="Carlini et al. 2021, Extracting Training Data from Large Language Models",
        access=Access.LOG_PROBABILITIES,
        evidence=Evidence.MEMBERSHIP,
        needs=frozenset({Capability.SCORE}),
    )

    def scores(self, model: LanguageModel, texts: Sequence[SecretText], settings: AttackSettings) -> list[float]:
        scored = model.score([text.request for text in texts])
        return [zlib_score(result.log_probs, text.answer) for result, text in zip(scored, texts, strict=True)]
