"""Advice and the model's own corpus in a case: real workers on the tiny models."""

from __future__ import annotations

import json

import pytest
from invented import PERSON, SUBJECT
from test_walk import granted, run, settings

from console.casework import advice, cases, self_made
from console.casework.bench import BenchResult, Line, Person
from console.casework.office import Office
from console.casework.operation import Job
from console.domain.advice import NO_REFERENCE, NOT_BENCHMARKED, BenchmarkedMethod, MethodBenchmark
from console.domain.case_state import MODELS
from console.domain.events import ErasureRun, JobStarted
from console.domain.results import Rate, Utility, UtilityRow
from console.domain.verdict import Verdict, Word
from console.errors import InputError, NotPossibleError
from console.jobs.spec import JobKind
from console.methods.self_made import CAVEAT

FEW = {"texts": 6, "questions": 4, "asked": 1, "max_new_tokens": 24}


def noted(use_case: cases.UseCase, jobs: list[Job]) -> cases.UseCase:
    """The same use case, which writes down the jobs that it asks for."""
    job = next(use_case)
    while True:
        jobs.append(job)
        result = yield job
        try:
            job = use_case.send(result)
        except StopIteration as ended:
            return ended.value


def test_methods_come_in_order_and_nothing_is_written(stocked: Office) -> None:
    number = granted(stocked)
    before = stocked.ledger.projection(MODELS)
    seen = MethodBenchmark(
        version=1,
        model="tiny",
        suite="quick",
        facts=4,
        methods={"weight-noise": BenchmarkedMethod(verdict=Word.REMOVED, kept_share=1, found_by=0, seconds=1)},
    )
    names = ("npo", "output-filter", "retrain", "weight-noise")
    given = run(stocked, advice.advise(stocked, number, "taught", 60, names, benchmark=seen))
    shown = advice.advice_json(given)
    assert [one["id"] for one in shown["methods"]] == ["weight-noise", "retrain", "npo", "output-filter"]
    assert [one["strongest"] for one in shown["methods"]][1:] == ["removed", "removed", "suppressed"]
    assert all(one["seconds"] >= 0 and NOT_BENCHMARKED in one["reasons"] for one in shown["methods"][1:])
    assert stocked.ledger.projection(MODELS) == before
    assert SUBJECT not in json.dumps(shown)


def test_what_cannot_run_and_what_takes_too_long_is_listed_all_the_same(stocked: Office) -> None:
    number = granted(stocked)
    given = run(stocked, advice.advise(stocked, number, "base", methods=("npo", "retrain", "weight-noise")))
    assert [one.id for one in given.cannot] == ["npo", "retrain"]
    assert "retain set is empty" in given.cannot[0].refusal and "before it learned" in given.cannot[1].refusal
    assert [(one.facts.id, one.strongest) for one in given.methods] == [("weight-noise", Word.NOT_FOUND)]
    assert given.methods[0].reasons[-1] == NO_REFERENCE
    hurried = run(stocked, advice.advise(stocked, number, "taught", 1e-5, ("npo",)))
    assert hurried.methods[0].over_budget


def test_a_budget_that_is_none_is_refused_before_any_work(stocked: Office) -> None:
    number = granted(stocked)
    with pytest.raises(InputError, match="more than 0 minutes"):
        next(advice.advise(stocked, number, "taught", 0))


def test_the_benchmark_file_is_made_from_a_bench() -> None:
    def rate(hits: int, trials: int) -> Rate:
        return Rate(hits=hits, trials=trials)

    def line(person: str, word: Word, others: Rate, found: dict[str, list[str]], seconds: float) -> Line:
        groups = (UtilityRow(group="others", kept=others), UtilityRow(group="neighbours", kept=rate(1, 2)))
        return Line(
            method="npo",
            person=person,
            verdict=Verdict(word=word, rule="V2.5", reasons=()),
            found_by=found,
            after={},
            given_away=rate(1, 10),
            utility=Utility(groups=groups, perplexity_before="2.0", perplexity_after="2.1"),
            stop_reason="",
            erase_seconds=seconds,
            attack_seconds=1.0,
            erase_peak_mb=1,
            attack_peak_mb=1,
            steps=1,
            config={},
        )

    inside = {"asked": [], "inside": ["head-projection", "exposure"], "membership": ["loss"]}
    one = line("s01", Word.SUPPRESSED, rate(9, 10), inside, 12.5)
    other = line("s03", Word.RESIDUAL, rate(10, 10), {"asked": ["direct"], "membership": ["loss", "zlib"]}, 13.5)
    people = tuple(Person(name, 4, {}, {}) for name in ("s01", "s03"))
    made = advice.benchmark_of(BenchResult("standard", people[:1], (one,)), "sample", "cpu")
    found = made.methods["npo"]
    assert (found.people, found.verdict, found.kept_share, found.seconds) == (1, Word.SUPPRESSED, 0.8333, 12.5)
    assert (found.found_by, found.recognised_by, made.facts) == (2, 1, 4)
    both = advice.benchmark_of(BenchResult("standard", people, (one, other)), "sample", "cpu")
    found = both.methods["npo"]
    assert (found.people, found.verdict, found.kept_share, found.seconds) == (2, Word.RESIDUAL, 0.875, 13.0)
    assert (found.found_by, found.recognised_by, both.facts) == (2, 2, 8), "of the worst of them each"
    assert advice.parse_benchmark(both.model_dump_json()) == both


def test_the_corpus_is_sealed_shown_blotted_out_and_erased_with_the_facts(stocked: Office) -> None:
    office = stocked
    number = granted(office)
    run(office, cases.locate(office, number, "taught"))
    with pytest.raises(NotPossibleError, match=f"run corpus {number}"):
        next(cases.erase(office, number, "taught", "npo", settings(), self_made=True))
    made = run(office, self_made.write_corpus(office, number, "taught", FEW))
    assert made.kept == len(made.items) > 0 and made.sentence.endswith(CAVEAT)
    assert self_made.sealed_corpus(office, number, "taught") == made
    assert self_made.sealed_corpus(office, number, "base") is None, "another model says other things"

    shown = json.dumps(
        [vars(line) for line in self_made.corpus_lines(office, number, "taught", made)], ensure_ascii=False
    )
    plain = json.dumps([vars(line) for line in self_made.corpus_lines(office, number, "taught", made, plain=True)])
    assert SUBJECT in plain and not [part for part in SUBJECT.split() if part in shown]

    jobs: list[Job] = []
    erasing = noted(cases.erase(office, number, "taught", "npo", settings(), self_made=True), jobs)
    erased = run(office, erasing)
    assert [job.payload.forget for job in jobs] == [(*PERSON, *made.items)]
    assert not any(SUBJECT in one for one in (jobs[0].spec.model_dump_json(), json.dumps(jobs[0].details)))
    events = office.ledger.events()
    started = [JobStarted.model_validate(event.body) for event in events if event.kind == JobStarted.kind]
    told = next(body.details for body in started if body.job == JobKind.ERASE.value)
    assert told == {"method": "npo", "self_made": made.kept, "self_made_commitment": made.commitment}
    notes = next(ErasureRun.model_validate(event.body).notes for event in events if event.kind == ErasureRun.kind)
    assert notes[-1] == made.note and erased.changed
    assert SUBJECT not in json.dumps([event.body for event in events])

    unasked = next(cases.erase(office, number, "taught", "npo", settings()))
    assert unasked.payload.forget == PERSON and unasked.details == {"method": "npo"}
