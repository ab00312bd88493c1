"""Where an edit takes hold: the MLP's down projections, and the tokens whose output they change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from console.domain.forget_set import ForgetItem, ItemKind
from console.engines.attention_masks import attention_of
from console.engines.frozen_trunk import blocks_of
from console.engines.packing import PackedRow, TokenSequence, pack
from console.engines.prompts import Tokenizer, answer_sequence, encoded, with_answer
from console.engines.protocol import Prompt
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import InputError

_PROJECTIONS = ("down_proj", "c_proj")  # Llama, Qwen2, Mistral, Gemma; GPT-2


@dataclass(frozen=True)
class DownProjection:
    """The second matrix of one block's MLP: what the block writes (value) for what it finds in a token (key).

    Attributes:
        path: of the module in the network; its weight is ``path + ".weight"``.
        block: the block that holds it.
    """

    layer: int
    path: str
    module: torch.nn.Module
    block: torch.nn.Module

    @property
    def weight_name(self) -> str:
        return f"{self.path}.weight"

    @property
    def matrix(self) -> torch.Tensor:
        """(d_out, d_in) view of the weight: writing into it changes the network. GPT-2's Conv1D holds it transposed."""
        weight: torch.Tensor = self.module.weight.detach()  # type: ignore[operator,assignment,union-attr]
        return weight.T if isinstance(self.module, Conv1D) else weight


def down_projections(network: Any) -> tuple[DownProjection, ...]:
    """The down projection of every block, lowest first.

    Raises:
        InputError: the architecture has not exactly one known down projection in every block.
    """
    paths = {id(module): path for path, module in network.named_modules()}
    found = []
    for layer, block in enumerate(blocks_of(network)):
        mlp = getattr(block, "mlp", None)
        parts = [part for name in _PROJECTIONS if (part := getattr(mlp, name, None)) is not None]
        if len(parts) == 1 and isinstance(parts[0], torch.nn.Linear | Conv1D):
            found.append(DownProjection(layer, paths[id(parts[0])], parts[0], block))
    if not found or len(found) != network.config.num_hidden_layers:
        raise InputError(
            f"The architecture '{network.config.model_type}' has not one known MLP down projection in every block "
            "(mixtures of experts have many), so facts cannot be edited in it; choose another method."
        )
    return tuple(found)


def require_plain_residual(projection: DownProjection, model_type: str) -> None:
    """Raises InputError: a norm stands between the MLP and the residual stream, so a residual cannot be spread."""
    if any(hasattr(projection.block, name) for name in ("post_feedforward_layernorm", "post_mlp_layernorm")):
        raise InputError(
            f"The architecture '{model_type}' normalises what its MLP writes, so an edit cannot be spread over its "
            "layers; choose an edit of a single layer (rome)."
        )


# -- texts -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Context:
    """One text in which a fact is asked.

    Attributes:
        sequence: prompt, and the answer tokens that the loss reads.
        token: index of the prompt token whose MLP output is edited.
    """

    sequence: TokenSequence
    token: int


def _last_mention(text: str, names: Sequence[str]) -> int | None:
    """Index of the last character of the last mention of any of the names."""
    ends = [at + len(name) - 1 for name in names if (at := text.rfind(name)) >= 0]
    return max(ends, default=None)


def edited_token(tokenizer: Tokenizer, prompt: Prompt, answer: str, names: Sequence[str]) -> int | None:
    """Index of the token with the last character of the subject's last mention in the prompt.

    Found through character offsets in the very text that the model reads, chat template and answer included:
    the subject tokenised alone has other tokens than behind a space. None where the prompt does not mention it.

    Args:
        names: the subject and its aliases; without any, the last token of the prompt's own text is meant.
    """
    written, seam = with_answer(tokenizer, prompt, answer)
    start = written.text[:seam].rfind(prompt.text)
    mention = _last_mention(prompt.text, names) if names else len(prompt.text.rstrip()) - 1
    if start < 0 or mention is None:
        return None
    _, offsets = encoded(tokenizer, written)
    reaching = [index for index, (first, stop) in enumerate(offsets) if first <= start + mention < stop]
    # A sign of several bytes may be several tokens with the same offsets: the last of them has seen it whole.
    return reaching[-1] if reaching else None


def wordings(item: ForgetItem, prefixes: Sequence[str]) -> list[Prompt]:
    """The question and the statement, plain and behind each prefix (the plain ones first).

    Held-out paraphrases stay with the attacks. A statement that does not name the subject is left out.
    """
    passage = item.kind is ItemKind.VERBATIM
    texts = [(item.prompt, not passage)]
    names = (item.subject, *item.aliases)
    if item.statement and not passage and _last_mention(item.statement, names) is not None:
        texts.append((item.statement, False))
    return [Prompt(item.id, prefix + text, chat=chat) for prefix in ("", *prefixes) for text, chat in texts]


