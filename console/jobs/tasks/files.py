"""Model files in a worker: opened by hash, written whole or not at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from console.engines.adapted_network import add_adapter
from console.engines.checking.peft_folder import is_peft
from console.engines.devices import set_threads
from console.engines.gguf_snapshot import snapshot_of
from console.engines.gguf_tokenizer import tokenizer_of
from console.engines.llama_engine import Adapter, LlamaModel
from console.engines.llama_tokens import token_mismatch
from console.engines.model_files import ADAPTER_FILE, AdapterNote, ModelIdentity, identify, is_registered_as
from console.engines.peft_adapter import merged_snapshot
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError, ModelFileError
from console.jobs.runner import part_folder
from console.jobs.spec import JobSpec, ModelReference

_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}
Config = TypeVar("Config", bound=BaseModel)


def checked_path(reference: ModelReference) -> Path:
    """Where exactly the bytes lie that the ledger names.

    Raises:
        ModelFileError: the files have changed since they were registered.
    """
    path = Path(reference.path)
    if reference.tree_hash is not None:
        found = identify(path)
        if not is_registered_as(path, found, reference.tree_hash):
            raise ModelFileError(
                f"The model {path.name} is not the one that was registered: expected hash "
                f"{reference.tree_hash[:16]}…, found {found.tree_hash[:16]}…; register it again or restore the file."
            )
    return path


def open_model(reference: ModelReference, spec: JobSpec) -> TransformersModel:
    """Load exactly the bytes that the ledger names, in torch; an adapter with the change that it makes to its base.

    Raises:
        ModelFileError: the files have changed since they were registered.
    """
    path = checked_path(reference)
    if reference.base is None or is_peft(path):
        return TransformersModel.load(weights_folder(reference, spec), Path(spec.cache), spec.device)
    base = checked_base(path, reference.base)
    model = TransformersModel.load(base, Path(spec.cache), spec.device)
    add_adapter(model.network, path / ADAPTER_FILE, AdapterNote.of(path).scale)
    return model


def weights_folder(reference: ModelReference, spec: JobSpec) -> Path:
    """A model's files as a folder of tensors; those of a GGUF file are unpacked once, an adapter is merged once.

    Raises:
        ModelFileError: files that are damaged, an adapter without its base.
    """
    path, cache = Path(reference.path), Path(spec.cache)
    if path.is_file():
        return snapshot_of(path, cache)
    if not is_peft(path):
        return path
    if reference.base is None:
        raise ModelFileError(f"The adapter {path.name} has no base; add it again and name the base with --base.")
    base = checked_path(reference.base)
    hashes = identify(path).tree_hash, reference.base.tree_hash or identify(base).tree_hash
    return merged_snapshot(path, weights_folder(reference.base, spec), hashes, cache)


def checked_base(adapter: Path, base: ModelReference) -> Path:
    """Raises:
    ModelFileError: the base is not the file that the adapter was made for.
    """
    path = checked_path(base)
    if AdapterNote.of(adapter).base != base.tree_hash:
        raise ModelFileError(
            f"The adapter {adapter.name} was made for another model than {path.name}; use it with the one that it was "
            "exported from."
        )
    return path


def open_file(reference: ModelReference, spec: JobSpec, prompts: Sequence[tuple[Prompt, Sequence[str]]]) -> LlamaModel:
    """Run exactly the bytes that the ledger names on llama.cpp, after its tokens have been compared.

    Args:
        prompts: the request's own, with their answers.

    Raises:
        ModelFileError: the files have changed since they were registered.
        JobFailedError: llama.cpp makes other tokens of the request's prompts than transformers does.
    """
    path = checked_path(reference)
    adapters: tuple[Adapter, ...] = ()
    if reference.base is not None:
        adapters = (Adapter(path / ADAPTER_FILE, AdapterNote.of(path).scale),)
        path = checked_base(path, reference.base)
    tokenizer = tokenizer_of(path, identify(path).tree_hash, Path(spec.cache))
    model = LlamaModel.load(path, adapters=adapters, threads=set_threads())
    differs = token_mismatch(model.tokenizer, tokenizer, prompts)
    if differs is not None:
        model.close()
        raise JobFailedError(f"{differs} No score of this file could be trusted, so nothing was measured.")
    return model


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
    model_in: Callable[[Path], Path] = lambda folder: folder,
) -> ModelIdentity:
    """Write a model folder under a temporary name, identify it, and rename it.

    Args:
        model_in: the model in the folder, where it is not the folder itself.
        check: looks at the written folder before it gets its name, and raises if it may not have it.

    Raises:
        InputError: the folder cannot be written.
        JobFailedError: the result is, byte for byte, the model that went in.
    """
    working = part_folder(output)
    shutil.rmtree(working, ignore_errors=True)  # what a console that went away may have left
    try:
        working.mkdir(parents=True)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        raise InputError(
            f"The folder {working.parent} cannot be written ({error.strerror}); ask for the permission, or choose "
            "another data folder with --data-dir."
        ) from error
    write(working)
    check(working)
    identity = identify(model_in(working))
    if identity.tree_hash == forbidden_hash:
        raise JobFailedError("The run changed nothing: the result is, byte for byte, the model that went in.")
    working.replace(output)
    return identity
