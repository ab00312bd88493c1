"""Running a suite of attacks on one model, and turning its rows into counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from console.attacks.protocol import Attack, AttackTarget, AttemptRow
from console.domain.results import AttackRow, Outcome, Rate, Status, decimal_text
from console.engines.protocol import LanguageModel
from console.evaluation.membership import Bootstrap


@dataclass(frozen=True)
class AttackResult:
    """Counts for the verdict, and every attempt for the vault."""

    row: AttackRow
    attempts: tuple[AttemptRow, ...]


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
        evidence=attack.info.evidence,
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
    attempts = tuple(attack.run(model, target))
    if not any(not row.control for row in attempts):
        return _not_applicable(attack, target, "Every prompt already contained the answer, so nothing could be asked.")
    bootstrap = Bootstrap(target.settings.bootstrap, target.settings.seed)
    row = AttackRow(
        attack=attack.info.id,
        evidence=attack.info.evidence,
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
) -> list[AttackResult]:
    """All attacks in order; ``before_each`` reports progress and may raise to cancel."""
    results = []
    for index, attack in enumerate(attacks):
        before_each(index, attack)
        results.append(run_attack(attack, model, target))
    return results
