"""The frozen lower layers, run once.

Where an adapter begins at some depth, the layers below it never change, and neither does what they make of a
text: training computes it once per text and afterwards runs the upper layers only. On a CPU, with the
adapter on the upper half, a step costs little more than half.

Not every architecture allows it (some scale their input embeddings, or number their layers), so the trunk
is checked against the whole network before it is used, and left out where the two differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from console.engines.attention_masks import attention_of, layers_are_alike
from console.engines.packing import PackedRow, TokenSequence, pack
from console.errors import ModelFileError

_TOLERANCE = 1e-3
_NORM_NAMES = ("norm", "final_layer_norm", "ln_f")


def decoder_of(network: Any) -> Any:
    """The stack of blocks under the unembedding."""
    return network.get_decoder() if hasattr(network, "get_decoder") else network.base_model


def blocks_of(network: Any) -> list[torch.nn.Module]:
    """The blocks from the first on; empty where the architecture keeps them where this console does not find them."""
    count = int(network.config.num_hidden_layers)
    parts = decoder_of(network).children()
    stacks = [part for part in parts if isinstance(part, torch.nn.ModuleList) and len(part) == count]
    return list(stacks[0]) if stacks else []


def final_norm_name(decoder: Any) -> str | None:
    """Attribute that holds the norm after the last block, or None where it has no name known here."""
    return next((name for name in _NORM_NAMES if hasattr(decoder, name)), None)


def final_norm_of(network: Any) -> Any:
    """The norm after the last block.

    Raises:
        ModelFileError: it has no name known here.
    """
    decoder = decoder_of(network)
    name = final_norm_name(decoder)
    if name is not None:
        return getattr(decoder, name)
    raise ModelFileError(
        f"The architecture '{network.config.model_type}' has no final norm that this console knows, so its layers "
        "cannot be read."
    )


@contextmanager
def _swapped(decoder: Any, **parts: Any) -> Iterator[None]:
    """The decoder with some of its modules exchanged for the time being."""
    kept = {name: getattr(decoder, name) for name in parts}
    try:
        for name, part in parts.items():
            setattr(decoder, name, part)
        yield
    finally:
        for name, part in kept.items():
            setattr(decoder, name, part)


class FrozenTrunk:
    """Hidden states of texts after the first ``depth`` blocks.

    Args:
        network: a causal language model whose first ``depth`` blocks are not trained.
        row_tokens: longest packed row while the states are computed.
    """

    def __init__(self, network: Any, depth: int, row_tokens: int) -> None:
        self._network = network
        self._depth = depth
        self._row_tokens = row_tokens
        self._states: dict[tuple[int, ...], torch.Tensor] = {}

    @classmethod
    def where_exact(
        cls, network: Any, depth: int, sequences: Sequence[TokenSequence], row_tokens: int
    ) -> FrozenTrunk | None:
        """A trunk, if there is anything below ``depth`` and the split network gives the whole one's logits."""
        decoder = decoder_of(network)
        if depth < 1 or not sequences or not hasattr(decoder, "layers") or final_norm_name(decoder) is None:
            return None
        if not layers_are_alike(network):
            # Such architectures look a layer's kind up by its place in the stack, and above a trunk the places are
            # others; a text within the window would not show it.
            return None
        trunk = cls(network, depth, row_tokens)
        row = pack(sequences[:1], row_tokens, network.device)[0]
        with torch.no_grad():
            whole = network(
                input_ids=row.input_ids,
                attention_mask=attention_of(row, network),
                position_ids=row.position_ids,
                use_cache=False,
            ).logits
            split = trunk.logits(row, sequences[:1], slice(None))
        return trunk if float((whole - split).abs().max()) < _TOLERANCE else None

    def _remember(self, sequences: Sequence[TokenSequence]) -> None:
        """Compute the states of the sequences that are not known yet."""
        fresh = list({sequence.ids: sequence for sequence in sequences if sequence.ids not in self._states}.values())
        if not fresh:
            return
        decoder = decoder_of(self._network)
        name = final_norm_name(decoder)
        assert name is not None
        lower = {"layers": decoder.layers[: self._depth], name: torch.nn.Identity()}
        with torch.no_grad(), _swapped(decoder, **lower):
            for row in pack(fresh, self._row_tokens, self._network.device):
                state = decoder(
                    input_ids=row.input_ids,
                    attention_mask=attention_of(row, self._network),
                    position_ids=row.position_ids,
                    use_cache=False,
                ).last_hidden_state[0]
                for member, positions in zip(row.members, row.token_positions(), strict=True):
                    self._states[fresh[member].ids] = state[positions]

    def logits(self, row: PackedRow, sequences: Sequence[TokenSequence], kept: Any) -> torch.Tensor:
        """(1, kept, vocab) logits of a packed row, from its sequences' remembered states.

        Args:
            sequences: the list that the row's members index.
            kept: positions that go through the unembedding.
        """
        self._remember([sequences[member] for member in row.members])
        embeds = torch.empty(row.tokens, self._network.config.hidden_size, device=self._network.device)
        for member, positions in zip(row.members, row.token_positions(), strict=True):
            embeds[positions] = self._states[sequences[member].ids]
        decoder = decoder_of(self._network)
        with _swapped(decoder, layers=decoder.layers[self._depth :]):
            return self._network(
                inputs_embeds=embeds[None],
                attention_mask=attention_of(row, self._network),
                position_ids=row.position_ids,
                use_cache=False,
                logits_to_keep=kept,
            ).logits
