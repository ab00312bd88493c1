"""GGUF models run by llama.cpp as they are: no de-quantised copy, the file's own weights and tokenizer.

Driven through the C interface, because a score needs the raw logits at known positions (the Python package's
high-level log-probabilities are shifted by one: llama-cpp-python #1983, #349). Texts that begin alike share
that beginning: a batch is a tree of tokens, in which every token belongs to all sequences that run through it, and
is computed once. Files are checked before the native library sees them, and it runs only in a worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from console.engines import llama_native
from console.engines.branching import Branch, DecodeJob, branches_of, jobs_for, parted, spoken
from console.engines.checking.gguf_file import check_gguf
from console.engines.gguf_header import parts_of, shown
from console.engines.llama_native import Adapter
from console.engines.llama_tokens import LlamaTokens
from console.engines.output_filter import OutputFilter
from console.engines.packing import TokenSequence
from console.engines.prompts import request_sequences
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
from console.errors import InputError, ModelFileError

__all__ = ["Adapter", "LlamaModel", "LogitsProcessor"]

GENERATION_ROWS = 64  # decoded at a time; all look over one cache, so wider costs more (128: 8.2 s, 32: 7.2 s)

GENERATION_CELLS = 8_192  # tokens of answers that the cache holds at once

LogitsProcessor = Callable[[Sequence[int], torch.Tensor], torch.Tensor]
"""(ids so far, (vocab,) logits of the next token) -> logits to use instead."""

_NO_INSIDE = "llama.cpp gives no access to the network's inside; use the model with the transformers engine for this."


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """torch only reads logits here; threads of its own would wait on the cores that llama.cpp computes on."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
        runner: llama_native.NativeModel,
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
            SetupError: llama.cpp is not installed.
            InputError: an adapter is none.
        """
        if not path.is_file():
            raise ModelFileError(f"There is no GGUF file at {shown(path.name)}; check the path.")
        header = check_gguf(path)
        library = llama_native.native_library()
        runner = llama_native.NativeModel(library, parts_of(path)[0], threads or os.cpu_count() or 1, gpu_layers)
        for adapter in adapters:
            runner.add_adapter(adapter)
        template = header.metadata.get("tokenizer.chat_template")
        tokenizer = LlamaTokens(runner.api, runner.vocab, template if isinstance(template, str) else None)
        trained = runner.api.llama_model_n_ctx_train(runner.model)
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

    @property
    def vocabulary_size(self) -> int:
        return self.tokenizer.size

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
        jobs = jobs_for(self.tokenizer, prompts, max_new_tokens, self.context_length)
        jobs.sort(key=lambda job: job.ids)
        # A thought takes many cells; the more room every answer may need, the fewer are decoded at a time.
        longest = max((job.max_new_tokens for job in jobs), default=1)
        most = max(1, min(rows, self._runner.most_sequences, GENERATION_CELLS // longest))
        for begin in range(0, len(attempts), most):
            some = attempts[begin : begin + most]
            size = max(1, most // len(some))
            for start in range(0, len(jobs), size):
                batch = jobs[start : start + size]
                for place, branch in enumerate(self._decoded(batch, some)):
                    yield branch.said(begin + place % len(some), self.output_filter)

    @torch.inference_mode()
    def _decoded(self, batch: Sequence[DecodeJob], attempts: Sequence[Attempt]) -> list[Branch]:
        """All branches to their end, prompt after prompt; the prompts are sorted by their tokens."""
        runner = self._runner
        tree = llama_native.TokenTree.of([job.ids for job in batch], shared=runner.shares)
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

    def _prefilled(self, tree: llama_native.TokenTree) -> torch.Tensor:
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
        return request_sequences(self.tokenizer, requests)

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
        tree = llama_native.TokenTree.of([sequence.ids for sequence in sequences], shared=self._runner.shares)
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
        new = len(ids) - (llama_native.common_length(sequences[batch[-1]].ids, ids) if batch and shared else 0)
        if batch and (nodes + new > llama_native.BATCH_TOKENS or len(batch) == most):
            yield batch
            batch, nodes, new = [], 0, len(ids)
        batch.append(index)
        nodes += new
    if batch:
        yield batch
