"""Write a model as the file that will be deployed, and read it back before anybody trusts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from console.domain.exports import ExportForm, Gate, Likelihoods, Place, judged
from console.domain.results import decimal_text
from console.engines.devices import set_threads
from console.engines.gguf_adapter import low_rank, require_adaptable, write_adapter
from console.engines.gguf_names import WeightPlace, folder_name, network_places
from console.engines.gguf_rewrite import RewrittenTensor, rewrite, target_parts
from console.engines.gguf_snapshot import snapshot_of
from console.engines.gguf_tensors import provenance_of, read_values, tensors_of
from console.engines.llama_engine import Adapter, LlamaModel
from console.engines.llama_tokens import token_mismatch
from console.engines.model_files import ADAPTER_FILE, AdapterNote, ModelFormat, identify
from console.engines.protocol import LanguageModel, Prompt, ScoreRequest
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.jobs.events import Artefact
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.changes import differing
from console.jobs.tasks.files import checked_path, validated, write_artefact
from console.jobs.worker import EventWriter

_RANKS_FIRST = (16, 64)


class ExportConfig(BaseModel):
    """How a model is written.

    Attributes:
        higher_type: type of the changed tensors whose own type has fewer bits; None keeps every tensor's own type.
        scale: how much of the change an adapter adds; -1 takes it away instead (negation of a task vector).
        most_rank: of an adapter's pairs; a change that needs more is not one for an adapter.
        rank_tolerance: largest relative error of a pair's product.
        file_name: of the GGUF file, without its ending.
        request: number of the case, for the file's own record.
        version: of the console, for the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: ExportForm = ExportForm.GGUF
    higher_type: Literal["F32", "F16", "BF16", "Q8_0"] | None = None
    scale: float = Field(default=1.0, ge=-10, le=10)
    most_rank: int = Field(default=256, ge=1)
    rank_tolerance: float = Field(default=1e-3, gt=0, lt=1)
    file_name: str = Field(default="model", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")
    request: str = ""
    version: str = ""


@dataclass(frozen=True)
class _Written:
    """What became of the changed tensors, as the ledger keeps it; ``types`` are those that hold the changes."""

    tensors: tuple[dict[str, str], ...]
    types: tuple[str, ...]
    vanished: int


def _number(value: float) -> str:
    return decimal_text(round(value, 6))


def _changed(network: Any, places: Mapping[str, WeightPlace], base: Path, source: Path) -> dict[str, np.ndarray]:
    """New values in the file's layout, by the file's tensor name.

    Raises:
        InputError: the two are not versions of one model, or nothing differs.
    """
    names = {folder_name(name) for name in differing(base, source)}
    weights = dict(network.named_parameters(remove_duplicate=False))
    foreign = sorted(names - places.keys())
    if foreign:
        raise InputError(
            f"The weight '{foreign[0]}' is not one of the base model's; export with the GGUF model that this one was "
            "made from."
        )
    if not names:
        raise InputError("The model has the base's own weights, so there is nothing to write; export an erased model.")
    return {
        places[name].tensor: places[name].to_file(weights[places[name].parameter].detach().float().cpu().numpy())
        for name in sorted(names)
    }


def _provenance(base: Path, spec: JobSpec, config: ExportConfig) -> dict[str, str | list[str]]:
    """For the file's own record; the requests are all of the chain's, those that the base names before this one."""
    assert spec.reference is not None
    earlier = provenance_of(base).get("requests", ())
    requests = [*((earlier,) if isinstance(earlier, str) else earlier), *([config.request] if config.request else [])]
    kept = {
        "base_sha256": spec.reference.tree_hash or "",
        "source_sha256": spec.model.tree_hash or "",
        "requests": requests,
        "version": config.version,
    }
    return {key: value for key, value in kept.items() if value}


def _write_gguf(
    base: Path, target: Path, changed: Mapping[str, np.ndarray], spec: JobSpec, config: ExportConfig
) -> _Written:
    told = rewrite(base, target, changed, higher_type=config.higher_type, provenance=_provenance(base, spec, config))
    if all(tensor.unchanged for tensor in told):
        raise JobFailedError(
            "Rounding took the whole change away: the written file holds the base's own weights. Write the changed "
            "tensors in a higher type, such as Q8_0 or F16."
        )
    return _Written(
        tuple(_described(tensor) for tensor in told if not tensor.unchanged),
        tuple(dict.fromkeys(tensor.type_after for tensor in told)),
        sum(tensor.unchanged for tensor in told),
    )


def _described(tensor: RewrittenTensor) -> dict[str, str]:
    return {
        "tensor": tensor.name,
        "type_before": tensor.type_before,
        "type_after": tensor.type_after,
        "wanted": _number(tensor.wanted_change),
        "stored": _number(tensor.stored_change),
        "missed": _number(tensor.missed),
    }


def _pair(delta: np.ndarray, config: ExportConfig) -> tuple[np.ndarray, np.ndarray, float]:
    """The smallest pair that will do. Small ranks are tried first: what an adapter left is found there at once, and
    looking for up to the largest rank takes many times as long.
    """
    for most in (*(rank for rank in _RANKS_FIRST if rank < config.most_rank), config.most_rank):
        found = low_rank(delta, tolerance=config.rank_tolerance, most=most)
        if found[2] <= config.rank_tolerance:
            break
    return found


def _write_pairs(
    base: Path, folder: Path, changed: Mapping[str, np.ndarray], spec: JobSpec, config: ExportConfig, architecture: str
) -> tuple[_Written, dict[str, tuple[np.ndarray, np.ndarray]]]:
    pairs, told, held = {}, [], tensors_of(base)
    for name in changed:
        require_adaptable(name)
    for name, wanted in changed.items():
        old = read_values(held[name])
        down, up, missed = _pair(wanted - old, config)
        if missed > config.rank_tolerance:
            raise InputError(
                f"The change of '{name}' needs more than rank {config.most_rank} (at that rank {missed:.1%} of it is "
                "missing), so it does not fit into an adapter; write a GGUF file instead, or allow a higher most_rank."
            )
        pairs[name] = (down, up)
        norm = max(float(np.linalg.norm(old)), 1e-12)
        told.append(
            {
                "tensor": name,
                "type_before": held[name].type_name,
                "type_after": f"F32, rank {down.shape[0]}",
                "wanted": _number(float(np.linalg.norm(wanted - old)) / norm),
                "stored": _number(float(np.linalg.norm(up @ down)) / norm),
                "missed": _number(missed),
            }
        )
    write_adapter(
        folder / ADAPTER_FILE,
        architecture=architecture,
        pairs=pairs,
        alpha=0.0,
        name=config.file_name,
        provenance=_provenance(base, spec, config),
    )
    assert spec.reference is not None
    AdapterNote(spec.reference.tree_hash or "", architecture, config.scale).write(folder)
    return _Written(tuple(told), ("F32",), 0), pairs


# -- read back -----------------------------------------------------------------------------------


def _means(model: LanguageModel, texts: Sequence[str]) -> tuple[tuple[float, ...], int]:
    scored = model.score([ScoreRequest(text) for text in texts])
    return tuple(one.mean for one in scored), sum(len(one.log_probs) for one in scored)


@torch.no_grad()
def _put(network: Any, places: Mapping[str, WeightPlace], stored: Mapping[str, np.ndarray]) -> None:
    """Give the network the weights that the file holds."""
    by_tensor = {place.tensor: place for place in places.values()}
    weights = dict(network.named_parameters(remove_duplicate=False))
    for name, values in stored.items():
        place = by_tensor[name]
        place.part(weights[place.parameter]).copy_(torch.tensor(place.from_file(values)))


def _gate(
    model: TransformersModel,
    places: Mapping[str, WeightPlace],
    stored: Mapping[str, np.ndarray],
    opened: LlamaModel,
    written: _Written,
    held: Sequence[str],
    payload: JobPayload,
) -> Gate:
    texts = [text for text in payload.general if model.token_count(text) > 1]
    if not texts:
        raise InputError("There is no neutral text to read the written file back with; give some general text.")
    asked = [(Prompt(item.id, item.prompt), (item.answer,)) for item in payload.forget]
    neutral = [(Prompt(f"text {number}", text, chat=False), ()) for number, text in enumerate(texts, start=1)]
    other = token_mismatch(opened.tokenizer, model.tokenizer, [*asked, *neutral])
    if other is not None:
        return Gate(
            texts=len(texts),
            tokens=0,
            reading="NaN",
            reading_tolerance="0",
            rounding="NaN",
            rounding_tolerance="0",
            whole="NaN",
            failed=Place.TOKENS,
            sentence=other,
        )
    trained, tokens = _means(model, texts)
    _put(model.network, places, stored)
    kept, _ = _means(model, texts)
    read, _ = _means(opened, texts)
    return judged(Likelihoods(trained, kept, read, tokens), held, written.types)


@dataclass
class _Export:
    """One export under way.

    Attributes:
        base: the GGUF file that the new one is made from.
        changed: new values in the file's layout, by the file's tensor name.
    """

    spec: JobSpec
    config: ExportConfig
    base: Path
    architecture: str
    model: TransformersModel
    places: Mapping[str, WeightPlace]
    changed: dict[str, np.ndarray]
    threads: int
    written: _Written | None = None
    gate: Gate | None = None

    @property
    def _as_gguf(self) -> bool:
        return self.config.form is ExportForm.GGUF

    def model_in(self, folder: Path) -> Path:
        """The model in a folder that was written."""
        if not self._as_gguf:
            return folder
        return target_parts(self.base, folder / f"{self.config.file_name}.gguf")[0]

    def write(self, folder: Path) -> None:
        if self._as_gguf:
            target = folder / f"{self.config.file_name}.gguf"
            self.written = _write_gguf(self.base, target, self.changed, self.spec, self.config)
            return
        account, pairs = _write_pairs(
            self.base, folder, self.changed, self.spec, self.config, architecture=self.architecture
        )
        self.written = account
        held, scale = tensors_of(self.base), self.config.scale
        if scale != 1:
            wanted = {
                name: (old := read_values(held[name])) + scale * (new - old) for name, new in self.changed.items()
            }
            _put(self.model.network, self.places, wanted)
        for name, (down, up) in pairs.items():
            self.changed[name] = read_values(held[name]) + scale * (up @ down)

    def check(self, folder: Path, payload: JobPayload) -> None:
        """Raises:
        JobFailedError: the written file does not say what the model says.
        """
        assert self.written is not None
        path = self.model_in(folder) if self._as_gguf else self.base
        held = tensors_of(path)
        stored = {name: read_values(held[name]) for name in self.changed} if self._as_gguf else self.changed
        adapters = () if self._as_gguf else (Adapter(folder / ADAPTER_FILE, self.config.scale),)
        opened = LlamaModel.load(path, adapters=adapters, threads=self.threads)
        try:
            types = [tensor.type_name for tensor in held.values()]
            self.gate = _gate(self.model, self.places, stored, opened, self.written, types, payload)
        finally:
            opened.close()
        if self.gate.failed is not Place.NONE:
            raise JobFailedError(self.gate.sentence)


def _opened(spec: JobSpec) -> _Export:
    threads = set_threads()
    config = validated(ExportConfig, spec.settings)
    assert spec.reference is not None
    base = checked_path(spec.reference)
    found = identify(base)
    if found.format is not ModelFormat.GGUF:
        raise InputError(f"{base.name} is not a GGUF file; export with the GGUF model that this one was made from.")
    source = checked_path(spec.model)
    model = TransformersModel.load(source, Path(spec.cache), spec.device)
    places = network_places(model.network)
    changed = _changed(model.network, places, snapshot_of(base, Path(spec.cache)), source)
    return _Export(spec, config, base, found.architecture, model, places, changed, threads)


def export(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """Write ``spec.model`` as a file made from the GGUF model ``spec.reference``, in the folder ``spec.output``.

    Raises:
        InputError: not versions of one model, a change that this form cannot hold, a base that is no GGUF file.
        JobFailedError: the written file does not say what the model says; nothing is left behind.
    """
    assert spec.output is not None
    writer.progress(0, 3, "Opening the model")
    made = _opened(spec)

    def write(folder: Path) -> None:
        writer.check_cancelled()
        writer.progress(1, 3, "Writing the file")
        made.write(folder)

    def check(folder: Path) -> None:
        writer.check_cancelled()
        writer.progress(2, 3, "Reading the file back")
        made.check(folder, payload)

    forbidden = spec.reference.tree_hash if spec.reference is not None else None
    identity = write_artefact(Path(spec.output), write, forbidden, check, made.model_in)
    path = made.model_in(Path(spec.output))
    writer.send(Artefact(path=str(path), identity=identity.model_dump(mode="json")))
    writer.progress(3, 3, "Done")
    assert made.written is not None
    assert made.gate is not None
    rewritten = len(made.written.tensors) if made.config.form is ExportForm.GGUF else 0
    return {
        "identity": identity.model_dump(mode="json"),
        "path": str(path),
        "form": made.config.form.value,
        "rewritten": list(made.written.tensors),
        "untouched": len(tensors_of(made.base)) - rewritten,
        "vanished": made.written.vanished,
        "gate": made.gate.model_dump(mode="json"),
    }
