"""What an attack and a utility check leave behind: counts, never bare percentages.

These are the shapes that the worker sends, the ledger stores, the verdict reads and the
report prints. Counts are integers; the few real numbers (areas under a curve, perplexities)
are decimal strings, so that a hash over them means the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator

from console.domain.intervals import clopper_pearson

DECIMAL_PLACES = 4


class Access(StrEnum):
    """What the attacker can see of the model."""

    BLACK_BOX = "black-box"
    LOG_PROBABILITIES = "log-probabilities"
    WHITE_BOX = "white-box"


class Evidence(StrEnum):
    """Which question of the verdict an attack answers."""

    ASKED = "asked"  # the ordinary way to ask: a direct question, the beginning of a passage
    ELICITED = "elicited"  # text only, but with effort: other wordings, examples in context
    INSIDE = "inside"  # hidden states and probabilities that no conversation shows
    MEMBERSHIP = "membership"  # was this text in the training data
    DISTURBED = "disturbed"  # after the weights were changed: quantised, trained a little further, shaken


class Status(StrEnum):
    """Whether a row can carry a claim at all."""

    OK = "ok"
    NOT_APPLICABLE = "not-applicable"
    NOT_POWERED = "not-powered"


class Stage(StrEnum):
    """Which model a battery of attacks was run on."""

    BEFORE = "before"
    AFTER = "after"
    REFERENCE = "reference"


def decimal_text(value: float | Decimal) -> str:
    """A real number as a fixed-point decimal string, so that it can stand in a hashed body."""
    return f"{Decimal(str(value)):z.{DECIMAL_PLACES}f}"  # no "-0.0000": one number, one text


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_Frozen):
    """``hits`` of ``trials``, with its exact 95 % interval."""

    hits: int = Field(ge=0)
    trials: int = Field(ge=1)

    @model_validator(mode="after")
    def _possible(self) -> Rate:
        if self.hits > self.trials:
            raise ValueError(f"{self.hits} hits in {self.trials} trials is not a rate")
        return self

    @property
    def share(self) -> float:
        return self.hits / self.trials

    @property
    def low(self) -> float:
        return clopper_pearson(self.hits, self.trials)[0]

    @property
    def high(self) -> float:
        return clopper_pearson(self.hits, self.trials)[1]


def pooled(rates: Iterable[Rate]) -> Rate | None:
    """All attempts together; None where there were none."""
    found = list(rates)
    if not found:
        return None
    return Rate(hits=sum(rate.hits for rate in found), trials=sum(rate.trials for rate in found))


class AreaUnderCurve(_Frozen):
    """Membership inference: how well the score separates the person's texts from held-out ones.

    0.5 is guessing, 1 means every one of the person's texts looks more familiar than every
    held-out text, 0 the reverse (the mark of over-unlearning). The interval is
    Newcombe's score interval (2006); records made before it have a bootstrap over both groups.
    """

    value: str
    low: str
    high: str
    members: int = Field(ge=1)
    non_members: int = Field(ge=1)


class FactCount(_Frozen):
    """The attempts on one fact of the request, or on one fact of a stranger.

    Attributes:
        fact: its place in the request, from 0; the same for every model.
    """

    fact: int = Field(ge=0)
    hits: int = Field(ge=0)
    trials: int = Field(ge=1)

    @model_validator(mode="after")
    def _possible(self) -> FactCount:
        if self.hits > self.trials:
            raise ValueError(f"{self.hits} hits in {self.trials} trials is not a rate")
        return self

    @property
    def rate(self) -> Rate:
        return Rate(hits=self.hits, trials=self.trials)


class TextPlace(_Frozen):
    """Where one text's score lies among those of the other group.

    Attributes:
        fact: the fact that the text is about, counted in its own group.
        above: share of the other group's texts that look less familiar, ties half, as decimal text: 0.5 is the middle.
    """

    fact: int = Field(ge=0)
    above: str


class Outcome(_Frozen):
    """One attack on one model: attempts, distinct facts, and the same on facts nobody taught it.

    Attributes:
        attempts: attempts that gave the secret, of all attempts. Attempts on one fact are not
            independent, so the interval describes these attempts, not the population of facts.
        items: distinct facts given away at least once, of all facts attacked.
        control: attempts that "gave" a fact of subjects nobody taught to the model (negative control).
        area: membership inference only.
        chance: mean probability (decimal text) that guessing hits, for attacks that offer answers to choose from.
        facts: the attempts by fact (from rules version 3 on).
        members, held_out: membership inference only, and also from then on: each text of the person among the
            held-out ones, and each held-out text among the person's.
    """

    attempts: Rate
    items: Rate
    control: Rate | None = None
    area: AreaUnderCurve | None = None
    chance: str | None = None
    facts: tuple[FactCount, ...] = Field(default=(), exclude_if=lambda value: not value)
    members: tuple[TextPlace, ...] = Field(default=(), exclude_if=lambda value: not value)
    held_out: tuple[TextPlace, ...] = Field(default=(), exclude_if=lambda value: not value)


class LeakGain(_Frozen):
    """How much more often one way of asking gets the secret than asking at once, on the same form of the question.

    Attributes:
        form: how much the question hides (``direct``, ``indirect``, ``implied``).
        mode: the way of asking, such as ``multi-turn``.
        at_once: attempts that gave the secret when the question was asked at once.
        after: the same when it was asked in this way.
        gain: share of ``after`` minus share of ``at_once``, decimal text; below zero the way there protected the fact.
        low, high: its 95 % interval (Newcombe), decimal text; attempts on one fact are not independent.
    """

    form: str
    mode: str
    at_once: Rate
    after: Rate
    gain: str
    low: str
    high: str


class SeedRate(_Frozen):
    """What the sampled attempts of one seed found; greedy attempts, which no seed changes, are not among them."""

    seed: int
    drawn: Rate


class AttackRow(_Frozen):
    """One line of a battery: an attack, what it cost, and what it found or why it was not run.

    Attributes:
        leak_gains: what asking step by step adds; only of an attack that asks in several ways.
        by_seed: the sampled attempts by seed, where the suite repeats them; ``outcome`` counts all seeds together.
        cut_off: attempts on the request's own facts whose room ended inside a thought; being no answers, they are in
            none of the other counts.
        sampled: its answers are drawn, so that the same questions can be asked again.
        again: fresh draws of the same questions, by fact: what hit is asked again, so that luck shows as luck. They
            are recorded apart and put beside the row when a verdict is reached.
    """

    attack: str
    evidence: Evidence
    access: Access
    budget: int = Field(ge=1, description="candidate answers an attacker may name for one fact")
    status: Status = Status.OK
    reason: str = ""
    outcome: Outcome | None = None
    # Left out where there are none, so that a row from before these fields has the form that it was hashed in.
    leak_gains: tuple[LeakGain, ...] = Field(default=(), exclude_if=lambda value: not value)
    by_seed: tuple[SeedRate, ...] = Field(default=(), exclude_if=lambda value: not value)
    cut_off: int = Field(default=0, ge=0, exclude_if=lambda value: not value)
    sampled: bool = Field(default=False, exclude_if=lambda value: not value)
    again: tuple[FactCount, ...] = Field(default=(), exclude_if=lambda value: not value)

    @property
    def asked_again(self) -> Rate | None:
        """All fresh draws together; None where nothing was asked again."""
        return pooled(count.rate for count in self.again)

    @property
    def worst_seed(self) -> SeedRate | None:
        """The seed whose draws gave the secret most often."""
        return max(self.by_seed, key=lambda one: one.drawn.share, default=None)

    @property
    def spread(self) -> float | None:
        """Largest less smallest share over the seeds, 0 to 1; None where the suite repeats nothing."""
        shares = [one.drawn.share for one in self.by_seed]
        return max(shares) - min(shares) if shares else None

    @model_validator(mode="after")
    def _complete(self) -> AttackRow:
        if self.status is Status.OK and self.outcome is None:
            raise ValueError(f"attack {self.attack} is ok but has no outcome")
        if self.status is not Status.OK and not self.reason:
            raise ValueError(f"attack {self.attack} was not run or not powered, and says no reason")
        return self


class UtilityRow(_Frozen):
    """What must survive: facts of other people still answered, and general text.

    Attributes:
        kept: facts answered before that are still answered, of those answered before.
    """

    group: str
    kept: Rate


class Utility(_Frozen):
    """Side effects of an erasure.

    Attributes:
        groups: kept facts by group (``neighbours``, ``others``).
        perplexity_before: perplexity of held-out general text, decimal string.
        perplexity_after: the same after the erasure.
        suppressed: unfair suppression: facts of other people that the model told step by step before and no longer
            tells, of those it told before. None where nobody was asked step by step, or nothing was told. No verdict
            rests on it.
    """

    groups: tuple[UtilityRow, ...]
    perplexity_before: str
    perplexity_after: str
    suppressed: Rate | None = Field(default=None, exclude_if=lambda value: value is None)

    @property
    def perplexity_ratio(self) -> Decimal:
        return Decimal(self.perplexity_after) / Decimal(self.perplexity_before)


class DeletionAnswers(_Frozen):
    """What the request's own facts get for an answer when they are asked for directly and greedily.

    Attributes:
        right: the fact itself.
        abstained: the model says that it does not know, or says nothing.
        other: something else, mostly made up; a made-up answer is wrong data about the person.
    """

    right: Rate
    abstained: Rate
    other: Rate

    @model_validator(mode="after")
    def _every_answer_once(self) -> DeletionAnswers:
        parts = (self.right, self.abstained, self.other)
        if len({part.trials for part in parts}) != 1 or sum(part.hits for part in parts) != self.right.trials:
            raise ValueError("right, abstained and other answers must add up to all answers")
        return self


class Behaviour(_Frozen):
    """How a model behaves besides what it knows; no part of the verdict.

    Attributes:
        sets: SHA-256 of the questions and sentences that were put to the model; only equal ones compare.
        deletion: None where no fact of the request can be asked for.
        harmful_refused: harmful requests that the model refuses.
        harmless_refused: harmless requests that look like them, and are refused.
        stereotyped: pairs of sentences of which the prejudiced one is likelier; half is even.
        entropy: mean n-gram entropy of answers to ordinary instructions, in bits, decimal string.
        repetition: mean share of repeated word sequences within an answer, decimal string; 0 none, 1 a loop. None
            where every answer is too short for it.
    """

    sets: str
    deletion: DeletionAnswers | None = None
    harmful_refused: Rate
    harmless_refused: Rate
    stereotyped: Rate
    entropy: str | None = None
    repetition: str | None = None

    @property
    def rates(self) -> tuple[Rate, ...]:
        deletion = self.deletion
        own = () if deletion is None else (deletion.right, deletion.abstained, deletion.other)
        return (*own, self.harmful_refused, self.harmless_refused, self.stereotyped)


class Battery(_Frozen):
    """Every attack of one suite on one model, identified by hash."""

    stage: Stage
    model_hash: str
    suite_hash: str
    rows: tuple[AttackRow, ...]

    def row(self, attack: str) -> AttackRow | None:
        return next((row for row in self.rows if row.attack == attack), None)

    def asked_again(self, fresh: Mapping[str, Sequence[FactCount]]) -> Battery:
        """With fresh draws, by attack, beside the counts; later draws for a fact stand for earlier ones."""
        rows = []
        for row in self.rows:
            kept = {count.fact: count for count in (*row.again, *fresh.get(row.attack, ()))}
            again = tuple(kept[fact] for fact in sorted(kept))
            rows.append(row.model_copy(update={"again": again}))
        return self.model_copy(update={"rows": tuple(rows)})

    @property
    def unanswered(self) -> tuple[str, ...]:
        """A sentence for each attack with attempts that gave no answer; where there are such, nothing is absent."""
        return tuple(
            f"The attack '{row.attack}': {row.cut_off} of its attempts were cut off inside the model's thought; they "
            "are no answers, and no finding of absence."
            for row in self.rows
            if row.cut_off
        )
