"""Let a local model that the user names write the questions of attacks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from console.attacks.fact_forms import with_forms
from console.attacks.helper_questions import HelperConfig, write_questions
from console.attacks.protocol import AttackTarget
from console.domain.events import plain
from console.engines.devices import set_threads
from console.engines.model_files import identify
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.attack import prompt_bank
from console.jobs.tasks.files import open_model, validated
from console.jobs.worker import EventWriter


def prepare_questions(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """Questions by ``spec.model`` about the request's facts and the strangers that stand beside them.

    The payload holds the answers, which the leak guard compares with; the helper never sees them.
    """
    set_threads()
    config = validated(HelperConfig, spec.settings)
    steps = config.rounds + 1
    writer.progress(0, steps, "Opening the helper model")
    tree_hash = spec.model.tree_hash or identify(Path(spec.model.path)).tree_hash
    helper = open_model(spec.model, spec)
    target = with_forms(AttackTarget(payload.forget, payload.controls, prompt_bank(payload)))

    def announce(index: int) -> None:
        writer.check_cancelled()
        writer.progress(index + 1, steps, "Letting the helper write questions")

    written = write_questions(helper, (*target.items, *target.matched_controls), config, announce)
    writer.progress(steps, steps, "Done")
    return {
        "helper": tree_hash,
        "config": plain(config.model_dump(mode="json")),
        "written": {item: asdict(questions) for item, questions in written.by_item.items()},
        "count": written.written,
        "wanted": written.wanted,
        "weak": written.weak,
        "sentence": written.sentence,
    }
