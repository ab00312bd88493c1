"""Which erasure method to take: those that can run in order, each with its reason, and why the others cannot run.

The order is the benchmark's and nobody's taste. First come the methods that fit into the time at hand, and among
them those that the benchmark saw work, by its worst word over all ways of teaching, by on how many people and after
how many ways of teaching it was seen (what one person's erasure shows need not hold for the next), by what they keep of
the rest, by how many attacks still bring the data back, by how many only recognise it, and by their time; then those
that nobody has measured; last those that the benchmark saw leave the data in place or break the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from console.domain.claims import NEVER_REMOVES, Claim
from console.domain.regimes import Regime
from console.domain.verdict import Word
from console.errors import InputError

# What runs where nobody chose, in the command line, the window and the demo: in the shipped benchmark the best method
# that does not train from the beginning, and the best of those that need no model from before the training.
DEFAULT_METHOD = "distill-delete"
DEFAULT_WITHOUT_SNAPSHOT = "ce-u"
DEFAULT_FOR_EXPERTS = "uoe"  # the others leave what the experts of a mixture hold; nobody has benchmarked it yet
AUTO = "auto"

# Mixtures, by their names in configurations and in GGUF files, whose router is one matrix, a softmax and the highest k.
SOFTMAX_ROUTERS = frozenset({"mixtral", "olmoe", "qwen2_moe", "qwen2moe", "qwen3_moe", "qwen3moe"})
_MIXTURES = frozenset({"dbrx", "deepseek2", "deepseek_v2", "deepseek_v3", "gpt-oss", "gpt_oss", "llama4", "mixtral"})

# From best to worst; None is "nobody has measured it", and what comes after it has been seen not to work.
_WORDS = (
    *(Word.REMOVED, Word.NOT_FOUND, Word.SUPPRESSED, None),
    *(Word.RESIDUAL, Word.UTILITY_LOST, Word.NOT_LOCATED, Word.FAILED),
)
_CLAIMS = tuple(Claim)  # strongest first

# Words after which nothing is known to be removed.
_NOT_REMOVED = frozenset({Word.SUPPRESSED, Word.RESIDUAL, Word.UTILITY_LOST, Word.FAILED})

NO_REFERENCE = "There is no model from before the training to compare with, so the best word is 'not found any more'."
NOT_BENCHMARKED = "Not benchmarked: nobody has measured yet how well it does."
OVER_BUDGET = "Over the time budget."


def is_mixture(architecture: str) -> bool:
    """Whether models of this architecture, by its name in a configuration or a GGUF file, have experts.

    Not every name tells (a Mixtral's GGUF file calls itself a llama); the worker looks into the model itself.
    """
    return "moe" in architecture or architecture in _MIXTURES


def default_method(has_snapshot: bool, mixture: bool = False) -> str:
    """The method that runs where nobody chose."""
    if mixture:
        return DEFAULT_FOR_EXPERTS
    return DEFAULT_METHOD if has_snapshot else DEFAULT_WITHOUT_SNAPSHOT


def chosen_method(name: str, has_snapshot: bool, architecture: str) -> str:
    """The method that a person named, or the default where they left the choice open."""
    return default_method(has_snapshot, is_mixture(architecture)) if name == AUTO else name


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BenchmarkedMethod(_Frozen):
    """What a bench found of one method with its default settings.

    Attributes:
        people: who were erased, each alone; all else but ``kept_share`` and ``seconds`` is of the worst of them.
        verdict: the worst word.
        kept_share: facts of other people that are still answered, of those answered before, 0 to 1.
        found_by: attacks that still bring the data back.
        recognised_by: attacks that still recognise the person's texts as training texts, without bringing them back.
        seconds: mean wall time of an erasure on the bench's machine.
        regimes: the worst word in each way of teaching; empty in files from before there were several.
        best: the best word of any erasure; None in files that do not say.
    """

    people: int = Field(default=1, ge=1)
    verdict: Word
    best: Word | None = Field(default=None, exclude_if=lambda value: value is None)
    kept_share: float = Field(ge=0, le=1)
    found_by: int = Field(ge=0)
    recognised_by: int = Field(default=0, ge=0)
    seconds: float = Field(ge=0)
    regimes: dict[Regime, Word] = Field(default={}, exclude_if=lambda value: not value)

    @property
    def never_removed(self) -> bool:
        """Whether no erasure of the benchmark got beyond suppressing the data."""
        return self.best in _NOT_REMOVED


class MethodBenchmark(_Frozen):
    """The results of a bench of erasers, as they are shipped.

    Attributes:
        model, suite, device: what was erased from, what attacked it, and where; empty where nothing was measured.
        facts: of all the people who were erased.
        methods: by id.
    """

    version: Literal[1]
    model: str = ""
    suite: str = ""
    device: str = ""
    facts: int = Field(default=0, ge=0)
    methods: dict[str, BenchmarkedMethod] = {}


@dataclass(frozen=True)
class MethodFacts:
    """What is known of one method for this request, model and machine.

    Attributes:
        refusal: the sentence that says why it cannot run; empty where it can, and then the rest is known.
        steps: planned.
        memory_mb: estimated, beside the model itself.
        seconds: expected for the run, without opening and writing the model, from the first steps on this machine.
        measured: steps that were timed.
        at_least: it was stopped before a step had ended, so the run takes longer than ``seconds``.
        whole: the run was so short that it ended while it was timed.
    """

    id: str
    title: str
    claim: Claim
    refusal: str = ""
    steps: int = 0
    memory_mb: int = 0
    seconds: float = 0.0
    measured: int = 0
    at_least: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Advised:
    """One method with its place in the advice.

    Attributes:
        strongest: the best word that it may reach.
        reasons: why it stands where it stands, in sentences.
        over_budget: it takes longer than the time at hand.
    """

    facts: MethodFacts
    strongest: Word
    time: str
    reasons: tuple[str, ...]
    over_budget: bool


@dataclass(frozen=True)
class Advice:
    """Methods that can run, the best first, and those that cannot."""

    methods: tuple[Advised, ...]
    cannot: tuple[MethodFacts, ...]


def worst(words: Iterable[Word]) -> Word:
    """The last of the words in the order of the advice."""
    return max(words, key=_WORDS.index)


def best(words: Iterable[Word]) -> Word:
    """The first of the words in the order of the advice."""
    return min(words, key=_WORDS.index)


def strongest_word(claim: Claim, has_reference: bool) -> Word:
    """The best verdict that the rules would ever give to a method of this claim."""
    if claim in NEVER_REMOVES:
        return Word.SUPPRESSED
    return Word.REMOVED if has_reference else Word.NOT_FOUND


def duration(seconds: float) -> str:
    """A time as people say it: "under 1 s", "40 s", "12 min", "3.5 h"."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def time_sentence(facts: MethodFacts) -> str:
    """How long a run takes and how that is known."""
    if facts.whole:
        return f"{duration(facts.seconds)} (the whole run was timed)"
    if facts.at_least:
        return f"at least {duration(facts.seconds)} (stopped before its first step had ended)"
    noun = "step" if facts.measured == 1 else "steps"
    return f"about {duration(facts.seconds)} ({facts.measured} {noun} timed)"


def benchmark_sentence(method: str, benchmark: MethodBenchmark) -> str:
    """What the benchmark found of a method, and how the model had been taught."""
    found = benchmark.methods.get(method)
    if found is None:
        return NOT_BENCHMARKED
    several = found.people > 1
    attacks = {0: "no attack", 1: "1 attack"}.get(found.found_by, f"{found.found_by} attacks")
    at_most = "at most " if (several or len(found.regimes) > 1) and found.found_by else ""
    recognised = f", {found.recognised_by} only recognised it" if found.recognised_by else ""
    bench = f"{benchmark.model}, suite {benchmark.suite}" + (f", {found.people} people one by one" if several else "")
    if found.regimes:
        words = ", ".join(f"'{word.value}' where taught by {regime}" for regime, word in found.regimes.items())
    else:
        words = f"'{found.verdict.value}' where taught by {Regime.OFFICE}"
    never = f" There it never got beyond '{found.best}'." if found.never_removed else ""
    return (
        f"On the benchmark ({bench}) it reached {'at worst ' if several else ''}{words}: "
        f"{at_most}{attacks} still brought the data back{recognised}, and {found.kept_share:.0%} of other people's "
        f"facts were kept.{never}"
    )


def _claim_sentences(claim: Claim, has_reference: bool) -> tuple[str, ...]:
    if claim in NEVER_REMOVES:
        return (NEVER_REMOVES[claim],)
    return () if has_reference else (NO_REFERENCE,)


def advise(
    facts: Iterable[MethodFacts],
    benchmark: MethodBenchmark,
    has_reference: bool,
    budget_minutes: float | None = None,
) -> Advice:
    """Put the methods into the order in which they should be tried.

    Args:
        has_reference: there is a model that never knew the data to compare with.
        budget_minutes: time at hand; None where there is no limit.

    Raises:
        InputError: a time budget that is none.
    """
    if budget_minutes is not None and not budget_minutes > 0:
        raise InputError("The time budget must be more than 0 minutes; give more, or leave it out.")

    def advised(one: MethodFacts) -> Advised:
        over = budget_minutes is not None and one.seconds > budget_minutes * 60
        reasons = (
            *((OVER_BUDGET,) if over else ()),
            benchmark_sentence(one.id, benchmark),
            *_claim_sentences(one.claim, has_reference),
        )
        return Advised(one, strongest_word(one.claim, has_reference), time_sentence(one), reasons, over)

    def place(one: Advised) -> tuple[bool, int, int, int, float, int, int, int, bool, float, str]:
        found = benchmark.methods.get(one.facts.id)
        return (
            one.over_budget,
            _WORDS.index(found.verdict if found is not None else None),
            -found.people if found is not None else 0,
            -len(found.regimes) if found is not None else 0,
            -found.kept_share if found is not None else 0.0,
            found.found_by if found is not None else 0,
            found.recognised_by if found is not None else 0,
            _CLAIMS.index(one.facts.claim),
            one.facts.at_least,
            # The times on this machine are the ones that count; the bench's were measured on another.
            one.facts.seconds,
            one.facts.id,
        )

    known = tuple(facts)
    runnable = sorted((advised(one) for one in known if not one.refusal), key=place)
    cannot = sorted((one for one in known if one.refusal), key=lambda one: one.id)
    return Advice(tuple(runnable), tuple(cannot))
