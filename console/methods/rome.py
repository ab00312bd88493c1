"""ROME: one fact, one layer, one rank-one change of an MLP's down projection; the facts one after another.

    W' = W + d* (C^-1 k)^T / (k^T C^-1 k)        (Meng et al. 2022, arXiv 2202.05262, eq. 2)

k is the mean key at the last token of the name over all wordings, d* the change of value found there, C = E[k k^T]
over general texts. The published code took the mean key for the direction and a single prompt's key in the denominator,
which makes models collapse; here it is the same key in both (r-ROME, Gupta et al. 2024, arXiv 2403.07175), so that
W' k = W k + d* holds exactly. Later facts may bring earlier ones back (EasyEdit #106), so all are measured again
in rounds.
"""

from __future__ import annotations

import torch
from pydantic import Field

from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import JobFailedError
from console.methods.edit_sites import DownProjection, down_projections, read_at
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
from console.methods.weight_transaction import Snapshot, weight_transaction

_WARN_FACTS = 10
_SMALLEST_SHARE = 1e-6  # cosine of a key and its direction; below it the edit explodes


class RomeConfig(ValueSettings):
    """Attributes:
    layer: the edited block; by default the one at ``depth`` (share of all blocks).
    rounds: how often all facts are gone through; a fact that stays away is not edited again.
    """

    layer: int | None = Field(default=None, ge=0)
    depth: float = Field(default=0.25, ge=0, lt=1)
    rounds: int = Field(default=3, ge=1)
    keys: KeySettings = KeySettings()


def rank_one(change: torch.Tensor, key: torch.Tensor, moment: torch.Tensor | None) -> torch.Tensor:
    """The smallest change of the matrix, weighed by C, that answers ``key`` with ``change`` more.

    Args:
        change: (d_out,) float64.
        key: (d_in,) float64.
        moment: (d_in, d_in) C with its ridge, or None for the identity.

    Returns:
        (d_out, d_in) float64.

    Raises:
        JobFailedError: C is singular, or the key has no part in its own direction.
    """
    direction = key if moment is None else solve(moment, key[:, None])[:, 0]
    direction = direction / direction.norm()  # its length cancels
    share = key @ direction
    if not float(share) > _SMALLEST_SHARE * float(key.norm()):
        raise JobFailedError(
            "The place of a fact in this layer cannot be told from what other texts use, and its edit would be without "
            "bounds; nothing was changed. Choose another layer, or give more general texts."
        )
    return torch.outer(change / share, direction)


class Rome:
    """See the module's docstring."""

    info = MethodInfo(
        id="rome",
        title="Rewrite single facts in one layer (ROME)",
        summary=(
            "Finds where one layer stores each fact about the person and rewrites that place, fact by fact; "
            "traces in other layers may stay."
        ),
        family=Family.WEIGHTS,
        claim=Claim.EDIT_REPLACEMENT,
        source="Meng et al. 2022, ROME, arXiv 2202.05262, eq. 2 and 4; r-ROME, Gupta et al. 2024, arXiv 2403.07175",
        needs=frozenset({Capability.GRADIENTS, Capability.HIDDEN_STATES, Capability.SAVE}),
    )
    config_class = RomeConfig

    def _projection(self, model: TransformersModel, config: RomeConfig) -> DownProjection:
        layer = layer_at(model.layers, config.depth) if config.layer is None else config.layer
        return below_last(model, chosen(down_projections(model.network), [layer]))[0]

    def prepare(self, model: TransformersModel, data: ErasureData, config: RomeConfig) -> Plan:
        """Raises InputError: nothing to forget, an item that does not name its subject, an unknown architecture."""
        requests = edit_requests(model, data, config)
        projection = self._projection(model, config)
        tokens = keys_read(model, protected_texts(model, data, config.keys), config.keys)
        notes = general_keys_note(tokens, projection.matrix.shape[1])
        if len(requests) > _WARN_FACTS:
            notes += (f"{len(requests)} facts one after another may damage the model; memit changes all at once.",)
        steps = config.rounds * len(requests)
        return edit_plan(model, (projection,), config, steps, notes, moments=2 if tokens else 0)

    def apply(self, model: TransformersModel, data: ErasureData, config: RomeConfig, control: RunControl) -> Outcome:
        plan = self.prepare(model, data, config)
        projection = self._projection(model, config)
        requests = edit_requests(model, data, config)
        moment = None
        if keys_read(model, protected_texts(model, data, config.keys), config.keys):
            (plain,) = second_moments(model, (projection,), protected_texts(model, data, config.keys), config.keys)
            moment = with_ridge(plain, config.keys.ridge)
        with weight_transaction(model.network, [projection.weight_name]) as snapshot:
            run = _Run(model, projection, config, control, snapshot, moment, plan.steps)
            for _ in range(config.rounds):
                if not run.through(requests):
                    break
        metrics = {
            f"relative_change_layer_{projection.layer}": snapshot.relative_change(projection.weight_name),
            "objective": run.mean_objective(requests),
            "answer_probability": answer_probability(model, data.forget.items),
        }
        return Outcome(run.edits, run.reason(), metrics)


class _Run:
    """The edits of one run."""

    def __init__(
        self,
        model: TransformersModel,
        projection: DownProjection,
        config: RomeConfig,
        control: RunControl,
        snapshot: Snapshot,
        moment: torch.Tensor | None,
        steps: int,
    ) -> None:
        self._model, self._projection, self._config = model, projection, config
        self._control, self._snapshot, self._moment, self._steps = control, snapshot, moment, steps
        self._looks = 0
        self.edits = 0
        self.settled = False

    def through(self, requests: list[EditRequest]) -> bool:
        """Go through all facts once; whether any had to be edited."""
        before = self.edits
        for request in requests:
            self._control.check_cancelled()
            self._looks += 1
            if self._objective(request) > self._config.stop_loss:
                self._edit(request)
            self._control.progress(self._looks, self._steps, "Editing")
        self.settled = self.edits == before
        return not self.settled

    def _objective(self, request: EditRequest) -> float:
        reader = AnswerReader(self._model, self._config, self._projection.layer)
        return mean_objective(reader, request.asked(self._config))

    def mean_objective(self, requests: list[EditRequest]) -> float:
        return sum(map(self._objective, requests)) / len(requests)

    def _edit(self, request: EditRequest) -> None:
        module = self._projection.module
        key = read_at(self._model, request.contexts, module, inputs=True).mean(dim=0)
        scale = float(read_at(self._model, request.contexts, module, inputs=False).norm(dim=1).mean())
        found = ValueSearch(self._model, request, self._projection, self._config).run(scale, self._control)
        change = rank_one(found.change, key, self._moment)
        relative = write_change(self._projection, change, self._snapshot, self._config.norm_limit)
        self.edits += 1
        values = {"relative_change": relative, "objective": self._objective(request), "searched": found.loss}
        self._control.metric(self.edits, values)

    def reason(self) -> str:
        if self.settled:
            return "every fact stayed away when all were measured again"
        return f"all {self._config.rounds} rounds done"
