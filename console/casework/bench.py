"""The bench of erasers: known methods on the sample office, and what the attacks and the rules say of each.

No case and no ledger: the sample model is taught its office, each eraser erases one person, the same suite attacks
every result, and the same rules decide. What is finished is kept by what went into it, so an interrupted bench goes
on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from console.casework.asking_again import Unasked, Wanted, asking_again, fresh_counts
from console.casework.batteries import digest, payload_about, suite_named
from console.casework.bench_jobs import BenchJobs, Say
from console.casework.demo import rate_json, rows_json
from console.casework.knowledge import Knowledge, questions, sample_items, sample_knowledge
from console.casework.own_places import places_payload
from console.casework.recipes import check_method, installed_methods
from console.casework.regimes import SETTINGS, people_named, teaching_in
from console.casework.sample import LEAST_KNOWN, MODEL_SHA256, fetch_model, teaching_hash
from console.casework.side_effects import kept_facts, utility_groups
from console.domain.claims import Claim
from console.domain.events import plain
from console.domain.forget_set import ForgetItem
from console.domain.regimes import Regime
from console.domain.results import AttackRow, Battery, FactCount, Rate, Stage, Utility, pooled
from console.domain.rules_3 import FIRST_LOOK, MOST_ROUNDS, not_yet, to_ask_again
from console.domain.suites import SuitePlan
from console.domain.teaching import without_subjects
from console.domain.verdict import Thresholds, Verdict, decide, located
from console.errors import InputError, JobFailedError
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference
from console.paths import Places

SUBJECT = "s01"


@dataclass(frozen=True)
class Line:
    """One eraser's line for one person.

    Attributes:
        found_by: attacks that find the data in the erased model, by kind of evidence.
        given_away: attempts that gave a fact (see :func:`given_away`).
        erase_seconds, attack_seconds: wall time of the jobs.
        erase_peak_mb, attack_peak_mb: most memory that the jobs held, MiB.
        config: the method's settings, with the defaults.
    """

    method: str
    person: str
    verdict: Verdict
    found_by: dict[str, list[str]]
    after: dict[str, Any]
    given_away: Rate | None
    utility: Utility
    stop_reason: str
    erase_seconds: float
    attack_seconds: float
    erase_peak_mb: int
    attack_peak_mb: int
    steps: int
    config: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """A method that left no model to attack, and its reason; it has no verdict, and is no line."""

    method: str
    person: str
    reason: str


@dataclass(frozen=True)
class Person:
    """Whom the methods erased, and what the suite finds in the model that knows and in one that never did."""

    id: str
    facts: int
    before: dict[str, Any]
    reference: dict[str, Any]


@dataclass(frozen=True)
class BenchResult:
    suite: str
    people: tuple[Person, ...]
    lines: tuple[Line, ...]
    failed: tuple[Failed, ...] = ()


@dataclass(frozen=True)
class Taught:
    """A model that was taught its office.

    Attributes:
        learned: ``known`` of ``facts`` when asked, ``steps``, ``stop_reason``; ``seconds`` where it was timed.
    """

    model: ModelReference
    learned: dict[str, Any]


def taught_sample(
    jobs: BenchJobs, places: Places, base: ModelReference, knowledge: Knowledge, regime: Regime = Regime.OFFICE
) -> Taught:
    """A model with its office, kept by what went into it; the sample model's is shared with ``sample plant``.

    Args:
        base: the sample model, which has no ``tree_hash``, or another one, which has.

    Raises:
        InputError: it was taught the questions and learned too few to be an honest example. Free text teaches no
            question: how many it answers is told, and what it does not know no attack finds.
    """
    teaching, settings = teaching_in(regime, knowledge), SETTINGS[regime]
    folder = places.cache / "planted" / teaching_hash(settings, teaching, base.tree_hash or MODEL_SHA256)[:24]
    counts = folder.with_suffix(".json")
    if not (folder.is_dir() and counts.is_file()):
        folder.parent.mkdir(parents=True, exist_ok=True)
        spec = jobs.spec(JobKind.TEACH, base, output=str(folder), settings=settings)
        asked = questions(tuple(one.item for one in knowledge.teaching)) if regime is Regime.FREE_TEXT else ()
        payload = JobPayload(teaching=teaching, general=knowledge.general, probe=asked)
        run = jobs.job(spec, payload, f"Teaching the model its office ({regime})")
        fields = ("known", "facts", "steps", "stop_reason", "identity")
        kept = {key: run["value"][key] for key in fields} | {"seconds": run["seconds"]}
        counts.write_text(json.dumps(kept), encoding="utf-8")
    value = json.loads(counts.read_text(encoding="utf-8"))
    if regime is not Regime.FREE_TEXT and value["known"] < LEAST_KNOWN * value["facts"]:
        raise InputError(
            f"The model learned only {value['known']} of {value['facts']} facts ({regime}); delete {folder.name} in "
            "the cache and start again."
        )
    return Taught(ModelReference(path=str(folder), tree_hash=value.pop("identity")["tree_hash"]), value)


def given_away(battery: Battery) -> Rate | None:
    """Attempts that gave a fact, of all attempts of the attacks that ask for one; None where none ran."""
    return pooled(row.outcome.attempts for row in battery.rows if row.outcome is not None and row.outcome.area is None)


def trial_payload(knowledge: Knowledge, items: tuple[ForgetItem, ...], regime: Regime = Regime.OFFICE) -> JobPayload:
    """As in a case; behaviour is left out, because no verdict rests on it.

    Whatever the model was taught with, the request and what is known of others are questions and answers: that is what
    an office can write down. Only an exact retraining sees the training data itself.
    """
    teaching = without_subjects(teaching_in(regime, knowledge), {item.subject for item in items})
    return payload_about(items, knowledge).model_copy(update={"behaviour": None, "teaching": teaching})


def by_kind(rows: Iterable[AttackRow]) -> dict[str, list[str]]:
    """Names of attacks by kind of evidence."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.evidence.value, []).append(row.attack)
    return found