def answer_context(model: TransformersModel, item: ForgetItem, prompt: Prompt, answer: str, *, end: bool) -> Context:
    """The prompt with the answer that the loss reads behind it.

    A passage is about nobody in particular: it is edited at the last token of its beginning.

    Args:
        answer: empty for an answer of the end token alone.
        end: append the end token to the answer.

    Raises:
        InputError: the prompt does not name the subject, or does not fit into the model's context.
    """
    tokenizer = model.tokenizer
    shown = answer or "."
    sequence = answer_sequence(tokenizer, prompt, shown, end=end)
    if not answer:
        sequence = TokenSequence(
            (*sequence.ids[: sequence.answer_start], tokenizer.eos_token_id), sequence.answer_start
        )
    names = () if item.kind is ItemKind.VERBATIM else (item.subject, *item.aliases)
    token = edited_token(tokenizer, prompt, shown, names)
    if token is None:
        raise InputError(
            f"The question of item {item.id} does not name its subject literally, and an edit needs its place there; "
            "write the subject into the question, or add the spelling used there to the aliases."
        )
    if len(sequence.ids) > model.context_length:
        raise InputError(
            f"The item {item.id} is {len(sequence.ids)} tokens long, more than the model's context of "
            f"{model.context_length}; split it into shorter passages."
        )
    return Context(sequence, min(token, sequence.answer_start - 1))  # a token may reach over into the answer


def edit_rows(contexts: Sequence[Context], device: torch.device) -> list[tuple[PackedRow, torch.Tensor]]:
    """Packed rows with the row positions of their members' edited tokens (each position once).

    Members share a beginning, and with it what is added there. Where one member's edited token lies in a beginning
    that another, edited elsewhere, shares, the two would disturb each other: then every context has its own row.
    """
    rows = pack([context.sequence for context in contexts], ROW_TOKENS, device)
    placed = []
    for row in rows:
        places = [
            positions[contexts[member].token]
            for member, positions in zip(row.members, row.token_positions(), strict=True)
        ]
        for (own, shared), place in zip(row.spans, places, strict=True):
            if any(other != place and (other in own or other in shared) for other in places):
                return _single_rows(contexts, device)
        placed.append((row, torch.tensor(sorted(set(places)), device=device)))
    return placed


def _single_rows(contexts: Sequence[Context], device: torch.device) -> list[tuple[PackedRow, torch.Tensor]]:
    placed = []
    for index, context in enumerate(contexts):
        (row,) = pack([context.sequence], ROW_TOKENS, device)
        own = PackedRow(row.input_ids, row.position_ids, row.attention_mask, (index,), row.predictors, row.spans)
        placed.append((own, torch.tensor([context.token], device=device)))
    return placed


# -- hooks -----------------------------------------------------------------------------------


@contextmanager
def values_changed(projection: DownProjection, positions: torch.Tensor, change: torch.Tensor) -> Iterator[None]:
    """What the projection writes at some positions of a packed row, with ``change`` (d_out,) added."""

    def add(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output.index_add(1, positions, change.to(output.dtype).expand(1, len(positions), -1))

    handle = projection.module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def watched(modules: Sequence[torch.nn.Module], *, inputs: bool) -> Iterator[list[torch.Tensor]]:
    """The last input or output of each module, (rows, time, width), in the order of the modules."""
    seen: list[torch.Tensor] = [torch.empty(0)] * len(modules)

    def reader(index: int) -> Any:
        def read(_module: Any, given: tuple[Any, ...], output: Any) -> None:
            value = given[0] if inputs else output
            seen[index] = (value[0] if isinstance(value, tuple) else value).detach()

        return read

    handles = []
    try:
        for index, module in enumerate(modules):
            handles.append(module.register_forward_hook(reader(index)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def read_at(
    model: TransformersModel, contexts: Sequence[Context], module: torch.nn.Module, *, inputs: bool
) -> torch.Tensor:
    """(contexts, width) float64 on the CPU: a module's input or output at each context's edited token."""
    found: list[torch.Tensor] = [torch.empty(0)] * len(contexts)
    for row in pack([context.sequence for context in contexts], ROW_TOKENS, model.device):
        with watched([module], inputs=inputs) as seen:
            run_row(model, row, 1)
        for member, positions in zip(row.members, row.token_positions(), strict=True):
            found[member] = seen[0][0, positions[contexts[member].token]].cpu().double()
    return torch.stack(found)


def run_row(model: TransformersModel, row: PackedRow, kept: Any, *, hidden: bool = False) -> Any:
    """The network's output for a packed row; ``kept`` are the positions that go through the unembedding."""
    return model.network(
        input_ids=row.input_ids,
        attention_mask=attention_of(row, model.network),
        position_ids=row.position_ids,
        use_cache=False,
        logits_to_keep=kept,
        output_hidden_states=hidden,
    )
