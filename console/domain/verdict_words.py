"""What each word of the verdict means, how it looks and where it leads: one table for the report and the window."""

from __future__ import annotations

from dataclasses import dataclass

from console.domain.request_terms import RequestStatus
from console.domain.verdict_terms import Word


@dataclass(frozen=True)
class WordEntry:
    """One word of the closed list.

    Attributes:
        meaning: for a reader of the report who knows no statistics.
        short: the same in one line, for the window.
        action: what the officer does next.
        in_weights: what the report's table of places says of the erased model, and why.
        colour, tint: of its chip and of the panel behind it (RGB hex).
        icon: of the report, drawn and not a glyph; ``mark`` and ``tone`` are the window's.
        status: of the request that gets this verdict.
        copy: what happened to the data in the erased model.
    """

    title: str
    meaning: str
    short: str
    action: str
    in_weights: tuple[str, str]
    colour: str
    tint: str
    icon: str
    mark: str
    tone: str
    status: RequestStatus
    copy: str = "retained"


WORDS: dict[Word, WordEntry] = {
    Word.REMOVED: WordEntry(
        title="Removed",
        meaning=(
            "Every attack that was run finds no more of the person's data in this model than in a model that never "
            "had it, and the model still answers what it must."
        ),
        short=(
            "No attack finds more of the person's data than in a model that never had it, and the model still answers "
            "what it must."
        ),
        action="The model may replace the one before. Other copies of the data are a separate matter (see the limits).",
        in_weights=("removed", "No attack finds more than in a model that never knew the data."),
        colour="#1B6B3A",
        tint="#EAF4EE",
        icon="check",
        mark="done",
        tone="good",
        status=RequestStatus.VERIFIED,
        copy="deleted",
    ),
    Word.NOT_FOUND: WordEntry(
        title="Not found any more",
        meaning=(
            "Every attack that was run finds no more of the person's data in this model than of invented people whom "
            "nobody taught to it. There is no model from before the training, so nobody can say that the data is gone."
        ),
        short=(
            "No attack finds more of the person's data than of people whom nobody taught to the model; there was no "
            "model from before the training to compare with."
        ),
        action=(
            "Tell the person that the data is not found any more, and that it could not be compared with a model that "
            "never had it. Register the model from before the training, where it still exists, and attack again."
        ),
        in_weights=("not found any more", "No attack finds more than of invented people; there was nothing else."),
        colour="#2F6D62",
        tint="#EAF3F1",
        icon="half",
        mark="soon",
        tone="warn",
        status=RequestStatus.RESIDUAL,
        copy="suppressed",
    ),
    Word.SUPPRESSED: WordEntry(
        title="Suppressed",
        meaning=(
            "The model no longer gives the person's data when it is asked in the ordinary way. A deeper attack still "
            "finds it, or the evidence is not complete: the data may still be in the model."
        ),
        short="The model no longer gives the data when it is asked, but the data may still be in it.",
        action="Tell the person that the data is held back, not that it is gone, and decide on a stronger method.",
        in_weights=("suppressed", "Ordinary questions find nothing; the data may still be in the weights."),
        colour="#8A5300",
        tint="#FBF3E6",
        icon="half",
        mark="soon",
        tone="warn",
        status=RequestStatus.RESIDUAL,
        copy="suppressed",
    ),
    Word.RESIDUAL: WordEntry(
        title="Residual",
        meaning=(
            "Ordinary questions still bring back part of the person's data, though less than half of what they "
            "brought back before."
        ),
        short="Ordinary questions still bring back part of the data.",
        action="The request is not met by this run. Choose a stronger method or another remedy.",
        in_weights=("still present in part", "Ordinary questions still find part of the data."),
        colour="#A34300",
        tint="#FCEFE6",
        icon="triangle",
        mark="soon",
        tone="warn",
        status=RequestStatus.RESIDUAL,
    ),
    Word.FAILED: WordEntry(
        title="Failed",
        meaning="Ordinary questions still bring back at least half of what they brought back before.",
        short="Ordinary questions still bring back at least half of what they did before.",
        action=(
            "The run did not reach its aim. Keep the model out of service for this purpose and choose another method."
        ),
        in_weights=("still present", "Ordinary questions still find at least half of what they found before."),
        colour="#A01C26",
        tint="#FAEBEC",
        icon="cross",
        mark="failed",
        tone="bad",
        status=RequestStatus.FAILED,
    ),
    Word.UTILITY_LOST: WordEntry(
        title="Utility lost",
        meaning=(
            "The model no longer answers what it must, measured against limits that were fixed before the run. Whether "
            "the person's data can still be found is secondary: this model is not fit for service."
        ),
        short="The model no longer answers what it must; it is not fit for service.",
        action="Do not put this model into service. Repeat the run with a gentler setting or another method.",
        in_weights=("not fit for service", "The limits on the rest of the model are broken."),
        colour="#6A3A93",
        tint="#F3EDF8",
        icon="down",
        mark="failed",
        tone="bad",
        status=RequestStatus.FAILED,
    ),
    Word.NOT_LOCATED: WordEntry(
        title="Not located",
        meaning=(
            "No attack found the person's data in the model as it is, so there was nothing in it to act on. This does "
            "not prove that the data was never used in training."
        ),
        short="No attack found the data in the model, so there was nothing to erase.",
        action=(
            "Tell the person what was looked for and how. Reopen the case when the person can name a passage or a fact."
        ),
        in_weights=("not located", "No attack found the data in the model as it is."),
        colour="#3F5468",
        tint="#EDF1F5",
        icon="search",
        mark="info",
        tone="info",
        status=RequestStatus.NO_MATCH,
    ),
}
