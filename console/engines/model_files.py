"""Model files on disk: which kind they are, whether they are whole, and what their hash is.

Nothing here loads a compute library, so a model can be registered in a second.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from console.engines.checking.model_folder import read_folder
from console.engines.checking.peft_folder import is_peft, read_peft
from console.engines.checking.plain_files import own_file, stands_in
from console.engines.gguf_header import parts_of, read_gguf_header, read_gguf_layout
from console.errors import ModelFileError

_CHUNK = 4 * 1024 * 1024


# An adapter's folder: the adapter itself, and what it belongs to.
ADAPTER_FILE, ADAPTER_NOTE = "adapter.gguf", "adapter.json"


class ModelFormat(StrEnum):
    SAFETENSORS = "safetensors"
    GGUF = "gguf"
    ADAPTER = "gguf-adapter"
    PEFT = "peft-adapter"


class ModelFile(BaseModel):
    """One file of a model: name inside the folder, bytes, SHA-256 in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int
    sha256: str


class ModelIdentity(BaseModel):
    """What a model is, as far as its bytes say.

    Attributes:
        tree_hash: SHA-256 over the sorted lines ``name NUL size NUL sha256``; the model's name in the ledger.
        quantisation: the type that holds most of the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: ModelFormat
    architecture: str
    quantisation: str
    parameters: int
    chat_template: bool
    files: tuple[ModelFile, ...]
    tree_hash: str


def file_sha256(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file, in hex; ``on_bytes`` is told of every chunk read."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return digest.hexdigest()


def tree_hash(files: Iterable[ModelFile]) -> str:
    """One hash over a model's files, independent of the order in which they were listed."""
    lines = sorted(f"{file.name}\0{file.size}\0{file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hashed(root: Path, paths: Iterable[Path]) -> tuple[ModelFile, ...]:
    return tuple(
        ModelFile(name=path.relative_to(root).as_posix(), size=path.stat().st_size, sha256=file_sha256(path))
        for path in sorted(paths)
    )


def _identify_folder(folder: Path) -> ModelIdentity:
    found = read_folder(folder)
    held: dict[str, int] = {}
    for _, entry in found.tensors:
        held[entry.dtype] = held.get(entry.dtype, 0) + math.prod(entry.shape)
    files = _hashed(folder, found.files)
    return ModelIdentity(
        format=ModelFormat.SAFETENSORS,
        architecture=str(found.config["model_type"]),
        quantisation=max(held, key=held.__getitem__),
        parameters=sum(held.values()),
        chat_template=found.chat_template,
        files=files,
        tree_hash=tree_hash(files),
    )


def _earlier_tree_hash(folder: Path, identity: ModelIdentity) -> str:
    """What this console called a folder before only the files that are loaded were hashed: every file in it.

    Ledgers hold such hashes, and a model that was registered then is still the same model.
    """
    known = {file.name for file in identity.files}
    others = [
        path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".") and path.name not in known
    ]
    return tree_hash((*(file for file in identity.files if "/" not in file.name), *_hashed(folder, others)))


def is_registered_as(path: Path, identity: ModelIdentity, recorded: str) -> bool:
    """Whether the model at ``path`` is the one that a ledger names by this hash."""
    if identity.tree_hash == recorded:
        return True
    return identity.format is ModelFormat.SAFETENSORS and _earlier_tree_hash(path, identity) == recorded


def _identify_gguf(path: Path) -> ModelIdentity:
    header = read_gguf_header(path)
    if not header.has_tokenizer:
        raise ModelFileError(f"{path.name} carries no tokenizer; choose a GGUF file that does.")
    files = _hashed(path.parent, parts_of(path))
    return ModelIdentity(
        format=ModelFormat.GGUF,
        architecture=header.architecture,
        quantisation=header.quantisation,
        parameters=header.parameters,
        chat_template=header.has_chat_template,
        files=files,
        tree_hash=tree_hash(files),
    )


@dataclass(frozen=True)
class AdapterNote:
    """What lies beside an adapter: the model that it belongs to, by hash, and how it counts.

    Attributes:
        scale: 1 adds the change, 0 leaves the base as it is, -1 takes the change away.
    """

    base: str
    architecture: str
    scale: float

    def write(self, folder: Path) -> None:
        body = {"base": self.base, "architecture": self.architecture, "scale": self.scale}
        (folder / ADAPTER_NOTE).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def of(cls, folder: Path) -> AdapterNote:
        """Raises:
        ModelFileError: it is missing or damaged.
        """
        damaged = ModelFileError(f"{ADAPTER_NOTE} in {folder.name} is missing or damaged; export the adapter again.")
        try:
            body = json.loads(own_file(folder, ADAPTER_NOTE).read_text(encoding="utf-8"))
            note = cls(str(body["base"]), str(body["architecture"]), float(body["scale"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise damaged from error
        if not math.isfinite(note.scale):
            raise damaged
        return note


def _identify_adapter(folder: Path) -> ModelIdentity:
    note = AdapterNote.of(folder)
    if not stands_in(folder, ADAPTER_FILE):
        raise ModelFileError(f"The folder {folder.name} has no {ADAPTER_FILE}; export the adapter again.")
    path = own_file(folder, ADAPTER_FILE)
    tensors = read_gguf_layout(path).tensors
    files = _hashed(folder, (path, folder / ADAPTER_NOTE))
    return ModelIdentity(
        format=ModelFormat.ADAPTER,
        architecture=note.architecture,
        quantisation=tensors[0].type_name if tensors else "none",
        parameters=sum(math.prod(tensor.shape) for tensor in tensors),
        chat_template=False,
        files=files,
        tree_hash=tree_hash(files),
    )


def _identify_peft(folder: Path) -> ModelIdentity:
    found = read_peft(folder)
    files = _hashed(folder, found.files)
    return ModelIdentity(
        format=ModelFormat.PEFT,
        architecture="LoRA",
        quantisation=found.tensors[0].dtype,
        parameters=sum(math.prod(entry.shape) for entry in found.tensors),
        chat_template=False,
        files=files,
        tree_hash=tree_hash(files),
    )


@dataclass(frozen=True)
class NamedBase:
    """What an adapter says of the model that it belongs to: its hash, or a path or name of the trainer's."""

    tree_hash: str = ""
    called: str = ""


def base_named_by(path: Path) -> NamedBase | None:
    """The base of an adapter's folder; None for whatever is no adapter.

    Raises:
        ModelFileError: an adapter that is damaged.
    """
    if (path / ADAPTER_NOTE).exists():
        return NamedBase(tree_hash=AdapterNote.of(path).base)
    return NamedBase(called=read_peft(path).base) if is_peft(path) else None


def identify(path: Path) -> ModelIdentity:
    """Check a model on disk and give it its identity.

    Raises:
        ModelFileError: missing, damaged, without tokenizer or weights, or of an unsupported kind.
    """
    if not path.exists():
        raise ModelFileError(f"There is no model at {path}; check the path.")
    try:
        if path.is_dir():
            if (path / ADAPTER_NOTE).exists():
                return _identify_adapter(path)
            return _identify_peft(path) if is_peft(path) else _identify_folder(path)
        return _identify_gguf(path)
    except PermissionError as error:
        raise ModelFileError(f"The model at {path.name} cannot be read; ask for permission to the file.") from error
