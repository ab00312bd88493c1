"""A model's folder: which of its files are loaded, and whether what they say fits together.

Only files that the loader reads belong to a model: they alone are hashed into its identity, and all of them are. The
names are those that transformers 5 opens by itself (``modeling_utils``, ``tokenization_utils_base``); a tokenizer
class with files of its own is compared with this list before it is trusted (``checking.network``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.domain.visible import quoted, visible
from console.engines.checking.chat_template import require_usable
from console.engines.checking.model_json import read_object
from console.engines.checking.model_settings import require_computable, require_end_in_vocabulary
from console.engines.checking.plain_files import own_file, part_name, stands_in
from console.engines.checking.weights_table import FLOATS, PACKED, TableEntry, read_table
from console.engines.output_filter import FILE_NAME as FILTER_FILE
from console.errors import ModelFileError

CONFIG, INDEX, WHOLE = "config.json", "model.safetensors.index.json", "model.safetensors"
GENERATION = "generation_config.json"
TOKENIZER_SETTINGS, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TOKENIZER_SETS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
_SETTINGS = (CONFIG, GENERATION, TOKENIZER_SETTINGS, "special_tokens_map.json", "added_tokens.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    TEMPLATE,
    "chat_template.json",
)
_OTHER_WEIGHTS = {
    "pickled weights are not opened because they can run code": ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl"),
    "weights of another library (TensorFlow, Flax, ONNX) are not opened": ("*.h5", "*.msgpack", "*.onnx", "*.tflite"),
    "a GGUF model is one file: name that": ("*.gguf",),
}
_TEMPLATE_FOLDER = "additional_chat_templates"
_BUFFERS = frozenset(("position_ids", "masked_bias", "num_batches_tracked"))
_MASK_DIMENSIONS = 4  # GPT-2, GPT-J and GPT-NeoX call the triangle of what attention may see its "bias"
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.(\d+)\.")
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "vocab_size", "intermediate_size", "n_inner", "ffn_dim")


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose files fit together, as far as can be told without a compute library.

    Attributes:
        files: everything that is loaded, sorted.
        tensors: of all weights files, with the file of each.
    """

    path: Path
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    tensors: tuple[tuple[Path, TableEntry], ...]
    chat_template: bool


def read_folder(folder: Path) -> ModelFolder:
    """Check a model's folder, all but the weights' values.

    Raises:
        ModelFileError: names the file and the cause.
    """
    config = _config(folder)
    _require_no_adapter(folder)
    weights = _weights(folder)
    if not any(all(stands_in(folder, name) for name in names) for names in TOKENIZER_SETS):
        raise ModelFileError(
            f"The folder {visible(folder.name)} has no tokenizer (tokenizer.json, tokenizer.model or vocab.json with "
            "merges.txt); add the tokenizer files that belong to the model."
        )
    files = sorted({*_settings(folder), *weights, *([folder / INDEX] if _is_sharded(folder) else [])})
    for path in files:
        own_file(folder, path.relative_to(folder).as_posix())
    template = _check_templates(folder)
    tensors = tuple((path, entry) for path in weights for entry in read_table(path))
    _require_index(folder, tensors)
    require_loadable(entry for _, entry in tensors)
    _require_config_fits(folder, config, [entry for _, entry in tensors])
    _check_settings(folder, config)
    return ModelFolder(folder, config, tuple(files), tensors, template)


def _config(folder: Path) -> dict[str, Any]:
    if not stands_in(folder, CONFIG):
        raise ModelFileError(
            f"The folder {visible(folder.name)} has no config.json; choose the folder that holds the model."
        )
    config = read_object(folder, CONFIG)
    _require_own_code_only(config, CONFIG, folder)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise ModelFileError(
            f"{CONFIG} in {quoted(folder.name)} does not name the model's architecture (model_type); copy the model "
            "again."
        )
    for place in (config, config.get("text_config")):
        packing = place.get("quantization_config") if isinstance(place, dict) else None
        if packing is not None or (isinstance(place, dict) and place.get("compression_config") is not None):
            method = packing.get("quant_method", "an unnamed method") if isinstance(packing, dict) else "a method"
            raise ModelFileError(
                f"The weights in {quoted(folder.name)} are already packed by {quoted(str(method))} "
                "(quantization_config), and packed weights cannot be read or erased here; take the model in its full "
                "form, or as a GGUF file."
            )
    if config.get("transformers_weights") is not None:
        raise ModelFileError(
            f"{CONFIG} in {quoted(folder.name)} names a weights file of its own (transformers_weights); give the "
            f"weights their usual name, {WHOLE}, and take the setting out."
        )
    return config


