"""Ask again for what attacks hit, with fresh draws of the same questions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from console.attacks.again import ask_again as draw_again
from console.attacks.registry import chosen
from console.attacks.suite import by_fact
from console.engines.devices import set_threads
from console.engines.protocol import LanguageModel, Prompt
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.attack import attack_target
from console.jobs.tasks.files import open_file, open_model
from console.jobs.worker import EventWriter


def ask_again(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """Counts by attack and fact, and every attempt (personal)."""
    set_threads()
    writer.progress(0, len(spec.attacks) + 1, "Opening the model")
    if not spec.engine.needs_file:
        return _drawn(open_model(spec.model, spec), spec, payload, writer)
    file = open_file(spec.model, spec, [(Prompt(item.id, item.prompt), item.answers) for item in payload.forget])
    try:
        return _drawn(file, spec, payload, writer)
    finally:
        file.close()


def _drawn(model: LanguageModel, spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    target = attack_target(spec, payload)
    order = [item.id for item in payload.forget]
    counts, attempts = {}, {}
    for index, attack in enumerate(chosen(spec.attacks)):
        writer.check_cancelled()
        writer.progress(index + 1, len(spec.attacks) + 1, f"Asking again: {attack.info.title}")
        rows = draw_again(attack, model, target, payload.again[attack.info.id], payload.draws)
        # What is cut off inside a thought is no answer; nothing rests on it.
        answered = [row for row in rows if not row.cut_off]
        counts[attack.info.id] = [count.model_dump(mode="json") for count in by_fact(answered, order)]
        attempts[attack.info.id] = [asdict(row) for row in rows]
    writer.progress(len(spec.attacks) + 1, len(spec.attacks) + 1, "Done")
    return {"counts": counts, "attempts": attempts}
