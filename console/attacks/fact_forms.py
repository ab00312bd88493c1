"""The forms in which a fact is told, made from its kind, so that a request of question and answer alone suffices.

A statement to go on from, a line of a record, other wordings: each is written for a kind of fact. Where nobody has said
the kind, the question tells it. What is made here goes to every attack alike, and strangers' facts get the same, so
that no form tells the person from a stranger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import regex

from console.attacks.protocol import AttackTarget
from console.attacks.templating import fill, section, templates_for
from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.matching import normalise
from console.domain.values import Phone, value_of

SECTION = "fact-forms"
UNTYPED = ForgetItem.model_fields["fact_type"].default
_MOST_WORDS = 4  # of what a question names; more is no name of a kind
_ASKED_OF = regex.compile(r"(?:what|who|which) (?:is|are|was|were) _'?s? (?P<named>[\p{L}\p{N} '-]+)")
_ASKED_THE = regex.compile(r"(?:what|who|which) (?:is|are|was|were) the (?P<named>[\p{L}\p{N} '-]+) of _")
_MAIL = regex.compile(r"\S+@\S+\.\w+")
Forms = Mapping[str, Any]


def kind_of(item: ForgetItem, forms: Forms) -> str:
    """The kind of a fact: the given one under the name that the wordings know, else what question and answer tell.

    A question that names what it asks for ("Who is Mira Okonjo's doctor?") makes a kind of that name.
    """
    if item.fact_type != UNTYPED:
        return _known(item.fact_type, forms) or item.fact_type
    named = _named(item)
    return (named and _known(named, forms)) or _slug(named) or _by_words(item, forms) or _by_value(item) or UNTYPED


def _anonymous(item: ForgetItem) -> str:
    """The question without its person and its last sign."""
    names = sorted((item.subject, *item.aliases), key=len, reverse=True)
    text = regex.sub("|".join(map(regex.escape, names)), "_", item.prompt)
    return text.replace("\u2019", "'").strip(" ?.:").casefold()


def _named(item: ForgetItem) -> str:
    """What a question asks for by name; empty where it names nothing."""
    question = _anonymous(item)
    found = _ASKED_OF.fullmatch(question) or _ASKED_THE.fullmatch(question)
    words = found["named"].split() if found else []
    return " ".join(words) if len(words) <= _MOST_WORDS else ""


def _known(name: str, forms: Forms) -> str:
    """The kind that has this very name among its phrases, or is it."""
    words = normalise(name.replace("-", " ").replace("_", " "))
    return next((kind for kind, phrases in forms["phrases"].items() if words in (kind, *phrases)), "")


def _slug(named: str) -> str:
    return named.replace(" ", "-")


def _by_words(item: ForgetItem, forms: Forms) -> str:
    """The first kind of which the question holds all words of one phrase."""
    words = set(normalise(_anonymous(item)).split())
    phrases = ((kind, set(phrase.split())) for kind, listed in forms["phrases"].items() for phrase in listed)
    return next((kind for kind, wanted in phrases if wanted <= words), "")


def _by_value(item: ForgetItem) -> str:
    answer = item.answer.strip()
    if _MAIL.fullmatch(answer):
        return "email"
    # Other long numbers may be anything, and so may a date.
    return "phone" if answer.startswith(("+", "0")) and isinstance(value_of(answer), Phone) else ""


def completed(item: ForgetItem, forms: Forms) -> ForgetItem:
    """The fact with its kind and, where the request gives none, a statement of that kind.

    An answer that is a sentence by itself continues none.
    """
    if item.kind is ItemKind.VERBATIM:
        return item
    typed = item.model_copy(update={"fact_type": kind_of(item, forms)})
    if item.statement or typed.fact_type == UNTYPED or _is_sentence(item):
        return typed
    return typed.model_copy(update={"statement": fill(templates_for(forms["sentences"], typed.fact_type)[0], typed)})


def _is_sentence(item: ForgetItem) -> bool:
    return any(name in item.answer for name in (item.subject, *item.aliases))


def record(item: ForgetItem, forms: Forms) -> str:
    """A record up to the line with the fact ("Name: Mira Okonjo", "Phone:"); empty for a fact of no kind."""
    if item.kind is ItemKind.VERBATIM or item.fact_type == UNTYPED or _is_sentence(item):
        return ""
    label = fill(templates_for(forms["labels"], item.fact_type)[0], item)
    return fill(forms["record"], item, label=label[:1].upper() + label[1:])


def with_forms(target: AttackTarget) -> AttackTarget:
    """The target with every fact completed: the request's, the strangers' and other people's."""
    if SECTION not in target.bank.sections:
        return target
    forms = section(target, SECTION)
    items, controls, retain = (
        tuple(completed(item, forms) for item in items) for items in (target.items, target.controls, target.retain)
    )
    return replace(target, items=items, controls=controls, retain=retain)
