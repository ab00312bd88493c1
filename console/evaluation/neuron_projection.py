"""What single MLP neurons spell: their weight vectors read straight through the output matrix.

A neuron j of a gated MLP has three vectors of the hidden size: the gate row and the up row, which it is switched on by,
and the column of the down projection, which it writes. With E the output matrix (vocabulary, hidden), g the weight of
the final norm and d the hidden size, the tokens of

    softmax(E x),   x = g * sqrt(d) * w / ||w||

are what w spells ("Decoding specialised feature neurons in LLMs with the final projection layer", 2025, arXiv
2501.02688); -x is read as well, because a neuron can be a negative detector. Without sqrt(d) the distribution is flat,
and neurons ordered by their largest probability are function words; here they are ordered by the rank that the wanted
word has.

A hit alone says little: a small model has more vectors than its vocabulary has words, so that any word is the first
choice of some vector by chance. A neuron counts as specialised only where several of its first tokens are forms of the
word. That there is none is a normal result, and the rule for the names of private persons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from console.engines.frozen_trunk import blocks_of, decoder_of, final_norm_name
from console.engines.packing import PackedRow, TokenSequence, pack
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import InputError
from console.evaluation.traces import TOP_TOKENS, Matrix, TraceChange, cosine, distance, trace_change

LOGITS_AT_ONCE = 25_000_000  # entries of one chunk's projection: 100 MB in single precision
FEWEST_LETTERS = 3
TOP_SHARE = 0.05
SHOWN_TOKENS = 6
COHERENT_TOKENS = 2

OnLayer = Callable[[int, int], None]


class Role(StrEnum):
    """Which of a neuron's vectors: what it reads (gate, up) or what it writes (down)."""

    GATE = "gate"
    UP = "up"
    DOWN = "down"


# -- where the neurons are -------------------------------------------------------------------


@dataclass(frozen=True)
class MlpBlock:
    """One layer's MLP.

    Attributes:
        path: of the down projection in the network.
        modules: the projections by role; GPT-2's MLP has no gate.
    """

    layer: int
    path: str
    modules: Mapping[Role, Any]

    @property
    def down(self) -> Any:
        return self.modules[Role.DOWN]

    def vectors(self, role: Role) -> torch.Tensor:
        """(inner, hidden) the neurons' vectors as rows: a view, so that writing into a row changes the network.

        A ``Linear`` keeps (out, in) and GPT-2's ``Conv1D`` keeps (in, out), so each is turned where the other is not.
        """
        weight = self.modules[role].weight.detach()
        stored_as_rows = isinstance(self.modules[role], Conv1D) == (role is Role.DOWN)
        return weight if stored_as_rows else weight.T


_GATED = {Role.GATE: "gate_proj", Role.UP: "up_proj", Role.DOWN: "down_proj"}
_PLAIN = {Role.UP: "c_fc", Role.DOWN: "c_proj"}


def _projections(mlp: Any) -> dict[Role, Any] | None:
    """The projections of a Llama-like or GPT-2 MLP; None for anything else, such as a mixture of experts."""
    for names in (_GATED, _PLAIN):
        found = {role: getattr(mlp, name, None) for role, name in names.items()}
        if all(isinstance(module, torch.nn.Linear | Conv1D) for module in found.values()):
            return found
    return None


def mlp_blocks(network: Any) -> tuple[MlpBlock, ...]:
    """Every layer's MLP, from the first layer (0) on.

    Raises:
        InputError: an architecture whose layers hold anything else, such as a mixture of experts.
    """
    found = [_projections(getattr(block, "mlp", None)) for block in blocks_of(network)]
    if not found or None in found:
        raise InputError(
            f"The architecture '{network.config.model_type}' keeps its MLP layers in a form that this method does not "
            "know (a mixture of experts, for example); choose another method."
        )
    paths = {module: path for path, module in network.named_modules()}
    return tuple(
        MlpBlock(layer, paths[modules[Role.DOWN]], modules)
        for layer, modules in enumerate(found)
        if modules is not None
    )


