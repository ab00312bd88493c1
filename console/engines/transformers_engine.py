"""Models run by transformers: safetensors folders, and GGUF files de-quantised once.

Generation pads on the left and scoring packs without padding; both are decided here, per
call, and never by changing the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from console.engines.attention_masks import attention_of, require_known_attention
from console.engines.branching import DecodeJob, jobs_for
from console.engines.checking.model_folder import read_folder
from console.engines.checking.network import open_network, open_tokenizer, require_living_norms
from console.engines.checking.weights_values import require_weights
from console.engines.decoding import decode_batch
from console.engines.devices import resolve_device
from console.engines.frozen_trunk import FrozenTrunk, blocks_of, final_norm_of
from console.engines.gguf_snapshot import snapshot_of
from console.engines.learning import only_these_learn
from console.engines.output_filter import OutputFilter
from console.engines.packing import PackedRow, TokenSequence, answer_positions, pack
from console.engines.prompts import answer_sequence, request_sequences
from console.engines.protocol import (
    Attempt,
    Capability,
    CapabilityReport,
    Continuation,
    LayerTails,
    Prompt,
    Scored,
    ScoreRequest,
)
from console.errors import ModelFileError

ROW_TOKENS = 512  # a packed row's attention grows with its square; on a CPU 512 keeps it near a tenth
GENERATION_ROWS = 160  # wider products: 240 answers on two cores took 17 to 20 s, with 48 rows 20 to 24 s (alternated)

GENERATION_CELLS = 20_480  # tokens kept at once: 130 rows of a short question and its answer

STATISTICS_POSITIONS = 64  # positions whose whole distribution is read at once: 40 MB a copy for 150,000 tokens
_NEGLIGIBLE = (
    -200.0
)  # nats below the likeliest token; its probability is 0 in single precision, and 0 x infinity is none


def _stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends an answer: the tokenizer's and whatever the generation settings name."""
    configured = model.generation_config.eos_token_id
    named = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in (*named, tokenizer.eos_token_id) if token is not None)


def token_statistics(logits: torch.Tensor, token_ids: Sequence[int]) -> tuple[list[float], list[float], list[float]]:
    """Log-probability of given tokens, and its mean and standard deviation under the model's own distribution (nats).

    With p the distribution at a position: mean = sum p ln p, deviation = sqrt(sum p (ln p - mean)^2), over the
    vocabulary (Zhang et al. 2024, Min-K%++). Both are taken from the distance to the likeliest token and in
    two passes: the difference of two large squares would lose a sure model's small deviation, and equal logits give
    exactly 0. Positions go chunk by chunk, because every further copy of (positions, vocab) is hundreds of megabytes.

    Args:
        logits: (positions, vocab) that predict the tokens.
        token_ids: one for each position.
    """
    chosen_ids = torch.tensor(token_ids, device=logits.device)[:, None]
    found: tuple[list[float], list[float], list[float]] = ([], [], [])
    for part, ids in zip(logits.split(STATISTICS_POSITIONS), chosen_ids.split(STATISTICS_POSITIONS), strict=True):
        below = part.float() - part.max(dim=-1, keepdim=True).values.float()
        chosen = below.gather(-1, ids)
        below.clamp_(min=_NEGLIGIBLE)
        weights = below.exp()
        total = weights.sum(dim=-1, keepdim=True)
        weights /= total
        mean = (weights * below).sum(dim=-1, keepdim=True)
        deviation = (weights * (below - mean).square_()).sum(dim=-1).sqrt()
        log_total = total.log()
        for values, new in zip(found, (chosen - log_total, mean - log_total, deviation), strict=True):
            values.extend(new.flatten().tolist())
    return found


def _tails(layer: int, values: torch.Tensor, top: int) -> list[LayerTails]:
    """The ``top`` tokens at both ends of each prompt's (prompts, vocab) values."""
    highest, lowest = values.topk(top).indices.tolist(), (-values).topk(top).indices.tolist()
    return [LayerTails(layer, tuple(best), tuple(worst)) for best, worst in zip(highest, lowest, strict=True)]


