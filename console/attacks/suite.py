"""Running a suite of attacks on one model, and turning its rows into counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from console.attacks.protocol import (
    Attack,
    AttackSettings,
    AttackTarget,
    AttemptRow,
    evidence_of,
    leak_gains_of,
    retained_of,
)
from console.domain.reading import THOUGHT_TOKENS
from console.domain.results import (
    AttackRow,
    Evidence,
    FactCount,
    Outcome,
    Rate,
    SeedRate,
    Status,
    TextPlace,
    decimal_text,
)
from console.engines.protocol import LanguageModel, Scored, ScoreRequest
from console.errors import InputError, JobFailedError, NotPossibleError
from console.evaluation.membership import measured_area

NOTHING_BUT_THOUGHTS = (
    f"The model was still thinking after {THOUGHT_TOKENS} tokens in every attempt, so it gave no answer that could be "
    "searched."
)


@dataclass(frozen=True)
class AttackResult:
    """Counts for the verdict, and every attempt for the vault.

    Attributes:
        retained: other people's facts that the attack asked for as well, and whether the model told them.
    """

    row: AttackRow
    attempts: tuple[AttemptRow, ...]
    retained: dict[str, bool] = field(default_factory=dict)


class Remembering:
    """A model whose scores are computed once: five attacks that score the same texts cost one forward pass.

    Everything else goes to the model itself. Attacks that change the weights get the bare model.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._scored: dict[ScoreRequest, Scored] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        """As the model's own ``score``; requests that were scored before are not computed again."""
        fresh = [request for request in dict.fromkeys(requests) if request not in self._scored]
        self._scored.update(zip(fresh, self._model.score(fresh) if fresh else [], strict=True))
        return [self._scored[request] for request in requests]


def _rate(rows: Sequence[AttemptRow]) -> Rate | None:
    return Rate(hits=sum(row.hit for row in rows), trials=len(rows)) if rows else None


def by_fact(rows: Sequence[AttemptRow], order: Sequence[str]) -> tuple[FactCount, ...]:
    """The attempts by fact, in the order of the ids given."""
    counted: dict[str, list[bool]] = {}
    for row in rows:
        counted.setdefault(row.item_id, []).append(row.hit)
    return tuple(
        FactCount(fact=place, hits=sum(counted[item]), trials=len(counted[item]))
        for place, item in enumerate(order)
        if item in counted
    )


def _places(rows: Sequence[AttemptRow], others: Sequence[float], order: Sequence[str]) -> tuple[TextPlace, ...]:
    """Where each text's score lies among the other group's."""
    known, ranked = {item: place for place, item in enumerate(order)}, np.sort(np.asarray(others))
    scores = [row.score for row in rows]
    below, up_to = (np.searchsorted(ranked, scores, side=side) for side in ("left", "right"))
    return tuple(
        TextPlace(fact=known[row.item_id], above=decimal_text(round(float(share), 4)))
        for row, share in zip(rows, (below + up_to) / (2 * len(others)), strict=True)
    )


def summarise(attempts: Sequence[AttemptRow], items: Sequence[str] = ()) -> Outcome:
    """Counts of one attack's attempts; one that was cut off inside a thought is no answer, and counted apart.

    Args:
        items: ids of the request's items in their order; in the order in which they are asked where none are given.

    Raises:
        ValueError: no answer about the request's own items.
    """
    answered = [row for row in attempts if not row.cut_off]
    own = [row for row in answered if not row.control]
    control = [row for row in answered if row.control]
    rate = _rate(own)
    if rate is None:
        raise ValueError("an attack that made no attempt has no outcome")
    by_item: dict[str, bool] = {}
    for row in own:
        by_item[row.item_id] = by_item.get(row.item_id, False) or row.hit
    order = tuple(dict.fromkeys((*items, *by_item)))
    scored, strangers = ([row for row in rows if row.score is not None] for rows in (own, control))
    members, held_out = ([float(row.score or 0.0) for row in rows] for rows in (scored, strangers))
    compared = bool(members and held_out)
    chance = sum(row.chance for row in own) / len(own)
    return Outcome(
        attempts=rate,
        items=Rate(hits=sum(by_item.values()), trials=len(by_item)),
        control=_rate(control),
        area=measured_area(members, held_out) if compared else None,
        chance=decimal_text(round(chance, 6)) if chance else None,
        facts=by_fact(own, order),
        members=_places(scored, held_out, order) if compared else (),
        held_out=_places(strangers, members, tuple(dict.fromkeys(row.item_id for row in strangers)))
        if compared
        else (),
    )


def draws(attack: Attack, settings: AttackSettings) -> bool:
    """Whether an attack samples its answers, so that another seed gives other ones: then its budget grows with them."""
    more = replace(settings, samples=settings.samples + 1, leak_samples=settings.leak_samples + 1)
    return attack.budget(more) > attack.budget(settings)


