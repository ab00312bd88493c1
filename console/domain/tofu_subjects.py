"""Whom a row of the TOFU benchmark is about.

TOFU rows are a question and an answer without a subject, and the rows of one invented author stand
together. So the author of a row is the full name that occurs in most of the rows around it. Where the
question describes the author instead of naming them ("the author born in Kuwait City on ..."), or names
only a book, those words become an alias, because something in the prompt must stand for the subject.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

# Half of the 20 rows that an author has, to each side.
_WINDOW = 10
# A name that occurs less often in the window is a place or a prize.
_MIN_OCCURRENCES = 3

_CAPITAL = r"[^\W\d_a-z\u00df-\u00f6\u00f8-\u00ff]"
_WORD = rf"{_CAPITAL}[^\W_]*(?:[-'\u2019](?!s\b)[^\W_]+)*"
_PARTICLE = r"(?:de|da|del|di|la|van|von|der|den|bin|ibn|el|al|y|e)"
_NAME = re.compile(rf"{_WORD}(?: (?:{_PARTICLE} )*(?:\(?{_WORD}\)?|\w\.))*")
_QUOTED = re.compile(r"\"([^\"]+)\"|\u201c([^\u201d]+)\u201d|(?<!\w)'((?:[^']|'(?=\w))+)'(?!\w)")
_DESCRIPTION = re.compile(r"\b(?:the|this|an?)\b[^?]*", re.IGNORECASE)
# Capitals that only begin a sentence.
# fmt: off
_OPENERS = frozenset((
    "A", "An", "And", "Are", "As", "At", "Author", "Be", "By", "Can", "Could", "Did", "Do", "Does", "For", "From",
    "Had", "Has", "Have", "Here", "How", "If", "In", "Is", "Name", "No", "Of", "On", "Please", "Should", "Tell",
    "The", "There", "This", "To", "Was", "Were", "What", "When", "Where", "Which", "Who", "Whom", "Whose", "Why",
    "With", "Would", "Yes",
))
# fmt: on
# "The author's favourite theme" is about whoever was spoken of before, and a model is asked without a before.
_POINTS_BACK = re.compile(r"\b(?:author|writer|he|his|him|she|her|they|their|them)\b", re.IGNORECASE)


@dataclass(frozen=True)
class RowSubject:
    """The subject of one row, and the words that stand for it where the question does not name it."""

    name: str
    alias: str = ""


def subjects_of_rows(rows: Sequence[tuple[str, str]]) -> list[RowSubject | None]:
    """The subject of each row (question, answer), in order; None where the question points at nobody."""
    full_names = [_full_names(f"{question} | {answer}") for question, answer in rows]
    return [_subject(question, full_names, index) for index, (question, _) in enumerate(rows)]


def _subject(question: str, full_names: Sequence[frozenset[str]], index: int) -> RowSubject | None:
    around = Counter[str]()
    for names in full_names[max(0, index - _WINDOW) : index + _WINDOW + 1]:
        around.update(names & full_names[index])
    name, occurrences = max(around.items(), key=lambda entry: (entry[1], entry[0]), default=("", 0))
    if occurrences < _MIN_OCCURRENCES:
        anchor = _anchor(question)
        is_named = bool(_names(question) or _QUOTED.search(question))
        return RowSubject(anchor) if anchor and (is_named or not _POINTS_BACK.search(question)) else None
    if name in question:
        return RowSubject(name)
    anchor = _anchor(question)
    return RowSubject(name, anchor) if anchor else None


def _full_names(text: str) -> frozenset[str]:
    """Names of at least two words outside quotation marks."""
    return frozenset(name for name in _names(_QUOTED.sub(" | ", text)) if " " in name)


def _names(text: str) -> list[str]:
    names = []
    for match in _NAME.finditer(text):
        words = match[0].split(" ")
        while words and words[0] in _OPENERS:
            del words[0]
        if words:
            names.append(" ".join(words))
    return names


def _anchor(question: str) -> str:
    """What stands for the subject in a question that does not name it: a title, a name, a description."""
    quoted = _QUOTED.search(question)
    if quoted:
        return next(part for part in quoted.groups() if part)
    names = _names(question)
    description = _DESCRIPTION.search(question)
    if description and any(name in description[0] for name in names):
        return description[0].strip()
    if names:
        return max(names, key=len)
    return description[0].strip() if description else ""
