"""Least squares through the blocks of a network: every matrix gets, text by text, the outputs of one of two teachers.

For a matrix W (outputs, inputs) with inputs x_t and wanted outputs y_t of weight w_t, the change is

    D = R (G + mu I)^-1,   G = sum_t w_t x_t x_t^T,   R = sum_t w_t (y_t - W x_t) x_t^T

the ridge regression of RegMean (Jin et al. 2023, Dataless Knowledge Fusion by Merging Weights of Language Models, arXiv
2212.09849, eq. 2), with the change in place of the matrix, so that what no text uses stays as it is. Blocks are worked
on from below and their matrices in the order in which they run, each with the inputs that the network has by then, so
that what one leaves over the next ones see. Where a block adds the outputs of some matrices to what came in, the wanted
output is what brings that sum to the teacher's, and errors do not add up over the depth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch

from console.engines.attention_masks import attention_of
from console.engines.frozen_trunk import blocks_of
from console.engines.packing import PackedRow
from console.errors import JobFailedError

_SUM_TOLERANCE = 1e-3  # relative; how near a block's output must be to the sum to count as one


@dataclass(frozen=True)
class TaughtRow:
    """A packed row and how much each of its tokens counts.

    Attributes:
        weights: (time,) at least 0.
        by_reference: the teacher is the reference; else it is the network as it was.
    """

    row: PackedRow
    weights: torch.Tensor
    by_reference: bool


@dataclass
class _Stream:
    """A row on its way up: what the network under change makes of it, and what its teacher does.

    Attributes:
        state, wanted: (1, time, hidden) before the next block.
        calls, teacher_calls: for each block, its other arguments.
    """

    taught: TaughtRow
    state: torch.Tensor
    wanted: torch.Tensor
    calls: list[dict[str, Any]]
    teacher_calls: list[dict[str, Any]]

    @property
    def distance(self) -> torch.Tensor:
        """(time,) squared distance from the teacher's state over the square of that."""
        apart = (self.state - self.wanted)[0].float().square().sum(dim=-1)
        return apart / self.wanted[0].float().square().sum(dim=-1)


@dataclass(frozen=True)
class _Layout:
    """How a block runs.

    Attributes:
        groups: names of its matrices in the order in which they run, those of one input together.
        writers: those whose outputs are added to what came in and give, with it, the block's output; else none.
    """

    groups: list[list[str]]
    writers: list[str]


class _ReachedError(Exception):
    """The pass has come to where it was to stop."""


@contextmanager
def _hooks() -> Iterator[list[Any]]:
    handles: list[Any] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


def _run(block: torch.nn.Module, state: torch.Tensor, call: dict[str, Any]) -> torch.Tensor:
    output = block(state, **call)
    return output[0] if isinstance(output, tuple) else output


