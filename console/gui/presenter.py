"""What the pages say, in words and without Qt: states, dates, verdicts, models, methods, the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import entry_points

from console.casework.models import model_state
from console.casework.office import Office
from console.casework.recipes import runnable_recipes
from console.casework.requests import request_state
from console.casework.story import TimelineLine
from console.casework.views import CasePage, InboxLine, ModelLine
from console.domain.advice import (
    DEFAULT_FOR_EXPERTS,
    SOFTMAX_ROUTERS,
    MethodBenchmark,
    benchmark_sentence,
    default_method,
    is_mixture,
)
from console.domain.case_state import MODELS
from console.domain.deadline import Urgency, day_text
from console.domain.events import ErasureRun
from console.domain.exports import ExportForm
from console.domain.recipes import Recipe
from console.domain.request_terms import RequestStatus
from console.domain.verdict_terms import Word
from console.domain.verdict_words import WORDS
from console.domain.visible import visible
from console.gui.tones import Mark, Tone

S = RequestStatus

_URGENCY = {
    Urgency.ON_TRACK: Mark("clock", Tone.PLAIN),
    Urgency.DUE_SOON: Mark("soon", Tone.WARN),
    Urgency.CRITICAL: Mark("soon", Tone.BAD),
    Urgency.OVERDUE: Mark("overdue", Tone.BAD),
    Urgency.PAUSED: Mark("pause", Tone.INFO),
    Urgency.ANSWERED: Mark("done", Tone.QUIET),
    Urgency.UNKNOWN: Mark("failed", Tone.BAD),
}
_SPOKEN_URGENCY = {Urgency.DUE_SOON: "Due soon", Urgency.CRITICAL: "Critical"}
PRESSING = frozenset({Urgency.DUE_SOON, Urgency.CRITICAL, Urgency.OVERDUE, Urgency.UNKNOWN})

_BUSY = frozenset({S.LOCATING, S.RUNNING, S.VERIFYING, S.PLANNED, S.APPROVED_TO_RUN})
_SETTLED = frozenset(
    {S.VERIFIED, S.REPORT_DRAFT, S.REPORT_SIGNED, S.REPORT_COUNTERSIGNED, S.RECIPIENTS_NOTIFIED}
    | {S.SUBJECT_INFORMED, S.CLOSED}
)
_TROUBLED = frozenset({S.RESIDUAL, S.FAILED})
_JUDGED = frozenset({S.VERIFIED, S.RESIDUAL, S.FAILED, S.NO_MATCH})  # the verdict is in, and nothing was done since
_WAITING = frozenset({S.IDENTITY_PENDING, S.ON_HOLD})
_ENDED = frozenset({S.REFUSED, S.WITHDRAWN, S.DUPLICATE, S.SUPERSEDED, S.NO_MATCH})


def status_mark(line: InboxLine) -> Mark:
    """Icon and tone of a case's state; a case whose verdict is in looks as its verdict does, whatever was signed."""
    return _STOPPED if line.is_stopped else state_mark(line.status, line.verdict)


def standing(line: InboxLine) -> str:
    """The state with the verdict, where there is one: ``Report signed · suppressed``."""
    if not _shows_verdict(line.status, line.verdict):
        return line.status_text
    return f"Verdict: {line.verdict}" if line.status in _JUDGED else f"{line.status_text} · {line.verdict}"


def _shows_verdict(status: RequestStatus, verdict: str | None) -> bool:
    return verdict is not None and status in _SETTLED | _JUDGED


def state_mark(status: RequestStatus, verdict: str | None) -> Mark:
    """Icon and tone of a state and the verdict reached; green is for *removed* alone."""
    if _shows_verdict(status, verdict):
        return verdict_words(str(verdict)).mark
    groups = (
        (_BUSY, Mark("running", Tone.INFO)),
        (_SETTLED, Mark("done", Tone.QUIET)),
        (_TROUBLED, Mark("failed", Tone.BAD)),
        (_WAITING, Mark("pause", Tone.WARN)),
        (_ENDED, Mark("done", Tone.QUIET)),
    )
    return next((mark for states, mark in groups if status in states), Mark("open-circle", Tone.PLAIN))