def whole_budget(attack: Attack, settings: AttackSettings) -> int:
    """Candidate answers for one fact over all repeats."""
    if settings.repeats == 1 or not draws(attack, settings):
        return attack.budget(settings)
    return attack.budget(settings) + (settings.repeats - 1) * attack.budget(settings.repeat(1))


def _repeated(
    attack: Attack, model: LanguageModel, target: AttackTarget
) -> tuple[tuple[AttemptRow, ...], tuple[SeedRate, ...]]:
    """All attempts of all repeats, each numbered on from the one before; and what each seed's draws found.

    The attempts stand together, so that the verdict reads every one of them and no lucky seed is chosen.
    """
    first = list(attack.run(model, target))
    settings = target.settings
    if settings.repeats == 1 or not draws(attack, settings):
        return tuple(first), ()
    later = [
        list(attack.run(model, replace(target, settings=settings.repeat(index))))
        for index in range(1, settings.repeats)
    ]
    # A first run may begin with a greedy answer, which a repeat has not; what is beyond it was drawn.
    per_repeat = max((row.attempt + 1 for rows in later for row in rows), default=0)
    per_first = max((row.attempt + 1 for row in first), default=0)
    greedy = per_first - per_repeat
    numbered = list(first)
    for index, rows in enumerate(later):
        numbered += [replace(row, attempt=per_first + index * per_repeat + row.attempt) for row in rows]
    by_seed = []
    for index, rows in enumerate([[row for row in first if row.attempt >= greedy], *later]):
        rate = _rate([row for row in rows if not row.control and not row.cut_off])
        if rate is not None:
            by_seed.append(SeedRate(seed=settings.repeat(index).seed, drawn=rate))
    return tuple(numbered), tuple(by_seed)


def _require_numbers(attempts: Sequence[AttemptRow]) -> None:
    """A score that is no number would stand anywhere in an order, and so give any area under the curve.

    Raises:
        NotPossibleError: there are such scores.
    """
    none = sum(row.score is not None and not math.isfinite(row.score) for row in attempts)
    if none:
        raise NotPossibleError(
            f"{none} of {len(attempts)} scores of the model are no numbers (its probabilities overflow or are NaN), so "
            "texts cannot be put in order by them."
        )


def _cut_off(attempts: Sequence[AttemptRow]) -> int:
    return sum(row.cut_off and not row.control for row in attempts)


def _not_applicable(
    attack: Attack, target: AttackTarget, reason: str, attempts: tuple[AttemptRow, ...] = ()
) -> AttackResult:
    row = AttackRow(
        attack=attack.info.id,
        evidence=evidence_of(attack, target),
        access=attack.info.access,
        budget=whole_budget(attack, target.settings),
        status=Status.NOT_APPLICABLE,
        reason=reason,
        cut_off=_cut_off(attempts),
    )
    return AttackResult(row, attempts)


def run_attack(attack: Attack, model: LanguageModel, target: AttackTarget) -> AttackResult:
    """One attack on one model; what cannot run says why."""
    report = model.capabilities
    for need in attack.info.needs - report.can:
        return _not_applicable(attack, target, report.cannot.get(need, f"This engine offers no {need.value}."))
    reason = attack.inapplicable(target)
    if reason is not None:
        return _not_applicable(attack, target, reason)
    try:
        attempts, by_seed = _repeated(attack, model, target)
        _require_numbers(attempts)
        retained = retained_of(attack, model, target)
    # A prompt that is too long for the model, a model too broken to be trained: the other attacks go on.
    except (InputError, JobFailedError, NotPossibleError) as error:
        return _not_applicable(attack, target, str(error))
    if not any(not row.control for row in attempts):
        return _not_applicable(attack, target, "Every prompt already contained the answer, so nothing could be asked.")
    if all(row.cut_off for row in attempts if not row.control):
        return _not_applicable(attack, target, NOTHING_BUT_THOUGHTS, attempts)
    row = AttackRow(
        attack=attack.info.id,
        evidence=evidence_of(attack, target),
        access=attack.info.access,
        budget=whole_budget(attack, target.settings),
        outcome=summarise(attempts, [item.id for item in target.items]),
        sampled=draws(attack, target.settings),
        leak_gains=leak_gains_of(attack, attempts),
        by_seed=by_seed,
        cut_off=_cut_off(attempts),
    )
    return AttackResult(row, attempts, retained)


def run_suite(
    attacks: Sequence[Attack],
    model: LanguageModel,
    target: AttackTarget,
    before_each: Callable[[int, Attack], None] = lambda _index, _attack: None,
    after_each: Callable[[AttackResult], None] = lambda _result: None,
) -> list[AttackResult]:
    """All attacks in order; ``before_each`` reports progress and may raise to cancel, ``after_each`` keeps a result."""
    results = []
    remembering = Remembering(model)
    for index, attack in enumerate(attacks):
        before_each(index, attack)
        disturbs = attack.info.evidence is Evidence.DISTURBED
        results.append(run_attack(attack, model if disturbs else remembering, target))
        after_each(results[-1])
    return results
