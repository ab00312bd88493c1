"""Fluency of generated texts without a second model: distinct n-grams, repetition, n-gram entropy.

The tokens are words and single punctuation marks, case kept. ROME and RWKU count ``nltk.word_tokenize`` tokens, which
split contractions, so compare only numbers that were made here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from console.evaluation.measured import Measured, not_measured
from console.evaluation.overlap import n_grams

_TOKEN = re.compile(r"\w+|[^\w\s]")
_ENTROPY_WEIGHTS = ((2, 2 / 3), (3, 4 / 3))


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def distinct_n(texts: Sequence[str], n: int) -> Measured[float]:
    """Distinct n-grams of all texts together, of all their n-grams (Li et al. 2016: distinct-1, distinct-2).

    In (0, 1]; it falls with the amount of text, so compare equal amounts.
    """
    grams = [gram for text in texts for gram in n_grams(_tokens(text), n)]
    return Measured(len(set(grams)) / len(grams)) if grams else not_measured(f"no text has {n} tokens")


def repetition(text: str, n: int) -> Measured[float]:
    """1 - distinct/all n-grams within one text (seq-rep-n, Welleck et al. 2020): 0 none, towards 1 a loop."""
    distinct = distinct_n([text], n)
    return distinct if distinct.value is None else Measured(1 - distinct.value)


def entropy_bits(tokens: Sequence[str], n: int) -> float:
    """Shannon entropy in bits of the n-gram frequencies; 0 where there is no n-gram."""
    counts = np.array(list(Counter(n_grams(tokens, n)).values()), dtype=float)
    if not counts.size:
        return 0.0
    shares = counts / counts.sum()
    # A single n-gram has entropy -(1 log 1), which would be a negative zero.
    return max(0.0, float(-(shares * np.log2(shares)).sum()))


def n_gram_entropy(text: str) -> float:
    """Generation entropy GE in bits: (2/3 H_2 + 4/3 H_3) / 2.

    Meng et al. 2022 (ROME), after Zhang et al. 2018; weights as in ROME's and RWKU's code. RWKU prints
    it times 100. It grows with the length of the text, at most by log2 of its n-grams.
    """
    tokens = _tokens(text)
    return sum(weight * entropy_bits(tokens, n) for n, weight in _ENTROPY_WEIGHTS) / len(_ENTROPY_WEIGHTS)


def mean_n_gram_entropy(texts: Sequence[str]) -> Measured[float]:
    """Arithmetic mean of the generation entropy over texts, in bits."""
    return Measured(float(np.mean([n_gram_entropy(text) for text in texts]))) if texts else not_measured("no texts")
