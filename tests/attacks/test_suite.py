"""The suite: rows become counts, and what cannot run says why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from invented import BANK, FACTS, OUTSIDERS

from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow
from console.attacks.suite import Remembering, _require_numbers, run_attack, run_suite, summarise
from console.domain.results import Access, Evidence, Rate, Status
from console.engines.protocol import Capability, CapabilityReport, LanguageModel, Scored, ScoreRequest
from console.errors import ConsoleError, InputError, JobFailedError, NotPossibleError

TARGET = AttackTarget(FACTS, OUTSIDERS, BANK, AttackSettings())


def row(item: str, hit: bool, *, control: bool = False, score: float | None = None) -> AttemptRow:
    return AttemptRow(item_id=item, prompt_id=f"p/{item}", attempt=0, hit=hit, control=control, score=score)


@dataclass
class Scripted:
    """An attack that reports what it is told to."""

    rows: tuple[AttemptRow, ...] = (row("a", True),)
    reason: str | None = None
    needs: frozenset[Capability] = frozenset({Capability.GENERATE})
    name: str = "scripted"
    info: AttackInfo = field(init=False)

    def __post_init__(self) -> None:
        self.info = AttackInfo(
            self.name, "Title", "Definition", "Source", Access.BLACK_BOX, Evidence.ELICITED, self.needs
        )

    def budget(self, settings: AttackSettings) -> int:
        return 3

    def inapplicable(self, target: AttackTarget) -> str | None:
        return self.reason

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        yield from self.rows


class Limited:
    """An engine that can only generate."""

    capabilities = CapabilityReport(
        "limited",
        "cpu",
        "int4",
        frozenset({Capability.GENERATE}),
        {Capability.HIDDEN_STATES: "llama.cpp shows no layer."},
    )


class TestSummary:
    @pytest.mark.parametrize(
        ("rows", "attempts", "items", "control"),
        [
            ([row("a", True)], (1, 1), (1, 1), None),
            ([row("a", False), row("a", True), row("b", False)], (1, 3), (1, 2), None),
            ([row("a", True), row("a", False), row("a", True)], (2, 3), (1, 1), None),
            ([row("a", False), row("x", True, control=True), row("y", False, control=True)], (0, 1), (0, 1), (1, 2)),
            ([row("a", True), row("a", True, control=True)], (1, 1), (1, 1), (1, 1)),
        ],
    )
    def test_counts(
        self,
        rows: list[AttemptRow],
        attempts: tuple[int, int],
        items: tuple[int, int],
        control: tuple[int, int] | None,
    ) -> None:
        outcome = summarise(rows)
        assert outcome.attempts == Rate(hits=attempts[0], trials=attempts[1])
        assert outcome.items == Rate(hits=items[0], trials=items[1])
        assert outcome.control == (Rate(hits=control[0], trials=control[1]) if control else None)
        assert outcome.area is None

    def test_scores_of_both_groups_make_an_area(self) -> None:
        own = [row(str(number), True, score=-float(number)) for number in range(3)]
        control = [row(str(number), False, control=True, score=-5.0 - number) for number in range(4)]
        area = summarise([*own, *control]).area
        assert area is not None and (area.value, area.members, area.non_members) == ("1.0000", 3, 4)
        assert summarise(own).area is None

    def test_no_attempt_on_the_request_has_no_outcome(self) -> None:
        with pytest.raises(ValueError, match="no attempt"):
            summarise([row("x", True, control=True)])


class TestRunAttack:
    def test_the_row_carries_the_attack_s_own_description(self) -> None:
        result = run_attack(Scripted(), Limited(), TARGET)  # type: ignore[arg-type]
        found = result.row
        assert (found.attack, found.evidence, found.access, found.budget) == (
            "scripted",
            Evidence.ELICITED,
            Access.BLACK_BOX,
            3,
        )
        assert found.status is Status.OK and result.attempts == (row("a", True),)

    @pytest.mark.parametrize(
        ("attack", "says"),
        [
            (Scripted(needs=frozenset({Capability.HIDDEN_STATES})), "llama.cpp shows no layer."),
            (Scripted(needs=frozenset({Capability.GRADIENTS})), "This engine offers no gradients."),
            (Scripted(reason="Nothing to ask."), "Nothing to ask."),
            (Scripted(rows=()), "already contained the answer"),
            (Scripted(rows=(row("x", True, control=True),)), "already contained the answer"),
        ],
    )
    def test_what_cannot_run_says_why(self, attack: Scripted, says: str) -> None:
        result = run_attack(attack, Limited(), TARGET)  # type: ignore[arg-type]
        assert result.row.status is Status.NOT_APPLICABLE
        assert says in result.row.reason
        assert (result.row.outcome, result.attempts) == (None, ())
        assert (result.row.attack, result.row.budget) == ("scripted", 3)

    def test_the_same_settings_give_the_same_interval(self) -> None:
        rows = tuple(
            row(str(number), False, control=number % 2 == 0, score=float(number * 7 % 11)) for number in range(20)
        )
        areas = [run_attack(Scripted(rows), Limited(), TARGET).row.outcome for _ in range(2)]  # type: ignore[arg-type]
        assert areas[0] == areas[1] and areas[0] is not None and areas[0].area is not None


class TestRunSuite:
    def test_every_attack_in_order_and_announced(self) -> None:
        attacks = [Scripted(name="b"), Scripted(name="a", reason="No."), Scripted(name="c")]
        announced: list[tuple[int, str]] = []
        results = run_suite(
            attacks,  # type: ignore[arg-type]
            Limited(),  # type: ignore[arg-type]
            TARGET,
            lambda index, attack: announced.append((index, attack.info.id)),
        )
        assert [result.row.attack for result in results] == ["b", "a", "c"]
        assert announced == [(0, "b"), (1, "a"), (2, "c")]

    def test_whoever_announces_can_stop_it(self) -> None:
        def stop(index: int, _attack: object) -> None:
            if index == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_suite([Scripted(), Scripted()], Limited(), TARGET, stop)  # type: ignore[arg-type, list-item]


@dataclass
class Failing(Scripted):
    """An attack that meets an error which a person can act on."""

    error: ConsoleError = field(default_factory=lambda: InputError("The prompt does not fit."))

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        yield from self.rows
        raise self.error


@pytest.mark.parametrize("error", [InputError("too long"), JobFailedError("unstable"), NotPossibleError("no spread")])
def test_an_attack_that_cannot_be_carried_out_ends_alone(error: ConsoleError) -> None:
    """Such as a prompt beyond the model's context: a reason, half its rows thrown away, and the others go on."""
    failed, ran = run_suite([Failing(error=error), Scripted()], Limited(), TARGET)  # type: ignore[arg-type]
    assert (failed.row.status, failed.row.reason, failed.attempts) == (Status.NOT_APPLICABLE, str(error), ())
    assert ran.row.status is Status.OK


