"""A folder that PEFT wrote: a low-rank change to a model that lies somewhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.domain.visible import quoted
from console.engines.checking.model_folder import CONFIG, PEFT_CONFIG, PEFT_WEIGHTS, WHOLE, require_loadable
from console.engines.checking.model_json import read_object
from console.engines.checking.plain_files import own_file, stands_in
from console.engines.checking.weights_table import TableEntry, read_table
from console.engines.checking.weights_values import require_numbers
from console.errors import ModelFileError


@dataclass(frozen=True)
class PeftFolder:
    """An adapter whose files fit together.

    Attributes:
        base: what it calls its base, a path or a name; where that lies on this machine is the office's to say.
    """

    path: Path
    settings: Mapping[str, Any]
    tensors: tuple[TableEntry, ...]
    base: str

    @property
    def files(self) -> tuple[Path, ...]:
        return self.path / PEFT_CONFIG, self.path / PEFT_WEIGHTS


def is_peft(path: Path) -> bool:
    """Whether this is an adapter's folder, and not one of a whole model that an adapter was left in."""
    return (path / PEFT_CONFIG).exists() and not (path / CONFIG).exists() and not (path / WHOLE).exists()


def read_peft(folder: Path) -> PeftFolder:
    """Check an adapter's folder.

    Raises:
        ModelFileError: names the file and the cause.
    """
    settings = read_object(folder, PEFT_CONFIG)
    where = f"{PEFT_CONFIG} in {quoted(folder.name)}"
    kind = str(settings.get("peft_type"))
    if kind != "LORA" or settings.get("bias", "none") != "none":
        raise ModelFileError(
            f"{where} describes an adapter of kind {quoted(kind)} (bias {quoted(str(settings.get('bias')))}); only "
            "LoRA without biases can be laid over a model here, so merge it into its base with PEFT and add the result."
        )
    if settings.get("auto_mapping") or settings.get("auto_map"):
        raise ModelFileError(f"{where} wants code of its own to be run, which this console never does.")
    if not stands_in(folder, PEFT_WEIGHTS):
        raise ModelFileError(
            f"The folder {quoted(folder.name)} has no {PEFT_WEIGHTS} (adapter_model.bin is not opened, because it can "
            "run code); save the adapter again in that form."
        )
    tensors = read_table(own_file(folder, PEFT_WEIGHTS, "The weights file"))
    require_loadable(tensors)
    return PeftFolder(folder, settings, tensors, str(settings.get("base_model_name_or_path") or ""))


def require_adapter_numbers(found: PeftFolder) -> None:
    """Raises:
    ModelFileError: a value of the adapter is no number.
    """
    require_numbers((found.path / PEFT_WEIGHTS, entry) for entry in found.tensors)
