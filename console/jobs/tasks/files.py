"""Model files in a worker: opened by hash, written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from console.engines.model_files import ModelIdentity, identify
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError, ModelFileError
from console.jobs.runner import part_folder
from console.jobs.spec import JobSpec, ModelReference

Config = TypeVar("Config", bound=BaseModel)


def checked_path(reference: ModelReference) -> Path:
    """Where exactly the bytes lie that the ledger names.

    Raises:
        ModelFileError: the files have changed since they were registered.
    """
    path = Path(reference.path)
    if reference.tree_hash is not None:
        found = identify(path).tree_hash
        if found != reference.tree_hash:
            raise ModelFileError(
                f"The model {path.name} is not the one that was registered: expected hash "
                f"{reference.tree_hash[:16]}…, found {found[:16]}…; register it again or restore the file."
            )
    return path


def open_model(reference: ModelReference, spec: JobSpec) -> TransformersModel:
    """Load exactly the bytes that the ledger names.

    Raises:
        ModelFileError: the files have changed since they were registered.
    """
    return TransformersModel.load(checked_path(reference), Path(spec.cache), spec.device)


def validated(config_class: type[Config], settings: Mapping[str, Any]) -> Config:
    """A method's configuration from the settings that a person gave.

    Raises:
        InputError: an unknown setting, or a value that cannot be.
    """
    try:
        return config_class.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(config_class.model_fields)
        raise InputError(f"The setting '{name}' cannot be used: {first['msg']}. Settings are {known}.") from error


def write_artefact(
    output: Path,
    write: Callable[[Path], None],
    forbidden_hash: str | None,
    check: Callable[[Path], None] = lambda _folder: None,
) -> ModelIdentity:
    """Write a model folder under a temporary name, identify it, and rename it.

    Args:
        check: looks at the written folder before it gets its name, and raises if it may not have it.

    Raises:
        JobFailedError: the result is, byte for byte, the model that went in.
    """
    working = part_folder(output)
    shutil.rmtree(working, ignore_errors=True)  # what a console that went away may have left
    working.mkdir(parents=True)
    write(working)
    check(working)
    identity = identify(working)
    if identity.tree_hash == forbidden_hash:
        raise JobFailedError("The run changed nothing: the result is, byte for byte, the model that went in.")
    working.replace(output)
    return identity
