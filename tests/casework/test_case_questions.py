"""Questions by a helper in a case: written once, sealed, and the same before, after and on the reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from invented import FACTS, PERSON, SUBJECT
from test_walk import granted, run, settings

from console.attacks.helper_questions import TOO_WEAK
from console.casework import cases, requests
from console.casework.batteries import bound_suites, repeated, run_battery, suite_for
from console.casework.checking import check_report
from console.casework.comparing import compare
from console.casework.helper_questions import QUESTIONS, sealed_questions
from console.casework.knowledge import Knowledge
from console.casework.office import Office
from console.casework.operation import Job, JobResult
from console.casework.reporting import make_report
from console.domain.engine_names import EngineName
from console.domain.own_places import PlaceCounts
from console.domain.results import Stage
from console.domain.suites import QUICK, SUITES
from console.errors import InputError, ModelFileError
from console.jobs.spec import JobKind

MINE = {"paraphrases": [f"In which town is {SUBJECT} at home?"], "steps": [], "indirect": "", "implied": ""}
WRITTEN = {
    "helper": "a" * 64,
    "config": {},
    "written": {FACTS[0].id: MINE},
    "count": 1,
    "wanted": 24,
    "weak": True,
    "sentence": "Written by the helper: 1 of 24 questions; the others are the templates.",
}

PLACES = {"places": {}, "counts": dict.fromkeys(PlaceCounts.model_fields, 0)}


def result(value: dict[str, object]) -> JobResult:
    return JobResult(value=value, seconds=1.0, peak_rss_mb=1)


def to_the_attack(office: Office, number: str, tree_hash: str, written: dict[str, object] = WRITTEN) -> list[Job]:
    """The jobs that ``locate`` asks for up to the first attack; a helper of this hash answers ``written``."""
    walk = cases.locate(office, number, "taught", helper=Path("helper"))
    jobs = [next(walk)]
    while jobs[-1].spec.kind is not JobKind.ATTACK:
        answers = {JobKind.INSPECT: {"identity": {"tree_hash": tree_hash}}, JobKind.OWN_PLACES: PLACES}
        jobs.append(walk.send(result(answers.get(jobs[-1].spec.kind, written))))
    walk.close()
    return jobs


def test_the_questions_are_written_once_and_sealed(stocked: Office, knowledge: Knowledge) -> None:
    number = granted(stocked)
    jobs = to_the_attack(stocked, number, "a" * 64)
    kinds = [JobKind.INSPECT, JobKind.PREPARE_QUESTIONS, JobKind.OWN_PLACES, JobKind.ATTACK]
    assert [job.spec.kind for job in jobs] == kinds
    assert jobs[1].spec.model.tree_hash == "a" * 64 and jobs[1].payload.forget == PERSON
    assert not any(SUBJECT in job.spec.model_dump_json() for job in jobs), "the spec lies in the open"
    assert jobs[-1].payload.bank.written[FACTS[0].id].paraphrases == tuple(MINE["paraphrases"])
    again = to_the_attack(stocked, number, "a" * 64)
    assert [job.spec.kind for job in again] == [JobKind.INSPECT, JobKind.ATTACK]
    assert again[-1].payload.bank == jobs[-1].payload.bank
    assert len(stocked.ledger.sealed_items(number, QUESTIONS)) == 1
    other = to_the_attack(stocked, number, "b" * 64, WRITTEN | {"helper": "b" * 64})
    assert other[1].spec.kind is JobKind.PREPARE_QUESTIONS
    assert len(sealed_questions(stocked, number)) == 2


def test_every_stage_asks_the_same(stocked: Office, knowledge: Knowledge) -> None:
    number = granted(stocked)
    to_the_attack(stocked, number, "a" * 64)
    suite = suite_for(stocked, number, knowledge, QUICK, sealed_questions(stocked, number)[0])
    banks = []
    for stage in Stage:
        job = next(run_battery(stocked, number, stage, "taught", suite, knowledge, "cpu"))
        banks.append(job.payload.bank)
        assert job.spec.settings.get("retained_asked", 12) == (0 if stage is Stage.REFERENCE else 12)
    assert banks[0] == banks[1] == banks[2] and banks[0].written


def test_the_suite_s_identity_covers_questions_and_repeats(stocked: Office, knowledge: Knowledge) -> None:
    number = granted(stocked)
    plain = suite_for(stocked, number, knowledge, QUICK)
    assert repeated(QUICK, 1) is QUICK
    to_the_attack(stocked, number, "a" * 64)
    (item,) = sealed_questions(stocked, number)
    helped = suite_for(stocked, number, knowledge, QUICK, item)
    thrice = suite_for(stocked, number, knowledge, repeated(QUICK, 3), item)
    assert suite_for(stocked, number, knowledge, QUICK) == plain
    bound = bound_suites(stocked, number, knowledge)
    assert len({plain.hash, helped.hash, thrice.hash}) == 3
    assert {plain.hash, helped.hash, thrice.hash} <= {suite.hash for suite in bound}
    assert len({suite.hash for suite in bound}) == len(bound)
    assert thrice in bound and bound.index(thrice) < bound.index(helped) < bound.index(plain)
    assert bound[0].attacks == SUITES["full"].run_by(EngineName.BOTH).attacks
    for repeats in (0, 11):
        with pytest.raises(InputError, match="1 to 10"):
            next(cases.locate(stocked, number, "taught", repeats=repeats))


def test_a_helper_that_is_not_there_is_refused_before_anything_moves(stocked: Office, tmp_path: Path) -> None:
    number = granted(stocked)
    with pytest.raises(ModelFileError):
        run(stocked, cases.locate(stocked, number, "taught", helper=tmp_path / "nowhere"))
    assert not requests.request_state(stocked, number)["batteries"]


def test_a_case_with_a_weak_helper_and_repeats(stocked: Office, untaught_folder: Path, tmp_path: Path) -> None:
    """The helper is a tiny untrained model: it writes next to nothing, and the report says so."""
    office = stocked
    number = granted(office)
    located = run(office, cases.locate(office, number, "taught", "cpu", "standard", untaught_folder, 2))
    asked = located.before.settings
    assert asked["helper"] == tree_hash_of(office, "base") and asked["helper_sentence"].endswith(TOO_WEAK)
    assert f"{asked['helper_written']} of {asked['helper_wanted']}" in asked["helper_sentence"]
    direct, stepwise = (located.before.battery.row(attack) for attack in ("direct", "stepwise"))
    assert [one.seed for one in direct.by_seed] == [20_000, 30_000] and direct.spread is not None
    assert direct.outcome.attempts.trials == 3 * (1 + 2) and stepwise.leak_gains
    assert located.before.battery.row("membership").by_seed == ()

    erased = run(office, cases.erase(office, number, "taught", "npo", settings()))
    outcome = run(office, cases.attack(office, number, erased.artefact))
    assert outcome.after.settings["helper"] == asked["helper"] and outcome.after.settings["repeats"] == 2
    assert outcome.after.battery.suite_hash == located.before.battery.suite_hash
    assert outcome.reference.battery.suite_hash == located.before.battery.suite_hash
    assert len(office.ledger.sealed_items(number, QUESTIONS)) == 1

    told = [office.ledger.unseal(body.attempts)["retained"]["stepwise"] for body in (outcome.before, outcome.after)]
    before = [item for item, right in told[0].items() if right]
    assert before and outcome.utility.suppressed.trials == len(before)
    assert outcome.utility.suppressed.hits == sum(not told[1][item] for item in before)
    assert office.ledger.unseal(outcome.reference.attempts)["retained"] == {}
    assert compare(office, "taught", erased.artefact).suppressed == outcome.utility.suppressed

    out = tmp_path / "report.pdf"
    made = make_report(office, number, out)
    assert check_report(out, office).ok
    assert made.evidence.environment["helper questions"] == asked["helper_sentence"]
    assert made.evidence.batteries.before.row("stepwise").leak_gains == stepwise.leak_gains
    shown = json.dumps(made.evidence.model_dump(mode="json"))
    assert not [item.subject for item in PERSON if item.subject in shown]


def tree_hash_of(office: Office, model: str) -> str:
    from console.casework.models import model_state

    return str(model_state(office, model)["identity"]["tree_hash"])
