"""The bench of methods: the same forget set through every method and setting, and the same measurements after.

No case and no ledger. What is finished is kept by what went into it (see ``console.casework.bench_jobs``), so that an
interrupted bench goes on where it stopped. A method that cannot do it becomes a line that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from console.casework.batteries import suite_named
from console.casework.bench import SUBJECT, Trial, given_away, taught_sample, trial_payload
from console.casework.bench_jobs import BenchJobs, Say
from console.casework.bench_tofu import RETRAINED, TAUGHT, TofuTrial
from console.casework.demo import rate_json, rows_json
from console.casework.knowledge import questions, sample_items, sample_knowledge
from console.casework.recipes import check_method, installed_methods
from console.casework.regimes import SEEDS, SETTINGS, people_named, use_of
from console.casework.sample import fetch_model
from console.casework.tofu_data import FORGET_TASK, SPLITS, TofuData, mini_tofu, tofu
from console.domain.bench_results import Axis, Baseline, Cost, Interval, MethodLine, MethodsBench, SetRows
from console.domain.regimes import Regime, regimes_named
from console.domain.results import Rate, pooled
from console.domain.suites import QUICK
from console.domain.verdict import Thresholds
from console.domain.visible import quoted
from console.engines.model_files import identify
from console.errors import InputError, JobFailedError, ModelFileError
from console.jobs.spec import ModelReference
from console.paths import Places

OFF_BY_DEFAULT = frozenset(
    {"output-filter", "uoe"}
)  # one leaves every weight as it was, one needs a mixture of experts
OFFICE_MARGIN = 0.05
EXACT = "retrain"
Keep = Callable[[MethodsBench], None]


class On(StrEnum):
    """What the methods are run on."""

    OFFICE = "office"
    MINI_TOFU = "mini-tofu"
    TOFU = "tofu"


@dataclass(frozen=True)
class Choice:
    """A method with settings, under a name of its own."""

    name: str
    method: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class BenchOptions:
    """What a bench of methods may be told.

    Attributes:
        data: folder with TOFU's files; needed for both TOFU benches.
        split: which part of TOFU is forgotten; None takes the smallest.
        model: the model that is taught; None takes the sample model.
        sample_model: a copy of the sample model, for machines with no registry.
        suite: attacks of the office's bench; None takes the quick ones.
        regimes: how the model is taught in the office's bench, by name; today's where none is named.
        people: whom the office's bench erases, each alone, by id or ``choosing`` or ``reported``; s01 else.
        rows: most rows of each TOFU set that are measured; None takes all.
        answer_tokens: most new tokens of a TOFU answer; None takes TOFU's 200.
        teaching: settings of the teaching of TOFU's authors.
        against: line or baseline that every TOFU line's utility is compared with, row by row; None takes the
            retrained model.
        keep_models: leave the erased models in the cache.
    """

    data: Path | None = None
    split: str | None = None
    model: Path | None = None
    sample_model: Path | None = None
    suite: str | None = None
    regimes: Sequence[str] = ()
    people: Sequence[str] = ()
    rows: int | None = None
    answer_tokens: int | None = None
    teaching: Mapping[str, Any] = field(default_factory=dict)
    against: str | None = None
    keep_models: bool = False
    device: str = "auto"


def default_methods() -> tuple[str, ...]:
    """Every method of this installation that changes weights of the bench's dense models."""
    return tuple(name for name in installed_methods() if name not in OFF_BY_DEFAULT)


def choices(methods: Sequence[str], settings: Mapping[str, Any]) -> tuple[Choice, ...]:
    """The lines of a bench.

    Args:
        methods: ``ID`` or ``NAME=ID``; the same method may stand there several times under different names.
        settings: settings by name.

    Raises:
        InputError: an unknown method, a name used twice, or settings of a line that is not there.
    """
    found: dict[str, Choice] = {}
    for text in methods:
        name, given, method = text.partition("=")
        method = method if given else name
        check_method(method)
        if not name or "." in name:
            raise InputError(f"'{name}' cannot name a line; write --method NAME={method} with a name without dots.")
        if name in found:
            raise InputError(f"Two lines are called '{name}'; name them apart: --method NAME={method}.")
        own = settings.get(name, {})
        if not isinstance(own, Mapping):
            raise InputError(f"'{name}' is a method and no setting; write --set {name}.KEY=VALUE.")
        found[name] = Choice(name, method, dict(own))
    for name in settings:
        if name not in found:
            raise InputError(f"There are settings for '{name}', which is no line; lines are {', '.join(found)}.")
    return tuple(found.values())


