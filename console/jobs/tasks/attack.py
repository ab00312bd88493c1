"""Attack a model, and measure what else it still knows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from console.attacks.protocol import Attack, AttackSettings, AttackTarget, PromptBank, Shot, WrittenQuestions
from console.attacks.registry import chosen
from console.attacks.suite import AttackResult, run_suite
from console.domain.events import plain
from console.engines.devices import set_threads
from console.jobs.events import Finished
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.behaviour import measured_behaviour
from console.jobs.tasks.describe import describe_attack
from console.jobs.tasks.files import open_model
from console.jobs.tasks.probes import answered, perplexity
from console.jobs.worker import EventWriter


def prompt_bank(payload: JobPayload) -> PromptBank:
    """The payload's prompt bank in the attacks' terms."""
    return PromptBank(
        payload.bank.paraphrases,
        payload.bank.wrappers,
        tuple(Shot(*shot) for shot in payload.bank.shots),
        payload.bank.sections,
        {item: WrittenQuestions(**written.model_dump()) for item, written in payload.bank.written.items()},
    )


def attack(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """Run the suite on ``spec.model``; rows, every attempt (personal), the utility probes and the behaviour.

    Attacks that an interrupted run has finished are taken as they are.
    """
    set_threads()
    attacks = chosen(spec.attacks)
    # Like the probes, behaviour shows what an erasure changed; a model that nothing was erased from goes without.
    sets = payload.behaviour if payload.probe else None
    steps = len(attacks) + 2 + (sets is not None)
    writer.progress(0, steps, "Opening the model")
    model = open_model(spec.model, spec)
    target = AttackTarget(
        payload.forget,
        payload.controls,
        prompt_bank(payload),
        AttackSettings(**spec.settings),
        payload.retain,
        payload.general,
    )

    def announce(index: int, running: Attack) -> None:
        writer.check_cancelled()
        writer.progress(len(attacks) - len(missing) + index + 1, steps, running.info.title)

    found = dict(payload.finished)

    def keep(result: AttackResult) -> None:
        part = {
            "row": result.row.model_dump(mode="json"),
            "attempts": [asdict(row) for row in result.attempts],
            "retained": result.retained,
        }
        found[result.row.attack] = part
        writer.send(Finished(part=result.row.attack, result=part))

    missing = [attack for attack in attacks if attack.info.id not in found]
    run_suite(missing, model, target, announce, keep)
    writer.check_cancelled()
    writer.progress(len(attacks) + 1, steps, "Asking for other people's facts")
    right = answered(model, payload.probe, lambda _done: writer.check_cancelled())
    text = perplexity(model, payload.held_out)
    behaviour = None
    if sets is not None:
        writer.progress(steps - 1, steps, "Watching how the model behaves")
        behaviour = measured_behaviour(model, sets, payload.forget, writer.check_cancelled).model_dump(mode="json")
    writer.progress(steps, steps, "Done")
    return {
        "attacks": [describe_attack(attack, target.settings) for attack in attacks],
        "settings": plain(asdict(target.settings)),
        "rows": [found[attack.info.id]["row"] for attack in attacks],
        "attempts": {attack.info.id: found[attack.info.id]["attempts"] for attack in attacks},
        "retained": {attack.info.id: told for attack in attacks if (told := found[attack.info.id].get("retained"))},
        "answered": right,
        "perplexity": text,
        "behaviour": behaviour,
        "engine": {"device": model.capabilities.device, "dtype": model.capabilities.dtype},
    }
