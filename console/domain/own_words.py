"""Whether a text that somebody typed tells what a request is about: the person's name, or one of the facts.

Words that pass this test can still be personal (a neighbour's name), so it decides only what may be shown in addition
and never replaces sealing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import regex

from console.domain.forget_set import ForgetItem

_SHORTEST_NAME_PART = 3  # signs; "de" and "El" stand in many sentences
_SHORTEST_PART_IN_A_NAME = 4  # a model may be called "ann-v2" for "artificial neural network"
_SHORTEST_ANSWER = 3
_ADDRESS_OR_NUMBER = regex.compile(r"\S@\S|\d(?:[\s./()-]?\d){4,}")  # a mail address; five digits or more


def tells_of(text: str, items: Iterable[ForgetItem]) -> bool:
    """Whether ``text`` holds the name of a person of ``items``, a part of it, an answer, or any address or number."""
    folded = _folded(text)
    return bool(_ADDRESS_OR_NUMBER.search(folded)) or any(_holds(folded, word) for word in _words(items))


def names_someone(text: str, items: Iterable[ForgetItem]) -> bool:
    """Whether a name that somebody chose (of a model, a file, a setting) holds the name of a person of ``items``."""
    folded = _folded(text)
    names = {_folded(name) for item in items for name in (item.subject, *item.aliases)}
    parts = {part for name in names for part in name.split() if len(part) >= _SHORTEST_PART_IN_A_NAME}
    return any(_holds(folded, word, letters=r"\p{L}") for word in names | parts)


def _words(items: Iterable[ForgetItem]) -> set[str]:
    words: set[str] = set()
    for item in items:
        for name in (item.subject, *item.aliases):
            folded = _folded(name)
            words |= {folded, *(part for part in folded.split() if len(part) >= _SHORTEST_NAME_PART)}
        words |= {answer for text in item.answers if len(answer := _folded(text)) >= _SHORTEST_ANSWER}
    return words


def _holds(folded: str, word: str, letters: str = r"\w") -> bool:
    # No letter or digit may touch it: "Ann" does not stand in "planned". Scripts without blanks have no such edges.
    edges = word.isascii()
    found = rf"(?<!{letters}){regex.escape(word)}(?!{letters})" if edges else regex.escape(word)
    return bool(regex.search(found, folded))


def _folded(text: str) -> str:
    """In one case and without accents, because people leave them out: ``Márquez`` and ``marquez`` are one name."""
    signs = unicodedata.normalize("NFKD", text).casefold()
    return " ".join("".join(sign for sign in signs if not unicodedata.combining(sign)).split())
