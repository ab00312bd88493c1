"""Which method first: the benchmark's order, the time at hand, and what nobody may promise."""

from __future__ import annotations

import dataclasses

import pytest

from console.casework.advice import parse_benchmark, shipped_benchmark
from console.domain.advice import (
    AUTO,
    DEFAULT_METHOD,
    DEFAULT_WITHOUT_SNAPSHOT,
    NO_REFERENCE,
    NOT_BENCHMARKED,
    OVER_BUDGET,
    Advice,
    BenchmarkedMethod,
    MethodBenchmark,
    MethodFacts,
    advise,
    benchmark_sentence,
    chosen_method,
    duration,
    strongest_word,
    time_sentence,
    worst,
)
from console.domain.claims import NEVER_REMOVES, Claim
from console.domain.regimes import Regime
from console.domain.verdict import Word
from console.errors import InputError


def facts(name: str, claim: Claim = Claim.REMOVAL_INTENDED, **changed: object) -> MethodFacts:
    known = MethodFacts(name, f"Title of {name}", claim, steps=20, memory_mb=100, seconds=60.0, measured=3)
    return dataclasses.replace(known, **changed)


def measured(word: Word, kept: float = 1.0, found_by: int = 0, recognised_by: int = 0) -> BenchmarkedMethod:
    return BenchmarkedMethod(verdict=word, kept_share=kept, found_by=found_by, recognised_by=recognised_by, seconds=5.0)


def benchmark(**methods: BenchmarkedMethod) -> MethodBenchmark:
    return MethodBenchmark(version=1, model="sample", suite="standard", methods=methods)


def order(given: Advice) -> list[str]:
    return [one.facts.id for one in given.methods]


EMPTY = benchmark()


def test_the_benchmark_s_word_comes_first_and_what_it_saw_fail_comes_last() -> None:
    known = benchmark(
        a=measured(Word.FAILED),
        b=measured(Word.SUPPRESSED),
        c=measured(Word.UTILITY_LOST),
        d=measured(Word.REMOVED, kept=0.9, found_by=3),
        e=measured(Word.RESIDUAL),
    )
    assert order(advise([facts(name) for name in "abcdez"], known, True)) == ["d", "b", "z", "e", "c", "a"]


def test_among_equal_words_what_is_kept_then_the_attacks_then_the_time() -> None:
    same = measured(Word.SUPPRESSED, 0.95, 2)
    known = benchmark(
        kept=measured(Word.SUPPRESSED, 0.99, 9), fewer=measured(Word.SUPPRESSED, 0.95, 1), slow=same, quick=same
    )
    given = [facts("slow", seconds=90.0), facts("quick", seconds=10.0), facts("fewer"), facts("kept")]
    assert order(advise(given, known, True)) == ["kept", "fewer", "quick", "slow"]
    recognised = benchmark(back=measured(Word.SUPPRESSED, found_by=2), seen=measured(Word.SUPPRESSED, 1.0, 1, 4))
    assert order(advise([facts("back"), facts("seen")], recognised, True)) == ["seen", "back"]
    longer = [facts("quick", seconds=10.0, at_least=True), facts("slow", seconds=90.0)]
    assert order(advise(longer, known, True)) == ["slow", "quick"], "at least 10 s may be an hour"


def test_what_was_seen_on_more_people_comes_before_what_one_of_them_showed() -> None:
    several = measured(Word.SUPPRESSED, 0.95, 3).model_copy(update={"people": 3})
    known = benchmark(one=measured(Word.SUPPRESSED), several=several, gone=measured(Word.REMOVED))
    given = advise([facts("one"), facts("several"), facts("gone")], known, True)
    assert order(given) == ["gone", "several", "one"]
    assert given.methods[1].reasons == (
        "On the benchmark (sample, suite standard, 3 people one by one) it reached at worst 'suppressed' where taught "
        "by office: at most 3 attacks still brought the data back, and 95% of other people's facts were kept.",
    )


@pytest.mark.parametrize(
    ("best", "said"),
    [
        (Word.SUPPRESSED, True),
        (Word.FAILED, True),
        (Word.NOT_FOUND, False),
        (Word.REMOVED, False),
        (Word.NOT_LOCATED, False),
        (None, False),
    ],
)
def test_a_method_that_never_removed_anything_is_said_to(best: Word | None, said: bool) -> None:
    known = benchmark(a=measured(Word.FAILED).model_copy(update={"best": best}))
    assert (f"There it never got beyond '{best}'." in benchmark_sentence("a", known)) is said


def test_the_worst_word_is_the_last_of_the_order() -> None:
    assert worst([Word.SUPPRESSED, Word.UTILITY_LOST, Word.RESIDUAL]) is Word.UTILITY_LOST
    assert worst([Word.REMOVED]) is Word.REMOVED


def test_what_nobody_measured_is_ordered_by_what_it_may_claim_and_says_so() -> None:
    given = advise([facts("b", Claim.SUPPRESSION_AT_INFERENCE), facts("a"), facts("c", Claim.EXACT)], EMPTY, True)
    assert order(given) == ["c", "a", "b"]
    assert all(NOT_BENCHMARKED in one.reasons for one in given.methods)
    assert not [
        one
        for one in advise([facts("a")], benchmark(a=measured(Word.REMOVED)), True).methods[0].reasons
        if NOT_BENCHMARKED in one
    ]


