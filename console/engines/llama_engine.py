"""GGUF models run by llama.cpp as they are: no de-quantised copy, the file's own weights and tokenizer.

Driven through the C interface, because a score needs the raw logits at known positions (the Python package's
high-level log-probabilities are shifted by one: llama-cpp-python #1983, #349). Texts that begin alike share
that beginning: a batch is a tree of tokens, in which every token belongs to all sequences that run through it, and
is computed once. The native library ends the process on files and batches it does not foresee, so files are checked
before it sees them, and it runs only in a worker.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from console.engines.branching import Branch, DecodeJob, branches_of, parted, require_room, spoken
from console.engines.gguf_header import parts_of, read_gguf_header, read_gguf_layout, shown
from console.engines.llama_tokens import LlamaTokens
from console.engines.output_filter import OutputFilter
from console.engines.packing import TokenSequence
from console.engines.prompts import answer_sequence, prompt_ids, whole_text_sequence
from console.engines.protocol import (
    Attempt,
    Capability,
    CapabilityReport,
    Continuation,
    Prompt,
    Scored,
    ScoreRequest,
)
from console.engines.transformers_engine import token_statistics
from console.errors import InputError, JobFailedError, ModelFileError

BATCH_TOKENS = 512  # tokens of one native call; more makes every token look at more that is not its own
STEP_TOKENS = 256  # of these in one pass: 40 texts took 3.9 s of processor time, with 512 in one pass 4.1 s
GENERATION_ROWS = (
    64  # sequences decoded at a time; all look over one cache, so wider costs more (128: 8.2 s, 32: 7.2 s)
)
_CACHE_TYPE = 0  # GGML_TYPE_F32
_CELLS = 256  # the cache grows by so many tokens
_LOG_LINES = 20

LogitsProcessor = Callable[[Sequence[int], torch.Tensor], torch.Tensor]
"""(ids so far, (vocab,) logits of the next token) -> logits to use instead."""

_NO_INSIDE = "llama.cpp gives no access to the network's inside; use the model with the transformers engine for this."


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter file, and how much of it is added; below 0 its change is taken away instead."""

    path: Path
    scale: float = 1.0


_log: deque[str] = deque(maxlen=_LOG_LINES)  # the native library has one log a process


