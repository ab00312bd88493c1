"""Check model files without loading their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from console.engines.model_files import ModelFormat, ModelIdentity, identify
from console.errors import ModelFileError
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
    if identity.format in {ModelFormat.ADAPTER, ModelFormat.PEFT}:
        _check_over_base(spec, identity)
    else:
        from console.engines.checking.whole_model import check_model

        check_model(path)
    writer.progress(1, 1, "Reading the model's files")
    return {"identity": identity.model_dump(mode="json")}


def _check_over_base(spec: JobSpec, identity: ModelIdentity) -> None:
    """Whether an adapter fits the base that the office names for it."""
    from console.engines.adapted_network import check_file_adapter
    from console.engines.peft_adapter import check_adapter
    from console.jobs.tasks.files import checked_base, checked_path, weights_folder

    path, base = Path(spec.model.path), spec.model.base
    if base is None:
        raise ModelFileError(f"The adapter {path.name} needs its base; add the base first, and name it with --base.")
    if identity.format is ModelFormat.PEFT:
        checked_path(base)
        check_adapter(path, weights_folder(base, spec))
    else:
        check_file_adapter(path, checked_base(path, base))
