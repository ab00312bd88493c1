"""Check model files without loading their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from console.engines.model_files import identify
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.worker import EventWriter


def inspect_model(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """The identity of the model at ``spec.model.path``, once it has passed the whole check."""
    del payload
    writer.progress(0, 1, "Reading the model's files")
    path = Path(spec.model.path)
    identity = identify(path)
    writer.check_cancelled()
    # A compute library is imported only for a model whose files are whole.
    from console.engines.checking.whole_model import check_model

    check_model(path)
    writer.progress(1, 1, "Reading the model's files")
    return {"identity": identity.model_dump(mode="json")}
