"""A tiny model in which one fact is written in a single column of a down projection, and nowhere else."""

from __future__ import annotations

from functools import cache

import tiny
import torch
from invented import FACTS, GENERAL, OTHERS
from torch.nn.functional import cross_entropy

from console.attacks.asking import gives_away
from console.domain.forget_set import ForgetItem, ForgetSet, RetainSet
from console.engines.packing import TokenSequence, pack
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.evaluation.neuron_projection import MlpBlock, Role, mlp_blocks, row_activations
from console.methods.examples import questions_of
from console.methods.protocol import ErasureData

CITY = FACTS[0].model_copy(update={"statement": ""})
DATA = ErasureData(ForgetSet(items=(CITY,)), RetainSet(items=OTHERS, general_texts=GENERAL), GENERAL)
LAYER = 1


def _first_activations(model: TransformersModel, block: MlpBlock, sequences: list[TokenSequence]) -> torch.Tensor:
    """(sequences, inner) where each answer begins."""
    found = torch.zeros(len(sequences), block.vectors(Role.DOWN).shape[0])
    for row, seen in row_activations(model, [block], sequences):
        found[list(row.members)] = seen[block.layer][[places[0] for places in row.predictors]]
    return found


def _loss(model: TransformersModel, sequences: list[TokenSequence]) -> torch.Tensor:
    total, tokens = torch.zeros(()), 0
    for row in pack(sequences, ROW_TOKENS):
        wanted = torch.tensor([token for member in row.members for token in sequences[member].answer_ids])
        total = total + cross_entropy(model.row_logits(row), wanted, reduction="sum")
        tokens += len(wanted)
    return total / tokens


def plant(model: TransformersModel, steps: int = 150) -> int:
    """Write the person's city into the column whose neuron is most her own; returns the column's number."""
    block = mlp_blocks(model.network)[LAYER]
    own = [example.sequence for example in questions_of(model, (CITY,))]
    others = [example.sequence for example in questions_of(model, OTHERS)]
    activations = _first_activations(model, block, [*own, *others]).abs()
    index = int((activations[0] - activations[1:].max(dim=0).values).argmax())
    for parameter in model.network.parameters():
        parameter.requires_grad_(False)
    column = block.vectors(Role.DOWN)[index]
    start = column.clone()
    change = torch.zeros_like(column, requires_grad=True)
    handle = block.down.register_forward_hook(lambda _m, inputs, output: output + inputs[0][..., index, None] * change)
    optimizer = torch.optim.Adam([change], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (_loss(model, own) + _loss(model, others)).backward()
        optimizer.step()
    handle.remove()
    with torch.no_grad():
        column.copy_(start + change)
    return index


@cache
def planted() -> tuple[TransformersModel, int]:
    """The model and the column's number; made once, and whoever takes it sees to it that it stays as it is."""
    model = tiny.model()
    tiny.teach(model, OTHERS)
    return model, plant(model)


def answers(model: TransformersModel, items: tuple[ForgetItem, ...]) -> int:
    """How many of the items the model gives away when it is asked."""
    prompts = [Prompt(item.id, item.prompt) for item in items]
    said = {one.prompt_id: one.text for one in model.generate(prompts, (GREEDY,), [12] * len(items))}
    return sum(gives_away(item, said[item.id]) for item in items)
