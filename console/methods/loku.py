"""LoKU: the inverted hinge loss, and on request an adapter that starts from the weights that matter to the answers.

F_i = mean over answer tokens of max(0, 1 + p(y) - max_{v != y} p(v)), with p the model's probabilities (Cha et al.
2024, Towards Robust and Parameter-Efficient Knowledge Unlearning for LLMs, arXiv 2408.06621). It lies between 0 and 2,
stops pushing by itself where the answer is no candidate any more, and lifts the runner-up, so that what is said stays
fluent. Its gradient with respect to the answer's logit, p(y) (1 - p(y) + max p(v)), is nothing where the model is
certain: until an answer known by heart moves, the log-odds of its tokens are pushed down beside it.

The start ``fila`` (Fisher-initialised low-rank adapter, same paper): with F the importance of each weight,
I = F_forget / (floor + F_retain), r_i = sqrt(sum_j I_ij), and diag(r) W = U S V^T cut at the rank,

    A = sqrt(S / scale) V^T,   B = diag(1/r) U sqrt(S / scale),   W <- W - scale B A.

Here r is divided by its mean and kept from 0, which the published code does with a small constant beside each r_i. The
adapter then holds what the answers hang on, and the model says at first exactly what it said. Such an adapter fits
the changed W alone, never the model as it was; the result is therefore always merged, W + scale B' A'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field

from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.examples import text_sequences
from console.methods.forgetting import ForgetRow, Run
from console.methods.gradient import GradientMethod
from console.methods.importance import importance
from console.methods.known_by_heart import SOURCE_NOTE, ByHeartSettings, push_by_heart
from console.methods.memory import available_mb
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl

_EXACT = 1e-5  # largest difference that rounding may leave between base plus adapter and the weight
_LEAST_ROW = 1e-2  # a row that matters to nobody: 1/r would blow its rounding up
_OVERSAMPLING = 8  # without, and with fewer rounds, the weighted product is a worse fit than the plain one (measured)
_ROUNDS = 4


class LokuConfig(ByHeartSettings):
    """Attributes:
    start: of the adapter. ``plain`` was measured to be the better one on a small model.
    fila_rate: what the learning rate is multiplied with under ``fila``, where A and B learn alike: at the full rate
        it overshoots and damages text that is in no batch.
    importance_floor: added to the importance for the retained before the division.
    """

    retain_weight: float = Field(default=4.0, ge=0)
    start: Literal["plain", "fila"] = "plain"
    fila_rate: float = Field(default=0.25, gt=0)
    importance_floor: float = Field(default=1e-5, gt=0)


def inverted_hinge(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """``max(0, 1 + p(y) - max_{v != y} p(v))`` of each answer token.

    Args:
        logits: (tokens, vocab).
        targets: (tokens,).

    Returns:
        (tokens,) float32 between 0 and 2; 1 where the answer ties with its best rival.
    """
    probabilities = torch.softmax(logits.float(), dim=-1)
    own = targets[:, None]
    answer = probabilities.gather(-1, own).squeeze(-1)
    rival = probabilities.scatter(-1, own, 0.0).max(dim=-1).values
    return (1 + answer - rival).clamp(min=0)


def row_weights(forget: torch.Tensor, retain: torch.Tensor, floor: float) -> torch.Tensor:
    """(d_out,) how much each row of a weight matters to what is forgotten and not to what is kept; 1 on average.

    Args:
        forget, retain: (d_out, d_in) importance of the weight's entries.
    """
    weights = (forget / (floor + retain)).sum(dim=1).sqrt()
    average = weights.mean()
    if not average:
        return torch.ones_like(weights)
    return (weights / average).clamp(min=_LEAST_ROW)


def leading_parts(
    matrix: torch.Tensor, rank: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The largest singular values with their vectors, by a seeded randomised decomposition (Halko et al. 2011).

    Args:
        matrix: (d_out, d_in) float32.
        generator: on the CPU, so that the draw is the same on every device.

    Returns:
        (d_out, k), (k,), (k, d_in) with k the rank, or the matrix's own where that is less.
    """
    width = min(rank + _OVERSAMPLING, *matrix.shape)
    probes = torch.randn(matrix.shape[1], width, generator=generator).to(matrix)
    basis = torch.linalg.qr(matrix @ probes).Q
    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(matrix.T @ basis).Q
        basis = torch.linalg.qr(matrix @ basis).Q
    left, values, right = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    return (basis @ left)[:, :rank], values[:rank], right[:rank]


