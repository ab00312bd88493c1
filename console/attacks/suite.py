"""Running a suite of attacks on one model, and turning its rows into counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from console.attacks.protocol import Attack, AttackTarget, AttemptRow, evidence_of
from console.domain.results import AttackRow, Evidence, Outcome, Rate, Status, decimal_text
from console.engines.protocol import LanguageModel, Scored, ScoreRequest
from console.errors import InputError, JobFailedError, NotPossibleError
from console.evaluation.membership import Bootstrap


@dataclass(frozen=True)
class AttackResult:
    """Counts for the verdict, and every attempt for the vault."""

    row: AttackRow
    attempts: tuple[AttemptRow, ...]


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


def summarise(attempts: Sequence[AttemptRow], bootstrap: Bootstrap) -> Outcome:
    """Counts of one attack's attempts.

    Raises:
        ValueError: no attempt on the request's own items.
    """
    own = [row for row in attempts if not row.control]
    control = [row for row in attempts if row.control]
    rate = _rate(own)
    if rate is None:
        raise ValueError("an attack that made no attempt has no outcome")
    by_item: dict[str, bool] = {}
    for row in own:
        by_item[row.item_id] = by_item.get(row.item_id, False) or row.hit
    members = [row.score for row in own if row.score is not None]
    held_out = [row.score for row in control if row.score is not None]
    chance = sum(row.chance for row in own) / len(own)
    return Outcome(
        attempts=rate,
        items=Rate(hits=sum(by_item.values()), trials=len(by_item)),
        control=_rate(control),
        area=bootstrap.area(members, held_out) if members and held_out else None,
        chance=decimal_text(round(chance, 6)) if chance else None,
    )


def _not_applicable(attack: Attack, target: AttackTarget, reason: str) -> AttackResult:
    row = AttackRow(
        attack=attack.info.id,
        evidence=evidence_of(attack, target),
        access=attack.info.access,
        budget=attack.budget(target.settings),
        status=Status.NOT_APPLICABLE,
        reason=reason,
    )
    return AttackResult(row, ())


def run_attack(attack: Attack, model: LanguageModel, target: AttackTarget) -> AttackResult:
    """One attack on one model; what cannot run says why."""
    report = model.capabilities
    for need in attack.info.needs - report.can:
        return _not_applicable(attack, target, report.cannot.get(need, f"This engine offers no {need.value}."))
    reason = attack.inapplicable(target)
    if reason is not None:
        return _not_applicable(attack, target, reason)
    try:
        attempts = tuple(attack.run(model, target))
    # A prompt that is too long for the model, a model too broken to be trained: the other attacks go on.
    except (InputError, JobFailedError, NotPossibleError) as error:
        return _not_applicable(attack, target, str(error))
    if not any(not row.control for row in attempts):
        return _not_applicable(attack, target, "Every prompt already contained the answer, so nothing could be asked.")
    bootstrap = Bootstrap(target.settings.bootstrap, target.settings.seed)
    row = AttackRow(
        attack=attack.info.id,
        evidence=evidence_of(attack, target),
        access=attack.info.access,
        budget=attack.budget(target.settings),
        outcome=summarise(attempts, bootstrap),
    )
    return AttackResult(row, attempts)


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