_STOPPED = Mark("pause", Tone.WARN)


def due_mark(urgency: Urgency) -> Mark:
    """Icon and tone of a due date."""
    return _URGENCY[urgency]


def due_words(line: InboxLine) -> str:
    """The due date with its urgency in words, so that the colour says nothing of its own."""
    spoken = _SPOKEN_URGENCY.get(line.urgency)
    text = line.due_text[:1].upper() + line.due_text[1:]
    return f"{spoken} · {text}" if spoken else text


# -- the inbox ------------------------------------------------------------------------------


class Drawer(StrEnum):
    """Which requests the inbox shows."""

    DUE_SOON = "Due soon"
    OPEN = "Open"
    ALL = "All"


def in_drawer(line: InboxLine, drawer: Drawer) -> bool:
    """Whether the request lies in the drawer."""
    if drawer is Drawer.DUE_SOON:
        return line.urgency in PRESSING
    return drawer is Drawer.ALL or line.urgency is not Urgency.ANSWERED


def matches(line: InboxLine, search: str) -> bool:
    """Whether every word of the search stands somewhere in the line."""
    text = " ".join(
        (line.number, line.person, standing(line), due_words(line), line.next_step, line.summary)
    ).casefold()
    return all(word in text for word in search.casefold().split())


# -- dates ----------------------------------------------------------------------------------


def local_day(at: datetime) -> str:
    """The civil day of a moment in the office's time zone, such as ``Friday 28 February 2025``."""
    return day_text(at.date())


def local_time(at: datetime) -> str:
    """The time of a moment in the office's time zone, ``09:12``."""
    return f"{at:%H:%M}"


def technical_line(line: TimelineLine) -> str:
    """What an engineer needs to find the entry again."""
    return f"#{line.seq} · {line.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} · {line.actor} · {line.hash}"


def days_of(lines: tuple[TimelineLine, ...]) -> Iterator[tuple[str, list[TimelineLine]]]:
    """The story by civil day, the newest day and entry first."""
    day, entries = "", list[TimelineLine]()
    for line in reversed(lines):
        if local_day(line.at) != day:
            if entries:
                yield day, entries
            day, entries = local_day(line.at), []
        entries.append(line)
    if entries:
        yield day, entries


# -- verdicts -------------------------------------------------------------------------------


@dataclass(frozen=True)
class VerdictWords:
    """A verdict for the officer: title, what it means, and how it looks."""

    title: str
    meaning: str
    mark: Mark


def verdict_words(word: str) -> VerdictWords:
    """The officer's words for a verdict of the closed list."""
    entry = WORDS[Word(word)]
    return VerdictWords(entry.title, entry.short, Mark(entry.mark, Tone(entry.tone)))


def reach_words(word: Word, why: str) -> str:
    """What an erasure can be called at best after a search, before it begins."""
    return f"The best that an erasure can be called after this search is “{WORDS[word].title}”: {why}"


# -- models and methods ---------------------------------------------------------------------


def artefact_words(line: ModelLine) -> tuple[str, str, Tone]:
    """What the attacks said of an erased model: word, icon and tone."""
    if line.verdict is None:
        return "Not attacked yet", "open-circle", Tone.WARN
    words = verdict_words(line.verdict)
    return words.title, words.mark.icon, words.mark.tone


def model_role(line: ModelLine, lines: list[ModelLine]) -> str:
    """What a model is in the office, in a few words; whether it is in use, nobody has recorded."""
    if line.artefact_of:
        return f"Erased for {line.artefact_of}"
    if any(other.snapshot == line.name for other in lines):
        return "From before the training"
    return "Original"


_FORMATS = {
    ExportForm.GGUF: "GGUF file",
    ExportForm.ADAPTER: "GGUF adapter",
    ExportForm.SAFETENSORS: "safetensors folder",
}


def format_words(form: str) -> str:
    """What a model's files are; a format that is not known keeps its name."""
    return _FORMATS[ExportForm(form)] if form in set(ExportForm) else form


