"""Look at model files without loading them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from console.engines.model_files import identify
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.worker import EventWriter


def inspect_model(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """The identity of the model at ``spec.model.path``."""
    del payload
    writer.progress(0, 1, "Reading the model's files")
    identity = identify(Path(spec.model.path))
    writer.progress(1, 1, "Reading the model's files")
    return {"identity": identity.model_dump(mode="json")}
