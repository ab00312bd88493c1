"""llama.cpp's C interface, as far as the engine needs it: one loaded model, one cache of token cells, trees of tokens.

The native library ends the process on files and batches it does not foresee, so whoever calls this has checked the
file, and runs in a worker.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from console.engines import llama_log
from console.engines.gguf_header import read_gguf_layout, shown
from console.errors import InputError, JobFailedError, ModelFileError, SetupError

BATCH_TOKENS = 512  # tokens of one native call; more makes every token look at more that is not its own
STEP_TOKENS = 256  # of these in one pass: 40 texts took 3.9 s of processor time, with 512 in one pass 4.1 s
_CACHE_TYPE = 0  # GGML_TYPE_F32
_CELLS = 256  # the cache grows by so many tokens


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter file, and how much of it is added; below 0 its change is taken away instead."""

    path: Path
    scale: float = 1.0


def native_library() -> ModuleType:
    """The native library's interface, silenced; its last lines are kept for error sentences."""
    try:
        from llama_cpp import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise SetupError(
            "Working on a GGUF file as it is needs llama.cpp, which is not installed or cannot be loaded; install it "
            "with 'python packaging/install_llamacpp.py', or choose the transformers engine."
        ) from error
    llama_log.silence(llama_cpp)
    llama_cpp.llama_backend_init()
    return llama_cpp


def _reason() -> str:
    """The native library's last word, in brackets."""
    said = llama_log.last_line()
    return f" ({shown(said, 160)})" if said else ""


