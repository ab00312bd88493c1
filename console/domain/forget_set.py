"""What is to be forgotten, and what must survive it.

An item is one fact about one person, in the form in which a model can be asked for it. The subject
must literally occur in what the model reads, because editing methods look for its tokens there and
attacks replace them; a question that only says "she" asks about nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationInfo, field_validator, model_validator

from console.errors import InputError

# The kinds of facts that the product has words for; any other is somebody's own word and may hold anything.
KNOWN_TYPES = frozenset(
    {
        "account", "address", "birthday", "email", "employer", "fact", "iban", "job", "membership", "name", "passage",
        "pet", "phone", "place",
    }
)  # fmt: skip
OTHER_TYPE = "other"


def known_types(counted: Mapping[str, int]) -> dict[str, int]:
    """Counts by kind of fact in which every kind that somebody named themselves is ``other``."""
    known: Counter[str] = Counter()
    for kind, count in counted.items():
        known[kind if kind in KNOWN_TYPES else OTHER_TYPE] += count
    return dict(known)


class ItemKind(StrEnum):
    """How the model is asked.

    - ``qa``: a question and its answer;
    - ``verbatim``: the beginning of a passage and how it goes on;
    - ``attribute``: a sentence that the answer completes.
    """

    QA = "qa"
    VERBATIM = "verbatim"
    ATTRIBUTE = "attribute"


Stripped = Annotated[str, StringConstraints(strip_whitespace=True)]
Named = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Frozen(BaseModel):
    # Validation errors end up in logs, and the input is personal data.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ForgetItem(_Frozen):
    """One fact.

    Attributes:
        id: unique in its set; it may stand in the ledger, so it must not be a name.
        subject: the person, as written in the prompt or the statement.
        aliases: other spellings of the subject; any of them may stand there instead.
        fact_type: what kind of fact it is, such as ``place``, ``phone``, ``job`` or ``passage``.
        prompt: the question, the unfinished sentence, or the beginning of the passage.
        answer: what the model must no longer say; for a passage, its continuation.
        answer_aliases: other ways to say the answer.
        paraphrases: other ways to ask.
        statement: a sentence that ends where the answer starts, such as ``Mira Okonjo's phone number is``.
        perturbed_answers: wrong answers of the same form, for tests that compare likelihoods.

    Blanks at the ends are removed, except in passages, where they are part of the text.
    """

    id: Named
    kind: ItemKind
    subject: Named
    aliases: tuple[Named, ...] = ()
    fact_type: Named = "fact"
    prompt: str
    answer: str
    answer_aliases: tuple[Named, ...] = ()
    paraphrases: tuple[Named, ...] = ()
    statement: str = ""
    perturbed_answers: tuple[Named, ...] = ()

    @field_validator("*")
    @classmethod
    def _can_be_written(cls, value: object, info: ValidationInfo) -> object:
        # JSON can escape half of a sign (a lone surrogate), which no file, hash or tokeniser takes.
        for text in value if isinstance(value, tuple) else (value,):
            if any("\ud800" <= sign <= "\udfff" for sign in str(text)):
                raise ValueError(f"the {info.field_name} holds a sign that is not valid text; write it again")
        return value

    @field_validator("prompt", "answer", "statement")
    @classmethod
    def _without_outer_blanks(cls, text: str, info: ValidationInfo) -> str:
        return text if info.data.get("kind") is ItemKind.VERBATIM else text.strip()

    @field_validator("prompt", "answer")
    @classmethod
    def _not_empty(cls, text: str, info: ValidationInfo) -> str:
        if not text.strip():
            raise ValueError(f"the {info.field_name} is empty; write it down or leave the row out")
        return text

    @model_validator(mode="after")
    def _subject_occurs(self) -> ForgetItem:
        if self.kind is ItemKind.VERBATIM:
            return self
        if not any(name in text for name in (self.subject, *self.aliases) for text in (self.prompt, self.statement)):
            raise ValueError(
                "the subject occurs neither in the prompt nor in the statement; write it there exactly as in the "
                "subject, or add the spelling that is used there to the aliases"
            )
        return self

    @property
    def answers(self) -> tuple[str, ...]:
        """The answer and every other way to say it."""
        return (self.answer, *self.answer_aliases)


class ForgetSet(_Frozen):
    """The facts of one request.

    Raises:
        ValueError: two items have one id.
    """

    items: tuple[ForgetItem, ...]

    @field_validator("items")
    @classmethod
    def _unique_ids(cls, items: tuple[ForgetItem, ...]) -> tuple[ForgetItem, ...]:
        return _with_unique_ids(items)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Every subject once, in the order of the items."""
        return tuple(dict.fromkeys(item.subject for item in self.items))

    @property
    def questions(self) -> tuple[ForgetItem, ...]:
        """The items that have a question; a passage has none."""
        return tuple(item for item in self.items if item.kind is not ItemKind.VERBATIM)

    @property
    def fact_types(self) -> dict[str, int]:
        """Number of items of each kind of fact, in the order in which the kinds first occur."""
        return dict(Counter(item.fact_type for item in self.items))

    def require_nonempty(self) -> ForgetSet:
        """This set, if it holds anything.

        Raises:
            InputError: there is nothing to forget.
        """
        if not self.items:
            raise InputError("There is nothing to erase: add at least one fact to the request.")
        return self


class RetainSet(_Frozen):
    """What must survive: facts of other people, and general texts.

    Raises:
        ValueError: two items have one id.
    """

    items: tuple[ForgetItem, ...]
    general_texts: tuple[str, ...] = ()

    @field_validator("items")
    @classmethod
    def _unique_ids(cls, items: tuple[ForgetItem, ...]) -> tuple[ForgetItem, ...]:
        return _with_unique_ids(items)


def _with_unique_ids(items: tuple[ForgetItem, ...]) -> tuple[ForgetItem, ...]:
    repeated = _repeated(item.id for item in items)
    if repeated:
        raise ValueError(f"the id {repeated[0]!r} is used more than once; give every item its own")
    return items


def _repeated(ids: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(ids).items() if times > 1]