def _require_own_code_only(settings: Any, name: str, folder: Path, depth: int = 0) -> None:
    """Code that comes with a model is never run, and whoever wrote it is not asked about on a terminal either."""
    if isinstance(settings, dict):
        if settings.get("auto_map"):
            raise ModelFileError(
                f"{name} in {quoted(folder.name)} wants code that came with the model to be run (auto_map), which this "
                "console never does; choose a model whose architecture needs none."
            )
        for value in settings.values():
            if isinstance(value, dict):
                _require_own_code_only(value, name, folder, depth + 1)


def _require_no_adapter(folder: Path) -> None:
    """The loader would put an adapter that lies in a model's folder over it, or load the adapter's own base instead."""
    left = [name for name in (PEFT_CONFIG, PEFT_WEIGHTS, "adapter_model.bin") if (folder / name).exists()]
    if left:
        raise ModelFileError(
            f"The folder {quoted(folder.name)} holds a whole model and an adapter ({', '.join(left)}), so nobody can "
            "tell which of them was meant; move the adapter's files into a folder of their own, and add that one with "
            "--base if it is to count."
        )


def _is_sharded(folder: Path) -> bool:
    """Whether the weights come in parts; the loader prefers a whole file."""
    return not (folder / WHOLE).exists() and (folder / INDEX).exists()


def _weights(folder: Path) -> list[Path]:
    if (folder / WHOLE).exists():
        if (folder / INDEX).exists() and set(_weight_map(folder).values()) != {WHOLE}:
            raise ModelFileError(
                f"The folder {quoted(folder.name)} holds whole weights ({WHOLE}) and an index of other files "
                f"({INDEX}), so nobody can tell which of them was meant; take out the one that does not count."
            )
        return [own_file(folder, WHOLE, "The weights file")]
    if (folder / INDEX).exists():
        return _shards(folder)
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if others:
        raise ModelFileError(
            f"The weights in {quoted(folder.name)} have a name that is not loaded ({quoted(others[0])}); call the file "
            f"{WHOLE}, or add the index {INDEX} that names its parts."
        )
    found = (why for why, globs in _OTHER_WEIGHTS.items() if any(any(folder.glob(one)) for one in globs))
    hint = next(found, "no weights were found")
    raise ModelFileError(
        f"The folder {visible(folder.name)} holds no .safetensors file ({hint}); convert or choose another."
    )


def _weight_map(folder: Path) -> dict[str, str]:
    where = f"{INDEX} in {quoted(folder.name)}"
    index = read_object(folder, INDEX)
    named = index.get("weight_map")
    if not isinstance(named, dict) or not named:
        raise ModelFileError(f"{where} names no weights files (weight_map); copy the model again.")
    return {name: part_name(part, where) for name, part in named.items()}


def _shards(folder: Path) -> list[Path]:
    """A large model comes in several files, named by an index; a copy that lacks one is not that model."""
    names = sorted(set(_weight_map(folder).values()))
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise ModelFileError(
            f"The folder {visible(folder.name)} lacks {len(missing)} of its {len(names)} weights files "
            f"({visible(missing[0])}); copy the model again."
        )
    for name in names:
        if not name.endswith(".safetensors"):
            raise ModelFileError(
                f"{INDEX} in {quoted(folder.name)} names {quoted(name)}, which is no .safetensors file; copy the model "
                "again."
            )
    return [own_file(folder, name, "The weights file") for name in names]


def _require_index(folder: Path, tensors: tuple[tuple[Path, TableEntry], ...]) -> None:
    """Every tensor stands in the file in which the index says, and only there."""
    if not _is_sharded(folder):
        return
    promised = _weight_map(folder)
    held = {(entry.name, path.name) for path, entry in tensors}
    wrong = [name for name, part in promised.items() if (name, part) not in held]
    extra = [name for name, _ in held if name not in promised]
    twice = len(held) != len({name for name, _ in held})
    if wrong or extra or twice:
        told = quoted((wrong or extra or [held.__iter__().__next__()[0]])[0])
        raise ModelFileError(
            f"{INDEX} in {quoted(folder.name)} does not say what its weights files hold, first of the tensor {told}; "
            "copy the model again."
        )


def _settings(folder: Path) -> Iterator[Path]:
    for name in (*_SETTINGS, *TOKENIZER_FILES, FILTER_FILE):
        if stands_in(folder, name):
            yield folder / name
    more = folder / _TEMPLATE_FOLDER
    if more.is_dir():
        yield from more.glob("*.jinja")


