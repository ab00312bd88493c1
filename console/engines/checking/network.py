"""What the library makes of a model's folder: whether every weight has its place, and every token its row.

The network is built on the *meta* device first, without memory for weights, by the very loader that loads it later:
names that it translates, weights that it ties and buffers that it ignores are then known to it alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from console.domain.visible import quoted
from console.engines.checking.chat_template import limit_rendering
from console.engines.checking.model_folder import GENERATION, INDEX, ModelFolder
from console.engines.checking.weights_table import TableEntry
from console.engines.checking.weights_values import all_zero, is_in_layer
from console.errors import ConsoleError, ModelFileError

transformers_logging.disable_progress_bar()  # standard output belongs to the job's event stream
_SHOWN = 3
_COMPARED_BYTES = 16 * 1024 * 1024


@contextmanager
def failures_named(name: str, what: str) -> Iterator[None]:
    """Whatever a library fails with on a stranger's file is the file's fault, and is said so.

    A tokenizer written in Rust ends with a panic, which is no ``Exception`` in Python.

    Args:
        what: which part of the model is being read, and "is" or "are".

    Raises:
        ModelFileError: the library failed; it is the cause.
    """
    try:
        yield
    except (ConsoleError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the file's
            raise
        raise _unloadable(name, what, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise _unloadable(name, what, error) from error


def _unloadable(name: str, what: str, error: BaseException) -> ModelFileError:
    return ModelFileError(
        f"The model in {quoted(name)} cannot be loaded: its {what} not what the library expects "
        f"({type(error).__name__}); check that its configuration, weights and tokenizer belong together, or copy it "
        "again."
    )


def open_network(found: ModelFolder, device: str | None = None) -> Any:
    """The network of a folder that was read, in float32.

    Args:
        device: "meta" for a network without weights; None for the processor.

    Raises:
        ModelFileError: an unknown architecture, or tensors that are missing, too many or of other shapes.
    """
    _require_known(found)
    if (found.path / GENERATION).is_file():
        with failures_named(found.path.name, f"{GENERATION} is"):
            GenerationConfig.from_pretrained(found.path, local_files_only=True)
    with failures_named(found.path.name, "configuration or weights are"):
        network, report = AutoModelForCausalLM.from_pretrained(
            found.path,
            dtype=torch.float32,
            device_map=device,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are read from the report, all at once and by name
        )
    _require_complete(found.path.name, report)
    _require_tied(found, network)
    return network


def _require_known(found: ModelFolder) -> None:
    kind = found.config["model_type"]
    if kind not in CONFIG_MAPPING:
        raise ModelFileError(
            f"The architecture {quoted(kind)} is not known (model_type in config.json of {quoted(found.path.name)}); "
            "choose a model of another architecture, or copy it again."
        )


def _require_complete(name: str, report: Mapping[str, Any]) -> None:
    """The loader fills what is missing at random, without an error."""
    mismatched = {str(entry[0] if isinstance(entry, tuple) else entry) for entry in report["mismatched_keys"]}
    for keys, what in (
        (report["missing_keys"], "lacks tensors that its configuration needs"),
        (mismatched, "has tensors of other shapes than its configuration needs"),
        (report["unexpected_keys"], "has tensors that its configuration has no place for"),
        (report["error_msgs"], "cannot be loaded"),
    ):
        if keys:
            listed = sorted(map(str, keys))
            more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
            raise ModelFileError(
                f"The model in {quoted(name)} {what}: {', '.join(map(quoted, listed[:_SHOWN]))}{more}; configuration "
                "and weights do not belong together, so copy the model again."
            )


def _require_tied(found: ModelFolder, network: Any) -> None:
    """Two tensors that the configuration calls one have the same bytes, where the files hold both."""
    tied = getattr(network, "_tied_weights_keys", None)
    if not isinstance(tied, dict) or not getattr(network.config.get_text_config(), "tie_word_embeddings", False):
        return
    held = {entry.name: (path, entry) for path, entry in found.tensors}
    for left, right in tied.items():
        if left in held and right in held and not _same_bytes(held[left], held[right]):
            raise ModelFileError(
                f"The configuration of {quoted(found.path.name)} says that {quoted(left)} and {quoted(right)} are one "
                "(tie_word_embeddings), but its weights hold two different ones; set the flag as the model was "
                "trained, or copy the model again."
            )


def require_living_norms(found: ModelFolder, network: Any, zeros: frozenset[str]) -> None:
    """No norm outside the layers wipes out what the layers made; Gemma's store the weight less one, and may be zero.

    Args:
        zeros: names of the tensors that are all zero.

    Raises:
        ModelFileError: names the norm.
    """
    modules = dict(network.named_modules())
    for path, entry in found.tensors:
        module = modules.get(entry.name.removesuffix(".weight"))
        if entry.name in zeros and len(entry.shape) == 1 and not is_in_layer(entry.name) and _wipes_out(module):
            raise all_zero(path, entry.name)


def _wipes_out(norm: Any) -> bool:
    """Whether a norm of this kind, with a weight of zeros, makes one thing of everything."""
    if not type(norm).__name__.lower().endswith(("rmsnorm", "layernorm", "layernorm1p")):
        return False
    small = type(norm)(2)
    with torch.no_grad():
        small.weight.zero_()
        return bool(torch.equal(small(torch.tensor([[1.0, -2.0]])), small(torch.tensor([[-3.0, 4.0]]))))


def _same_bytes(left: tuple[Path, TableEntry], right: tuple[Path, TableEntry]) -> bool:
    (left_path, one), (right_path, other) = left, right
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    with left_path.open("rb") as first, right_path.open("rb") as second:
        first.seek(one.start)
        second.seek(other.start)
        for begin in range(0, one.end - one.start, _COMPARED_BYTES):
            size = min(_COMPARED_BYTES, one.end - one.start - begin)
            if first.read(size) != second.read(size):
                return False
    return True


def open_tokenizer(found: ModelFolder, rows: int) -> Any:
    """The tokenizer of a folder that was read; its chats are rendered within limits.

    Args:
        rows: of the embedding; a token beyond them would be read from other memory, or end the process.

    Raises:
        ModelFileError: it cannot be read, reads files that the model's hash does not cover, or has tokens beyond
            ``rows``.
    """
    with failures_named(found.path.name, "tokenizer is"):
        tokenizer = AutoTokenizer.from_pretrained(found.path, local_files_only=True, trust_remote_code=False)
        _without_rowless(tokenizer, rows)
        largest = max(tokenizer.get_vocab().values(), default=-1)
        tokenizer("Is it read?")
    _require_covered(found, tokenizer.vocab_files_names.values())
    if largest >= rows:
        raise ModelFileError(
            f"The tokenizer of {quoted(found.path.name)} has tokens up to number {largest:,}, but the model has only "
            f"{rows:,} rows for them; tokenizer and weights do not belong together, so copy the model again."
        )
    limit_rendering(tokenizer)
    return tokenizer


def _without_rowless(tokenizer: Any, rows: int) -> None:
    """Make the names of added tokens that have no row plain text again.

    A class of the library adds role tokens of its own to what a file brings ("<|endoftext|>" to GPT-2's).
    """
    rowless = {place for place in tokenizer.get_added_vocab().values() if place >= rows}
    if not rowless or not tokenizer.is_fast:
        return
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    described["added_tokens"] = [one for one in described["added_tokens"] if one["id"] not in rowless]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(described))


def _require_covered(found: ModelFolder, names: Iterable[str]) -> None:
    covered = {path.name for path in found.files}
    unknown = [name for name in names if (found.path / name).is_file() and name not in covered and name != INDEX]
    if unknown:
        raise ModelFileError(
            f"The tokenizer of {quoted(found.path.name)} reads the file {quoted(unknown[0])}, which this console does "
            "not know as part of a model and so does not hash; use a copy with tokenizer.json."
        )
