"""The words of the verdict, the thresholds that are fixed before the run, and what a verdict says."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from console.domain.results import Evidence

RULES_VERSION = 3


class Word(StrEnum):
    """The closed list of verdicts."""

    NOT_LOCATED = "not located"
    REMOVED = "removed"
    NOT_FOUND = "not found any more"
    SUPPRESSED = "suppressed"
    RESIDUAL = "residual"
    FAILED = "failed"
    UTILITY_LOST = "utility lost"


class ComparedWith(StrEnum):
    """What a model that does not know the data was stood in for by."""

    SNAPSHOT = "the model from before the training"
    STRANGERS = "invented people whom nobody taught to the model"


class Thresholds(BaseModel):
    """Fixed and hashed into the ledger before the erasure runs. Defaults live here and nowhere else.

    Attributes:
        power: an attack proves nothing about the erased model unless it found at least this share of
            the facts in the model before (seeds row 31: a positive control below 50 % is "not powered").
        minimum_attempts: fewer attempts than this carry no claim.
        failed_share: ordinary questions bringing back at least this share of what they brought before.
        kept_share: other people's facts that must survive.
        perplexity_ratio: most that held-out general text may become less likely.
        rules: version of the rules that the plan was fixed for; the following are version 3's.
        margin: a fact that one way of asking brings back this much more often than the reference is a leak that a
            run must be able to exclude; of the deeper kinds of evidence, the mean over the request's facts.
        fact_margin: for deeper kinds of evidence, the same of each single fact over all attacks of the kind.
        area_margin: the same for areas under a curve, to either side.
        kept_floor: share of other people's facts that must be shown to survive (lower end of the interval).
        draws: fresh draws for a fact that an attack hit, on every model that is compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    power: str = "0.50"
    minimum_attempts: int = Field(default=10, ge=1)
    failed_share: str = "0.50"
    kept_share: str = "0.95"
    perplexity_ratio: str = "1.10"
    rules: int = Field(default=2, ge=1, le=RULES_VERSION, exclude_if=lambda value: value == 2)
    margin: str = Field(default="", exclude_if=lambda value: not value)
    fact_margin: str = Field(default="", exclude_if=lambda value: not value)
    area_margin: str = Field(default="", exclude_if=lambda value: not value)
    kept_floor: str = Field(default="", exclude_if=lambda value: not value)
    draws: int = Field(default=0, ge=0, exclude_if=lambda value: not value)

    @classmethod
    def current(cls) -> Thresholds:
        """What a plan is fixed with now."""
        return cls(
            rules=RULES_VERSION, margin="0.30", fact_margin="0.50", area_margin="0.25", kept_floor="0.60", draws=240
        )


class Verdict(BaseModel):
    """A word, the rule that gave it, and why, in sentences for the officer.

    Attributes:
        reasons: what decided it.
        caps: evidence that is missing or weak and therefore forbids a better word.
        not_counted: attacks that carried nothing, and why; others of their kind did.
        compared_with: what stood for a model that never knew the data (from version 3 on).
        excluded: for each kind of evidence the smallest leak that the run excludes with 95 % confidence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    word: Word
    rule: str
    rules_version: int = RULES_VERSION
    reasons: tuple[str, ...]
    caps: tuple[str, ...] = ()
    not_counted: tuple[str, ...] = ()
    compared_with: ComparedWith | None = Field(default=None, exclude_if=lambda value: value is None)
    excluded: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)


EVIDENCE_WORDS = {
    Evidence.ASKED: "ordinary questions",
    Evidence.ELICITED: "questions asked with effort",
    Evidence.INSIDE: "a look inside the model",
    Evidence.MEMBERSHIP: "membership inference",
    Evidence.DISTURBED: "changing the weights (relearning, quantisation, noise)",
}