def _check_settings(folder: Path, config: Mapping[str, Any]) -> None:
    for name in (*_SETTINGS[1:], "tokenizer.json"):
        if (folder / name).is_file():
            _require_own_code_only(read_object(folder, name), name, folder)
    text = config.get("text_config")
    tokens = ({**config, **text} if isinstance(text, dict) else config).get("vocab_size")
    require_computable(config, CONFIG, folder.name)
    require_end_in_vocabulary(config, tokens, CONFIG, folder.name)
    if (folder / GENERATION).is_file():
        generation = read_object(folder, GENERATION)
        require_computable(generation, GENERATION, folder.name)
        require_end_in_vocabulary(generation, tokens, GENERATION, folder.name)


def _check_templates(folder: Path) -> bool:
    """Whether the model has a chat template; each one that it has was tried."""
    found: list[tuple[str, object]] = []
    if (folder / TOKENIZER_SETTINGS).is_file():
        said = read_object(folder, TOKENIZER_SETTINGS).get("chat_template")
        if isinstance(said, list):
            found += [(TOKENIZER_SETTINGS, one.get("template") if isinstance(one, dict) else one) for one in said]
        elif said is not None:
            found.append((TOKENIZER_SETTINGS, said))
    if (folder / "chat_template.json").is_file():
        found.append(("chat_template.json", read_object(folder, "chat_template.json").get("chat_template")))
    beside = [folder / TEMPLATE, *sorted((folder / _TEMPLATE_FOLDER).glob("*.jinja"))]
    for path in beside:
        if path.is_file():
            try:
                found.append((path.name, path.read_text(encoding="utf-8")))
            except UnicodeDecodeError as error:
                raise ModelFileError(
                    f"{path.name} in {quoted(folder.name)} is not text; copy the model again."
                ) from error
    for name, template in found:
        if not isinstance(template, str):
            raise ModelFileError(f"The chat template in {name} of {quoted(folder.name)} is no text; copy it again.")
        require_usable(template, f"{name} of {quoted(folder.name)}")
    return bool(found)


def require_loadable(entries: Iterable[TableEntry]) -> None:
    """Weights are decimal numbers, and there are some.

    Raises:
        ModelFileError: names the first tensor that is packed, of whole numbers, or empty.
    """
    for entry in entries:
        if entry.dtype in PACKED:
            raise ModelFileError(
                f"The tensor {quoted(entry.name)} is stored as {entry.dtype}, packed weights that cannot be read or "
                "erased here; take the model in its full form, or as a GGUF file."
            )
        if entry.dtype not in FLOATS and not _is_buffer(entry):
            raise ModelFileError(
                f"The tensor {quoted(entry.name)} is stored as {entry.dtype}, but weights are decimal numbers "
                f"({', '.join(sorted(FLOATS))}); copy the model again."
            )
        if entry.start == entry.end:
            raise ModelFileError(f"The tensor {quoted(entry.name)} holds no values; copy the model again.")


def _is_buffer(entry: TableEntry) -> bool:
    """Whether older versions of transformers stored this beside the weights; the loader knows it, and ignores it."""
    last = entry.name.rpartition(".")[2]
    return last in _BUFFERS or (last == "bias" and len(entry.shape) == _MASK_DIMENSIONS)


def _require_config_fits(folder: Path, config: Mapping[str, Any], entries: list[TableEntry]) -> None:
    """The sizes that decide how much is built, against the tensors, before anything is built.

    Raises:
        ModelFileError: more layers than the weights have, or a width that no tensor has.
    """
    text = config.get("text_config")
    settings = {**config, **text} if isinstance(text, dict) else config
    layers = {int(found[1]) for entry in entries if (found := _LAYER.search(entry.name))}
    most = max((size for entry in entries for size in entry.shape), default=0)
    for names, limit, held in (
        (_LAYER_COUNTS, max(layers, default=len(entries)) + 1, "layers that the weights have"),
        (_WIDTHS, most, "values along the largest side of any tensor"),
    ):
        for name in names:
            value = settings.get(name)
            if value is None:
                continue
            if type(value) is not int or value < 0:
                raise ModelFileError(
                    f"The setting {name} in {CONFIG} of {quoted(folder.name)} is no whole number; copy the model again."
                )
            if value > limit:
                raise ModelFileError(
                    f"The setting {name} in {CONFIG} of {quoted(folder.name)} is {value:,}, more than the {limit:,} "
                    f"{held}; configuration and weights do not belong together, so copy the model again."
                )
