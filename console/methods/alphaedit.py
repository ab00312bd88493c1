"""AlphaEdit: MEMIT's change, confined to directions that general texts do not use.

    Delta = R K^T P (P (K K^T + K_p K_p^T) P + l2 I)^-1

P projects on the eigenvectors of C = E[k k^T] with small eigenvalues, K_p are the keys of facts edited earlier in the
run (Fang et al. 2025, arXiv 2410.02355, eq. 14, in its symmetric form: the published P stands on one side, and as
P P = P both give the same Delta). So Delta k = 0 for every key in the protected span. The published threshold of the
eigenvalues and the weight l2 (1 in the paper) are absolute; here both go with the size of the keys. The keys K_p belong
to the run: kept in a global, as published, a second run inherits those of the first (EasyEdit #613).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import Field

from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError, JobFailedError
from console.methods.edit_sites import DownProjection
from console.methods.editing import EditRequest, edit_plan, edit_requests, general_keys_note, write_change
from console.methods.key_statistics import keys_read, protected_texts, second_moments, solve
from console.methods.memit import KeyReader, SpreadSettings, spread_metrics, spread_projections, wanted_states
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.weight_transaction import Snapshot, weight_transaction


class AlphaEditConfig(SpreadSettings):
    """Attributes:
    threshold: eigenvalues of C below this share of their mean count as unused.
    l2: weight of the change's size, relative to the mean square of the projected keys.
    facts_at_once: facts edited together; all by default. With fewer, each batch keeps those before it.
    """

    threshold: float = Field(default=2e-2, gt=0)
    l2: float = Field(default=0.1, gt=0)
    facts_at_once: int | None = Field(default=None, ge=1)


def null_spaces(moments: Sequence[torch.Tensor], threshold: float) -> list[torch.Tensor]:
    """P of every layer, (d_in, d_in) float64: the projector on what general texts hardly use.

    Args:
        moments: per layer (d_in, d_in) C without ridge.
        threshold: share of the mean eigenvalue.

    Raises:
        JobFailedError: a C that is not finite, or a layer whose every direction is used.
    """
    if not all(bool(torch.isfinite(moment).all()) for moment in moments):
        raise JobFailedError("The keys of the general texts are not finite numbers; nothing was changed.")
    spectra = [torch.linalg.eigh(moment) for moment in moments]
    unused = [vectors[:, values < threshold * values.mean()] for values, vectors in spectra]
    if not all(columns.shape[1] for columns in unused):
        # Two places, and above the share itself, so that what is proposed does free a tenth.
        share = max(float((values / values.mean()).quantile(0.1)) for values, _ in spectra)
        tenth = math.floor(100 * share + 1) / 100
        raise JobFailedError(
            "The general texts use every direction of a layer, so nothing is free for an edit; nothing was changed. "
            f"Raise the threshold (at {tenth:.2f} a tenth of every layer's directions are free), or choose memit."
        )
    return [columns @ columns.T for columns in unused]


def confined(
    residual: torch.Tensor, keys: torch.Tensor, projector: torch.Tensor, earlier: torch.Tensor, l2: float
) -> torch.Tensor:
    """The change within the projector's span.

    Args:
        residual: (d_out, facts).
        keys: (d_in, facts).
        projector: (d_in, d_in).
        earlier: (d_in, d_in) K_p K_p^T.
        l2: relative to the mean square norm of the projected keys.

    Returns:
        (d_out, d_in) float64.
    """
    free = projector @ keys
    size = l2 * free.square().sum(dim=0).mean()
    system = free @ free.T + projector @ earlier @ projector + size * torch.eye(len(keys), dtype=keys.dtype)
    return residual @ solve(system, free).T @ projector  # the last factor only takes away rounding


class AlphaEdit:
    """See the module's docstring."""

    info = MethodInfo(
        id="alphaedit",
        title="Rewrite many facts, away from what other texts use (AlphaEdit)",
        summary=(
            "Rewrites the person's facts in a few layers, only in directions that other people's facts and general "
            "texts do not use; traces in other layers may stay."
        ),
        family=Family.WEIGHTS,
        claim=Claim.EDIT_REPLACEMENT,
        source="Fang et al. 2025, AlphaEdit, arXiv 2410.02355, eq. 14",
        needs=frozenset({Capability.GRADIENTS, Capability.HIDDEN_STATES, Capability.SAVE}),
    )
    config_class = AlphaEditConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: AlphaEditConfig) -> Plan:
        """Raises InputError: as MEMIT, or no texts to protect."""
        requests = edit_requests(model, data, config)
        projections = spread_projections(model, config)
        tokens = keys_read(model, protected_texts(model, data, config.keys), config.keys)
        if not tokens:
            raise InputError(
                "AlphaEdit protects what general texts use, and there are none; add general texts, or choose memit."
            )
        notes = general_keys_note(tokens, projections[0].matrix.shape[1])
        steps = len(requests) + len(projections) * len(_batches(requests, config))
        return edit_plan(model, projections, config, steps, notes, moments=4)

    def apply(
        self, model: TransformersModel, data: ErasureData, config: AlphaEditConfig, control: RunControl
    ) -> Outcome:
        plan = self.prepare(model, data, config)
        projections, requests = spread_projections(model, config), edit_requests(model, data, config)
        moments = second_moments(model, projections, protected_texts(model, data, config.keys), config.keys)
        projectors = null_spaces(moments, config.threshold)
        with weight_transaction(model.network, [projection.weight_name for projection in projections]) as snapshot:
            run = _Run(model, projections, projectors, config, control, snapshot)
            for batch in _batches(requests, config):
                run.edit(batch)
            metrics = {
                f"relative_change_layer_{one.layer}": snapshot.relative_change(one.weight_name) for one in projections
            }
            metrics |= spread_metrics(model, data, requests, config, projections[-1].layer)
        return Outcome(plan.steps, f"all {len(projections)} layers were edited", metrics)


def _batches(requests: list[EditRequest], config: AlphaEditConfig) -> list[list[EditRequest]]:
    size = config.facts_at_once or len(requests)
    return [requests[start : start + size] for start in range(0, len(requests), size)]


class _Run:
    """The batches of one run, and the keys that it has edited so far."""

    def __init__(
        self,
        model: TransformersModel,
        projections: Sequence[DownProjection],
        projectors: Sequence[torch.Tensor],
        config: AlphaEditConfig,
        control: RunControl,
        snapshot: Snapshot,
    ) -> None:
        self._model, self._projections, self._projectors = model, projections, projectors
        self._config, self._control, self._snapshot = config, control, snapshot
        self._earlier = [torch.zeros_like(projector) for projector in projectors]
        self._written = 0

    def edit(self, requests: Sequence[EditRequest]) -> None:
        """Edit one batch of facts in every layer, lowest first."""
        reader, last = KeyReader(self._model, requests), self._projections[-1]
        wanted = wanted_states(self._model, requests, reader, last, self._config, self._control)
        for index, projection in enumerate(self._projections):
            self._control.check_cancelled()
            residual = (wanted - reader.states(last)) / (len(self._projections) - index)
            keys = reader.keys(projection)
            change = confined(residual, keys, self._projectors[index], self._earlier[index], self._config.l2)
            relative = write_change(projection, change, self._snapshot, self._config.norm_limit)
            self._written += 1
            self._control.metric(self._written, {"relative_change": relative})
        for index, projection in enumerate(self._projections):
            keys = reader.keys(projection)
            self._earlier[index] += keys @ keys.T
