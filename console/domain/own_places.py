"""Where a model itself puts a fact: a prompt, and the model's own words up to the secret.

A model that answers in whole sentences has its secret in the middle of an answer ("Mira Okonjo lives in Zamosc.").
Whoever looks for it as the answer's first word looks beside it. The places are collected from the model that is
searched, before a suite is bound, and every model is read at the same ones.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

PLACES_VERSION = 2
"""How places are found and made; whoever changes it raises it, because counts are compared at the same places only.

1: the model's own words, and one sentence where it has none. 2: kinds of facts are read off the questions, every fact
of a kind has a statement and a line of a record, and relearning trains at the places, all layers.
"""

MOST_PLACES = 2  # a fact, in the model's words; every place is one more text for each attack that scores


class PlaceSource(StrEnum):
    """Whose words stand before the secret."""

    OWN_WORDS = "own words"  # what the model said of this person
    OTHERS_WORDS = "others' words"  # what it said of somebody else whom it was taught, with the names exchanged
    SENTENCE = "sentence"  # the beginning of an answer to a fact of no kind that the model gave nowhere
    RECORD = "record"  # a line of a record, made from the kind of fact: whatever the model says, it may have read cards


class PlaceCounts(BaseModel):
    """How many facts of a request are read where.

    Attributes:
        facts: that have a question.
        answered_first: that some answer of the model begins with, so that they are read there already.
        own_words, others_words: by whose words stand before the secret.
        sentences: that the model gave nowhere, so that they are read in forms made from the kind of fact alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    facts: int
    answered_first: int
    own_words: int
    others_words: int
    sentences: int

    @property
    def sentence(self) -> str:
        """For whoever reads the report."""
        made = f"{self.others_words} in its words about others, {self.sentences} only in forms for facts of that kind"
        return (
            f"Of {self.facts} facts the model put {self.own_words} in words of its own, and began an answer with "
            f"{self.answered_first}; of the rest, {made}. The attacks that score, rank and look inside read there too."
        )


class OwnPlace(BaseModel):
    """One place of one fact; personal data.

    Attributes:
        prompt: the question or the beginning that the model was given; ``chat`` as in ``Prompt``.
        opening: the model's words up to the secret, with the blank before it.
        answer: the secret as it is spelled there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    prompt: str
    chat: bool
    opening: str
    answer: str
    source: PlaceSource