def file_words(office: Office, name: str) -> str:
    """A model with its format, ``“assistant” (GGUF file, Q4_1)``."""
    identity = model_state(office, name)["identity"]
    return f"“{name}” ({format_words(identity['format'])}, {identity['quantisation']})"


def breakable(text: str) -> str:
    """A text whose hashes and paths may go on in the next line: a zero-width space every eight signs."""
    words = (
        "\u200b".join(word[at : at + 8] for at in range(0, len(word), 8)) if len(word) > 40 else word
        for word in text.split(" ")
    )
    return " ".join(words)


def size_words(parameters: int) -> str:
    """Number of parameters, ``135 million``."""
    if parameters >= 1_000_000_000:
        return f"{parameters / 1_000_000_000:.1f} billion"
    return f"{max(1, round(parameters / 1_000_000))} million"


@dataclass(frozen=True)
class MethodCard:
    """An erasure method as advice.

    Attributes:
        time: how long it took here, or that nobody has measured it.
        title: in the officer's words.
        missing: why it cannot be used on this model, or empty.
        technical: its name, its claim and what the benchmark found of it, for the engineer.
        stages: what a recipe does one after the other; empty for a single method.
    """

    id: str
    title: str
    summary: str
    technical: str
    missing: str = ""
    time: str = "How long it takes on this model has not been measured."
    stages: tuple[str, ...] = ()


# The methods say this of themselves, too, but reading it there would import torch into the window.
# tests/gui/test_presenter.py holds the two together.
_METHODS = {
    "distill-delete": MethodCard(
        "distill-delete",
        "Teach the model what one that never knew would say",
        "Trains the model, inside and in its answers, towards one that never saw the data.",
        "distill-delete · distillation to the model from before the training · may reach at most: removed",
    ),
    "layer-regression": MethodCard(
        "layer-regression",
        "Put every layer back to before the training, for this person only",
        "Computes each layer anew: the person's texts as before the training, all others as now.",
        "layer-regression · least squares to the model from before the training · may reach at most: removed",
    ),
    "ce-u": MethodCard(
        "ce-u",
        "Teach the model what it would say without the answer",
        "Trains the model towards its own next-best words wherever it would give the person's answer.",
        "ce-u · cross-entropy unlearning · may reach at most: removed",
    ),
    "retrain": MethodCard(
        "retrain",
        "Train again without the person",
        "The surest: the new model never sees the person's data.",
        "retrain · exact unlearning · may reach at most: removed",
    ),
    "uoe": MethodCard(
        "uoe",
        "Unlearn the one expert that the person's data goes to",
        "For a mixture of experts: makes the answers unlikely in one expert and holds the router that chooses it.",
        "uoe · single-expert unlearning · may reach at most: removed",
    ),
}
# What they do at a desk rests on the model from before the training; the engineer may run the first one without.
_LEARN_FROM_BEFORE = {"distill-delete", "layer-regression", "retrain"}
_REACH_EXPERTS = {"retrain", "uoe"}
_METHOD_GROUP = "erasure_console.methods"


def _missing(methods: Sequence[str], has_snapshot: bool, architecture: str) -> str:
    """Why a method, or a recipe of these, cannot be used, or empty."""
    if DEFAULT_FOR_EXPERTS in methods and architecture not in SOFTMAX_ROUTERS:
        return "This model chooses among its experts in a way that the method does not know."
    if is_mixture(architecture) and not _REACH_EXPERTS.issuperset(methods):
        return "This model is a mixture of experts, and the method is not known to change what they hold."
    if _LEARN_FROM_BEFORE.intersection(methods) and not has_snapshot:
        return "This model has no registered version from before the training."
    return ""