def _calls(network: Any, row: PackedRow) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """What the first block gets, and every block's other arguments."""
    states: list[torch.Tensor] = []
    calls: list[dict[str, Any]] = []

    def note(_module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        states.append(given[0] if given else named["hidden_states"])
        calls.append({name: value for name, value in named.items() if name != "hidden_states"})

    with _hooks() as handles:
        handles += [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks_of(network)]
        network(
            input_ids=row.input_ids,
            attention_mask=attention_of(row, network),
            position_ids=row.position_ids,
            use_cache=False,
            logits_to_keep=1,
        )
    return states[0].clone(), calls


def _matrices(block: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    return {name: module for name, module in block.named_modules() if isinstance(module, torch.nn.Linear)}


def _layout(block: torch.nn.Module, stream: _Stream, index: int) -> _Layout:
    matrices = _matrices(block)
    order: list[tuple[str, torch.Tensor]] = []
    outputs: dict[str, torch.Tensor] = {}

    def note(name: str) -> Any:
        def hook(_module: torch.nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            order.append((name, given[0]))
            outputs[name] = output

        return hook

    with _hooks() as handles:
        handles += [module.register_forward_hook(note(name)) for name, module in matrices.items()]
        made = _run(block, stream.state, stream.calls[index])
    groups: list[tuple[torch.Tensor, list[str]]] = []
    for name, given in order:
        if given.shape[:-1] != stream.state.shape[:-1]:
            continue
        if groups and groups[-1][0] is given:
            groups[-1][1].append(name)
        else:
            groups.append((given, [name]))
    writers = [name for _, names in groups for name in names if outputs[name].shape == stream.state.shape]
    # Queries of a model may be as wide as its states: only what reaches the sum writes.
    for chosen in (writers, [names[-1] for _, names in groups if len(names) == 1 and names[-1] in writers]):
        whole = stream.state + sum(outputs[name] for name in chosen)
        if float((whole - made).norm()) <= _SUM_TOLERANCE * float(made.norm()):
            return _Layout([names for _, names in groups], chosen)
    return _Layout([names for _, names in groups], [])


def _told(block: torch.nn.Module, stream: _Stream, index: int, layout: _Layout) -> dict[str, torch.Tensor]:
    """What the teacher's matrices give, (time, outputs) each; of a writer, the sum so far. Moves the teacher on."""
    found: dict[str, torch.Tensor] = {}
    total = stream.wanted[0]

    def note(name: str) -> Any:
        def hook(_module: torch.nn.Module, _given: Any, output: torch.Tensor) -> None:
            nonlocal total
            if name in layout.writers:
                total = total + output[0]
                found[name] = total
            else:
                found[name] = output[0]

        return hook

    matrices = _matrices(block)
    with _hooks() as handles:
        handles += [matrices[name].register_forward_hook(note(name)) for names in layout.groups for name in names]
        stream.wanted = _run(block, stream.wanted, stream.teacher_calls[index])
    return found


def _reaching(
    block: torch.nn.Module, name: str, stream: _Stream, index: int, layout: _Layout
) -> tuple[torch.Tensor, torch.Tensor]:
    """(time, inputs) of a matrix, and (time, hidden) what the block has added up by then."""
    total = stream.state[0]
    inputs: list[torch.Tensor] = []

    def add(_module: torch.nn.Module, _given: Any, output: torch.Tensor) -> None:
        nonlocal total
        total = total + output[0]

    def stop(_module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        inputs.append(given[0][0])
        raise _ReachedError

    matrices = _matrices(block)
    with _hooks() as handles:
        handles += [matrices[writer].register_forward_hook(add) for writer in layout.writers]
        handles.append(matrices[name].register_forward_pre_hook(stop))
        with suppress(_ReachedError):
            _run(block, stream.state, stream.calls[index])
    return inputs[0].float(), total


def _solve(gram: torch.Tensor, residuals: dict[str, torch.Tensor], ridge: float) -> dict[str, torch.Tensor]:
    """The changes of matrices of one input.

    Args:
        gram: (inputs, inputs); residuals: (outputs, inputs) by name.
        ridge: mu over the mean of the gram matrix's diagonal.

    Raises:
        JobFailedError: numbers that are not finite.
    """
    whole = gram.double()
    whole.diagonal().add_(ridge * whole.diagonal().mean())
    factor, failed = torch.linalg.cholesky_ex(whole)
    if int(failed) or not all(bool(torch.isfinite(one).all()) for one in residuals.values()):
        raise JobFailedError(
            "The regression met numbers that are not finite, so nothing was written; a larger 'ridge' or another "
            "method may help."
        )
    return {name: torch.cholesky_solve(one.double().T, factor).T for name, one in residuals.items()}


def _regress_block(
    block: torch.nn.Module,
    teacher: torch.nn.Module,
    streams: Sequence[_Stream],
    index: int,
    ridge: float,
    check: Callable[[], None],
) -> None:
    before = copy.deepcopy(block)
    layout = _layout(block, streams[0], index)
    told = []
    for stream in streams:
        check()
        told.append(_told(teacher if stream.taught.by_reference else before, stream, index, layout))
    matrices = _matrices(block)
    for names in layout.groups:
        first = matrices[names[0]]
        gram = torch.zeros(first.in_features, first.in_features, device=first.weight.device)
        residuals = {name: torch.zeros_like(matrices[name].weight, dtype=torch.float32) for name in names}
        for stream, wanted in zip(streams, told, strict=True):
            check()
            inputs, total = _reaching(block, names[0], stream, index, layout)
            weighted = inputs * stream.taught.weights[:, None].to(inputs.device)
            gram += weighted.T @ inputs
            for name in names:
                given = torch.nn.functional.linear(inputs, matrices[name].weight.float(), matrices[name].bias)
                aim = wanted[name] - total if name in layout.writers else wanted[name]
                residuals[name] += (aim - given).float().T @ weighted
        for name, change in _solve(gram, residuals, ridge).items():
            matrices[name].weight += change.to(matrices[name].weight.dtype)
    for stream in streams:
        stream.state = _run(block, stream.state, stream.calls[index])


def put_back_rows(network: Any, reference: Any, tokens: Sequence[int]) -> None:
    """Give these tokens the reference's rows of the embedding and of the unembedding."""
    rows = torch.tensor(sorted(set(tokens)), dtype=torch.long, device=network.device)
    for mine, theirs in (
        (network.get_input_embeddings(), reference.get_input_embeddings()),
        (network.get_output_embeddings(), reference.get_output_embeddings()),
    ):
        mine.weight[rows] = theirs.weight[rows].to(mine.weight.dtype)


@torch.no_grad()
def regress(
    network: Any,
    reference: Any,
    rows: Sequence[TaughtRow],
    own_tokens: Sequence[int],
    ridge: float,
    announce: Callable[[int], None],
    check: Callable[[], None],
) -> tuple[float, float]:
    """Change every matrix of the network's blocks in place.

    Args:
        own_tokens: whose rows of the embedding are put back to the reference's first.
        announce: called before each block with its number.
        check: called before every pass; may raise to stop.

    Returns:
        Mean distance from the teacher after the last block, relative and squared, where the reference teaches and
        where the network as it was does.

    Raises:
        JobFailedError: numbers that are not finite.
    """
    as_it_was = [None if taught.by_reference else _calls(network, taught.row)[0] for taught in rows]
    put_back_rows(network, reference, own_tokens)
    streams = []
    for taught, kept in zip(rows, as_it_was, strict=True):
        check()
        state, calls = _calls(network, taught.row)
        wanted, teacher_calls = (kept, calls) if kept is not None else _calls(reference, taught.row)
        streams.append(_Stream(taught, state, wanted, calls, teacher_calls))
    for index, (block, teacher) in enumerate(zip(blocks_of(network), blocks_of(reference), strict=True)):
        announce(index)
        _regress_block(block, teacher, streams, index, ridge, check)
    return _mean_distance(streams, by_reference=True), _mean_distance(streams, by_reference=False)


def _mean_distance(streams: Sequence[_Stream], *, by_reference: bool) -> float:
    chosen = [stream for stream in streams if stream.taught.by_reference is by_reference]
    parts = [stream.distance[stream.taught.weights.to(stream.state.device) > 0] for stream in chosen]
    return float(torch.cat(parts).mean()) if parts else 0.0
