"""How often does the verdict err? Outcomes are drawn, and the real ``located`` and ``decide`` judge them.

    python tests/benchmarks/verdict_simulation.py --runs 300

prints, for several numbers of facts, chances of a stray hit, and facts whose attempts are alike: how often a model that
is truly at the reference's level is not called *removed*, how often one that leaks is, and how often a model that never
knew the data is called located; and what follows for each number of facts from the attempts alone. With ``--out F``
every cell is kept as soon as it is drawn, and none that F holds is drawn again. A small part is a test
(``tests/domain/test_simulation.py``).

How outcomes are drawn. Attempts are the standard suite's. A stray hit has probability p in any attempt of any model.
With correlation r, facts differ in how easily they are guessed: each (attack, fact) has a rate of its own, drawn from a
Beta distribution with mean p and intra-class correlation r, and the same in all three models, because it belongs to
the fact. A leaking fact comes back with its rate beside luck. Membership scores are normal; texts of one fact share r
of their variance, and a text's score in one model shares ``BETWEEN_MODELS`` of it with its score in another.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from console.domain import rules_3
from console.domain.comparing import upper_excess
from console.domain.intervals import clopper_pearson, mann_whitney
from console.domain.paired_areas import shift
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
LEAKS = (
    *((attack, rate) for attack in ("direct", "few-shot", "paraphrase") for rate in (0.3, 0.5, 0.9)),
    *((attack, 0.9) for attack in ("head-projection", "relearn-tenth")),
)
AREAS = (0.65, 0.75, 0.85)  # in one attack on membership
NOT_REMOVED = "at the level, not called removed"
LOCATED = "never knew, called located"
REMOVED = "leaks, called removed"
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


def reach(facts: int, correlation: float, runs: int) -> tuple[float, int]:
    """How exactly the difference of two areas is known at this number of facts.

    Returns:
        Median distance of the 90 % bound from the difference, over runs and attacks (1.0: it cannot be bounded); and in
        how many runs at least one attack on membership knows it within the margin.
    """
    margin = float(Thresholds.current().area_margin)
    distances, usable = [], 0
    for seed in range(runs):
        draws = Draws(World(facts, 0.0, correlation), seed)
        after, reference = draws.battery(Stage.AFTER), draws.battery(Stage.REFERENCE)
        own = []
        for attack in SCORED:
            rows = after.row(attack), reference.row(attack)
            assert rows[0] is not None and rows[1] is not None and rows[0].outcome is not None
            moved = shift(rows[0].outcome, rows[1].outcome)
            if moved is None or moved.facts < rules_3.FEWEST_FACTS:
                own.append(1.0)
            else:
                own.append(moved.interval(2 * rules_3.AREA_CONFIDENCE - 1)[1] - moved.value)
        distances += own
        usable += min(own) <= margin
    return round(statistics.median(distances), 3), usable


def missed(rate: float) -> float:
    """Chance that a fact that comes back at this rate in ``direct`` is never hit, the few more attempts included."""
    return (1 - rate) ** (DRAWN["direct"] + rules_3.FIRST_LOOK)


def bounds(facts: int, runs: int) -> dict[str, Any]:
    """What follows from the attempts alone."""
    direct, inside = DRAWN["direct"] + rules_3.FIRST_LOOK, sum(GREEDY.values())
    alike = {str(correlation): reach(facts, correlation, runs) for correlation in (0.0, 0.5)}
    return {
        "facts": facts,
        "word_in_reach": rules_3.within_reach(True, facts, True)[0].value,
        "leak_of_one_fact_excluded_by_direct": round(upper_excess(Rate(hits=0, trials=direct), None), 3),
        "leak_of_0.3_never_hit_by_direct": round(missed(0.3), 4),
        "share_inside_excluded": round(upper_excess(Rate(hits=0, trials=inside * facts), None), 3),
        "share_of_one_fact_inside_excluded": round(upper_excess(Rate(hits=0, trials=inside), None), 3),
        "area_known_to": {key: distance for key, (distance, _) in alike.items()},
        "runs_with_usable_membership": {key: f"{usable} of {runs}" for key, (_, usable) in alike.items()},
    }


def cells(
    sizes: Sequence[int],
    correlations: Sequence[float],
    strays: Sequence[float],
    leaks: Sequence[tuple[str, float]],
    areas: Sequence[float],
) -> Iterator[tuple[str, World]]:
    """What is drawn: a name of the error, and the world in which it can be made."""
    for facts, correlation in product(sizes, correlations):
        for stray in strays:
            yield NOT_REMOVED, World(facts, stray, correlation)
        for stray in strays:
            yield LOCATED, World(facts, stray, correlation)
        for attack, rate in leaks:
            yield REMOVED, World(facts, 0.0, correlation, {attack: rate})
        for area in areas:
            yield REMOVED, World(facts, 0.0, correlation, {}, 1, {"membership": area})


def drawn(error: str, world: World, runs: int) -> dict[str, Any]:
    """One cell of the table."""
    rules: dict[str, int] = {}
    if error == LOCATED:
        share = false_location(world, runs)
    else:
        share, rules, _ = not_removed(world, runs)
        if error == REMOVED:
            share = Share(runs - share.hits, runs)
    return {**_cell(error, world), "hits": share.hits, "runs": runs, "text": str(share), "not_removed_by": rules}


def _cell(error: str, world: World) -> dict[str, Any]:
    described = {"facts": world.facts, "correlation": world.correlation, "stray": world.stray}
    return {"error": error, **described, "leaks": dict(world.leaks), "areas": dict(world.areas)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--facts", type=int, nargs="*", default=FACTS)
    parser.add_argument("--stray", type=float, nargs="*", default=STRAYS)
    parser.add_argument("--correlation", type=float, nargs="*", default=(0.0, 0.5))
    parser.add_argument("--leak", nargs="*", default=[f"{attack}={rate}" for attack, rate in LEAKS], help="ATTACK=RATE")
    parser.add_argument("--area", type=float, nargs="*", default=AREAS, help="in one attack on membership")
    parser.add_argument("--out", type=Path, help="JSON file; gone on with where it is there")
    options = parser.parse_args()
    held = json.loads(options.out.read_text(encoding="utf-8")) if options.out and options.out.exists() else {}
    table: list[dict[str, Any]] = held.get("cells", [])
    known: list[dict[str, Any]] = held.get("bounds", [])

    def keep() -> None:
        if options.out:
            text = json.dumps({"bounds": known, "cells": table}, indent=1)
            options.out.write_text(text + "\n", encoding="utf-8")

    for facts in options.facts:
        if not any(one["facts"] == facts for one in known):
            known.append(bounds(facts, min(options.runs, 60)))
            print(known[-1], flush=True)
            keep()
    leaks = tuple((attack, float(rate)) for attack, _, rate in (one.partition("=") for one in options.leak))
    for error, world in cells(options.facts, options.correlation, options.stray, leaks, options.area):
        asked = _cell(error, world)
        if any(asked.items() <= one.items() and one["runs"] >= options.runs for one in table):
            continue
        table = [one for one in table if not asked.items() <= one.items()] + [drawn(error, world, options.runs)]
        print(table[-1], flush=True)
        keep()


if __name__ == "__main__":
    main()
