"""What each token of a question contributes to the answer, by integrated gradients (Sundararajan et al. 2017, eq. 1).

With e the embeddings of the question's tokens, b that of the end token in place of each (the paper proposes the zero
vector for text) and F = log p(answer | question):

    IG_i = (e_i - b_i) . integral over t in [0, 1] of dF/de_i at b + t (e - b)        (nats)

They add up to F(e) - F(b); how far they miss it says whether the integral was found (arXiv 1703.01365).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from console.engines.learning import only_these_learn
from console.engines.packing import TokenSequence
from console.engines.transformers_engine import TransformersModel

_POINTS = 8  # of each stretch of the way
_POINTS_AT_ONCE = 2  # of these, in one pass forward and back; a stop waits no longer
_MOST_STRETCHES = 64
_SMALLEST_CHANGE = 1e-2  # nats; a smaller difference between text and baseline is not worth a share


@dataclass(frozen=True)
class Attribution:
    """What each token of a question contributes to the answer's log-likelihood.

    Attributes:
        tokens: (prompt tokens,) integrated gradients, nats.
        change: F(e) - F(b), nats.
    """

    tokens: torch.Tensor
    change: float

    @property
    def missed(self) -> float:
        """Part of the change that the tokens do not add up to."""
        return abs(float(self.tokens.sum()) - self.change) / max(abs(self.change), _SMALLEST_CHANGE)


def _answer_log_probs(model: TransformersModel, embeds: torch.Tensor, sequence: TokenSequence) -> torch.Tensor:
    """(points,) log p(answer | question) with these embeddings (points, tokens, d) in place of the tokens'."""
    first, answer = sequence.answer_start, torch.tensor(sequence.answer_ids, device=model.device)
    kept = torch.arange(first - 1, len(sequence.ids) - 1, device=model.device)
    logits = model.network(inputs_embeds=embeds, use_cache=False, logits_to_keep=kept).logits.float()
    own = torch.log_softmax(logits, dim=-1).gather(-1, answer.expand(len(embeds), -1)[..., None])
    return own.squeeze(-1).sum(dim=-1)


@dataclass(frozen=True)
class _Stretch:
    """A part of the way from the baseline to the text.

    Attributes:
        tokens: (tokens,) what it contributes to each token's attribution.
        missed: by how much these miss the answer's gain on this stretch, nats.
    """

    start: float
    stop: float
    start_value: float
    stop_value: float
    tokens: torch.Tensor

    @property
    def missed(self) -> float:
        return abs(float(self.tokens.sum()) - (self.stop_value - self.start_value))


class _Way:
    """The straight way from the baseline to the text.

    The baseline is the text with the embedding of the end token in place of every token of the question; the answer
    stays as it is.
    """

    def __init__(self, model: TransformersModel, sequence: TokenSequence, before_each_pass: Callable[[], None]) -> None:
        table = model.network.get_input_embeddings()
        with torch.no_grad():
            whole = table(torch.tensor(sequence.ids, device=model.device)).float()
            end = table(torch.tensor(model.tokenizer.eos_token_id or 0, device=model.device)).float()
        self._base = whole.clone()
        self._base[: sequence.answer_start] = end
        self._step = whole - self._base
        self._model, self._sequence, self._before_each_pass = model, sequence, before_each_pass
        places, weights = np.polynomial.legendre.leggauss(_POINTS)
        self._places, self._weights = torch.from_numpy(places).float(), torch.from_numpy(weights).float()

    @torch.no_grad()
    def value(self, at: float) -> float:
        """F at a place between 0 (baseline) and 1 (text)."""
        self._before_each_pass()
        return float(_answer_log_probs(self._model, (self._base + at * self._step)[None], self._sequence)[0])

    def stretch(self, start: float, stop: float, start_value: float, stop_value: float) -> _Stretch:
        half = (stop - start) / 2
        ways = (start + half * (self._places + 1)).to(self._base.device)[:, None, None]
        weights = half * self._weights.to(self._base.device)[:, None, None]
        mean = torch.zeros_like(self._base)
        for some, weight in zip(ways.split(_POINTS_AT_ONCE), weights.split(_POINTS_AT_ONCE), strict=True):
            self._before_each_pass()
            embeds = (self._base + some * self._step).requires_grad_(True)
            total = _answer_log_probs(self._model, embeds, self._sequence).sum()
            (gradient,) = torch.autograd.grad(total, embeds)
            mean += (weight * gradient).sum(dim=0)
        tokens = (mean * self._step).sum(dim=-1)
        return _Stretch(start, stop, start_value, stop_value, tokens)

    def halves(self, part: _Stretch) -> list[_Stretch]:
        middle = (part.start + part.stop) / 2
        value = self.value(middle)
        return [
            self.stretch(part.start, middle, part.start_value, value),
            self.stretch(middle, part.stop, value, part.stop_value),
        ]


def attribution(
    model: TransformersModel, sequence: TokenSequence, tolerance: float, before_each_pass: Callable[[], None]
) -> Attribution:
    """Integrated gradients, by a Gauss-Legendre rule on ever shorter stretches of the way.

    F itself tells what every stretch must add up to, so the one that misses most is cut in two until all together
    miss no more than the tolerance, or there are too many; ``missed`` says how it ended.

    Args:
        before_each_pass: called before the network is run, for stopping.
    """
    with only_these_learn(model.network, ()):
        way = _Way(model, sequence, before_each_pass)
        first, last = way.value(0.0), way.value(1.0)
        parts = [way.stretch(0.0, 1.0, first, last)]
        allowed = tolerance * max(abs(last - first), _SMALLEST_CHANGE)
        while sum(part.missed for part in parts) > allowed and len(parts) < _MOST_STRETCHES:
            parts.sort(key=lambda part: part.missed)
            parts += way.halves(parts.pop())
    tokens = torch.stack([part.tokens for part in parts]).sum(dim=0)[: sequence.answer_start]
    return Attribution(tokens.detach().cpu(), last - first)