# -- the token tree --------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenTree:
    """Sequences laid over one another as far as they begin alike, in the order of a walk through the tree.

    Attributes:
        tokens, positions: of every node.
        first, beyond: the range of slots (places in the sorted order) whose sequences run through the node.
        paths: for each slot, its nodes from first token to last.
    """

    tokens: np.ndarray
    positions: np.ndarray
    first: np.ndarray
    beyond: np.ndarray
    paths: list[list[int]]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], *, shared: bool = True) -> TokenTree:
        """The tree of sequences that are sorted; without ``shared`` every sequence stands alone."""
        tokens: list[int] = []
        positions: list[int] = []
        first: list[int] = []
        beyond: list[int] = []
        paths: list[list[int]] = []
        before: Sequence[int] = ()
        for slot, ids in enumerate(sequences):
            common = common_length(before, ids) if shared else 0
            path = paths[-1][:common] if paths else []
            for node in path:
                beyond[node] = slot + 1
            path.extend(range(len(tokens), len(tokens) + len(ids) - common))
            tokens.extend(ids[common:])
            positions.extend(range(common, len(ids)))
            first.extend([slot] * (len(ids) - common))
            beyond.extend([slot + 1] * (len(ids) - common))
            paths.append(path)
            before = ids
        arrays = (np.array(values, dtype=np.int32) for values in (tokens, positions, first, beyond))
        return cls(*arrays, paths)


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common beginning."""
    most = min(len(left), len(right))
    if left[:most] == right[:most]:
        return most
    return next(place for place in range(most) if left[place] != right[place])


# -- the native model ------------------------------------------------------------------------


class NativeModel:
    """A loaded model with one context: a cache of token cells that all sequences of a batch share."""

    def __init__(self, library: ModuleType, path: Path, threads: int, gpu_layers: int) -> None:
        self.api, self.threads = library, threads
        settings = library.llama_model_default_params()
        settings.n_gpu_layers = gpu_layers
        self._handles: dict[str, Any] = {}
        self._finalizer = weakref.finalize(self, _release, library, self._handles)
        model = library.llama_model_load_from_file(os.fsencode(path), settings)
        if not model:
            raise ModelFileError(
                f"llama.cpp cannot load {shown(path.name)}{_reason()}; choose another file, or the transformers engine."
            )
        self.model = self._handles["model"] = model
        self.vocabulary: int = library.llama_vocab_n_tokens(self.vocab())
        if library.llama_model_has_encoder(model) or not library.llama_model_has_decoder(model):
            raise ModelFileError(f"{shown(path.name)} does not continue texts; choose a model that writes.")
        # A recurrent state is one number vector per sequence, not cells that several can own.
        self.shares: bool = not (library.llama_model_is_recurrent(model) or library.llama_model_is_hybrid(model))
        self.most_sequences: int = min(256, library.llama_max_parallel_sequences())
        self._adapters: list[tuple[Any, float]] = []
        self._cells = self._sequences = 0
        self._slots = np.arange(self.most_sequences, dtype=np.int32)

    def vocab(self) -> Any:
        """The file's ``llama_vocab``.

        Raises:
            ValueError: the model was closed; the native library would read freed memory.
        """
        if "model" not in self._handles:
            raise ValueError("the model was closed")
        return self.api.llama_model_get_vocab(self.model)

    def add_adapter(self, adapter: Adapter) -> None:
        """Put an adapter on; it holds for every later batch."""
        layout = read_gguf_layout(adapter.path)
        if layout.header.metadata.get("general.type") != "adapter":
            raise InputError(f"{shown(adapter.path.name)} is no adapter file; choose a LoRA adapter in GGUF form.")
        handle = self.api.llama_adapter_lora_init(self.model, os.fsencode(adapter.path))
        if not handle:
            raise ModelFileError(
                f"llama.cpp cannot put the adapter {shown(adapter.path.name)} on this model{_reason()}; choose the "
                "adapter that was made for it."
            )
        self._adapters.append((handle, adapter.scale))

    def close(self) -> None:
        """Give the memory back; the runner cannot be used afterwards."""
        self._finalizer()

    def start(self, cells: int, sequences: int) -> None:
        """An empty cache for so many tokens and sequences."""
        self.vocab()
        wanted = -(-cells // _CELLS) * _CELLS
        slots = self.most_sequences if self.shares else sequences
        if wanted <= self._cells and slots <= self._sequences:
            self.api.llama_memory_clear(self._memory, False)
            return
        self._open(max(wanted, self._cells), max(slots, self._sequences))

    def _open(self, cells: int, sequences: int) -> None:
        library = self.api
        if context := self._handles.pop("context", None):
            library.llama_free(context)
        self._cells = self._sequences = 0
        settings = library.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max = cells, sequences
        settings.n_batch, settings.n_ubatch = BATCH_TOKENS, STEP_TOKENS
        settings.kv_unified = True
        # Full precision and no fused attention: with it a score moved by up to 0.002 nats with its batch (without,
        # by a millionth), and was a sixth faster.
        settings.flash_attn_type = library.LLAMA_FLASH_ATTN_TYPE_DISABLED
        settings.type_k = settings.type_v = _CACHE_TYPE
        settings.n_threads = settings.n_threads_batch = self.threads
        context = library.llama_init_from_model(self.model, settings)
        if not context:
            raise JobFailedError(
                f"llama.cpp could not set aside memory for {cells:,} tokens{_reason()}; close other programs or "
                "choose a smaller model."
            )
        self._context = self._handles["context"] = context
        self._memory = library.llama_get_memory(context)
        self._cells, self._sequences = cells, sequences
        if self._adapters:
            handles = (library.llama_adapter_lora_p_ctypes * len(self._adapters))(*(one for one, _ in self._adapters))
            scales = (ctypes.c_float * len(self._adapters))(*(scale for _, scale in self._adapters))
            if library.llama_set_adapters_lora(context, handles, len(self._adapters), scales) != 0:
                raise JobFailedError(f"llama.cpp could not use the adapter{_reason()}; choose another adapter.")

    def copy(self, source: int, target: int) -> None:
        """Let ``target`` continue what ``source`` holds."""
        self.api.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def forget(self, sequence: int) -> None:
        self.api.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def decode(
        self,
        tokens: np.ndarray,
        positions: np.ndarray,
        first: np.ndarray,
        beyond: np.ndarray,
        wanted: np.ndarray,
    ) -> torch.Tensor:
        """Run at most ``BATCH_TOKENS`` tokens.

        Args:
            tokens, positions: (tokens,) int32.
            first, beyond: (tokens,) the range of sequences that each token belongs to.
            wanted: (tokens,) bool, whether the logits after it are.

        Returns:
            (wanted tokens, vocab) float32, a view that the next call overwrites.
        """
        library, count = self.api, len(tokens)
        tokens, positions = np.ascontiguousarray(tokens), np.ascontiguousarray(positions)
        owners = np.ascontiguousarray(beyond - first, dtype=np.int32)
        lists = np.ascontiguousarray(self._slots.ctypes.data + 4 * first.astype(np.uint64), dtype=np.uint64)
        marks = np.ascontiguousarray(wanted, dtype=np.int8)
        batch = library.llama_batch(
            n_tokens=count,
            token=tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            embd=None,
            pos=positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            n_seq_id=owners.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=lists.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=marks.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
        code = library.llama_decode(self._context, batch)
        if code != 0:
            raise JobFailedError(f"llama.cpp stopped with code {code}{_reason()}; try again with a smaller model.")
        outputs = int(marks.sum())
        if not outputs:
            return torch.empty(0, self.vocabulary)
        logits = library.llama_get_logits(self._context)
        return torch.from_numpy(np.ctypeslib.as_array(logits, shape=(outputs, self.vocabulary)))

    def walk(self, tree: TokenTree, wanted: np.ndarray) -> Iterator[tuple[range, torch.Tensor]]:
        """Run a whole tree; after each call, its nodes and the logits after the wanted ones of them."""
        for start in range(0, len(tree.tokens), BATCH_TOKENS):
            part = slice(start, start + BATCH_TOKENS)
            logits = self.decode(
                tree.tokens[part], tree.positions[part], tree.first[part], tree.beyond[part], wanted[part]
            )
            yield range(start, min(part.stop, len(tree.tokens))), logits


def _release(library: ModuleType, handles: dict[str, Any]) -> None:
    if context := handles.pop("context", None):
        library.llama_free(context)
    if model := handles.pop("model", None):
        library.llama_model_free(model)
