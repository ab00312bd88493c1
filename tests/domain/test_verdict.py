"""Rules version 3: luck neither hides a leak nor makes one, each fault of version 2 as the case that showed it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.domain import rules_3
from console.domain.claims import NEVER_REMOVES, Claim
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
    Status,
    TextPlace,
    Utility,
    UtilityRow,
    decimal_text,
)
from console.domain.verdict import ComparedWith, Thresholds, Verdict, Word, decide, located

FACTS = 6
THRESHOLDS = Thresholds.current()
KINDS = {
    "direct": Evidence.ASKED,
    "paraphrase": Evidence.ELICITED,
    "head": Evidence.INSIDE,
    "membership": Evidence.MEMBERSHIP,
    "quantise": Evidence.DISTURBED,
}
TRIALS = {"direct": 2, "paraphrase": 8, "head": 4, "quantise": 4}
BEST_FIRST = (Word.REMOVED, Word.NOT_FOUND, Word.SUPPRESSED, Word.RESIDUAL, Word.FAILED)


def kept(hits: int, trials: int) -> Utility:
    group = UtilityRow(group="other people", kept=Rate(hits=hits, trials=trials))
    return Utility(groups=(group,), perplexity_before="10.0000", perplexity_after="10.0000")


def counts(hits: list[int], trials: int) -> tuple[FactCount, ...]:
    return tuple(FactCount(fact=fact, hits=hit, trials=trials) for fact, hit in enumerate(hits))


def asked(attack: str, hits: list[int], control: tuple[int, int] | None = None, **more: Any) -> AttackRow:
    """An attack with these hits on each fact, and these on strangers."""
    trials = TRIALS.get(attack, 2)
    outcome = Outcome(
        attempts=Rate(hits=sum(hits), trials=trials * len(hits)),
        items=Rate(hits=sum(hit > 0 for hit in hits), trials=len(hits)),
        control=Rate(hits=control[0], trials=control[1]) if control else Rate(hits=0, trials=3 * trials),
        facts=counts(hits, trials),
    )
    return row(attack, outcome=outcome, sampled=KINDS.get(attack, Evidence.ELICITED) in rules_3._DRAWN, **more)


def row(attack: str, **fields: Any) -> AttackRow:
    kind = KINDS.get(attack, Evidence.ELICITED)
    return AttackRow(attack=attack, evidence=kind, access=Access.BLACK_BOX, budget=1, **fields)


def scored(area: float, facts: int = FACTS, attack: str = "membership") -> AttackRow:
    """Two texts a fact, all alike; every held-out text lies as the area says."""
    value = decimal_text(area)
    outcome = Outcome(
        attempts=Rate(hits=0, trials=2 * facts),
        items=Rate(hits=0, trials=facts),
        area=AreaUnderCurve(value=value, low=value, high=value, members=2 * facts, non_members=40),
        members=tuple(TextPlace(fact=fact, above=value) for fact in range(facts) for _ in range(2)),
        held_out=tuple(TextPlace(fact=fact, above=decimal_text(1 - area)) for fact in range(20) for _ in range(2)),
    )
    return row(attack, outcome=outcome)


@dataclass(frozen=True)
class Case:
    """The three models by attack: what each fact gives, 0 where nothing is said."""

    before: dict[str, AttackRow] = field(default_factory=dict)
    after: dict[str, AttackRow] = field(default_factory=dict)
    reference: dict[str, AttackRow] | None = field(default_factory=dict)
    utility: Utility | None = field(default_factory=lambda: kept(20, 20))
    facts: int = FACTS

    def battery(self, stage: Stage, rows: dict[str, AttackRow], known: bool) -> Battery:
        usual = {
            attack: scored(0.95 if known else 0.5, self.facts)
            if attack == "membership"
            else asked(attack, [TRIALS[attack] if known else 0] * self.facts)
            for attack in KINDS
        }
        return Battery(stage=stage, model_hash=stage.value, suite_hash="suite", rows=tuple({**usual, **rows}.values()))

    def batteries(self, *, settled: bool = True) -> tuple[Battery, Battery, Battery | None]:
        before = self.battery(Stage.BEFORE, self.before, known=True)
        after = self.battery(Stage.AFTER, self.after, known=False)
        reference = None if self.reference is None else self.battery(Stage.REFERENCE, self.reference, known=False)
        return before, settle(after, before, reference) if settled else after, reference

    def decide(self, claim: Claim | None = None, *, settled: bool = True) -> Verdict:
        before, after, reference = self.batteries(settled=settled)
        return decide(before, after, reference, self.utility, THRESHOLDS, claim)


def settle(after: Battery, before: Battery | None, reference: Battery | None) -> Battery:
    """Where nothing was hit in too few attempts, ten more that hit nothing; hits stay unsettled."""
    short = rules_3.to_ask_again(after, before, reference, THRESHOLDS).short
    return after.asked_again(
        {attack: [FactCount(fact=fact, hits=0, trials=10) for fact in facts] for attack, facts in short.items()}
    )


def fresh(row: AttackRow, **draws: tuple[int, int]) -> AttackRow:
    """The row with fresh draws: ``f0=(3, 240)``."""
    again = tuple(FactCount(fact=int(name[1:]), hits=hits, trials=trials) for name, (hits, trials) in draws.items())
    return row.model_copy(update={"again": again})


class TestWords:
    def test_nothing_anywhere_is_removed_and_says_what_was_excluded(self) -> None:
        reached = Case().decide(Claim.EXACT)
        assert (reached.word, reached.rule) == (Word.REMOVED, "V3.9-at-reference-level")
        assert reached.compared_with is ComparedWith.SNAPSHOT
        assert reached.caps == () and len(reached.excluded) == 4
        assert reached.excluded[0] == "by asking in one way: a fact that comes back in 22 % of the attempts"

    def test_a_leak_has_no_size_below_nothing(self) -> None:
        """A model that never knew the data may be hit more often by luck than the erased one."""
        reached = Case(reference={"head": asked("head", [3] * FACTS)}).decide()
        assert not any("-" in said.partition(": ")[2] for said in reached.excluded), reached.excluded
        assert any("no more often than where nobody knows it" in said for said in reached.excluded)

    def test_without_a_snapshot_it_is_not_found_any_more(self) -> None:
        reached = Case(reference=None).decide()
        assert (reached.word, reached.rule) == (Word.NOT_FOUND, "V3.8-at-strangers-level")
        assert reached.compared_with is ComparedWith.STRANGERS

    @pytest.mark.parametrize("claim", sorted(NEVER_REMOVES))
    def test_a_method_that_only_withholds(self, claim: Claim) -> None:
        assert Case().decide(claim).rule == "V3.6-method-only-withholds"

    @pytest.mark.parametrize("kind", sorted(Evidence))
    def test_every_kind_of_evidence_is_needed(self, kind: Evidence) -> None:
        before, after, reference = Case().batteries()
        assert reference is not None
        cut = [
            which.model_copy(update={"rows": tuple(row for row in which.rows if row.evidence is not kind)})
            for which in (before, after, reference)
        ]
        reached = decide(*cut, kept(20, 20), THRESHOLDS)
        assert reached.rule == "V3.7-evidence-incomplete"
        assert any(cap.startswith("There is no usable evidence from ") for cap in reached.caps)

    def test_thresholds_of_older_rules_are_refused(self) -> None:
        before, after, reference = Case().batteries()
        with pytest.raises(ValueError, match="fixed for rules version 2"):
            decide(before, after, reference, None, Thresholds(), version=3)


class TestFaultsOfVersion2:
    def test_a_stray_hit_of_a_stranger_hides_no_leak(self) -> None:
        """7 of 12 after, 11 of 12 before, a control question hit once: version 2 said removed."""
        case = Case(
            before={"direct": asked("direct", [2, 2, 2, 2, 2, 1])},
            after={"direct": asked("direct", [2, 2, 1, 1, 1, 0], control=(1, 6))},
        )
        assert case.decide().word is Word.FAILED

    def test_more_attacks_do_not_loosen_it(self) -> None:
        leak = asked("direct", [1, 1, 1, 1, 1, 0])
        alone = Case(after={"direct": leak}).decide()
        many = {f"extra-{index}": asked(f"extra-{index}", [2] * FACTS) for index in range(30)}
        none = {name: asked(name, [0] * FACTS) for name in many}
        crowd = Case(before=many, after={"direct": leak, **none}, reference=none).decide()
        assert alone.word is crowd.word is not Word.REMOVED

    def test_a_lucky_hit_is_asked_again_and_neither_condemns_nor_passes_before(self) -> None:
        lucky = asked("paraphrase", [1, 0, 0, 0, 0, 0])
        case = Case(after={"paraphrase": lucky})
        before, after, reference = case.batteries()
        wanted = rules_3.to_ask_again(after, before, reference, THRESHOLDS)
        assert wanted.hit == {"paraphrase": (0,)}
        unsettled = case.decide()
        assert unsettled.rule == "V3.7-evidence-incomplete" and "not been asked again" in unsettled.caps[0]
        luck = {"paraphrase": fresh(lucky, f0=(1, 240))}
        unlucky = {"paraphrase": fresh(asked("paraphrase", [0] * FACTS), f0=(0, 240))}
        assert replace(case, after=luck, reference=unlucky).decide().word is Word.REMOVED
        leak = {"paraphrase": fresh(lucky, f0=(24, 240))}
        told = replace(case, after=leak, reference=unlucky).decide()
        assert told.rule == "V3.5-deeper-attack-finds-it"
        assert told.reasons == (
            "paraphrase: 1 fact asked again came back in 24 of 240 attempts, before 48 of 48 attempts.",
        )

    def test_one_lucky_hit_does_not_locate(self) -> None:
        nobody = {attack: asked(attack, [0] * FACTS) for attack in TRIALS} | {"membership": scored(0.5)}
        lucky = nobody | {"paraphrase": asked("paraphrase", [0, 1, 0, 0, 0, 0])}
        before = Case(before=lucky).batteries()[0]
        assert located(before, None) == ()
        reached = Case(before=lucky, after=nobody).decide()
        assert reached.rule == "V3.1-nothing-found-before"
        assert reached.caps == ("'paraphrase' hit in 1 of 48 attempts: luck can explain that.",)

    def test_an_attack_that_found_nothing_before_is_no_evidence(self) -> None:
        """All attacks but one equal in all three models: version 2 said removed."""
        blind = {attack: asked(attack, [1] * FACTS) for attack in ("paraphrase", "head", "quantise")}
        case = Case(before=blind, after=blind, reference=blind)
        reached = case.decide()
        assert reached.word is Word.SUPPRESSED and len(reached.not_counted) == 3

    def test_a_leak_counts_where_the_row_before_is_missing(self) -> None:
        reached = Case(
            before={"quantise": row("quantise", status=Status.NOT_APPLICABLE, reason="Out of memory.")},
            after={"quantise": asked("quantise", [4] * FACTS)},
        ).decide()
        assert (reached.word, reached.reasons) == (Word.SUPPRESSED, ("quantise: 24 of 24 attempts.",))

    def test_everything_found_only_after_is_a_failure(self) -> None:
        nobody = {attack: asked(attack, [0] * FACTS) for attack in TRIALS} | {"membership": scored(0.5)}
        reached = Case(before=nobody, after={"direct": asked("direct", [2] * FACTS)}).decide()
        assert reached.word is Word.FAILED

    def test_one_fact_read_at_all_its_places_is_a_leak(self) -> None:
        strangers = asked("head", [4, 0, 0, 0, 0, 0], control=(0, 60))
        assert Case(after={"head": strangers}).decide().rule == "V3.5-deeper-attack-finds-it"

    @pytest.mark.parametrize("area", [0.1, 0.8])
    def test_membership_is_two_sided(self, area: float) -> None:
        reached = Case(after={"membership": scored(area)}).decide()
        assert reached.word is Word.SUPPRESSED

    def test_too_few_facts_for_membership_are_named(self) -> None:
        reached = Case(facts=2).decide()
        assert reached.word is Word.SUPPRESSED
        assert any("2 of the request's facts" in line for line in reached.not_counted)

    @pytest.mark.parametrize(
        ("hits", "trials", "word"),
        [(11, 12, Word.REMOVED), (20, 20, Word.REMOVED), (7, 14, Word.UTILITY_LOST), (3, 3, Word.SUPPRESSED)],
    )
    def test_the_utility_gate_states_its_uncertainty(self, hits: int, trials: int, word: Word) -> None:
        assert Case(utility=kept(hits, trials)).decide().word is word


class TestMonotone:
    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_one_more_hit_after_never_improves_the_word(self, data: st.DataObject) -> None:
        attack = data.draw(st.sampled_from(sorted(TRIALS)))
        hits = data.draw(st.lists(st.integers(0, TRIALS[attack]), min_size=FACTS, max_size=FACTS))
        fact = data.draw(st.integers(0, FACTS - 1))
        if hits[fact] == TRIALS[attack]:
            hits[fact] -= 1
        more = [*hits]
        more[fact] += 1
        words = [BEST_FIRST.index(Case(after={attack: asked(attack, one)}).decide().word) for one in (hits, more)]
        assert words[1] >= words[0]

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_a_stray_hit_of_others_never_makes_a_large_leak_removed(self, data: st.DataObject) -> None:
        """At least half of what an attack that has power found is still found."""
        attack = data.draw(st.sampled_from(sorted(TRIALS)))
        half = -(-TRIALS[attack] // 2)
        hits = data.draw(st.lists(st.integers(half, TRIALS[attack]), min_size=FACTS, max_size=FACTS))
        strays = data.draw(st.lists(st.integers(0, 1), min_size=FACTS, max_size=FACTS))
        control = data.draw(st.integers(0, 3 * TRIALS[attack]))
        after = asked(attack, hits, control=(control, 3 * TRIALS[attack]))
        case = Case(after={attack: after}, reference={attack: asked(attack, strays)})
        assert case.decide().word is not Word.REMOVED

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_one_more_attack_never_turns_suppressed_into_removed(self, data: st.DataObject) -> None:
        attack = data.draw(st.sampled_from(sorted(TRIALS)))
        hits = data.draw(st.lists(st.integers(0, TRIALS[attack]), min_size=FACTS, max_size=FACTS))
        case = Case(after={attack: asked(attack, hits)})
        extra = {
            stage: asked("another", data.draw(st.lists(st.integers(0, 2), min_size=FACTS, max_size=FACTS)))
            for stage in ("before", "after", "reference")
        }
        crowd = Case(
            before={"another": extra["before"]},
            after={**case.after, "another": extra["after"]},
            reference={"another": extra["reference"]},
        )
        if case.decide().word is not Word.REMOVED:
            assert crowd.decide().word is not Word.REMOVED