def method_cards(
    has_snapshot: bool,
    seconds: Mapping[str, float] | None = None,
    architecture: str = "",
    benchmark: MethodBenchmark | None = None,
) -> tuple[MethodCard, ...]:
    """The methods that an officer may choose: ours that are advised, and those of other packages.

    Args:
        architecture: of the model; in a mixture of experts few methods reach what they hold.
        seconds: how long the last run of a method took on this model, by method.
        benchmark: the office's; the shipped one else.

    Our other methods are for comparison or for the engineer, who gets advice and settings on the command line.
    """
    from console.casework.advice import shipped_benchmark  # the window itself opens without it

    known = benchmark or shipped_benchmark()
    installed = {entry.name: entry.value for entry in entry_points(group=_METHOD_GROUP)}
    cards = [card for name, card in _METHODS.items() if name in installed]
    cards += [
        MethodCard(name, name, "Added by another package; its documentation says what it does.", name)
        for name, place in sorted(installed.items())
        if not place.startswith("console.methods.")
    ]
    cards = [replace(card, technical=f"{card.technical}\n{benchmark_sentence(card.id, known)}") for card in cards]
    mixture = is_mixture(architecture)
    cards = [card for card in cards if mixture or card.id != DEFAULT_FOR_EXPERTS]
    offered = default_method(has_snapshot, mixture)
    cards.sort(key=lambda card: card.id != offered)  # the first is the one that is offered
    cards = [replace(card, missing=_missing((card.id,), has_snapshot, architecture)) for card in cards]
    cards += [recipe_card(recipe, has_snapshot, architecture, known) for recipe in runnable_recipes().values()]
    return tuple(_timed(card, seconds or {}) for card in cards)


def recipe_card(recipe: Recipe, has_snapshot: bool, architecture: str, benchmark: MethodBenchmark) -> MethodCard:
    """A recipe as advice: ours, or an office's own."""
    stages = ", then ".join(stage.method for stage in recipe.stages)
    return MethodCard(
        recipe.id,
        visible(recipe.title),
        visible(recipe.summary),
        f"{recipe.id} · a recipe: {stages}\n{benchmark_sentence(recipe.id, benchmark)}",
        missing=_missing(tuple(stage.method for stage in recipe.stages), has_snapshot, architecture),
        stages=tuple(visible(stage.title) or _title_of(stage.method) for stage in recipe.stages),
    )


def _title_of(method: str) -> str:
    return _METHODS[method].title if method in _METHODS else method


def _timed(card: MethodCard, seconds: Mapping[str, float]) -> MethodCard:
    if card.id not in seconds:
        return card
    return replace(card, time=f"Took {time_words(seconds[card.id])} on this model the last time.")


def time_words(seconds: float) -> str:
    """A measured time, ``45 s`` or ``3 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def measured_seconds(office: Office, model: str) -> dict[str, float]:
    """How long the last run of each method took on a model, from the runs that the ledger holds."""
    runs: dict[str, float] = {}
    erased = [state for state in office.ledger.projection(MODELS).values() if state.get("parent") == model]
    for number in sorted({state["artefact_of"] for state in erased if state["artefact_of"]}):
        made = {state["name"] for state in erased if state["artefact_of"] == number}
        for event in office.ledger.events(number):
            if event.kind == ErasureRun.kind and event.body["artefact"] in made:
                runs[event.body["method"]["id"]] = float(event.body["seconds"])
    return runs


# -- the ledger and the case ----------------------------------------------------------------


@dataclass(frozen=True)
class LedgerState:
    """How the record stands; ``trouble`` is empty where it continues as it should."""

    entries: int
    trouble: str


def ledger_state(office: Office) -> LedgerState:
    """Number of entries, and whether the file is the continuation of what was here before."""
    finding = office.ledger.continuity
    return LedgerState(office.ledger.head().size, finding.message if finding is not None else "")


def by_whom(office: Office, line: TimelineLine) -> str:
    """Who did it; people are ids in the record, never names."""
    return "you" if line.actor == office.actor.id else line.actor


def profile_title(office: Office, number: str) -> str:
    """The law that the request's clock follows."""
    profile_id = str(request_state(office, number)["profile_id"])
    profile = office.profiles.get(profile_id)
    return profile.title if profile is not None else profile_id


def report_words(page: CasePage) -> str:
    """How many reports there are, in words."""
    count = len(page.reports)
    return "No report has been written." if not count else f"{count} report{'s' if count > 1 else ''} written."