def _batch(jobs: Sequence[DecodeJob], size: int, attempts: int) -> Sequence[DecodeJob]:
    """The first jobs that are decoded together: at most ``size``, and no more than the cache has cells for."""
    taken = jobs[:size]
    longest = max(job.max_new_tokens for job in taken) + len(taken[-1].ids)  # sorted by length
    return taken[: max(1, GENERATION_CELLS // (longest * attempts))]


class TransformersModel:
    """A causal language model in torch, with its tokenizer (``LanguageModel`` and ``WhiteBoxModel``)."""

    def __init__(self, network: Any, tokenizer: Any, device: torch.device) -> None:
        self._network = network.to(device).eval()
        self.tokenizer = tokenizer
        self.device = device
        self._stop_ids = _stop_ids(network, tokenizer)
        self.output_filter: OutputFilter | None = None

    @classmethod
    def load(cls, path: Path, cache: Path, device: str = "auto") -> TransformersModel:
        """Load a model folder or GGUF file.

        Raises:
            ModelFileError: damaged, incomplete or unsupported files.
            InputError: a device this machine has not.
        """
        place = resolve_device(device)
        folder = snapshot_of(path, cache) if path.is_file() else path
        found = read_folder(folder)
        zeros = require_weights(found.tensors)
        network = open_network(found)
        require_living_norms(found, network, zeros)
        tokenizer = open_tokenizer(found, network.get_input_embeddings().num_embeddings)
        require_known_attention(network)
        model = cls(network, tokenizer, place)
        model.output_filter = OutputFilter.beside(folder)
        return model

    @property
    def network(self) -> Any:
        return self._network

    @network.setter
    def network(self, network: Any) -> None:
        """Put another network (with an adapter, or merged) behind the same tokenizer."""
        self._network = network

    @property
    def layers(self) -> int:
        return int(self._network.config.num_hidden_layers)

    @property
    def context_length(self) -> int:
        """Most tokens of a prompt and its answer together; 2048 where the configuration names no limit."""
        return int(getattr(self._network.config, "max_position_embeddings", 2048))

    @property
    def capabilities(self) -> CapabilityReport:
        return CapabilityReport(
            engine="transformers",
            device=str(self.device),
            dtype=str(self._network.dtype).removeprefix("torch."),
            can=frozenset(Capability) - {Capability.CONVERT},
            cannot={Capability.CONVERT: "The model runs in torch; only a GGUF file on llama.cpp can be converted."},
        )

    @property
    def vocabulary_size(self) -> int:
        return int(self._network.get_input_embeddings().num_embeddings)

    def token_count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    # -- generation -------------------------------------------------------------------------

    def generate(
        self,
        prompts: Sequence[Prompt],
        attempts: Sequence[Attempt],
        max_new_tokens: Sequence[int],
        rows: int = GENERATION_ROWS,
    ) -> Iterator[Continuation]:
        """Every attempt on every prompt; ``rows`` sequences are decoded at a time.

        Prompts are batched by length, so results come out of order: read ``prompt_id``.
        """
        jobs = jobs_for(self.tokenizer, prompts, max_new_tokens, self.context_length)
        jobs.sort(key=lambda job: (len(job.ids), job.ids))
        pad_id = self.tokenizer.pad_token_id or 0
        start = 0
        while start < len(jobs):
            batch = _batch(jobs[start:], max(1, rows // len(attempts)), len(attempts))
            start += len(batch)
            for _, attempt, branch in decode_batch(self._network, batch, attempts, self._stop_ids, pad_id):
                yield branch.said(attempt, self.output_filter)

    # -- scoring ----------------------------------------------------------------------------

    def sequences(self, requests: Iterable[ScoreRequest]) -> list[TokenSequence]:
        """The token sequences that score requests stand for."""
        return request_sequences(self.tokenizer, requests)

    def trunk(self, depth: int, sequences: Sequence[TokenSequence]) -> FrozenTrunk | None:
        """The first ``depth`` blocks, run once per text, where the architecture allows it."""
        return FrozenTrunk.where_exact(self._network, depth, sequences, ROW_TOKENS)

    def row_logits(
        self, row: PackedRow, sequences: Sequence[TokenSequence] = (), trunk: FrozenTrunk | None = None
    ) -> torch.Tensor:
        """(answer tokens of all members, vocab) logits that predict them, in the members' order.

        Only these positions go through the unembedding: for short prompts that is most of its cost.

        Args:
            sequences: the list that the row's members index; only a trunk needs it.
        """
        kept = torch.tensor(list(answer_positions(row)), device=self.device)
        if trunk is not None:
            return trunk.logits(row, sequences, kept)[0]
        return self._network(
            input_ids=row.input_ids,
            attention_mask=attention_of(row, self._network),
            position_ids=row.position_ids,
            use_cache=False,
            logits_to_keep=kept,
        ).logits[0]

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        return self.score_sequences(self.sequences(requests))

    @torch.inference_mode()
    def score_sequences(self, sequences: Sequence[TokenSequence]) -> list[Scored]:
        """Teacher-forced log-probabilities of the sequences' answer tokens with their spread, in order."""
        results: list[Scored | None] = [None] * len(sequences)
        for row in pack(sequences, ROW_TOKENS, self.device):
            tokens = [token for member in row.members for token in sequences[member].answer_ids]
            log_probs, means, deviations = token_statistics(self.row_logits(row), tokens)
            start = 0
            for member in row.members:
                answer = sequences[member].answer_ids
                own = slice(start, start + len(answer))
                results[member] = Scored(answer, tuple(log_probs[own]), tuple(means[own]), tuple(deviations[own]))
                start += len(answer)
        return [scored for scored in results if scored is not None]

    # -- the inside -------------------------------------------------------------------------

    def first_answer_token(self, prompt: Prompt, answer: str) -> int:
        sequence = answer_sequence(self.tokenizer, prompt, answer)
        return sequence.ids[sequence.answer_start]

    def _layer_logits(
        self, prompts: Sequence[Prompt], targets: Sequence[str]
    ) -> Iterator[tuple[tuple[int, ...], int, torch.Tensor]]:
        """What every layer projects to at the token before the answer: the one forward pass that layer readers share.

        Row after row, and in each row layer after layer from 1 on: the indices of the row's prompts, the layer, and
        its (prompts, vocab) logits.

        Args:
            targets: the answer that would follow each prompt; only its place in the text is used.
        """
        sequences = [
            answer_sequence(self.tokenizer, prompt, target) for prompt, target in zip(prompts, targets, strict=True)
        ]
        # Only the prompt is shown to the model; the first answer token is kept as its placeholder,
        # because packing needs something to predict, and no position can look ahead to it.
        shown = [
            TokenSequence(sequence.ids[: sequence.answer_start + 1], sequence.answer_start) for sequence in sequences
        ]
        norm, head = final_norm_of(self._network), self._network.get_output_embeddings()
        for row in pack(shown, ROW_TOKENS, self.device):
            last = torch.tensor([positions[0] for positions in row.predictors], device=self.device)
            states = self._network(
                input_ids=row.input_ids,
                attention_mask=attention_of(row, self._network),
                position_ids=row.position_ids,
                use_cache=False,
                output_hidden_states=True,
                logits_to_keep=1,
            ).hidden_states
            for layer, state in enumerate(states[1:], start=1):
                at_prompt = state[0, last]
                normed = at_prompt if layer == self.layers else norm(at_prompt)
                yield row.members, layer, head(normed).float()

    @torch.inference_mode()
    def layer_candidates(self, prompts: Sequence[Prompt], targets: Sequence[str], top: int) -> list[list[LayerTails]]:
        """Both tails of every layer's projected distribution at the token before the answer.

        Args:
            targets: the answer that would follow each prompt; only its place in the text is used.
            top: tokens taken from each end.
        """
        found: list[list[LayerTails]] = [[] for _ in prompts]
        for members, layer, logits in self._layer_logits(prompts, targets):
            for member, tails in zip(members, _tails(layer, logits, top), strict=True):
                found[member].append(tails)
        return found

    @torch.inference_mode()
    def layer_deltas(self, prompts: Sequence[Prompt], targets: Sequence[str], top: int) -> list[list[LayerTails]]:
        """The tokens whose projected probability rises most (top) and falls most (bottom) in every layer but the first.

        With p_l the softmax of layer l's projection, an entry's ``layer`` is l and its tokens are the ends of
        p_l - p_(l-1). Arguments as for ``layer_candidates``.
        """
        found: list[list[LayerTails]] = [[] for _ in prompts]
        before = torch.empty(0)
        for members, layer, logits in self._layer_logits(prompts, targets):
            probabilities = logits.softmax(dim=-1)
            if layer > 1:
                for member, tails in zip(members, _tails(layer, probabilities - before, top), strict=True):
                    found[member].append(tails)
            before = probabilities
        return found

    def _last_block(self) -> Any:
        blocks = blocks_of(self._network)
        if blocks:
            return blocks[-1]
        raise ModelFileError(
            f"The architecture '{self._network.config.model_type}' keeps its blocks where this console does not find "
            "them; the gradient attack cannot run on it."
        )

    def gradient_norms(self, requests: Sequence[ScoreRequest]) -> list[float]:
        """Euclidean norm of the gradient of each text's loss (nats per token) by the last block's parameters.

        One text at a time, because a batch has only the gradient of its sum. With everything below the last block
        out of the gradient, a text costs little more than scoring it. Leaves the network as it was.
        """
        learning = [parameter for parameter in self._last_block().parameters() if parameter.is_floating_point()]
        norms = []
        with only_these_learn(self._network, learning):
            for sequence in self.sequences(requests):
                (row,) = pack([sequence], ROW_TOKENS, self.device)
                wanted = torch.tensor(sequence.answer_ids, device=self.device)
                loss = torch.nn.functional.cross_entropy(self.row_logits(row).float(), wanted)
                gradients = torch.autograd.grad(loss, learning, allow_unused=True)
                squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
                norms.append(float(torch.stack(squares).sum().sqrt()))
        return norms

    # -- saving -----------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write weights and tokenizer as a safetensors folder."""
        self._network.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        if self.output_filter is not None:
            self.output_filter.write(folder)