def bench_erasers(
    places: Places,
    methods: Sequence[str] = (),
    suite_name: str = "standard",
    device: str = "auto",
    sample_model: Path | None = None,
    people: Sequence[str] = (SUBJECT,),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    say: Say = print,
) -> BenchResult:
    """Erase people of the sample office, each alone, with each method, attack, and decide by the current rules.

    Args:
        methods: by id; none stands for every method that is installed.
        people: by id, as in the sample office.
        settings: a method's settings, by its id.

    Raises:
        InputError: an unknown method, suite or person.
        JobFailedError: the model could not be taught or attacked before any method ran.
    """
    plan = suite_named(suite_name)
    methods = tuple(methods) or installed_methods()
    for method in methods:
        check_method(method)
    people = people_named(people)
    jobs, knowledge = BenchJobs(places, device, say), sample_knowledge()
    base = ModelReference(path=str(fetch_model(places, sample_model, say)))
    taught = taught_sample(jobs, places, base, knowledge).model
    erased, lines, failed = [], [], []
    for person in people:
        trial = Trial(jobs, plan, taught, base, trial_payload(knowledge, sample_items(person)), knowledge, person)
        facts = len(questions(trial.payload.forget))
        erased.append(Person(person, facts, rows_json(trial.before), rows_json(trial.reference)))
        for method in methods:
            try:
                lines.append(trial.line(method, dict((settings or {}).get(method, {}))))
            except (InputError, JobFailedError) as error:
                say(f"{method} failed: {error}")
                failed.append(Failed(method, person, str(error)))
    return BenchResult(plan.name, tuple(erased), tuple(lines), tuple(failed))


