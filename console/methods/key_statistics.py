"""What keys look like in general: their second moment over texts, and the equations solved with it.

Everything here is float64 on the CPU: the matrices are close to singular, and some accelerators have no float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field

from console.engines.prompts import Written, encoded, render, with_answer
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import JobFailedError
from console.methods.edit_sites import DownProjection, watched
from console.methods.examples import examples_of
from console.methods.protocol import ErasureData


class KeySettings(BaseModel):
    """How the general keys are gathered.

    Attributes:
        window: most tokens read at once; a model's whole context as window exhausts the memory (EasyEdit #470).
        windows: most windows read.
        retained: read the facts that must survive, as they are asked, before the general texts.
        ridge: added to the diagonal, as a share of its mean: few texts leave most directions empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(default=256, ge=2)
    windows: int = Field(default=400, ge=1)
    retained: bool = True
    ridge: float = Field(default=1e-2, gt=0)


def protected_texts(model: TransformersModel, data: ErasureData, settings: KeySettings) -> tuple[Written, ...]:
    """The texts whose keys an edit shall leave alone: other people's facts with their answers, and general texts."""
    retained = [
        with_answer(model.tokenizer, example.prompt, example.answer)[0]
        for example in examples_of(model, data.retain.items if settings.retained else ())
    ]
    return (*retained, *(render(model.tokenizer, Prompt("", text, chat=False)) for text in data.general_texts))


def windows_of(model: TransformersModel, texts: Sequence[Written], settings: KeySettings) -> Iterator[list[int]]:
    """Token windows of the texts, in order, none across two texts and none of a single token."""
    size, given = min(settings.window, model.context_length), 0
    for text in texts:
        ids, _ = encoded(model.tokenizer, text)
        for start in range(0, len(ids), size):
            if given == settings.windows:
                return
            if len(part := ids[start : start + size]) > 1:
                given += 1
                yield part


def keys_read(model: TransformersModel, texts: Sequence[Written], settings: KeySettings) -> int:
    """Number of tokens whose keys :func:`second_moments` averages."""
    return sum(len(window) - 1 for window in windows_of(model, texts, settings))


@torch.no_grad()
def second_moments(
    model: TransformersModel, projections: Sequence[DownProjection], texts: Sequence[Written], settings: KeySettings
) -> list[torch.Tensor]:
    """C = E[k k^T], (d_in, d_in), of each projection's inputs over the texts' tokens, added up window by window.

    A window's first token is left out: many models put outsized activations there which no subject ever has.
    Without ridge. Zero where there is no text.
    """
    sums = [torch.zeros(one.matrix.shape[1], one.matrix.shape[1], dtype=torch.float64) for one in projections]
    count = 0
    for window in windows_of(model, texts, settings):
        with watched([projection.module for projection in projections], inputs=True) as seen:
            model.network(torch.tensor([window], device=model.device), use_cache=False, logits_to_keep=1)
        for total, keys in zip(sums, seen, strict=True):
            read = keys[0, 1:].cpu().double()
            total += read.T @ read
        count += len(window) - 1
    return [total / max(count, 1) for total in sums]


def with_ridge(moment: torch.Tensor, ridge: float) -> torch.Tensor:
    """C + ridge * mean(diag C) * I."""
    return moment + ridge * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)


def solve(matrix: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """X with ``matrix @ X = right``, in float64.

    Raises:
        JobFailedError: the matrix is singular, or anything in it is not a finite number.
    """
    if bool(torch.isfinite(matrix).all()) and bool(torch.isfinite(right).all()):
        result, failed = torch.linalg.solve_ex(matrix.double(), right.double())
        if int(failed) == 0 and bool(torch.isfinite(result).all()):
            return result
    raise JobFailedError(
        "The equations of the edit have no solution (their matrix is singular or not finite); nothing was changed. "
        "Give more general texts, or raise the ridge or the weight of what is preserved."
    )
