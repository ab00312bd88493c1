"""Run an erasure method and write the artefact."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from console.domain.forget_set import ForgetSet, RetainSet
from console.domain.results import decimal_text
from console.engines.devices import set_threads
from console.engines.gguf_snapshot import snapshot_of
from console.engines.model_files import read_safetensors_header
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.jobs.events import Artefact
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.describe import describe_method
from console.jobs.tasks.files import open_model, validated, write_artefact
from console.jobs.worker import EventWriter
from console.methods.examples import mean_nlls
from console.methods.protocol import ErasureData, Family, Method
from console.methods.registry import method_named


def _tensor_files(folder: Path) -> dict[str, Path]:
    """Which of a model's files holds each tensor; large models come in several."""
    return {name: path for path in sorted(folder.glob("*.safetensors")) for name in read_safetensors_header(path)}


def _tensor(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, "pt") as weights:
        return weights.get_tensor(name).float()


def changed_tensors(before: Path, after: Path) -> list[dict[str, str]]:
    """Tensors that differ, with the change's Frobenius norm relative to the tensor's own; largest first."""
    old, new = _tensor_files(before), _tensor_files(after)
    changed: list[tuple[float, str]] = []
    for name in old.keys() & new.keys():
        left = _tensor(old[name], name)
        difference = float((_tensor(new[name], name) - left).norm())
        if difference:
            changed.append((difference / max(float(left.norm()), 1e-12), name))
    return [{"tensor": name, "relative_norm": decimal_text(round(norm, 6))} for norm, name in sorted(changed)[::-1]]


def _reference_levels(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, float]:
    """How unlikely the answers are to a model that never knew them; that model is gone again afterwards."""
    if spec.reference is None:
        return {}
    writer.progress(0, 1, "Measuring a model that never knew the data")
    reference = open_model(spec.reference, spec)
    levels = mean_nlls(reference, payload.forget)
    del reference
    gc.collect()
    return levels


def _data(payload: JobPayload, levels: dict[str, float]) -> ErasureData:
    return ErasureData(
        forget=ForgetSet(items=payload.forget),
        retain=RetainSet(items=payload.retain, general_texts=payload.general),
        general_texts=payload.general,
        reference_nll=levels,
        teaching=payload.teaching,
        neighbours=frozenset(payload.neighbours),
    )


def _apply(method: Method, model: TransformersModel, data: ErasureData, spec: JobSpec, writer: EventWriter) -> Any:
    config = validated(method.config_class, spec.settings)
    plan = method.prepare(model, data, config)
    writer.progress(0, plan.steps, "Unlearning")
    return config, plan, method.apply(model, data, config, writer)


def erase(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """Apply ``spec.method`` and write the result to ``spec.output``."""
    set_threads()
    assert spec.method is not None and spec.output is not None
    method = method_named(spec.method)
    if method.info.needs_snapshot and spec.reference is None:
        raise InputError(
            f"The method '{spec.method}' starts from the model as it was before it learned the data, and none is "
            "registered; add it and name it as the model's snapshot."
        )
    levels = {} if method.info.needs_snapshot else _reference_levels(spec, payload, writer)
    writer.check_cancelled()
    writer.progress(0, 1, "Opening the model")
    source = spec.reference if method.info.needs_snapshot else spec.model
    assert source is not None
    model = open_model(source, spec)
    config, plan, outcome = _apply(method, model, _data(payload, levels), spec, writer)
    before = Path(spec.model.path)
    folder_before = snapshot_of(before, Path(spec.cache)) if before.is_file() else before
    changed: list[dict[str, str]] = []

    def compare(folder: Path) -> None:
        changed.extend(changed_tensors(folder_before, folder))
        if not changed and method.info.family is not Family.DECODING:
            raise JobFailedError("The run changed nothing: every weight is the one that went in.")

    identity = write_artefact(Path(spec.output), model.save, forbidden_hash=spec.model.tree_hash, check=compare)
    writer.send(Artefact(path=spec.output, identity=identity.model_dump(mode="json")))
    return {
        "identity": identity.model_dump(mode="json"),
        "method": describe_method(method),
        "config": config.model_dump(mode="json"),
        "modules": list(plan.modules),
        "trainable_parameters": plan.trainable_parameters,
        "notes": list(plan.notes),
        "steps": outcome.steps,
        "stop_reason": outcome.stop_reason,
        "metrics": {name: decimal_text(round(value, 6)) for name, value in outcome.metrics.items()},
        "changed": changed,
        "device": str(model.device),
    }