def test_a_stop_is_no_reason_to_go_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_suite([Failing(error=KeyboardInterrupt()), Scripted()], Limited(), TARGET)  # type: ignore[arg-type]


class Counting(Limited):
    """Scores a text by its length, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        self.asked += [request.continuation for request in requests]
        return [Scored((0,), (-float(len(request.continuation)),)) for request in requests]


def test_a_text_is_scored_once_for_all_attacks() -> None:
    model = Counting()
    remembering = Remembering(model)  # type: ignore[arg-type]
    one, two, three = (ScoreRequest(text) for text in ("a", "bb", "ccc"))
    assert [scored.total for scored in remembering.score([one, two, one])] == [-1.0, -2.0, -1.0]
    assert [scored.total for scored in remembering.score([three, two])] == [-3.0, -2.0]
    assert model.asked == ["a", "bb", "ccc"]
    assert remembering.capabilities is model.capabilities


def test_attacks_on_the_weights_get_the_bare_model() -> None:
    """What was scored before the weights changed must not be taken for what the changed ones say."""
    seen: dict[str, bool] = {}

    @dataclass
    class Looking(Scripted):
        def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
            seen[self.name] = isinstance(model, Remembering)
            yield from self.rows

    reading, disturbing = Looking(name="reading"), Looking(name="disturbing")
    disturbing.info = replace(disturbing.info, evidence=Evidence.DISTURBED)
    run_suite([reading, disturbing], Limited(), TARGET)  # type: ignore[arg-type]
    assert seen == {"reading": True, "disturbing": False}


def test_chance_is_the_mean_over_the_person_s_attempts() -> None:
    rows = [replace(row("a", True), chance=0.25), replace(row("b", False), chance=0.5), row("c", True, control=True)]
    assert summarise(rows).chance == "0.3750"
    assert summarise([row("a", True)]).chance is None


class Drawing:
    """An attack whose greedy answer misses, and whose draws hit as the seed says."""

    info = AttackInfo("drawing", "T", "D", "S", Access.BLACK_BOX, Evidence.ELICITED, frozenset({Capability.GENERATE}))

    def __init__(self, hitting: frozenset[int], *, greedy: bool = True) -> None:
        self.hitting, self.greedy = hitting, greedy
        self.seeds: list[int] = []

    def attempts(self, settings: AttackSettings) -> tuple[int | None, ...]:
        return tuple(attempt.seed for attempt in settings.attempts if self.greedy or attempt.seed is not None)

    def budget(self, settings: AttackSettings) -> int:
        return len(self.attempts(settings))

    def inapplicable(self, target: AttackTarget) -> str | None:
        return None

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        self.seeds.append(target.settings.seed)
        for control in (False, True):
            for attempt, seed in enumerate(self.attempts(target.settings)):
                hit = seed in self.hitting and not control
                yield AttemptRow("x" if control else "a", "p", attempt, hit, control=control)


class TestRepeats:
    @staticmethod
    def target(repeats: int, samples: int = 2) -> AttackTarget:
        return AttackTarget(FACTS, OUTSIDERS, BANK, AttackSettings(samples=samples, repeats=repeats))

    def test_once_leaves_the_row_as_it_was(self) -> None:
        attack = Drawing(frozenset())
        result = run_attack(attack, Limited(), self.target(1))
        assert len(attack.seeds) == 1 and result.row.by_seed == () and result.row.spread is None
        assert "by_seed" not in result.row.model_dump() and "leak_gains" not in result.row.model_dump()

    def test_every_seed_counts_and_the_greedy_answer_counts_once(self) -> None:
        attack = Drawing(frozenset({20_000, 30_000, 30_001}))
        result = run_attack(attack, Limited(), self.target(3))
        assert attack.seeds == [20_000, 30_000, 40_000]
        row = result.row
        assert row.outcome is not None and row.outcome.attempts == Rate(hits=3, trials=1 + 3 * 2)
        assert row.outcome.control == Rate(hits=0, trials=7) and row.budget == 3 + 2 + 2
        assert [(one.seed, one.drawn.hits, one.drawn.trials) for one in row.by_seed] == [
            (20_000, 1, 2),
            (30_000, 2, 2),
            (40_000, 0, 2),
        ]
        assert row.worst_seed == row.by_seed[1] and row.spread == 1.0
        own = [attempt.attempt for attempt in result.attempts if not attempt.control]
        assert own == list(range(7)), "every attempt of one prompt has a number of its own"

    def test_an_attack_without_a_greedy_answer_counts_all_draws(self) -> None:
        row = run_attack(Drawing(frozenset({20_001}), greedy=False), Limited(), self.target(2)).row
        assert row.outcome is not None and row.outcome.attempts == Rate(hits=1, trials=4)
        assert [one.drawn.trials for one in row.by_seed] == [2, 2] and row.budget == 4

    def test_what_does_not_draw_is_run_once(self) -> None:
        row = run_attack(Scripted(), Limited(), self.target(3)).row
        assert row.by_seed == () and row.budget == 3
        attack = Drawing(frozenset())
        nothing_drawn = run_attack(attack, Limited(), self.target(3, samples=0)).row
        assert nothing_drawn.by_seed == () and nothing_drawn.outcome.attempts == Rate(hits=0, trials=1)

    @pytest.mark.parametrize("repeats", [0, 11])
    def test_only_so_many(self, repeats: int) -> None:
        with pytest.raises(InputError, match="1 to 10 seeds"):
            AttackSettings(repeats=repeats)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_carries_nothing(score: float) -> None:
    rows = [AttemptRow("a", "m/a", 0, False, score=score), AttemptRow("b", "m/b", 0, False, score=0.5)]
    with pytest.raises(NotPossibleError, match="1 of 2 scores of the model are no numbers"):
        _require_numbers(rows)
