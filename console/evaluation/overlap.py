"""How much of a text another text repeats, word by word."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def longest_common_subsequence(left: list[str], right: list[str]) -> int:
    """Length of the longest sequence of words that both texts hold in order."""
    lengths = [0] * (len(right) + 1)
    for word in left:
        diagonal = 0
        for column, other in enumerate(right, start=1):
            above = lengths[column]
            lengths[column] = diagonal + 1 if word == other else max(above, lengths[column - 1])
            diagonal = above
    return lengths[-1]


def rouge_l_recall(text: str, reference: str) -> float:
    """Share of the reference's words that ``text`` repeats in order (ROUGE-L recall, Lin 2004, section 3.1).

    Lower-cased runs of letters and digits, no stemming. An empty reference has recall 0.
    """
    wanted = _words(reference)
    return longest_common_subsequence(_words(text), wanted) / len(wanted) if wanted else 0.0
