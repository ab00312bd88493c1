"""What an erasure method may claim, whatever the attacks find."""

from __future__ import annotations

from enum import StrEnum


class Claim(StrEnum):
    """The most a method may ever claim (taxonomy of SoK: Machine Unlearning for LLMs)."""

    EXACT = "exact"
    REMOVAL_INTENDED = "removal intended"
    SUPPRESSION_IN_WEIGHTS = "suppression in weights"
    SUPPRESSION_AT_INFERENCE = "suppression at inference"
    EDIT_REPLACEMENT = "edit replacement"


# Why the word "removed" is out of reach for a method, in the officer's words.
NEVER_REMOVES = {
    Claim.SUPPRESSION_IN_WEIGHTS: (
        "The method teaches the model to withhold the data, not to lose it, so it may claim suppression at most."
    ),
    Claim.SUPPRESSION_AT_INFERENCE: (
        "The method filters what the model says; the data is not removed from the model file."
    ),
    Claim.EDIT_REPLACEMENT: (
        "The method writes something else over the answers and leaves what the model learned around them, so it may "
        "claim suppression at most."
    ),
}
