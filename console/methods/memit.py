"""MEMIT: all facts at once, spread over several layers.

The new values are found at the highest edited layer L (as hidden states z there); then, lowest layer first,

    Delta_l = R_l K_l^T (lambda C_l + K_l K_l^T)^-1,     R_l = (Z - H_L) / (layers left)

(Meng et al. 2023, arXiv 2210.07229, eq. 14, 15 and 20), in float64, with keys K and states H read again after each
layer. ``preservation`` is lambda over d_in: a typical key has k^T C^-1 k = d_in, so 1 weighs one fact as much as one
general token, whatever the model's size. Published is lambda = 15,000, which is 0.92 for GPT-J's d_in of 16,384; the
default here is lower.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field

from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.methods.edit_sites import (
    Context,
    DownProjection,
    down_projections,
    read_at,
    require_plain_residual,
)
from console.methods.editing import (
    AnswerReader,
    EditRequest,
    ValueSearch,
    ValueSettings,
    answer_probability,
    below_last,
    chosen,
    edit_plan,
    edit_requests,
    general_keys_note,
    layer_at,
    mean_objective,
    write_change,
)
from console.methods.key_statistics import KeySettings, keys_read, protected_texts, second_moments, solve, with_ridge
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.weight_transaction import weight_transaction


class SpreadSettings(ValueSettings):
    """An edit spread over a window of layers.

    Attributes:
        layers: the edited blocks; by default those from ``lowest`` to ``highest`` (shares of all blocks).
    """

    layers: tuple[int, ...] | None = None
    lowest: float = Field(default=0.12, ge=0, lt=1)
    highest: float = Field(default=0.28, ge=0, lt=1)
    keys: KeySettings = KeySettings()


class MemitConfig(SpreadSettings):
    """Attributes:
    preservation: weight of the general keys (lambda / d_in).
    """

    preservation: float = Field(default=0.1, gt=0)


def least_squares(residual: torch.Tensor, keys: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
    """R K^T (penalty + K K^T)^-1.

    Args:
        residual: (d_out, facts) float64.
        keys: (d_in, facts) float64.
        penalty: (d_in, d_in) float64, lambda C.

    Returns:
        (d_out, d_in).

    Raises:
        JobFailedError: the sum is singular.
    """
    return residual @ solve(penalty + keys @ keys.T, keys).T


def spread_projections(model: TransformersModel, config: SpreadSettings) -> tuple[DownProjection, ...]:
    """Raises InputError: an unknown architecture, or layers that the model has not."""
    first, last = layer_at(model.layers, config.lowest), layer_at(model.layers, config.highest)
    layers = range(min(first, last), last + 1) if config.layers is None else config.layers
    projections = below_last(model, chosen(down_projections(model.network), layers))
    for projection in projections:
        require_plain_residual(projection, model.network.config.model_type)
    return projections


class KeyReader:
    """Mean keys and hidden states of several facts."""

    def __init__(self, model: TransformersModel, requests: Sequence[EditRequest]) -> None:
        self._model = model
        self._contexts: list[Context] = [context for request in requests for context in request.contexts]
        self._counts = [len(request.contexts) for request in requests]

    def _columns(self, module: torch.nn.Module, *, inputs: bool) -> torch.Tensor:
        read = read_at(self._model, self._contexts, module, inputs=inputs)
        return torch.stack([part.mean(dim=0) for part in read.split(self._counts)], dim=1)

    def keys(self, projection: DownProjection) -> torch.Tensor:
        """(d_in, facts) float64."""
        return self._columns(projection.module, inputs=True)

    def states(self, projection: DownProjection) -> torch.Tensor:
        """(hidden, facts) float64: what the projection's block gives on."""
        return self._columns(projection.block, inputs=False)


