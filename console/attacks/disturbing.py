"""What every attack on the weights shares: change them, ask, and put every bit back.

A row is only handed out after the weights are back: an attack's rows come one by one, and whoever reads
them must never meet a changed model in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from console.attacks.asking import Ask
from console.attacks.continuation import beginnings
from console.attacks.paraphrase import wordings
from console.attacks.protocol import AttackTarget
from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.results import Access, Evidence
from console.engines.experts import expert_matrices
from console.engines.protocol import Capability, Prompt

ACCESS = Access.WHITE_BOX
EVIDENCE = Evidence.DISTURBED
NEEDS = frozenset({Capability.GENERATE, Capability.GRADIENTS})

_REPHRASED = 2
QUESTIONS = 1 + _REPHRASED  # for one fact; a passage has two beginnings

HOW_ASKED = (
    "Every fact is then asked for by the request's own question and two other wordings, and every passage is "
    "continued from its beginning, all greedily. An attempt hits as for the direct question or the continuation. "
    "The weights are put back bit for bit afterwards."
)


# -- the weights -----------------------------------------------------------------------------


def block_number(path: str) -> int | None:
    """Number of the decoder block that a module or parameter path lies in; None outside the blocks.

    The first segment that is a whole number, compared as a whole: ``layers.3`` is in ``layers.30``.
    """
    return next((int(segment) for segment in path.split(".") if segment.isdigit()), None)


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    """The memory a tensor looks at: the same for tied weights, whatever names they go by."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


def _each_once(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return list({_place(tensor): tensor for tensor in tensors}.values())


def block_matrices(network: Any) -> list[torch.Tensor]:
    """Weights of all linear layers in the decoder blocks, as (outputs, inputs) views of the network's own memory.

    Each routed expert of a mixture has its own; the routers, which llama.cpp does not round either, are left. So are
    embeddings, the output matrix, norms and biases. Weights that several layers share come once.
    """
    head = network.get_output_embeddings()
    found = expert_matrices(network)
    for path, module in network.named_modules():
        if module is head or block_number(path) is None:
            continue
        if isinstance(module, torch.nn.Linear):
            found.append(module.weight.detach())
        elif isinstance(module, Conv1D):  # GPT-2 keeps its weights as (inputs, outputs)
            found.append(module.weight.detach().t())
    return _each_once(found)


@contextmanager
def restoring(network: Any, tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """Lend the weights to an attack: what it does to ``tensors`` is undone at the end, however that comes about.

    Only these tensors are copied (a second time into the memory of their device), so an attack must name all that
    it changes. Which parameters ask for a gradient, gradients that were there, and the train or eval mode of every
    module come back as well. Inside, the network is in eval mode: with dropout no attack would be the same twice.
    """
    kept = [(tensor.detach(), tensor.detach().clone()) for tensor in _each_once(tensors)]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in network.parameters()]
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        for parameter, _, _ in parameters:
            parameter.grad = None
        yield
    finally:
        for tensor, original in kept:
            tensor.copy_(original)
        for parameter, wanted, gradient in parameters:
            parameter.requires_grad_(wanted)
            parameter.grad = gradient
        for module, training in modes:
            module.training = training


# -- the questions ---------------------------------------------------------------------------


def _prompts(attack: str, item: ForgetItem, target: AttackTarget, draw: str) -> Iterator[Prompt]:
    if item.kind is ItemKind.VERBATIM:
        for index, beginning in enumerate(beginnings(item)):
            yield Prompt(f"{attack}/{item.id}/beginning-{index}{draw}", beginning, chat=False)
        return
    for index, question in enumerate((item.prompt, *wordings(item, target.bank, _REPHRASED))):
        yield Prompt(f"{attack}/{item.id}/question-{index}{draw}", question)


def questions(
    attack: str, target: AttackTarget, items: Sequence[ForgetItem] | None = None, draw: int | None = None
) -> list[Ask]:
    """Direct questions, two rewordings each, and beginnings of passages, for the items and the matched controls.

    Args:
        attack: its id, which begins every prompt's id.
        items: those to ask for; the request's items where it is left out.
        draw: number of an independent draw; it becomes part of every prompt's id.
    """
    ending = "" if draw is None else f"/draw-{draw}"
    own = target.items if items is None else items
    return [
        Ask(item, prompt, control)
        for control, asked in ((False, own), (True, target.matched_controls))
        for item in asked
        for prompt in _prompts(attack, item, target, ending)
    ]
