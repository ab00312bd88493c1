"""Which encoding of Latin letters a file has, by the letters that a language of it writes.

A few names are too short for statistics: in Windows-1252 a Polish ``Łódź`` reads as ``£ódŸ``, which is made of ordinary
signs. But no language writes a pound sign inside a word, or has both letters that ``Zamość`` turns into.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

# The letters beyond ASCII of each encoding's languages; letters that hardly occur are left out, because they are what
# the names of another language turn into.
_ALPHABETS: dict[str, tuple[str, ...]] = {
    "cp1252": (
        "äöüß", "àâçéèêëîïôœùûü", "áéíñóúü", "áâãàçéêíóôõúü", "àèéìòù", "åäöéü", "æøåéöäü", "áæéðíóöúýþ", "ëïéèöüáó",
        "äöõüšž",
    ),
    "cp1250": ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž", "ăâîşţ"),
    "cp1254": ("çğıöşüâîû",),
    "cp1257": ("āčēģīķļņšūž", "ąčęėįšųūž", "äöõüšž"),
    "cp850": ("äöüß", "àâçéèêëîïôùûü", "áéíñóúü", "àèéìòù", "åäöéü", "æøåéöäü"),
    "cp852": ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áéíóöőúüű", "čćđšž"),
    "mac-roman": ("äöüß", "àâçéèêëîïôœùûü", "áéíñóúü", "àèéìòù", "åäöéü", "æøåéöäü"),
}  # fmt: skip
LATIN = tuple(_ALPHABETS)
_BETWEEN_WORDS = "\u00a0–—‘’‚“”„…«»‹›€£§°¿¡·•©®™º²³½"
_WORD = re.compile(r"[^\s!-/:-@\[-`{-~]+")  # between blanks and the punctuation of ASCII
_LINES, _LONGEST_LINE = 200, 2_000  # looked at for a sample


def likeliest_latin(data: bytes, preferred: str) -> str:
    """The encoding of :data:`LATIN` in which the fewest signs belong to no one language.

    Args:
        preferred: what is taken where several are as good.
    """
    order = sorted(LATIN, key=lambda name: name != preferred)
    return min(order, key=lambda name: _strange(data, name))


def telling_word(text: str) -> str:
    """The word with most letters beyond ASCII, by which a person sees whether a text was read rightly; or nothing."""
    return max(_foreign_words(text), key=_foreign, default="")


def _foreign_words(text: str) -> Iterator[str]:
    lines = (line[:_LONGEST_LINE] for line in text.split("\n") if not line.isascii())
    for _, line in zip(range(_LINES), lines, strict=False):
        yield from (word for word in _WORD.findall(line) if not word.isascii())


def _foreign(word: str) -> int:
    return sum(not sign.isascii() for sign in word)


def _strange(data: bytes, encoding: str) -> float:
    """How many signs belong neither to the likeliest language of this encoding nor between words."""
    try:
        words = [word for word in _WORD.findall(data.decode(encoding)) if not word.isascii()]
    except UnicodeDecodeError:
        return float("inf")
    signs = [sign for word in words for sign in _inner(word) if not sign.isascii()]
    jumps = sum(before.islower() and sign.isupper() for word in words for before, sign in itertools.pairwise(word))
    return jumps + min(sum(sign.lower() not in letters for sign in signs) for letters in _ALPHABETS[encoding])


def _inner(word: str) -> str:
    """A word without the signs that may stand before, after and, as an apostrophe, in it."""
    return word.strip(_BETWEEN_WORDS).replace("’", "")