# -- reading them ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Unembedding:
    """The way from a hidden vector to the vocabulary, the final norm folded in.

    Attributes:
        head: (vocab, hidden) output matrix E.
        gain: (hidden,) weight g of the final norm.
        centred: the norm takes the mean away first (LayerNorm).
    """

    head: torch.Tensor
    gain: torch.Tensor
    centred: bool

    @classmethod
    def of(cls, network: Any) -> Unembedding:
        """Raises InputError: the architecture has no final norm that is known here."""
        decoder = decoder_of(network)
        name = final_norm_name(decoder)
        if name is None:
            raise InputError(
                f"The architecture '{network.config.model_type}' has no final norm that this console knows, so its "
                "neurons cannot be read; choose another method."
            )
        norm, head = getattr(decoder, name), network.get_output_embeddings().weight.detach()
        if isinstance(norm, torch.nn.LayerNorm):
            return cls(head, norm.weight.detach(), centred=True)
        # What the norm makes of ones is its gain, also where it is stored as its difference from 1 (Gemma).
        with torch.no_grad():
            return cls(head, norm(torch.ones_like(head[:1]))[0], centred=False)

    def of_tokens(self, tokens: Iterable[int]) -> torch.Tensor:
        """(tokens, hidden) rows of E, folded: such a row times a hidden vector is what that adds to the logit."""
        rows = self.head[list(tokens)] * self.gain
        return rows - rows.mean(dim=1, keepdim=True) if self.centred else rows

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """(vectors, vocab) E x for vectors (vectors, hidden), each scaled to the length sqrt(hidden).

        A zero vector has equal logits.
        """
        read = vectors - vectors.mean(dim=1, keepdim=True) if self.centred else vectors
        size = read.norm(dim=1, keepdim=True).clamp_min(torch.finfo(read.dtype).tiny)
        return (read / size * read.shape[1] ** 0.5 * self.gain) @ self.head.T

    def chunks(self, vectors: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Start and logits of a few vectors at a time: all at once would fill the memory."""
        size = max(1, LOGITS_AT_ONCE // len(self.head))
        for start in range(0, len(vectors), size):
            yield start, self.logits(vectors[start : start + size])

    def spelt_tokens(self, at_most: int = TOP_TOKENS, share: float = TOP_SHARE) -> int:
        """How many tokens a vector spells; of a small vocabulary, a fixed number would be nearly all of it.

        Args:
            share: of the vocabulary that it spells at most.
        """
        return max(1, min(at_most, int(share * len(self.head))))

    def change(self, before: torch.Tensor, after: torch.Tensor, top: int) -> TraceChange:
        """How far vectors (vectors, hidden) moved, and whether they still spell the same ``top`` tokens."""

        def spelling(vectors: torch.Tensor) -> Matrix:
            read = vectors - vectors.mean(dim=1, keepdim=True) if self.centred else vectors
            return read.T.cpu().numpy()

        head, gain = self.head.cpu().numpy(), self.gain.cpu().numpy()
        spelt = trace_change(spelling(before), spelling(after), head, top=top, gain_before=gain)
        old, new = before.cpu().numpy(), after.cpu().numpy()
        return TraceChange(jaccard=spelt.jaccard, cosine=cosine(old, new), distance=distance(old, new))


def ranks(logits: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """(vectors, tokens) how many tokens have a larger logit, 0 for the first; equal logits share the better rank.

    Args:
        logits: (vectors, vocab).
    """
    return torch.stack([(logits > logits[:, [token]]).sum(dim=1) for token in tokens], dim=1)


def word_tokens(tokenizer: Any, words: Iterable[str]) -> dict[int, str]:
    """Tokens that stand for the words, with the word: small, capital, and with or without a blank in front.

    Of a form that is several tokens only the beginning is taken, and of that only what has three letters: shorter
    pieces occur in every text.
    """
    found: dict[int, str] = {}
    for word in words:
        for form in dict.fromkeys((word, word.lower(), word.capitalize())):
            for written in (f" {form}", form):
                ids = tokenizer(written, add_special_tokens=False)["input_ids"]
                if ids and sum(sign.isalpha() for sign in tokenizer.decode(ids[:1])) >= FEWEST_LETTERS:
                    found.setdefault(ids[0], word)
    return found


@dataclass(frozen=True)
class Neuron:
    """One vector of one neuron, and how it stands to the words that were looked for.

    Attributes:
        role: which of its vectors.
        sign: 1, or -1 where the vector spells the word the other way round.
        word, token: the word that stands highest, and its token.
        rank: how many tokens stand before it.
        cosine: between the vector (times its sign) and the token's row of the output matrix.
        spells: the first tokens as text, best first.
        specialised: the word comes first, and several of the first tokens are forms of it.
    """

    layer: int
    index: int
    role: Role
    sign: int
    word: str
    token: int
    rank: int
    cosine: float
    spells: tuple[str, ...]
    specialised: bool


@dataclass(frozen=True)
class NeuronsFound:
    """The neurons nearest to some words, best first, and in words whether that means anything."""

    words: tuple[str, ...]
    neurons: tuple[Neuron, ...]

    @property
    def specialised(self) -> tuple[Neuron, ...]:
        return tuple(neuron for neuron in self.neurons if neuron.specialised)

    @property
    def sentence(self) -> str:
        about = ", ".join(self.words)
        if not self.neurons:
            return f"No specialised neuron found for {about}: the model's vocabulary has no token for it."
        if not self.specialised:
            best = self.neurons[0]
            return (
                f"No specialised neuron found for {about}: the nearest one names other things before it "
                f"(rank {best.rank + 1}) or beside it, as chance would have it."
            )
        count = len(self.specialised)
        return f"{count} specialised vector{'' if count == 1 else 's'} found for {about}."


@dataclass(frozen=True)
class _Candidate:
    rank: int
    closeness: float
    layer: int
    index: int
    role: Role
    sign: int
    token: int

    @property
    def order(self) -> tuple[int, float, int, int, str, int]:
        return (self.rank, -self.closeness, self.layer, self.index, self.role, self.sign)


def _best_of_part(
    logits: torch.Tensor, tokens: Sequence[int], directions: torch.Tensor, vectors: torch.Tensor, top: int
) -> Iterator[tuple[int, int, int, int, float]]:
    """(row, sign, token, rank, cosine) of the best ``top`` rows of one chunk in each of the two readings.

    Args:
        directions: (tokens, hidden) of unit length.
    """
    cosines = torch.nn.functional.normalize(vectors, dim=1) @ directions.T
    for sign in (1, -1):
        standing = ranks(sign * logits, tokens)
        # Ties in rank, which first places are, go to the vector that lies nearer.
        keys = standing.double() - (sign * cosines.double() + 1) / 4
        best = keys.min(dim=1)
        for row in best.values.topk(min(top, len(keys)), largest=False).indices.tolist():
            chosen = int(best.indices[row])
            yield row, sign, tokens[chosen], int(standing[row, chosen]), sign * float(cosines[row, chosen])


@torch.no_grad()
def neurons_about(
    model: TransformersModel,
    words: Sequence[str],
    top: int = 10,
    roles: Sequence[Role] = tuple(Role),
    layers: Sequence[int] | None = None,
    on_layer: OnLayer = lambda _done, _of: None,
) -> NeuronsFound:
    """The ``top`` vectors in whose spelling one of the words stands highest; nothing is changed.

    Every vector goes through the output matrix once: a minute or two on two cores for a model of 135 million
    parameters.

    Args:
        layers: only these (0 is the first); all where none are named.
        on_layer: told after every layer how many are done and how many there are; may raise to stop.

    Raises:
        InputError: no word, or an architecture whose neurons cannot be read.
    """
    asked = tuple(word.strip() for word in words if word.strip())
    if not asked:
        raise InputError("There is no word to look for; give at least one.")
    blocks, unembedding = mlp_blocks(model.network), Unembedding.of(model.network)
    named = word_tokens(model.tokenizer, asked)
    if not named:
        return NeuronsFound(asked, ())
    tokens = list(named)
    directions = torch.nn.functional.normalize(unembedding.head[tokens], dim=1)
    kept: list[_Candidate] = []
    read = [block for block in blocks if layers is None or block.layer in layers]
    for done, block in enumerate(read, start=1):
        for role in (role for role in roles if role in block.modules):
            vectors = block.vectors(role)
            for start, logits in unembedding.chunks(vectors):
                part = vectors[start : start + len(logits)]
                kept += [
                    _Candidate(rank, near, block.layer, start + row, role, sign, token)
                    for row, sign, token, rank, near in _best_of_part(logits, tokens, directions, part, top)
                ]
        kept = sorted(kept, key=lambda one: one.order)[:top]
        on_layer(done, len(read))
    return NeuronsFound(asked, tuple(_described(model, blocks, unembedding, one, named[one.token]) for one in kept))


def _described(
    model: TransformersModel, blocks: Sequence[MlpBlock], unembedding: Unembedding, found: _Candidate, word: str
) -> Neuron:
    vector = found.sign * blocks[found.layer].vectors(found.role)[found.index]
    first = unembedding.logits(vector[None])[0].topk(SHOWN_TOKENS).indices.tolist()
    spells = tuple(model.tokenizer.decode([token]) for token in first)
    forms = sum(text.strip().casefold().startswith(word.casefold()) for text in spells)
    return Neuron(
        layer=found.layer,
        index=found.index,
        role=found.role,
        sign=found.sign,
        word=word,
        token=found.token,
        rank=found.rank,
        cosine=found.closeness,
        spells=spells,
        specialised=found.rank == 0 and forms >= COHERENT_TOKENS,
    )


# -- watching and holding them ---------------------------------------------------------------


@contextmanager
def clamped(block: MlpBlock, index: int, value: float) -> Iterator[None]:
    """Neuron ``index`` of a layer has the activation ``value`` at every position for the time being."""

    def hold(_module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        held = inputs[0].clone()
        held[..., index] = value
        return (held, *inputs[1:])

    handle = block.down.register_forward_pre_hook(hold)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _watched(blocks: Sequence[MlpBlock]) -> Iterator[dict[int, torch.Tensor]]:
    """By layer, what went into the down projection in the last forward pass: (time, inner)."""
    seen: dict[int, torch.Tensor] = {}
    with ExitStack() as hooks:
        for block in blocks:

            def note(_module: Any, inputs: tuple[torch.Tensor, ...], layer: int = block.layer) -> None:
                seen[layer] = inputs[0][0].detach()

            hooks.callback(block.down.register_forward_pre_hook(note).remove)
        yield seen


@torch.no_grad()
def row_activations(
    model: TransformersModel, blocks: Sequence[MlpBlock], sequences: Sequence[TokenSequence]
) -> Iterator[tuple[PackedRow, dict[int, torch.Tensor]]]:
    """Packed row after packed row, with every layer's activations (time, inner) at the row's positions."""
    with _watched(blocks) as seen:
        for row in pack(sequences, ROW_TOKENS, model.device):
            model.row_logits(row)
            yield row, dict(seen)


def answer_activity(
    model: TransformersModel, blocks: Sequence[MlpBlock], sequences: Sequence[TokenSequence]
) -> torch.Tensor:
    """(layers, inner) mean size of each neuron's activation at the positions that predict an answer token."""
    total, count = torch.zeros(()), 0
    for row, seen in row_activations(model, blocks, sequences):
        places = [position for positions in row.predictors for position in positions]
        total = total + torch.stack([seen[block.layer][places].abs().sum(dim=0).cpu() for block in blocks])
        count += len(places)
    return total / count