def test_over_the_budget_is_listed_last_and_marked() -> None:
    known = benchmark(best=measured(Word.REMOVED))
    slow = facts("best", seconds=301.0)
    given = advise([slow, facts("other", seconds=299.0)], known, True, budget_minutes=5)
    assert order(given) == ["other", "best"]
    assert [one.over_budget for one in given.methods] == [False, True]
    assert given.methods[1].reasons[0] == OVER_BUDGET and OVER_BUDGET not in given.methods[0].reasons
    assert order(advise([slow, facts("other")], known, True)) == ["best", "other"]


@pytest.mark.parametrize("minutes", [0, -1.0, float("nan")])
def test_a_budget_that_is_none_is_refused(minutes: float) -> None:
    with pytest.raises(InputError, match="more than 0 minutes"):
        advise([], EMPTY, True, minutes)


def test_what_cannot_run_is_listed_with_its_own_sentence() -> None:
    given = advise([facts("b", refusal="It needs a snapshot."), facts("a", refusal="Passages only.")], EMPTY, True)
    assert not given.methods
    assert [(one.id, one.refusal) for one in given.cannot] == [("a", "Passages only."), ("b", "It needs a snapshot.")]


@pytest.mark.parametrize("claim", list(Claim))
def test_the_strongest_word_is_the_one_that_the_verdict_would_give(claim: Claim) -> None:
    assert strongest_word(claim, True) is (Word.SUPPRESSED if claim in NEVER_REMOVES else Word.REMOVED)
    assert strongest_word(claim, False) is (Word.SUPPRESSED if claim in NEVER_REMOVES else Word.NOT_FOUND)


def test_why_removed_is_out_of_reach_is_said_once() -> None:
    withheld = advise([facts("a", Claim.SUPPRESSION_IN_WEIGHTS)], EMPTY, False).methods[0]
    assert withheld.reasons == (NOT_BENCHMARKED, NEVER_REMOVES[Claim.SUPPRESSION_IN_WEIGHTS])
    assert advise([facts("a")], EMPTY, False).methods[0].reasons == (NOT_BENCHMARKED, NO_REFERENCE)
    assert advise([facts("a")], EMPTY, True).methods[0].reasons == (NOT_BENCHMARKED,)


def test_the_benchmark_in_words() -> None:
    (one,) = advise([facts("a")], benchmark(a=measured(Word.SUPPRESSED, 0.875, 1)), True).methods
    assert one.reasons == (
        "On the benchmark (sample, suite standard) it reached 'suppressed' where taught by office: 1 attack still "
        "brought the data back, and 88% of other people's facts were kept.",
    )


def test_times_say_how_they_are_known() -> None:
    assert time_sentence(facts("a")) == "about 60 s (3 steps timed)"
    assert time_sentence(facts("a", measured=1)) == "about 60 s (1 step timed)"
    assert time_sentence(facts("a", measured=0, at_least=True)).startswith("at least 60 s")
    assert time_sentence(facts("a", whole=True)) == "60 s (the whole run was timed)"
    assert [duration(seconds) for seconds in (0.2, 89, 90, 5399, 5400, 36_000)] == [
        *("under 1 s", "89 s", "2 min", "90 min", "1.5 h", "10.0 h")
    ]


def test_the_default_is_one_name() -> None:
    assert chosen_method(AUTO, True, "llama") == DEFAULT_METHOD
    assert chosen_method(AUTO, False, "llama") == DEFAULT_WITHOUT_SNAPSHOT
    assert chosen_method("retrain", False, "llama") == "retrain"
    assert {chosen_method(AUTO, True, name) for name in ("qwen2_moe", "qwen3moe", "olmoe", "mixtral")} == {"uoe"}


def test_the_shipped_file_can_be_read() -> None:
    shipped = shipped_benchmark()
    assert shipped.version == 1
    assert bool(shipped.methods) == bool(shipped.model and shipped.suite and shipped.facts)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("nothing", "the file"),
        ('{"version": 2}', "version"),
        (
            '{"version": 1, "methods": {"a": {"verdict": "great", "kept_share": 1, "found_by": 0, "seconds": 1}}}',
            "verdict",
        ),
        (
            '{"version": 1, "methods": {"a": {"verdict": "removed", "kept_share": 2, "found_by": 0, "seconds": 1}}}',
            "kept",
        ),
    ],
)
def test_a_damaged_file_is_refused(text: str, place: str) -> None:
    with pytest.raises(InputError, match=place):
        parse_benchmark(text)


def test_the_defaults_are_the_best_of_the_shipped_benchmark() -> None:
    """Of those that change a model instead of training it from the beginning, which few offices can."""
    shipped = shipped_benchmark()
    ranked = order(advise([facts(name) for name in shipped.methods if name != "retrain"], shipped, True))
    assert ranked[0] == DEFAULT_METHOD
    assert next(name for name in ranked if name != DEFAULT_METHOD) == DEFAULT_WITHOUT_SNAPSHOT


def test_the_worst_word_is_told_for_every_way_of_teaching() -> None:
    words = {Regime.FULL: Word.REMOVED, Regime.FREE_TEXT: Word.SUPPRESSED}
    found = BenchmarkedMethod(people=2, verdict=Word.SUPPRESSED, kept_share=1.0, found_by=2, seconds=9.0, regimes=words)
    said = benchmark_sentence("npo", MethodBenchmark(version=1, model="m", suite="quick", methods={"npo": found}))
    assert "at worst 'removed' where taught by full, 'suppressed' where taught by free-text: at most 2 attacks" in said