def bench_methods(
    places: Places,
    on: str = On.OFFICE,
    methods: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    options: BenchOptions = BenchOptions(),
    say: Say = print,
    finished: MethodsBench | None = None,
    keep: Keep = lambda _result: None,
) -> MethodsBench:
    """Run every method on the same forget set, and measure each result alike.

    Args:
        finished: an earlier result of the office's bench, to which the lines that are missing are added.
        keep: told the result of the office's bench after every line.
        methods: ``ID`` or ``NAME=ID``; none stands for :func:`default_methods`.
        settings: a line's settings, by its name.

    Raises:
        InputError: something that was named does not exist or cannot be used.
        JobFailedError: the model could not be taught or measured before any method ran.
    """
    if on not in set(On):
        raise InputError(f"There is no bench on '{on}'; use one of {', '.join(On)}.")
    lines = choices(methods or default_methods(), settings or {})
    _check_options(On(on), options)
    jobs_for = _Jobs(places, options, say)
    if on == On.OFFICE:
        return _on_office(jobs_for, lines, options, finished, keep)
    return _on_tofu(jobs_for, On(on), lines, options)


def _check_options(on: On, options: BenchOptions) -> None:
    """What nothing would read must not seem to have been used."""
    both = {
        "--data": options.data,
        "--rows": options.rows,
        "--answer-tokens": options.answer_tokens,
        "--teach": options.teaching or None,
        "--against": options.against,
    }
    office = {"--suite": options.suite, "--regime": options.regimes or None, "--person": options.people or None}
    foreign = {
        On.OFFICE: both | {"--split": options.split},
        On.MINI_TOFU: {"--split": options.split, **office},
        On.TOFU: office,
    }
    for option, value in foreign[on].items():
        if value is not None:
            raise InputError(f"The bench on {on} uses no {option}; leave it out.")


@dataclass(frozen=True)
class _Jobs:
    """Makes the bench's folder only when everything that was named is known to exist."""

    places: Places
    options: BenchOptions
    say: Say

    def open(self) -> BenchJobs:
        return BenchJobs(self.places, self.options.device, self.say, keep_models=self.options.keep_models)

    def sample(self) -> ModelReference:
        return ModelReference(path=str(fetch_model(self.places, self.options.sample_model, self.say)))


def _lines(chosen: Sequence[Choice], run: Callable[[Choice], MethodLine], say: Say) -> tuple[MethodLine, ...]:
    """Every line; a method that fails says why, and the next one is tried."""
    found = []
    for choice in chosen:
        try:
            found.append(run(choice))
        except (InputError, JobFailedError) as error:
            say(f"{choice.name} failed: {error}")
            found.append(
                MethodLine(
                    name=choice.name,
                    method=choice.method,
                    settings=choice.settings,
                    status="failed",
                    reason=str(error),
                )
            )
    return tuple(found)


# -- the sample office -------------------------------------------------------------------------


