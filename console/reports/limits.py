"""The fixed sentences that say what a report shows and what it does not.

Each has an id (``S`` shows, ``N`` does not show), so that counsel can review the wording once and
the report can name it. They are chosen by the verdict word and by the family of the method, because
a retrained model, an edited one and a filtered one leave different doubts.
"""

from __future__ import annotations

from console.domain.verdict import Word
from console.reports.evidence import Limits, Statement

FORBIDDEN_PHRASES = ("compliant", "compliance", "guarantee", "qualified signature")
"""Words no sentence of a report may hold: they promise what a measurement cannot."""

RESERVED_FOR_REMOVED = ("erased", "removed")
"""Words that may be said of the data only under the verdict *removed*."""


def _statement(identifier: str, text: str) -> Statement:
    return Statement(id=identifier, text=text)


_SHOWS_ALWAYS = (
    _statement("S-1", "Which model files were examined, identified by the hash of every file."),
    _statement("S-2", "How often each named attack found the data, as counts with exact 95 % intervals."),
    _statement("S-3", "Which limits the verdict was judged by, and the hash that was taken of them."),
)

_KEPT = _statement("S-REM-2", "That facts of other people and general text stayed within the limits fixed before.")

_SHOWS: dict[Word, tuple[Statement, ...]] = {
    Word.REMOVED: (
        _statement(
            "S-REM-1",
            "That no attack in this report found more in the model after the erasure than in a model that never "
            "had the data.",
        ),
        _KEPT,
    ),
    Word.NOT_FOUND: (
        _statement(
            "S-NFM-1",
            "That no attack in this report found more in the model after the erasure than it finds of invented people "
            "whom nobody taught to it.",
        ),
        _KEPT,
    ),
    Word.SUPPRESSED: (
        _statement("S-SUP-1", "That ordinary questions no longer bring the data back."),
        _statement("S-SUP-2", "Which deeper attacks still find it, or which evidence is missing."),
    ),
    Word.RESIDUAL: (_statement("S-RES-1", "How much of the data ordinary questions still bring back."),),
    Word.FAILED: (_statement("S-FAI-1", "That ordinary questions still bring the data back, and how often."),),
    Word.UTILITY_LOST: (_statement("S-UTI-1", "Which limits on the rest of the model were broken, and by how much."),),
    Word.NOT_LOCATED: (_statement("S-NOT-1", "Which attacks looked for the data and found none of it."),),
}

_DOES_NOT_SHOW_ALWAYS = (
    _statement(
        "N-1",
        "That nobody will ever extract the data. An attack that finds nothing is not proof that nothing is there; "
        "attacks not named here were not tried.",
    ),
    _statement(
        "N-2",
        "Anything about other models, adapters, quantised or merged copies, or copies that were passed on; each "
        "needs its own examination.",
    ),
    _statement("N-3", "Anything about training data, indexes, caches, logs or backups, unless a section names them."),
    _statement(
        "N-4",
        "The true rate for all possible questions. Attempts about one fact depend on each other; the intervals "
        "describe the attempts that were made.",
    ),
    _statement(
        "N-5", "Whether the decision on the request was right in law; that is for the controller to answer for."
    ),
)

_DOES_NOT_SHOW: dict[Word, tuple[Statement, ...]] = {
    Word.REMOVED: (
        _statement(
            "N-REM-1",
            "What happens when the model is trained further. Training on related text may bring a fact back, as it "
            "may teach it to any model.",
        ),
    ),
    Word.NOT_FOUND: (
        _statement(
            "N-NFM-1",
            "That the data has left the weights. Without a model from before the training nobody can see what such a "
            "model would give away; a suppressed fact may come back after further training.",
        ),
    ),
    Word.SUPPRESSED: (
        _statement(
            "N-SUP-1",
            "That the data has left the weights. A suppressed fact may come back after further training, after a "
            "change of number format, or under an attack that was not tried.",
        ),
    ),
    Word.RESIDUAL: (_statement("N-RES-1", "That the part which was not found in this run cannot be found at all."),),
    Word.FAILED: (_statement("N-FAI-1", "That the data cannot be taken out of the model; another method may do it."),),
    Word.UTILITY_LOST: (
        _statement(
            "N-UTI-1",
            "That the data has left the model. A model that answers little may look as if it had forgotten.",
        ),
    ),
    Word.NOT_LOCATED: (
        _statement("N-NOT-1", "That the data was never used in training, or that the model never held it."),
        _statement("N-NOT-2", "What the person could name beyond the facts and passages that were searched for."),
    ),
}

_FAMILY: dict[str, Statement] = {
    "exact": _statement(
        "N-EXA-1",
        "That the retained training data is itself free of the person's data; the new training used it as given.",
    ),
    "weights": _statement(
        "N-WEI-1",
        "That the changed weights equal those of a model that never had the data. The method is approximate.",
    ),
    "adapter": _statement(
        "N-ADA-1",
        "Anything about the base model without the adapter. Whoever runs the base model alone runs the model before.",
    ),
    "decoding": _statement(
        "N-DEC-1",
        "Any change in the weights. The method acts on the output only; whoever runs the files without it runs the "
        "model before.",
    ),
}


def limits_for(word: Word, family: str | None) -> Limits:
    """The sentences for one verdict and one family of method.

    Args:
        family: ``exact``, ``weights``, ``adapter`` or ``decoding``; None where nothing was run.

    Raises:
        KeyError: a family that has no reviewed sentence.
    """
    of_family = () if family is None else (_FAMILY[family],)
    return Limits(
        shows=_SHOWS_ALWAYS + _SHOWS[word],
        does_not_show=_DOES_NOT_SHOW_ALWAYS + _DOES_NOT_SHOW[word] + of_family,
    )


_ELSEWHERE = (
    "Other copies of the model on other machines, in backups, caches and quantised or merged derivatives.",
    "Training sets, vector stores, logs and other systems that may hold the person's data.",
)
# What a reader would expect to have been tried, and the attacks that try it.
_KINDS = (
    ("languages other than that of the questions", frozenset({"cross-lingual"})),
    ("questions asked in several steps", frozenset({"stepwise"})),
    ("later training on related text", frozenset({"relearn-tenth"})),
    ("rounding to fewer bits", frozenset({"quantise-int8", "quantise-4bit", "gguf-q8-0", "gguf-q4-k-m"})),
    ("the file in other number formats", frozenset({"gguf-f16", "gguf-q8-0", "gguf-q4-k-m"})),
)


def not_checked(ran: frozenset[str]) -> tuple[str, ...]:
    """What nobody looked at, given the attacks that ran; what they did try is not said to be missing."""
    missing = [kind for kind, attacks in _KINDS if not attacks & ran]
    last = "Attacks that are not named in this report"
    return (*_ELSEWHERE, f"{last}, such as {', '.join(missing)}." if missing else f"{last}.")


def every_statement() -> tuple[Statement, ...]:
    """All fixed sentences, for review and for the test that ids are unique."""
    groups = [_SHOWS_ALWAYS, *_SHOWS.values(), _DOES_NOT_SHOW_ALWAYS, *_DOES_NOT_SHOW.values(), tuple(_FAMILY.values())]
    return tuple(statement for group in groups for statement in group)
