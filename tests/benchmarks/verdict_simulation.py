"""How often does the verdict err? Outcomes are drawn, and the real ``located`` and ``decide`` judge them.

    python tests/benchmarks/verdict_simulation.py --runs 300

prints three tables: how often a model that is truly at the reference's level is not called *removed*, how often one
that leaks is, and how often a model that never knew the data is called located; for several numbers of facts, chances
of a stray hit, and facts whose attempts are alike. A small part of it is a test (``tests/domain/test_simulation.py``).

How outcomes are drawn. Attempts are the standard suite's. A stray hit has probability p in any attempt of any model.
With correlation r, facts differ in how easily they are guessed: each (attack, fact) has a rate of its own, drawn from a
Beta distribution with mean p and intra-class correlation r, and the same in all three models, because it belongs to
the fact. A leaking fact comes back with its rate beside luck. Membership scores are normal; texts of one fact share r
of their variance, and a text's score in one model shares ``BETWEEN_MODELS`` of it with its score in another.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from console.domain import rules_3
from console.domain.intervals import clopper_pearson, mann_whitney
from console.domain.results import (
    Access,
    AreaUnderCurve,
    AttackRow,
    Battery,
    Evidence,
    FactCount,
    Outcome,
    Rate,
    Stage,
    TextPlace,
    Utility,
    UtilityRow,
    decimal_text,
)
from console.domain.verdict import Thresholds, Verdict, Word, decide, located

# Measured on two people of five facts whom neither of two models was taught (SmolLM2-135M and the same after all its
# weights were trained on others' letters): 0.80 to 0.92 for membership and loss, 0.75 for zlib, 0.25 for Min-K%++
# (which is left out of a verdict where it is too imprecise); between the attacks 0.2 to 0.9.
BETWEEN_MODELS = 0.8
BETWEEN_ATTACKS = 0.5
KNOWN = 0.9  # how often the model before brings back what it knows
KNOWN_AREA = 0.97
HELD_OUT_FACTS = 50  # the sample office's strangers
STRAYS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
FACTS = (1, 2, 4, 6, 20, 100)
# Attempts a fact in the standard suite, and texts a fact (question, statement, one place of the model's own).
DRAWN = {
    "direct": 2,
    "continuation": 2,
    "paraphrase": 8,
    "few-shot": 2,
    "cloze": 8,
    "prefix-injection": 6,
    "affirmative-suffix": 8,
    "role-play": 6,
    "synonym": 4,
    "background-hint": 4,
    "cross-lingual": 6,
    "same-subject": 2,
    "many-shot": 2,
    "authority": 6,
    "encodings": 6,
    "context-ladder": 8,
    "stepwise": 24,
    "leak-at-k": 8,
    "knowledge-probe": 6,
}
GREEDY = {"head-projection": 4, "probability-delta": 4, "answer-rank": 3, "exposure": 3, "multiple-choice": 1}
SHAKEN = {"quantise-int8": 3, "quantise-4bit": 3, "relearn-unrelated": 6, "relearn-tenth": 6, "soft-noise": 6}
SCORED = {"membership": 3, "min-k-plus": 3, "loss": 3, "zlib": 3, "gradient-norm": 3}
KINDS = {
    **dict.fromkeys(DRAWN, Evidence.ELICITED),
    **dict.fromkeys(("direct", "continuation"), Evidence.ASKED),
    **dict.fromkeys(GREEDY, Evidence.INSIDE),
    **dict.fromkeys(SHAKEN, Evidence.DISTURBED),
    **dict.fromkeys(SCORED, Evidence.MEMBERSHIP),
}
ATTEMPTS = {**DRAWN, **GREEDY, **SHAKEN}
KEPT = Utility(
    groups=(UtilityRow(group="other people", kept=Rate(hits=20, trials=20)),),
    perplexity_before="10.0000",
    perplexity_after="10.0000",
)


@dataclass(frozen=True)
class World:
    """What is true of the three models.

    Attributes:
        facts: of the request.
        stray: chance of a hit in any attempt of a model that does not know.
        correlation: of the attempts, or the texts, of one fact.
        leaks: attacks in which the erased model still gives the first ``leaking`` facts, and how often.
        areas: membership attacks in which it still finds the texts familiar, and the true area.
    """

    facts: int = 6
    stray: float = 0.0
    correlation: float = 0.0
    leaks: Mapping[str, float] = field(default_factory=dict)
    leaking: int = 1
    areas: Mapping[str, float] = field(default_factory=dict)


def _quality(area: float) -> float:
    """Distance of two normal distributions of unit variance with this area under the curve."""
    return NormalDist().inv_cdf(area) * math.sqrt(2)


class Draws:
    """One request: its facts' own rates, and the counts of each model."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.random = world, np.random.default_rng(seed)
        strangers = max(3, (world.facts + 1) // 2)
        self.rates = {attack: self._rates(world.facts) for attack in ATTEMPTS}
        self.strangers = {
            attack: self._rates(10 * world.facts if attack in GREEDY else strangers) for attack in ATTEMPTS
        }
        self.texts = {attack: self._texts() for attack in (*SCORED, "")}
        self.seen = {stage: self._texts() for stage in Stage}

    def _rates(self, count: int) -> np.ndarray:
        p, r = self.world.stray, self.world.correlation
        if r == 0 or p == 0:
            return np.full(count, p)
        spread = 1 / r - 1
        return self.random.beta(p * spread, (1 - p) * spread, count)

    def _texts(self) -> tuple[np.ndarray, np.ndarray]:
        """What every text's score is in all models, for the person and for strangers: facts by texts."""
        return self._scores(self.world.facts), self._scores(HELD_OUT_FACTS)

    def _scores(self, facts: int) -> np.ndarray:
        r = self.world.correlation
        alike, own = self.random.normal(size=(facts, 1)), self.random.normal(size=(facts, SCORED["membership"]))
        return math.sqrt(r) * alike + math.sqrt(1 - r) * own

    def _alike(self, attacks: np.ndarray, own: np.ndarray) -> np.ndarray:
        """One attack's scores: part of them are what all attacks see in the text."""
        return math.sqrt(BETWEEN_ATTACKS) * attacks + math.sqrt(1 - BETWEEN_ATTACKS) * own

    def battery(self, stage: Stage) -> Battery:
        rows = [self._counted(attack, stage) for attack in ATTEMPTS] + [
            self._scored(attack, stage) for attack in SCORED
        ]
        return Battery(stage=stage, model_hash=stage.value, suite_hash="suite", rows=tuple(rows))

    def _true(self, attack: str, stage: Stage) -> np.ndarray:
        known = np.zeros(self.world.facts)
        if stage is Stage.BEFORE:
            known[:] = KNOWN
        elif stage is Stage.AFTER:
            known[: self.world.leaking] = self.world.leaks.get(attack, 0.0)
        return 1 - (1 - self.rates[attack]) * (1 - known)

    def _counted(self, attack: str, stage: Stage) -> AttackRow:
        attempts = ATTEMPTS[attack]
        hits = self.random.binomial(attempts, self._true(attack, stage))
        facts = tuple(FactCount(fact=fact, hits=int(count), trials=attempts) for fact, count in enumerate(hits))
        control = self.random.binomial(attempts, self.strangers[attack])
        outcome = Outcome(
            attempts=Rate(hits=int(hits.sum()), trials=attempts * self.world.facts),
            items=Rate(hits=int((hits > 0).sum()), trials=self.world.facts),
            control=Rate(hits=int(control.sum()), trials=attempts * len(control)),
            facts=facts,
        )
        return _row(attack, outcome)

    def again(self, attack: str, stage: Stage, facts: Sequence[int], draws: int) -> tuple[FactCount, ...]:
        """Fresh draws of some facts."""
        true = self._true(attack, stage)
        return tuple(
            FactCount(fact=fact, hits=int(self.random.binomial(draws, true[fact])), trials=draws) for fact in facts
        )

    def _scored(self, attack: str, stage: Stage) -> AttackRow:
        area = {Stage.BEFORE: KNOWN_AREA, Stage.AFTER: self.world.areas.get(attack, 0.5)}.get(stage, 0.5)
        person, held_out = (
            math.sqrt(BETWEEN_MODELS) * self._alike(common, own)
            + math.sqrt(1 - BETWEEN_MODELS) * self._alike(seen, self._scores(len(own)))
            for common, own, seen in zip(self.texts[""], self.texts[attack], self.seen[stage], strict=True)
        )
        person = person + _quality(area)
        above = (person[:, :, None] > held_out.ravel()[None, None, :]).mean(axis=2)
        below = (held_out[:, :, None] > person.ravel()[None, None, :]).mean(axis=2)
        value = float(above.mean())
        low, high = mann_whitney(value, person.size, held_out.size)
        outcome = Outcome(
            attempts=Rate(hits=0, trials=person.size),
            items=Rate(hits=0, trials=self.world.facts),
            area=AreaUnderCurve(
                value=decimal_text(value),
                low=decimal_text(low),
                high=decimal_text(high),
                members=person.size,
                non_members=held_out.size,
            ),
            members=_text_places(above),
            held_out=_text_places(below),
        )
        return _row(attack, outcome)


def _text_places(shares: np.ndarray) -> tuple[TextPlace, ...]:
    return tuple(
        TextPlace(fact=fact, above=decimal_text(float(share))) for fact, texts in enumerate(shares) for share in texts
    )


def _row(attack: str, outcome: Outcome) -> AttackRow:
    kind = KINDS[attack]
    return AttackRow(
        attack=attack, evidence=kind, access=Access.BLACK_BOX, budget=1, outcome=outcome, sampled=attack in DRAWN
    )


def ask_again(
    draws: Draws, battery: Battery, before: Battery | None, reference: Battery, thresholds: Thresholds
) -> tuple[Battery, Battery]:
    """What a case does: what hit is asked again on both models, what was asked too little once more on one."""
    for _round in range(3):
        wanted = rules_3.to_ask_again(battery, before, reference, thresholds)
        if wanted.nothing:
            break
        for facts_by, count, stages in (
            (wanted.short, rules_3.FIRST_LOOK, (battery.stage,)),
            (wanted.hit, thresholds.draws, (battery.stage, Stage.REFERENCE)),
        ):
            for stage in stages:
                fresh = {attack: draws.again(attack, stage, facts, count) for attack, facts in facts_by.items()}
                if stage is Stage.REFERENCE:
                    reference = reference.asked_again(fresh)
                else:
                    battery = battery.asked_again(fresh)
    return battery, reference


def judged(world: World, seed: int) -> tuple[Verdict, int]:
    """The verdict of one drawn case, and how many draws were asked for again."""
    draws, thresholds = Draws(world, seed), Thresholds.current()
    before, after, reference = (draws.battery(stage) for stage in (Stage.BEFORE, Stage.AFTER, Stage.REFERENCE))
    after, reference = ask_again(draws, after, before, reference, thresholds)
    asked = sum(count.trials for battery in (after, reference) for row in battery.rows for count in row.again)
    return decide(before, after, reference, KEPT, thresholds), asked


def found_in_ignorance(world: World, seed: int) -> bool:
    """Whether a model that never knew the data is called located."""
    draws, thresholds = Draws(world, seed), Thresholds.current()
    before, reference = draws.battery(Stage.REFERENCE), draws.battery(Stage.REFERENCE)
    before, reference = ask_again(draws, before.model_copy(update={"stage": Stage.AFTER}), None, reference, thresholds)
    return bool(located(before, reference))


@dataclass(frozen=True)
class Share:
    """How often something happened in the runs of one world."""

    hits: int
    runs: int

    def __str__(self) -> str:
        low, high = clopper_pearson(self.hits, self.runs)
        return f"{self.hits / self.runs:.3f} ({low:.3f}-{high:.3f})"


def not_removed(world: World, runs: int, first: int = 0) -> tuple[Share, dict[str, int], int]:
    """How often a world is not called removed, by which rule, and draws asked again (mean)."""
    rules: dict[str, int] = {}
    total = 0
    for seed in range(first, first + runs):
        verdict, asked = judged(world, seed)
        total += asked
        if verdict.word is not Word.REMOVED:
            rules[verdict.rule] = rules.get(verdict.rule, 0) + 1
    return Share(sum(rules.values()), runs), rules, total // runs


def removed(world: World, runs: int, first: int = 0) -> Share:
    """How often a world is called removed."""
    return Share(runs - not_removed(world, runs, first)[0].hits, runs)


def false_location(world: World, runs: int, first: int = 0) -> Share:
    """How often a model that never knew is called located."""
    return Share(sum(found_in_ignorance(world, seed) for seed in range(first, first + runs)), runs)


def _lines(runs: int, sizes: Sequence[int], strays: Sequence[float]) -> Iterator[str]:
    yield "facts  stray  correlation  truly at the level, not removed      never knew, located      draws again"
    for facts in sizes:
        for correlation in (0.0, 0.5):
            for stray in strays:
                world = World(facts, stray, correlation)
                share, rules, asked = not_removed(world, runs)
                known = false_location(world, runs)
                yield f"{facts:5d}  {stray:5.3f}  {correlation:11.1f}  {share!s:28s}  {known!s:28s} {asked:6d}  {rules}"
    yield "facts  leak                                     called removed"
    leaks = [
        *(({attack: rate}, {}) for attack in ("direct", "few-shot", "paraphrase") for rate in (0.3, 0.5, 0.9)),
        *(({attack: 0.9}, {}) for attack in ("head-projection", "relearn-tenth")),
        *(({}, {attack: area}) for attack in ("membership",) for area in (0.65, 0.75, 0.85)),
    ]
    for facts in sizes:
        for correlation in (0.0, 0.5):
            for leak, areas in leaks:
                world = World(facts, 0.0, correlation, leak, 1, areas)
                yield f"{facts:5d}  r {correlation:.1f}  {leak or areas!s:40s} {removed(world, runs)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--facts", type=int, nargs="*", default=FACTS)
    parser.add_argument("--stray", type=float, nargs="*", default=STRAYS)
    options = parser.parse_args()
    for line in _lines(options.runs, options.facts, options.stray):
        print(line, flush=True)


if __name__ == "__main__":
    main()