def _library() -> ModuleType:
    """The native library's interface, silenced; its last lines are kept for error sentences."""
    try:
        from llama_cpp import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(
            "Running a GGUF file as it is needs llama-cpp-python, which is not installed or cannot be loaded; install "
            "it with 'python packaging/install_llamacpp.py', or choose the transformers engine."
        ) from error
    llama_cpp.llama_log_set(_listener(llama_cpp), ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp


_listeners: list[Any] = []  # the library keeps only an address, so the function must outlive every call


def _listener(library: ModuleType) -> Any:
    def listen(_level: int, text: bytes, _data: object) -> None:
        line = text.decode("utf-8", errors="replace").strip(" .\n")
        if line:
            _log.append(line)

    if not _listeners:
        _listeners.append(library.llama_log_callback(listen))
    return _listeners[0]


def _reason() -> str:
    """The native library's last word, in brackets."""
    return f" ({shown(_log[-1], 160)})" if _log else ""


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """torch only reads logits here; threads of its own would wait on the cores that llama.cpp computes on."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
            common = _common(before, ids) if shared else 0
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


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common beginning."""
    most = min(len(left), len(right))
    if left[:most] == right[:most]:
        return most
    return next(place for place in range(most) if left[place] != right[place])


# -- the native model ------------------------------------------------------------------------


class _Runner:
    """A loaded model with one context: a cache of token cells that all sequences of a batch share."""

    def __init__(self, library: ModuleType, path: Path, threads: int, gpu_layers: int) -> None:
        self.library, self.threads = library, threads
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
        return self.library.llama_model_get_vocab(self.model)

    def add_adapter(self, adapter: Adapter) -> None:
        """Put an adapter on; it holds for every later batch."""
        layout = read_gguf_layout(adapter.path)
        if layout.header.metadata.get("general.type") != "adapter":
            raise InputError(f"{shown(adapter.path.name)} is no adapter file; choose a LoRA adapter in GGUF form.")
        handle = self.library.llama_adapter_lora_init(self.model, os.fsencode(adapter.path))
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
            self.library.llama_memory_clear(self._memory, False)
            return
        self._open(max(wanted, self._cells), max(slots, self._sequences))

    def _open(self, cells: int, sequences: int) -> None:
        library = self.library
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
        self.library.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def forget(self, sequence: int) -> None:
        self.library.llama_memory_seq_rm(self._memory, sequence, -1, -1)

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
        library, count = self.library, len(tokens)
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


# -- the engine ------------------------------------------------------------------------------


class LlamaModel:
    """A GGUF model with its own tokenizer, run by llama.cpp (``LanguageModel``).

    Attributes:
        path, adapters, threads: what it was loaded from and with.
        tokenizer: the file's, as far as prompts use one.
        context_length: most tokens of a prompt and its answer together.
        processors: applied in order to the logits of every next token, in generation and in scoring.
        output_filter: what answers go through; a GGUF file brings none of its own.
    """

    def __init__(
        self,
        runner: _Runner,
        tokenizer: LlamaTokens,
        *,
        path: Path,
        adapters: Sequence[Adapter],
        dtype: str,
        context: int,
    ) -> None:
        self._runner = runner
        self.path, self.adapters, self.threads = path, tuple(adapters), runner.threads
        self.tokenizer = tokenizer
        self._dtype = dtype
        self.context_length = context
        self._stop_ids = tokenizer.stop_ids()
        self.processors: tuple[LogitsProcessor, ...] = ()
        self.output_filter: OutputFilter | None = None

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        adapters: Sequence[Adapter] = (),
        context: int | None = None,
        threads: int | None = None,
        gpu_layers: int = 0,
    ) -> LlamaModel:
        """Load a GGUF file; the library maps it into memory and reads what it needs.

        Args:
            adapters: LoRA adapter files put on the model.
            context: most tokens of a prompt and its answer; the model's own limit where it is smaller or this is None.
            threads: of the computation; all cores by default, as ``devices.set_threads``.
            gpu_layers: blocks that run on a graphics processor, where the library was built for one; the build that
                the console installs is not, and ignores it.

        Raises:
            ModelFileError: damaged, incomplete or unsupported files.
            InputError: llama-cpp-python is not installed, or an adapter is none.
        """
        if not path.is_file():
            raise ModelFileError(f"There is no GGUF file at {shown(path.name)}; check the path.")
        header = read_gguf_header(path)
        if not header.has_tokenizer:
            raise ModelFileError(f"{shown(path.name)} carries no tokenizer; choose a GGUF file that does.")
        runner = _Runner(_library(), parts_of(path)[0], threads or os.cpu_count() or 1, gpu_layers)
        for adapter in adapters:
            runner.add_adapter(adapter)
        template = header.metadata.get("tokenizer.chat_template")
        tokenizer = LlamaTokens(runner.library, runner.vocab, template if isinstance(template, str) else None)
        trained = runner.library.llama_model_n_ctx_train(runner.model)
        return cls(
            runner,
            tokenizer,
            path=path,
            adapters=adapters,
            dtype=header.quantisation,
            context=min(context or trained, trained),
        )

    def close(self) -> None:
        """Give the memory back now rather than when the object goes; it cannot be used afterwards."""
        self._runner.close()

    @property
    def capabilities(self) -> CapabilityReport:
        can = frozenset({Capability.GENERATE, Capability.SCORE, Capability.CONVERT})
        return CapabilityReport(
            engine="llama.cpp",
            device="cpu",
            dtype=self._dtype,
            can=can,
            cannot={
                Capability.HIDDEN_STATES: _NO_INSIDE,
                Capability.GRADIENTS: _NO_INSIDE,
                Capability.SAVE: "llama.cpp only runs the file and writes none; the file itself can be copied.",
            },
        )

    def token_count(self, text: str) -> int:
        return len(self.tokenizer.ids(text, special=False))

    # -- generation -------------------------------------------------------------------------

    def generate(
        self,
        prompts: Sequence[Prompt],
        attempts: Sequence[Attempt],
        max_new_tokens: Sequence[int],
        rows: int = GENERATION_ROWS,
    ) -> Iterator[Continuation]:
        """Every attempt on every prompt; at most ``rows`` sequences are decoded at a time.

        Prompts that begin alike are batched together, so results come out of order: read ``prompt_id``.

        Raises:
            InputError: a prompt leaves no room for its answer.
        """
        jobs = [
            DecodeJob(prompt.id, prompt_ids(self.tokenizer, prompt), limit)
            for prompt, limit in zip(prompts, max_new_tokens, strict=True)
        ]
        require_room(jobs, self.context_length)
        jobs.sort(key=lambda job: job.ids)
        most = min(rows, self._runner.most_sequences)
        for begin in range(0, len(attempts), most):
            some = attempts[begin : begin + most]
            size = max(1, most // len(some))
            for start in range(0, len(jobs), size):
                batch = jobs[start : start + size]
                for place, branch in enumerate(self._decoded(batch, some)):
                    text = self.tokenizer.decode(branch.tokens, skip_special_tokens=True)
                    said = self.output_filter.apply(text) if self.output_filter is not None else text
                    yield Continuation(branch.job.prompt_id, begin + place % len(some), said)

    @torch.inference_mode()
    def _decoded(self, batch: Sequence[DecodeJob], attempts: Sequence[Attempt]) -> list[Branch]:
        """All branches to their end, prompt after prompt; the prompts are sorted by their tokens."""
        runner = self._runner
        tree = TokenTree.of([job.ids for job in batch], shared=runner.shares)
        room = sum(job.max_new_tokens for job in batch) * len(attempts)
        runner.start(len(tree.tokens) + room, len(batch) * len(attempts))
        branches = branches_of(batch, attempts)
        with _one_torch_thread():
            logits = self._prefilled(tree)
            going = spoken(self._processed(logits, branches), branches, self._stop_ids)
            slots = list(range(len(batch)))
            lengths = [len(job.ids) for job in batch]
            while going:
                origins, tokens = parted(going)
                slots = self._regrouped(slots, origins)
                lengths = [lengths[origin] for origin in origins]
                own = np.array(slots, dtype=np.int32)
                logits = runner.decode(
                    np.array(tokens, dtype=np.int32),
                    np.array(lengths, dtype=np.int32),
                    own,
                    own + 1,
                    np.ones(len(own), dtype=bool),
                )
                lengths = [length + 1 for length in lengths]
                going = spoken(self._processed(logits, going), going, self._stop_ids)
        return branches

    def _prefilled(self, tree: TokenTree) -> torch.Tensor:
        """(sequences, vocab) logits after the last token of each."""
        ends = np.array([path[-1] for path in tree.paths])
        wanted = np.zeros(len(tree.tokens), dtype=bool)
        wanted[ends] = True
        found = torch.cat([logits.clone() for _, logits in self._runner.walk(tree, wanted)])
        return found[torch.from_numpy(np.cumsum(wanted)[ends] - 1)]

    def _regrouped(self, slots: Sequence[int], origins: Sequence[int]) -> list[int]:
        """The slot of the cache for every new row: the first that comes from a row keeps its slot, others copy it."""
        for row in set(range(len(slots))) - set(origins):
            self._runner.forget(slots[row])
        free = iter(sorted(set(range(self._runner.most_sequences)) - {slots[origin] for origin in origins}))
        kept: set[int] = set()
        found = []
        for origin in origins:
            slot = slots[origin]
            if origin in kept:
                slot = next(free)
                self._runner.copy(slots[origin], slot)
            kept.add(origin)
            found.append(slot)
        return found

    def _processed(self, logits: torch.Tensor, branches: Sequence[Branch]) -> torch.Tensor:
        """The rows' logits after the processors, which see all ids of each row so far."""
        if not self.processors:
            return logits
        processed = logits.clone()
        for row, branch in {branch.row: branch for branch in branches}.items():
            processed[row] = self._after_processors((*branch.job.ids, *branch.tokens), processed[row])
        return processed

    def _after_processors(self, ids: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        for processor in self.processors:
            logits = processor(ids, logits)
        return logits

    # -- scoring ----------------------------------------------------------------------------

    def sequences(self, requests: Iterable[ScoreRequest]) -> list[TokenSequence]:
        """The token sequences that score requests stand for."""
        return [
            whole_text_sequence(self.tokenizer, request.continuation)
            if request.prompt is None
            else answer_sequence(self.tokenizer, request.prompt, request.continuation)
            for request in requests
        ]

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        return self.score_sequences(self.sequences(requests))

    def score_sequences(self, sequences: Sequence[TokenSequence]) -> list[Scored]:
        """Teacher-forced log-probabilities of the sequences' answer tokens with their spread, in order.

        Raises:
            InputError: a text is longer than the model's context.
        """
        longest = max((len(sequence.ids) for sequence in sequences), default=0)
        if longest > self.context_length:
            raise InputError(
                f"A text of {longest} tokens does not fit into the model's context of {self.context_length}; shorten "
                "the item's question or answer."
            )
        results: list[Scored | None] = [None] * len(sequences)
        for members in _score_batches(sequences, self._runner.most_sequences, shared=self._runner.shares):
            for member, scored in zip(members, self._scored([sequences[one] for one in members]), strict=True):
                results[member] = scored
        return [scored for scored in results if scored is not None]

    @torch.inference_mode()
    def _scored(self, sequences: Sequence[TokenSequence]) -> list[Scored]:
        """The scores of sorted sequences that are run as one tree."""
        tree = TokenTree.of([sequence.ids for sequence in sequences], shared=self._runner.shares)
        predictors = [tree.paths[slot][sequence.answer_start - 1 : -1] for slot, sequence in enumerate(sequences)]
        wanted = np.zeros(len(tree.tokens), dtype=bool)
        wanted[[node for nodes in predictors for node in nodes]] = True
        asked: dict[int, list[tuple[int, int]]] = {}  # node -> (sequence, place in its answer) that it predicts
        for slot, nodes in enumerate(predictors):
            for place, node in enumerate(nodes):
                asked.setdefault(node, []).append((slot, place))
        values = [np.zeros((3, len(nodes))) for nodes in predictors]
        self._runner.start(len(tree.tokens), len(sequences))
        with _one_torch_thread():
            for nodes, logits in self._runner.walk(tree, wanted):
                row_of = np.cumsum(wanted[nodes.start : nodes.stop]) - 1
                here = [(node, slot, place) for node in nodes if wanted[node] for slot, place in asked[node]]
                if not here:
                    continue
                rows = [int(row_of[node - nodes.start]) for node, _, _ in here]
                picked = logits if rows == list(range(len(logits))) else logits[torch.tensor(rows)]
                if self.processors:
                    picked = self._all_processed(picked, sequences, here)
                tokens = [sequences[slot].answer_ids[place] for _, slot, place in here]
                for column, (_, slot, place) in zip(np.array(token_statistics(picked, tokens)).T, here, strict=True):
                    values[slot][:, place] = column
        return [
            Scored(sequence.answer_ids, *(tuple(row.tolist()) for row in own))
            for sequence, own in zip(sequences, values, strict=True)
        ]

    def _all_processed(
        self, logits: torch.Tensor, sequences: Sequence[TokenSequence], here: Sequence[tuple[int, int, int]]
    ) -> torch.Tensor:
        processed = logits.clone()
        for row, (_, slot, place) in enumerate(here):
            sequence = sequences[slot]
            processed[row] = self._after_processors(sequence.ids[: sequence.answer_start + place], processed[row])
        return processed


def _score_batches(sequences: Sequence[TokenSequence], most: int, *, shared: bool) -> Iterator[list[int]]:
    """Indices of sequences in the order of their tokens, cut where their tree would grow beyond one native call."""
    order = sorted(range(len(sequences)), key=lambda index: sequences[index].ids)
    batch: list[int] = []
    nodes = 0
    for index in order:
        ids = sequences[index].ids
        new = len(ids) - (_common(sequences[batch[-1]].ids, ids) if batch and shared else 0)
        if batch and (nodes + new > BATCH_TOKENS or len(batch) == most):
            yield batch
            batch, nodes, new = [], 0, len(ids)
        batch.append(index)
        nodes += new
    if batch:
        yield batch