def fila_factors(
    weight: torch.Tensor, rows: torch.Tensor, rank: int, scale: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A (rank, d_in) and B (d_out, rank), whose scaled product is the weighted best fit of the weight.

    Args:
        weight: (d_out, d_in).
        rows: (d_out,) above 0.
    """
    left, values, right = leading_parts(rows[:, None] * weight, rank, generator)
    roots = (values / scale).sqrt()
    a, b = weight.new_zeros(rank, weight.shape[1]), weight.new_zeros(weight.shape[0], rank)
    a[: len(roots)] = roots[:, None] * right
    b[:, : len(roots)] = left * roots / rows[:, None]
    return a, b


class Loku(GradientMethod):
    """See the module's docstring."""

    info = MethodInfo(
        id="loku",
        title="Make other answers likelier than the person's",
        summary=(
            "Trains a small addition to the weights until some other word is likelier than each word of the person's "
            "answers, while rehearsing what must be kept; the addition is then merged into the model."
        ),
        family=Family.WEIGHTS,
        claim=Claim.REMOVAL_INTENDED,
        source=(
            "Cha et al. 2024, Towards Robust and Parameter-Efficient Knowledge Unlearning for LLMs, arXiv 2408.06621; "
            f"{SOURCE_NOTE}"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
    )
    config_class = LokuConfig

    def forget_loss(self, row: ForgetRow, config: LokuConfig) -> torch.Tensor:
        return row.mean(inverted_hinge(row.logits, row.targets)) + push_by_heart(row, config.certain_below)

    def prepare(self, model: TransformersModel, data: ErasureData, config: LokuConfig) -> Plan:
        """As every gradient method; with ``fila``, the importance of the weights has to find room too.

        Raises:
            InputError: also where ``fila`` is asked for without an adapter, or does not fit.
        """
        if config.start == "fila" and config.tensors:
            raise InputError(
                "The start 'fila' is one of an adapter; leave 'tensors' empty or choose the start 'plain'."
            )
        plan = super().prepare(model, data, config)
        if config.start == "plain":
            return plan
        by_path = dict(model.network.named_modules())
        measured = 2 * 4 * sum(by_path[path].weight.numel() for path in plan.modules) // 2**20
        needed, free = plan.memory_mb + measured, available_mb(model.device)
        if needed > free:
            raise InputError(
                f"The start 'fila' needs about {needed} MB of memory and {free} MB are free; choose the start 'plain'."
            )
        return replace(plan, memory_mb=needed)

    def apply(self, model: TransformersModel, data: ErasureData, config: LokuConfig, control: RunControl) -> Outcome:
        if config.start == "fila":
            # A plain adapter's B starts at zero and lags behind A, which is why it learns faster; this one does not.
            lora = config.lora.model_copy(update={"b_ratio": 1.0})
            rate = config.learning_rate * config.fila_rate
            config = config.model_copy(update={"lora": lora, "learning_rate": rate})
        return super().apply(model, data, config, control)

    def begin(self, run: Run) -> None:
        if run.config.start == "fila":
            _start_from_importance(run)


def _start_from_importance(run: Run) -> None:
    """Move the part of each weight that the answers hang on into its adapter.

    Raises:
        JobFailedError: a weight is not base plus adapter afterwards, by more than rounding.
    """
    config: LokuConfig = run.config
    by_path = dict(run.model.network.get_base_model().named_modules())
    layers: dict[str, Any] = {path: by_path[path] for path in run.plan.modules}
    weights = {path: layer.base_layer.weight for path, layer in layers.items()}
    kept = [*run.rehearsal.sequences, *text_sequences(run.model, run.data.general_texts)]
    forget = importance(run.model, weights, run.forgetting.sequences, run.control.check_cancelled)
    retain = importance(run.model, weights, kept, run.control.check_cancelled)
    generator = torch.Generator().manual_seed(config.seed)
    for path, layer in layers.items():
        run.control.check_cancelled()
        rows = row_weights(forget.pop(path), retain.pop(path), config.importance_floor)
        _split(path, layer, rows, config.lora.rank, generator)


@torch.no_grad()
def _split(path: str, layer: Any, rows: torch.Tensor, rank: int, generator: torch.Generator) -> None:
    weight, scale = layer.base_layer.weight, layer.scaling["default"]
    before = weight.clone()
    a, b = fila_factors(before, rows, rank, scale, generator)
    layer.lora_A["default"].weight.copy_(a)
    layer.lora_B["default"].weight.copy_(b)
    product = scale * (b @ a)
    weight.copy_(before - product)
    apart = float((weight + product - before).abs().max())
    if not apart <= _EXACT * max(1.0, float(before.abs().max())):
        raise JobFailedError(
            f"The start 'fila' does not add up to the weight of {path} (it is {apart:.1g} apart); nothing was written. "
            "Start again with the start 'plain'."
        )