def wanted_states(
    model: TransformersModel,
    requests: Sequence[EditRequest],
    reader: KeyReader,
    projection: DownProjection,
    config: ValueSettings,
    control: RunControl,
) -> torch.Tensor:
    """Z, (hidden, facts) float64: the hidden states after the highest edited layer that reach the objective."""
    states = reader.states(projection)
    columns = []
    for index, request in enumerate(requests):
        found = ValueSearch(model, request, projection, config).run(float(states[:, index].norm()), control)
        control.metric(index + 1, {"searched": found.loss})
        control.progress(index + 1, len(requests), "Searching")
        columns.append(states[:, index] + found.change)
    return torch.stack(columns, dim=1)


def spread_metrics(
    model: TransformersModel, data: ErasureData, requests: Sequence[EditRequest], config: ValueSettings, layer: int
) -> dict[str, float]:
    """What a spread edit reached: mean objective, and the answers' probability after their questions."""
    reader = AnswerReader(model, config, layer)
    reached = [mean_objective(reader, request.asked(config)) for request in requests]
    return {
        "objective": sum(reached) / len(reached),
        "answer_probability": answer_probability(model, data.forget.items),
    }


class Memit:
    """See the module's docstring."""

    info = MethodInfo(
        id="memit",
        title="Rewrite many facts over several layers (MEMIT)",
        summary=(
            "Finds where a few layers store the person's facts and rewrites these places all at once; "
            "traces in other layers may stay."
        ),
        family=Family.WEIGHTS,
        claim=Claim.EDIT_REPLACEMENT,
        source="Meng et al. 2023, MEMIT, arXiv 2210.07229, eq. 14, 15 and 20",
        needs=frozenset({Capability.GRADIENTS, Capability.HIDDEN_STATES, Capability.SAVE}),
    )
    config_class = MemitConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: MemitConfig) -> Plan:
        """Raises InputError: nothing to forget, an item that does not name its subject, an unknown architecture."""
        requests = edit_requests(model, data, config)
        projections = spread_projections(model, config)
        tokens = keys_read(model, protected_texts(model, data, config.keys), config.keys)
        notes = general_keys_note(tokens, projections[0].matrix.shape[1])
        return edit_plan(model, projections, config, len(requests) + len(projections), notes, moments=2)

    def apply(self, model: TransformersModel, data: ErasureData, config: MemitConfig, control: RunControl) -> Outcome:
        plan = self.prepare(model, data, config)
        projections, requests = spread_projections(model, config), edit_requests(model, data, config)
        moments = second_moments(model, projections, protected_texts(model, data, config.keys), config.keys)
        reader, last = KeyReader(model, requests), projections[-1]
        metrics: dict[str, float] = {}
        with weight_transaction(model.network, [projection.weight_name for projection in projections]) as snapshot:
            wanted = wanted_states(model, requests, reader, last, config, control)
            for index, (projection, moment) in enumerate(zip(projections, moments, strict=True)):
                control.check_cancelled()
                residual = (wanted - reader.states(last)) / (len(projections) - index)
                keys = reader.keys(projection)
                change = least_squares(residual, keys, _penalty(moment, keys, config))
                relative = write_change(projection, change, snapshot, config.norm_limit)
                metrics[f"relative_change_layer_{projection.layer}"] = relative
                control.metric(len(requests) + index + 1, {"relative_change": relative})
                control.progress(len(requests) + index + 1, plan.steps, "Editing")
            metrics |= spread_metrics(model, data, requests, config, last.layer)
        return Outcome(plan.steps, f"all {len(projections)} layers were edited", metrics)


def _penalty(moment: torch.Tensor, keys: torch.Tensor, config: MemitConfig) -> torch.Tensor:
    """lambda C. Without general texts C is the identity, at the mean square of the keys' own entries."""
    width = len(moment)
    if not bool(moment.any()):
        return config.preservation * keys.square().sum(dim=0).mean() * torch.eye(width, dtype=moment.dtype)
    return config.preservation * width * with_ridge(moment, config.keys.ridge)