def _on_office(
    start: _Jobs, chosen: Sequence[Choice], options: BenchOptions, finished: MethodsBench | None, keep: Keep
) -> MethodsBench:
    """Every regime, person and method, one after the other; what ``finished`` holds is not run again."""
    plan, knowledge = suite_named(options.suite or QUICK.name), sample_knowledge()
    regimes, people = regimes_named(options.regimes), people_named(options.people or (SUBJECT,))
    base = start.sample() if options.model is None else _own_model(options.model)
    empty = _empty_office(Path(base.path).name, plan.name, options.device)
    result = empty if finished is None else _continued(finished, empty)
    jobs = start.open()
    for regime, person in product(regimes, people):
        due = [choice for choice in chosen if not result.has(choice.name, choice.settings, regime, person)]
        if len(due) < len(chosen):
            start.say(f"{regime}, {person}: {len(chosen) - len(due)} of {len(chosen)} kept from before")
        if not due:
            continue
        taught = taught_sample(jobs, start.places, base, knowledge, regime)
        payload = trial_payload(knowledge, sample_items(person), regime)
        trial = Trial(jobs, plan, taught.model, base, payload, knowledge, person)
        result = _with_limit(result.with_baselines(_office_baselines(regime, trial, taught.learned)))
        for choice in due:
            (line,) = _lines([choice], partial(_office_line, regime=regime, trial=trial), start.say)
            place = {"regime": regime.value, "person": person, "use": use_of(person), "code": jobs.code[:12]}
            result = result.with_line(line.model_copy(update=place))
            keep(result)
    return result


def _empty_office(model: str, suite: str, device: str) -> MethodsBench:
    kept = float(Thresholds.current().kept_share)
    return MethodsBench(
        on=On.OFFICE.value,
        model=model,
        settings={"suite": suite, "device": device, "seeds": SEEDS},
        sets={},
        forgetting=Axis(title="Forgetting (1 - share of attempts that gave a fact)", acceptable=1.0, why=""),
        utility=Axis(title="Utility (share of other people's facts kept)", acceptable=kept, why="the rules' threshold"),
        baselines=(),
        lines=(),
    )


def _continued(finished: MethodsBench, wanted: MethodsBench) -> MethodsBench:
    """An earlier result to go on with.

    Raises:
        InputError: it is of another bench, whose lines cannot stand beside these.
    """
    for what, has, wants in (
        ("bench", finished.on, wanted.on),
        ("model", finished.model, wanted.model),
        ("suite", finished.settings.get("suite"), wanted.settings["suite"]),
        ("set of seeds", finished.settings.get("seeds"), wanted.settings["seeds"]),
    ):
        if has != wants:
            raise InputError(
                f"The result file is of another {what} ({quoted(str(has))} instead of {quoted(str(wants))}), so its "
                "lines cannot stand beside these; name another file, or begin this one anew with --force."
            )
    return finished


def _office_baselines(regime: Regime, trial: Trial, learned: Mapping[str, Any]) -> tuple[Baseline, Baseline]:
    never, knowing = given_away(trial.reference), given_away(trial.before)
    facts = len(questions(trial.payload.forget))
    shared: dict[str, Any] = {"regime": regime.value, "person": trial.person}
    return (
        Baseline(
            name="taught",
            title="holds the data",
            forgetting=_withheld(knowing),
            forgetting_interval=_withheld_interval(knowing),
            utility=1.0,
            found={kind: tuple(names) for kind, names in trial.found.items()},
            measures={"attacks": rows_json(trial.before), "learned": dict(learned), "facts": facts},
            **shared,
        ),
        Baseline(
            name="never knew",
            title="never knew the data",
            forgetting=_withheld(never),
            forgetting_interval=_withheld_interval(never),
            utility=None,
            measures={"attacks": rows_json(trial.reference)},
            **shared,
        ),
    )


def _with_limit(result: MethodsBench) -> MethodsBench:
    """The result with its limit of forgetting, and how many facts were asked for, over all trials so far."""
    never = [one.forgetting for one in result.baselines if one.name == "never knew" and one.forgetting is not None]
    facts = sum(one.measures["facts"] for one in result.baselines if one.name == "taught")
    axis = result.forgetting.model_copy(
        update={
            "acceptable": max(0.0, max(never, default=1.0) - OFFICE_MARGIN),
            "why": f"at most {OFFICE_MARGIN:.0%} of the attempts more than from a model that never knew",
        }
    )
    sets = {"forget": SetRows(measured=facts, available=facts)}
    return result.model_copy(update={"forgetting": axis, "sets": sets})


def _withheld(given: Rate | None) -> float | None:
    return None if given is None else 1 - given.share


def _withheld_interval(given: Rate | None) -> Interval | None:
    return None if given is None else Interval(low=1 - given.high, high=1 - given.low)


