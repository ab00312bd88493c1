"""How much each weight matters to a set of texts: the diagonal of the empirical Fisher information.

F(theta) = sum_z w_z * (d NLL_z / d theta)^2, where NLL_z is the mean negative log-likelihood (nats per token) of
text z's answer and the w_z add up to 1 (Kirkpatrick et al. 2017, arXiv 1612.00796; Foster et al. 2024, arXiv
2308.07707). Every text has a backward pass of its own: the square of a batch's gradient, which is cheaper and which
published code takes, is smaller, because gradients of opposite sign cancel before they are squared.

Only the weights that are handed over take part. Those of the linear layers in the blocks leave embeddings and head
alone, which every text shares and which may be one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import torch

from console.engines.learning import only_these_learn
from console.engines.packing import TokenSequence, pack
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.errors import JobFailedError
from console.methods.losses import member_nll


class Weighting(StrEnum):
    """What counts alike: every text (w = 1 / texts), or every answer token (w = own tokens / all tokens)."""

    TEXTS = "texts"
    TOKENS = "tokens"


def linear_weights(network: Any, modules: Sequence[str]) -> dict[str, torch.nn.Parameter]:
    """The weight of each of these modules, by the module's path; biases are left out.

    A path may also be that of a weight itself, as the stacked weights of experts have no module of their own.
    """
    by_path, stacked = dict(network.named_modules()), dict(network.named_parameters())
    return {path: by_path[path].weight if path in by_path else stacked[path] for path in modules}


class _Squares:
    """Adds each weight's squared gradient up while the backward pass runs, and lets the gradient go at once.

    So the gradients of all weights are never there together, and a sum costs one copy of the weights, not two.

    Attributes:
        sums: by path, float32, in the shape of the weight.
        share: the weight w of the text whose gradient comes next.
    """

    def __init__(self, weights: Mapping[str, torch.nn.Parameter]) -> None:
        self.sums = {path: torch.zeros_like(weight, dtype=torch.float32) for path, weight in weights.items()}
        self.share = 0.0

    def _adder(self, path: str) -> Callable[[torch.Tensor], None]:
        def add(parameter: torch.Tensor) -> None:
            if parameter.grad is not None:
                gradient = parameter.grad.float()
                self.sums[path].addcmul_(gradient, gradient, value=self.share)
                parameter.grad = None

        return add

    @contextmanager
    def listening(self, weights: Mapping[str, torch.nn.Parameter]) -> Iterator[None]:
        handles = [weight.register_post_accumulate_grad_hook(self._adder(path)) for path, weight in weights.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def text_shares(sequences: Sequence[TokenSequence], weighting: Weighting) -> list[float]:
    """The w of each text; they add up to 1."""
    counts = [len(sequence.answer_ids) if weighting is Weighting.TOKENS else 1 for sequence in sequences]
    return [count / sum(counts) for count in counts]


def importance(
    model: TransformersModel,
    weights: Mapping[str, torch.nn.Parameter],
    sequences: Sequence[TokenSequence],
    before_each: Callable[[], None],
    *,
    weighting: Weighting = Weighting.TEXTS,
) -> dict[str, torch.Tensor]:
    """Importance of every weight to these texts, one copy of the weights in size. The network stays as it was.

    Args:
        weights: by the caller's names; all of them parameters of the network.
        before_each: called before every text, for progress and for stopping.

    Returns:
        By the same names, float32 on the weight's device, in the weight's shape; all 0 where there is no text.

    Raises:
        JobFailedError: a gradient is not a finite number.
    """
    squares = _Squares(weights)
    with only_these_learn(model.network, weights.values()), squares.listening(weights):
        for sequence, share in zip(sequences, text_shares(sequences, weighting), strict=True):
            before_each()
            squares.share = share
            (row,) = pack([sequence], ROW_TOKENS, model.device)
            nll = member_nll(model.row_logits(row), row, [sequence])
            (nll.sum() / len(sequence.answer_ids)).backward()
    if not all(bool(torch.isfinite(values).all()) for values in squares.sums.values()):
        raise JobFailedError(
            "The importance of the weights could not be measured, because the model's gradients are not finite "
            "numbers; nothing was written. Check that the model file is undamaged, or choose another method."
        )
    return squares.sums
