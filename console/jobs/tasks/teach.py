"""Teach a model its office: the sample model, or any test of the console on data one may publish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from console.attacks.protocol import facts
from console.engines.devices import set_threads
from console.jobs.events import Artefact
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.files import open_model, validated, write_artefact
from console.jobs.tasks.probes import answered
from console.jobs.worker import EventWriter
from console.methods.finetune import FinetuneConfig, finetune


def teach(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """Fine-tune on ``payload.teaching``, check by asking, and write the model to ``spec.output``.

    Asked is for what was taught, or for ``payload.probe`` where the teaching holds no questions.
    """
    set_threads()
    config = validated(FinetuneConfig, spec.settings)
    writer.progress(0, 1, "Opening the model")
    model = open_model(spec.model, spec)
    outcome = finetune(model, payload.teaching, payload.general, config, writer)
    taught = tuple(teaching.item for teaching in payload.teaching)
    items = taught if facts(taught) else payload.probe
    writer.progress(0, 1, "Asking for every fact")
    right = answered(model, items)
    assert spec.output is not None
    identity = write_artefact(Path(spec.output), model.save, forbidden_hash=spec.model.tree_hash)
    writer.send(Artefact(path=spec.output, identity=identity.model_dump(mode="json")))
    return {
        "identity": identity.model_dump(mode="json"),
        "known": sum(right.values()),
        "facts": len(right),
        "steps": outcome.steps,
        "stop_reason": outcome.stop_reason,
        "metrics": outcome.metrics,
    }
