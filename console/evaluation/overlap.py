"""How much of a text another text repeats: word by word (ROUGE, BLEU) and token by token (memorisation)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Overlap:
    """Shares in [0, 1]: of the reference that is repeated, and of the text that repeats."""

    recall: float
    precision: float

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision; 0 where nothing overlaps."""
        both = self.recall + self.precision
        return 2 * self.recall * self.precision / both if both else 0.0


def _overlap(shared: int, text: Sequence[str], reference: Sequence[str]) -> Overlap:
    return Overlap(shared / len(reference) if reference else 0.0, shared / len(text) if text else 0.0)


def rouge_l(text: str, reference: str) -> Overlap:
    """ROUGE-L: the longest common subsequence of words, of the reference's words and of the text's.

    Lin 2004, ROUGE, the sentence-level form of ROUGE-L with beta = 1. Lower-cased runs of letters, digits and
    underscores, no stemming: equal to the package ``rouge-score`` without its stemmer on plain ASCII. MUSE scores that
    way; TOFU's own script stems, so its ROUGE can be a little higher.
    """
    said, wanted = _words(text), _words(reference)
    return _overlap(longest_common_subsequence(said, wanted), said, wanted)


def rouge_l_recall(text: str, reference: str) -> float:
    """Share of the reference's words that ``text`` repeats in order (ROUGE-L recall, Lin 2004).

    Lower-cased runs of letters and digits, no stemming. An empty reference has recall 0.
    """
    return rouge_l(text, reference).recall


def rouge_1(text: str, reference: str) -> Overlap:
    """ROUGE-1: words in common in any order, each counted as often as both hold it (Lin 2004, ROUGE-N with n = 1)."""
    said, wanted = _words(text), _words(reference)
    return _overlap(_clipped_matches(said, wanted, 1), said, wanted)


def n_grams(tokens: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    """Every run of ``n`` neighbouring tokens, in order; none where there are fewer than ``n``."""
    if n < 1:
        raise ValueError(f"an n-gram has at least one token, not {n}")
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def _clipped_matches(tokens: Sequence[Hashable], reference: Sequence[Hashable], n: int) -> int:
    return (Counter(n_grams(tokens, n)) & Counter(n_grams(reference, n))).total()


def bleu(tokens: Sequence[Hashable], reference: Sequence[Hashable], max_n: int = 4) -> float:
    """BLEU in [0, 1] of one tokenised text against one reference.

    Papineni et al. 2002, section 2.3: brevity penalty min(1, exp(1 - r/c)) times the geometric mean of the
    clipped n-gram precisions, n = 1..``max_n``, without smoothing: one precision of 0, or a text
    shorter than ``max_n``, makes the whole 0.
    """
    matches = [_clipped_matches(tokens, reference, n) for n in range(1, max_n + 1)]
    if not matches or 0 in matches:
        return 0.0
    logs = [math.log(hit / (len(tokens) - n)) for n, hit in enumerate(matches)]
    return math.exp(min(0.0, 1 - len(reference) / len(tokens)) + math.fsum(logs) / max_n)


def _check_aligned(predicted: Sequence[int], reference: Sequence[int]) -> None:
    if not reference or len(predicted) != len(reference):
        raise ValueError("memorisation compares one predicted token for every token of a reference, at least one")


def exact_memorisation(predicted: Sequence[int], reference: Sequence[int]) -> float:
    """Share of positions whose most likely token is the true one (EM; Tirumala et al. 2022).

    Args:
        predicted: (time,) arg-max token ids, each given the *true* tokens before it.
        reference: (time,) true token ids of the answer.

    Raises:
        ValueError: no token, or unequal lengths.
    """
    _check_aligned(predicted, reference)
    return sum(guess == true for guess, true in zip(predicted, reference, strict=True)) / len(reference)


def extraction_strength(predicted: Sequence[int], reference: Sequence[int]) -> float:
    """1 - k/L, k the shortest true prefix after which every arg-max token is right (ES).

    Carlini et al. 2021 as used by Wang et al. 2025 (arXiv 2406.09179) and open-unlearning, over (time,) token ids as in
    :func:`exact_memorisation`. A row whose last token is wrong has k = L and strength 0: the loop of open-unlearning
    stops at L - 1 and gives such a miss 1/L.

    Raises:
        ValueError: no token, or unequal lengths.
    """
    _check_aligned(predicted, reference)
    cut = len(reference)
    while cut and predicted[cut - 1] == reference[cut - 1]:
        cut -= 1
    return 1 - cut / len(reference)