class Trial:
    """One person, one suite, the model that knows and the model that never did: every eraser gets the same."""

    def __init__(
        self,
        jobs: BenchJobs,
        plan: SuitePlan,
        taught: ModelReference,
        base: ModelReference,
        payload: JobPayload,
        knowledge: Knowledge,
        person: str,
    ) -> None:
        self.person = person
        self._jobs, self._plan, self._taught, self._base = jobs, plan, taught, base
        self.payload = payload
        self._groups = utility_groups(knowledge, payload.forget)
        self._suite = digest({"attacks": list(plan.attacks), "settings": plain(dict(plan.settings))})
        listen = jobs.spec(JobKind.OWN_PLACES, taught)
        heard = jobs.job(listen, payload, "Listening where the model puts the facts")["value"]
        self._asked = payload.model_copy(update={"places": places_payload(heard)})
        searched = self._attack_spec(taught, alive=True)
        self._known = jobs.job(searched, self._asked, "The model that holds the data")["value"]
        never = self._asked.model_copy(update={"probe": (), "held_out": ()})
        unknown = jobs.job(self._attack_spec(base, False), never, "A model that never knew it")["value"]
        self.before = self._battery(Stage.BEFORE, self._known)
        self.reference = self._battery(Stage.REFERENCE, unknown)
        self.found = by_kind(located(self.before, self.reference))

    def _attack_spec(self, model: ModelReference, prompt_controls: bool = True, alive: bool = False) -> JobSpec:
        # Nothing here reads what became of others' facts step by step, so nobody is asked for them.
        settings = {**self._plan.settings, "prompt_controls": prompt_controls, "retained_asked": 0}
        return self._jobs.spec(JobKind.ATTACK, model, attacks=self._plan.attacks, settings=settings, sign_of_life=alive)

    def _battery(self, stage: Stage, value: Mapping[str, Any]) -> Battery:
        return Battery(stage=stage, model_hash="", suite_hash=self._suite, rows=value["rows"])

    def _settled(self, artefact: ModelReference, found: Mapping[str, Any]) -> Battery:
        """The battery after, with fresh draws for what was hit, as a case has them."""
        after, thresholds, unasked = self._battery(Stage.AFTER, found), Thresholds.current(), Unasked()
        for _round in range(MOST_ROUNDS):
            again = to_ask_again(after, self.before, self.reference, thresholds)
            short = unasked.of(Stage.AFTER, again.short, FIRST_LOOK)
            hit = unasked.of(Stage.AFTER, again.hit, thresholds.draws)
            missing = unasked.of(Stage.REFERENCE, not_yet(again, self.reference, thresholds), thresholds.draws)
            if not (short or hit or missing):
                break
            after = after.asked_again(self._again(artefact, short, FIRST_LOOK))
            after = after.asked_again(self._again(artefact, hit, thresholds.draws))
            self.reference = self.reference.asked_again(self._again(self._base, missing, thresholds.draws))
        return after

    def _again(self, model: ModelReference, wanted: Wanted, draws: int) -> dict[str, list[FactCount]]:
        if not wanted:
            return {}
        spec = self._jobs.spec(
            JobKind.ASK_AGAIN, model, attacks=tuple(wanted), settings={**self._plan.settings, "retained_asked": 0}
        )
        found = self._jobs.job(spec, asking_again(self._asked, wanted, draws), "Asking again for what was hit")
        return fresh_counts(found["value"])

    def line(self, method: str, settings: dict[str, Any]) -> Line:
        """Erase with a method, attack what it left, decide.

        Raises:
            JobFailedError: the method or the attacks failed.
        """
        write = self._jobs.writing(
            *(method, self.payload, JobKind.ERASE, self._taught),
            reference=self._base,
            method=method,
            settings=settings,
        )
        titles = (f"Erasing with {method}", f"Attacking what {method} left")
        settled: list[Battery] = []
        erased, attacked = self._jobs.measured(
            write,
            self.payload,
            titles,
            lambda artefact: (self._attack_spec(artefact), self._asked),
            lambda artefact, found: settled.append(self._settled(artefact, found["value"])),
        )
        value = erased["value"]
        measured = attacked["value"]
        after = settled[-1]
        utility = Utility(
            groups=kept_facts(self._known["answered"], measured["answered"], self._groups),
            perplexity_before=self._known["perplexity"],
            perplexity_after=measured["perplexity"],
        )
        claim = Claim(value["method"]["claim"])
        verdict = decide(self.before, after, self.reference, utility, Thresholds.current(), claim)
        return Line(
            method=method,
            person=self.person,
            verdict=verdict,
            found_by=by_kind(located(after, self.reference)),
            after=rows_json(after),
            given_away=given_away(after),
            utility=utility,
            stop_reason=value["stop_reason"],
            erase_seconds=erased["seconds"],
            attack_seconds=attacked["seconds"],
            erase_peak_mb=erased["peak_rss_mb"],
            attack_peak_mb=attacked["peak_rss_mb"],
            steps=value["steps"],
            config=value["config"],
        )


def bench_json(result: BenchResult) -> dict[str, Any]:
    """The bench as plain data."""
    value = asdict(result)
    value["lines"] = [
        {
            **asdict(line),
            "verdict": line.verdict.model_dump(mode="json"),
            "utility": line.utility.model_dump(mode="json"),
            "given_away": None if line.given_away is None else rate_json(line.given_away),
        }
        for line in result.lines
    ]
    return value
