"""Run an erasure method and write the artefact."""

from __future__ import annotations

import gc
import hashlib
from pathlib import Path
from typing import Any

from console.domain.forget_set import ForgetSet, RetainSet
from console.domain.results import decimal_text
from console.domain.sequence import OWN_CHANGE, WHOLE_CHANGE
from console.engines.devices import set_threads
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.jobs.events import Artefact
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.changes import (
    TensorChange,
    embedding_names,
    notes_on,
    relative_change,
    tensor_changes,
)
from console.jobs.tasks.describe import describe_method
from console.jobs.tasks.files import checked_path, open_model, validated, weights_folder, write_artefact
from console.jobs.worker import EventWriter
from console.methods.examples import mean_nlls
from console.methods.experts import require_reach
from console.methods.protocol import ErasureData, Family, Method
from console.methods.registry import method_named, recipe_method


def reference_levels(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, float]:
    """How unlikely the answers are to a model that never knew them; that model is gone again afterwards."""
    if spec.reference is None:
        return {}
    writer.progress(0, 1, "Measuring a model that never knew the data")
    reference = open_model(spec.reference, spec)
    levels = mean_nlls(reference, payload.forget)
    del reference
    gc.collect()
    return levels


def erasure_data(spec: JobSpec, payload: JobPayload, levels: dict[str, float]) -> ErasureData:
    reference = spec.reference
    return ErasureData(
        forget=ForgetSet(items=payload.forget),
        retain=RetainSet(items=payload.retain, general_texts=payload.general),
        general_texts=payload.general,
        reference_nll=levels,
        teaching=payload.teaching,
        neighbours=frozenset(payload.neighbours),
        open_reference=None if reference is None else lambda: open_model(reference, spec),
    )


def require_snapshot(method: Method, spec: JobSpec) -> None:
    """Raises InputError: the method starts from the model as it was before, and there is none."""
    if method.info.needs_snapshot and spec.reference is None:
        raise InputError(
            f"The method '{method.info.id}' starts from the model as it was before it learned the data, and none is "
            "registered; add it and name it as the model's snapshot."
        )


def _state_file(spec: JobSpec, payload: JobPayload) -> Path:
    """Where a run that is interrupted keeps its state: named by all that goes into it, so that only its like finds it.

    It holds numbers of the model and no text.
    """
    told = spec.model_dump_json(exclude={"job_id", "output", "cache"}) + payload.model_dump_json()
    return Path(spec.cache) / "unfinished" / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.pt"


def _apply(method: Method, model: TransformersModel, data: ErasureData, spec: JobSpec, writer: EventWriter) -> Any:
    config = validated(method.config_class, spec.settings)
    require_reach(method.info, model.network)
    plan = method.prepare(model, data, config)
    writer.progress(0, plan.steps, "Unlearning")
    return config, plan, method.apply(model, data, config, writer)


def erase(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """Apply ``spec.method`` and write the result to ``spec.output``."""
    set_threads()
    assert spec.method is not None and spec.output is not None
    method = method_named(spec.method) if spec.recipe is None else recipe_method(spec.recipe)
    require_snapshot(method, spec)
    origin = None if spec.origin is None else checked_path(spec.origin)
    levels = {} if method.info.needs_snapshot else reference_levels(spec, payload, writer)
    writer.check_cancelled()
    writer.progress(0, 1, "Opening the model")
    source = spec.reference if method.info.needs_snapshot else spec.model
    assert source is not None
    model = open_model(source, spec)
    writer.state_file = _state_file(spec, payload)
    config, plan, outcome = _apply(method, model, erasure_data(spec, payload, levels), spec, writer)
    folder_before = weights_folder(spec.model, spec)
    changed: list[TensorChange] = []
    moved: dict[str, float] = {}

    def compare(folder: Path) -> None:
        changed.extend(tensor_changes(folder_before, folder))
        if not changed and method.info.family is not Family.DECODING:
            raise JobFailedError("The run changed nothing: every weight is the one that went in.")
        moved[OWN_CHANGE] = relative_change(folder_before, folder)
        if origin is not None:
            moved[WHOLE_CHANGE] = relative_change(weights_folder(spec.origin, spec), folder)

    identity = write_artefact(Path(spec.output), model.save, forbidden_hash=spec.model.tree_hash, check=compare)
    for kept in writer.state_file.parent.glob(f"{writer.state_file.stem}*"):  # its own, and those of a recipe's stages
        kept.unlink(missing_ok=True)
    writer.send(Artefact(path=spec.output, identity=identity.model_dump(mode="json")))
    return {
        "identity": identity.model_dump(mode="json"),
        "method": describe_method(method),
        "config": config.model_dump(mode="json"),
        "modules": list(plan.modules),
        "trainable_parameters": plan.trainable_parameters,
        "notes": [*plan.notes, *notes_on(changed, embedding_names(model.network))],
        "steps": outcome.steps,
        "stop_reason": outcome.stop_reason,
        "metrics": {name: decimal_text(round(value, 6)) for name, value in {**outcome.metrics, **moved}.items()},
        "changed": [change.described() for change in changed],
        "device": str(model.device),
    }
