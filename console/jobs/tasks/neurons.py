"""Look for the neurons of a model that spell given words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from console.engines.devices import set_threads
from console.errors import InputError
from console.evaluation.neuron_projection import Role, neurons_about
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.files import open_model, validated
from console.jobs.worker import EventWriter


class NeuronsConfig(BaseModel):
    """What is looked through.

    Attributes:
        layers: only these, 0 is the first; all where it is empty.
        roles: only these of a neuron's vectors.
        top: how many are shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: tuple[int, ...] = ()
    roles: tuple[Role, ...] = Field(default=tuple(Role), min_length=1)
    top: int = Field(default=10, ge=1, le=1000)


def browse_neurons(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """The vectors of ``spec.model`` nearest to the payload's words, which are personal; nothing is changed."""
    set_threads()
    config = validated(NeuronsConfig, spec.settings)
    writer.progress(0, 1, "Opening the model")
    model = open_model(spec.model, spec)
    beyond = [layer for layer in config.layers if not 0 <= layer < model.layers]
    if beyond:
        raise InputError(f"The model has no layer {beyond[0]}; its layers are 0 to {model.layers - 1}.")

    def on_layer(done: int, layers: int) -> None:
        writer.progress(done, layers, f"Reading layer {done} of {layers}")
        writer.check_cancelled()

    writer.check_cancelled()
    found = neurons_about(model, payload.words, config.top, config.roles, config.layers or None, on_layer)
    return {
        "words": list(found.words),
        "sentence": found.sentence,
        "specialised": len(found.specialised),
        "neurons": [asdict(neuron) for neuron in found.neurons],
        "layers": model.layers,
        "device": str(model.device),
    }
