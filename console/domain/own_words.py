"""Whether a text that somebody typed tells what a request is about: the person's name, or one of the facts.

Words that pass this test can still be personal (a neighbour's name), so it decides only what may be shown in addition
and never replaces sealing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

import regex

from console.domain.forget_set import ForgetItem

_SHORTEST_NAME_PART = 3  # signs; "de" and "El" stand in many sentences
_SHORTEST_PART_IN_A_NAME = 4  # a model may be called "ann-v2" for "artificial neural network"
_SHORTEST_ANSWER = 3
_SHORTEST_RUN = 6  # signs that are told inside of other letters: "zamosc" in "myzamosc", and not "bern" in "hibernate"
# Answers and surnames such as "Model" would refuse the names that every model's files have.
_OF_THE_TRADE = frozenset(
    {
        "adapter", "base", "chat", "checkpoint", "config", "data", "erased", "false", "generation", "gguf", "index",
        "instruct", "language", "lora", "merges", "model", "original", "retrained", "safetensors", "special",
        "template", "test", "tokenizer", "tokens", "trained", "training", "transformer", "true", "vocab", "weights",
    }
)  # fmt: skip
_WITHOUT_STROKE = str.maketrans(
    {"\u0142": "l", "\u00f8": "o", "\u0111": "d", "\u0131": "i", "\u00e6": "ae", "\u0153": "oe"}
)
_ADDRESS_OR_NUMBER = regex.compile(r"\S@\S|\d(?:[\s./()-]?\d){4,}")  # a mail address; five digits or more


def tells_of(text: str, items: Iterable[ForgetItem]) -> bool:
    """Whether ``text`` holds the name of a person of ``items``, a part of it, an answer, or any address or number."""
    folded = _folded(text)
    return bool(_ADDRESS_OR_NUMBER.search(folded)) or any(_holds(folded, word) for word in _words(items))


def names_someone(text: str, items: Iterable[ForgetItem]) -> bool:
    """Whether a name that somebody chose (of a model, a file) tells what ``items`` are about: a person or an answer.

    A name is typed without blanks, so a text counts with what stands between its letters and digits taken out:
    ``bobsecretname``, ``bob_secret.name``. Short parts of a name and words of the trade, such as ``base``, do not count
    by themselves, because they would refuse names that are about nobody.
    """
    folded = _folded(text)
    joined = _joined(folded)
    return any(
        word in joined if is_long else _holds(folded, word, edges=r"\p{L}\p{N}" if word.isdigit() else r"\p{L}")
        for word, is_long in _words_in_a_name(items)
    )


def _words_in_a_name(items: Iterable[ForgetItem]) -> Iterator[tuple[str, bool]]:
    """What a chosen name must not hold, and whether it is long enough to be told inside of other letters."""
    for item in items:
        names = [_folded(name) for name in (item.subject, *item.aliases)]
        answers = [_folded(answer) for answer in item.answers]
        parts = {part for name in names for part in name.split()} | set(answers)
        short = {part for part in parts if len(part) >= _SHORTEST_PART_IN_A_NAME} - _OF_THE_TRADE
        yield from ((part, False) for part in short if not part.isdigit() or len(part) >= _SHORTEST_RUN)
        yield from ((name, False) for name in names if name not in _OF_THE_TRADE)
        runs = {_joined(text) for text in (*names, *answers)} - _OF_THE_TRADE
        yield from ((run, True) for run in runs if len(run) >= _SHORTEST_RUN)


def _words(items: Iterable[ForgetItem]) -> set[str]:
    words: set[str] = set()
    for item in items:
        for name in (item.subject, *item.aliases):
            folded = _folded(name)
            words |= {folded, *(part for part in folded.split() if len(part) >= _SHORTEST_NAME_PART)}
        words |= {answer for text in item.answers if len(answer := _folded(text)) >= _SHORTEST_ANSWER}
    return words


def _holds(folded: str, word: str, edges: str = r"\w") -> bool:
    # No letter or digit may touch it: "Ann" does not stand in "planned". Scripts without blanks have no such edges.
    found = rf"(?<![{edges}]){regex.escape(word)}(?![{edges}])" if word.isascii() else regex.escape(word)
    return bool(regex.search(found, folded))


def _joined(folded: str) -> str:
    return regex.sub(r"[^\p{L}\p{N}]+", "", folded)


def _folded(text: str) -> str:
    """In one case and without accents, because people leave them out: ``Márquez`` and ``marquez`` are one name."""
    signs = unicodedata.normalize("NFKD", text).casefold().translate(_WITHOUT_STROKE)
    return " ".join("".join(sign for sign in signs if not unicodedata.combining(sign)).split())
