"""Let the model write down what it says about the person, as further items to forget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from console.domain.events import plain
from console.engines.devices import set_threads
from console.engines.model_files import identify
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.files import open_model, validated
from console.jobs.worker import EventWriter
from console.methods.self_made import SelfMadeConfig
from console.methods.self_made import self_made_corpus as written_corpus


def self_made_corpus(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """What ``spec.model`` says about the people of the request; of the payload only their names are used."""
    set_threads()
    config = validated(SelfMadeConfig, spec.settings)
    stages = 2 * len({item.subject for item in payload.forget})
    writer.progress(0, stages, "Opening the model")
    tree_hash = spec.model.tree_hash or identify(Path(spec.model.path)).tree_hash
    model = open_model(spec.model, spec)

    def announce(stage: int) -> None:
        writer.check_cancelled()
        writer.progress(stage, stages, "Asking the model what it says about the person")

    corpus = written_corpus(model, payload.forget, config, announce)
    writer.progress(stages, stages, "Done")
    return {
        "model": tree_hash,
        "config": plain(config.model_dump(mode="json")),
        "items": [item.model_dump(mode="json") for item in corpus.items],
        "kept": len(corpus.items),
        "drawn": corpus.drawn,
        "counterfactuals": corpus.counterfactuals,
        "dropped": corpus.dropped,
        "sentence": corpus.sentence,
    }
