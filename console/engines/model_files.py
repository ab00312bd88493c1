"""Model files on disk: which kind they are, whether they are whole, and what their hash is.

Nothing here loads a compute library, so a model can be registered in a second.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from console.engines.gguf_header import parts_of, read_gguf_header, read_gguf_layout
from console.errors import ModelFileError

_CHUNK = 4 * 1024 * 1024
_MAX_SAFETENSORS_HEADER = 100 * 1024 * 1024  # the format's own limit
_TOKENIZER_FILES = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))


# An adapter's folder: the adapter itself, and what it belongs to.
ADAPTER_FILE, ADAPTER_NOTE = "adapter.gguf", "adapter.json"


class ModelFormat(StrEnum):
    SAFETENSORS = "safetensors"
    GGUF = "gguf"
    ADAPTER = "gguf-adapter"


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


def read_safetensors_header(path: Path) -> dict[str, dict[str, object]]:
    """The tensor table of a safetensors file: name -> dtype, shape, data_offsets.

    Raises:
        ModelFileError: the file is truncated or not of this format.
    """
    broken = ModelFileError(f"The weights file {path.name} is damaged or incomplete; copy it again.")
    length = path.stat().st_size
    with path.open("rb") as stream:
        prefix = stream.read(8)
        if len(prefix) < 8:
            raise broken
        size = struct.unpack("<Q", prefix)[0]
        if size > min(length - 8, _MAX_SAFETENSORS_HEADER):
            raise broken
        try:
            header = json.loads(stream.read(size))
        except (ValueError, RecursionError) as error:
            raise broken from error
    if not isinstance(header, dict):
        raise broken
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if not tensors or not all(_is_declared(entry) for entry in tensors.values()):
        raise broken
    if 8 + size + max(entry["data_offsets"][1] for entry in tensors.values()) != length:
        raise broken
    return tensors


def _is_declared(entry: object) -> bool:
    """Whether a tensor's entry has the form that the format prescribes: type, shape, two ordered offsets."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        return False
    numbers = [*shape, *offsets]
    if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
        return False
    return offsets[0] <= offsets[1]


def _read_config(folder: Path) -> dict[str, object]:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelFileError(f"The folder {folder.name} has no config.json; choose the folder that holds the model.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"config.json in {folder.name} cannot be read as JSON; copy the model again.") from error
    if not isinstance(config, dict):
        raise ModelFileError(f"config.json in {folder.name} is not a model description; copy the model again.")
    return config


def _has_chat_template(folder: Path) -> bool:
    settings = folder / "tokenizer_config.json"
    beside = (folder / "chat_template.jinja").is_file()
    if not settings.is_file():
        return beside
    try:
        return "chat_template" in settings.read_text(encoding="utf-8") or beside
    except UnicodeDecodeError as error:
        raise ModelFileError(f"The tokenizer settings in {folder.name} are not text; copy the model again.") from error


def _require_shards(folder: Path) -> None:
    """A large model comes in several files, named by an index; a copy that lacks one is not that model."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{index.name} in {folder.name} cannot be read; copy the model again.") from error
    missing = [str(name) for name in names if not (folder / str(name)).is_file()]
    if missing:
        raise ModelFileError(
            f"The folder {folder.name} lacks {len(missing)} of its {len(names)} weights files ({missing[0]}); "
            "copy the model again."
        )


def _identify_folder(folder: Path) -> ModelIdentity:
    config = _read_config(folder)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        hint = "pickled weights are not opened because they can run code" if pickled else "no weights were found"
        raise ModelFileError(
            f"The folder {folder.name} holds no .safetensors file ({hint}); convert or choose another."
        )
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZER_FILES):
        raise ModelFileError(
            f"The folder {folder.name} has no tokenizer (tokenizer.json, tokenizer.model or vocab.json with "
            "merges.txt); add the tokenizer files that belong to the model."
        )
    _require_shards(folder)
    tensors = [entry for path in weights for entry in read_safetensors_header(path).values()]
    held: dict[str, int] = {}
    for entry in tensors:
        held[str(entry["dtype"])] = held.get(str(entry["dtype"]), 0) + math.prod(entry["shape"])  # type: ignore[arg-type]
    files = _hashed(folder, (path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")))
    return ModelIdentity(
        format=ModelFormat.SAFETENSORS,
        architecture=str(config.get("model_type", "unknown")),
        quantisation=max(held, key=held.__getitem__),
        parameters=sum(held.values()),
        chat_template=_has_chat_template(folder),
        files=files,
        tree_hash=tree_hash(files),
    )


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
            body = json.loads((folder / ADAPTER_NOTE).read_text(encoding="utf-8"))
            note = cls(str(body["base"]), str(body["architecture"]), float(body["scale"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise damaged from error
        if not math.isfinite(note.scale):
            raise damaged
        return note


def _identify_adapter(folder: Path) -> ModelIdentity:
    note = AdapterNote.of(folder)
    path = folder / ADAPTER_FILE
    if not path.is_file():
        raise ModelFileError(f"The folder {folder.name} has no {ADAPTER_FILE}; export the adapter again.")
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


def identify(path: Path) -> ModelIdentity:
    """Check a model on disk and give it its identity.

    Raises:
        ModelFileError: missing, damaged, without tokenizer or weights, or of an unsupported kind.
    """
    if not path.exists():
        raise ModelFileError(f"There is no model at {path}; check the path.")
    try:
        if path.is_dir():
            return _identify_adapter(path) if (path / ADAPTER_NOTE).exists() else _identify_folder(path)
        return _identify_gguf(path)
    except PermissionError as error:
        raise ModelFileError(f"The model at {path.name} cannot be read; ask for permission to the file.") from error