def _office_line(choice: Choice, regime: Regime, trial: Trial) -> MethodLine:
    # A retraining is the same training without the person, so it starts from the regime's own settings.
    repeated = SETTINGS[regime] if choice.method == EXACT else {}
    line = trial.line(choice.method, {**repeated, **choice.settings})
    kept = pooled(row.kept for row in line.utility.groups)
    return MethodLine(
        name=choice.name,
        method=choice.method,
        settings=choice.settings,
        status="done",
        config=line.config,
        forgetting=_withheld(line.given_away),
        forgetting_interval=_withheld_interval(line.given_away),
        utility=None if kept is None else kept.share,
        utility_interval=None if kept is None else Interval(low=kept.low, high=kept.high),
        steps=line.steps,
        stop_reason=line.stop_reason,
        cost=Cost(
            erase_seconds=line.erase_seconds,
            erase_peak_mb=line.erase_peak_mb,
            measure_seconds=line.attack_seconds,
            measure_peak_mb=line.attack_peak_mb,
        ),
        measures={
            "verdict": line.verdict.model_dump(mode="json"),
            "found_by": line.found_by,
            "attacks": line.after,
            "kept": {row.group: rate_json(row.kept) for row in line.utility.groups},
            "perplexity_before": line.utility.perplexity_before,
            "perplexity_after": line.utility.perplexity_after,
        },
    )


# -- TOFU --------------------------------------------------------------------------------------


def _on_tofu(start: _Jobs, on: On, chosen: Sequence[Choice], options: BenchOptions) -> MethodsBench:
    against = _yardstick(chosen, options.against)
    data = _tofu_data(on, options)
    base = start.sample() if options.model is None else _own_model(options.model)
    trial = TofuTrial(start.open(), base, data, dict(options.teaching), options.answer_tokens)
    learned = trial.learned
    notes = [
        *data.notes,
        f"After the teaching the model gave {learned['known']} of {learned['facts']} answers when asked.",
    ]
    if any(rows.measured < rows.available for rows in data.sets.values()):
        notes.append(f"Only the first {options.rows} rows of each set were measured.")
    return MethodsBench(
        on=on.value,
        model=Path(base.path).name,
        settings={
            "split": (options.split or SPLITS[0]) if on is On.TOFU else f"task {FORGET_TASK} of forget01_tasks",
            "teaching": trial.teaching,
            "learned": learned,
            "rows": options.rows,
            "answer_tokens": options.answer_tokens,
            "device": options.device,
        },
        sets=data.sets,
        forgetting=trial.forgetting,
        utility=trial.utility,
        baselines=trial.baselines,
        lines=trial.compared(
            _lines(chosen, lambda choice: trial.line(choice.name, choice.method, choice.settings), start.say), against
        ),
        against=against,
        notes=tuple(notes),
    )


def _yardstick(chosen: Sequence[Choice], against: str | None) -> str:
    """The line or baseline that is compared with.

    Raises:
        InputError: there is none of that name, or a line is called like a baseline.
    """
    names, baselines = [choice.name for choice in chosen], (TAUGHT, RETRAINED)
    for name in names:
        if name in baselines:
            raise InputError(f"'{name}' is the bench's own model beside the lines; give the line another name.")
    if against is not None and against not in (*names, *baselines):
        raise InputError(f"There is no '{against}' to compare with; use one of {', '.join((*baselines, *names))}.")
    return against or RETRAINED


def _tofu_data(on: On, options: BenchOptions) -> TofuData:
    if options.data is None:
        raise InputError(f"The bench on {on} needs the folder with TOFU's files; name it with --data.")
    if options.rows is not None and options.rows < 1:
        raise InputError("At least one row of each set must be measured; leave --rows out to measure all.")
    return (
        mini_tofu(options.data, options.rows)
        if on is On.MINI_TOFU
        else tofu(options.data, options.split or SPLITS[0], options.rows)
    )


def _own_model(path: Path) -> ModelReference:
    """By its bytes, so that another model at the same place is not taken for it."""
    if not path.exists():
        raise ModelFileError(f"There is no model at {path}; give a model folder or a GGUF file.")
    return ModelReference(path=str(path.resolve()), tree_hash=identify(path).tree_hash)
