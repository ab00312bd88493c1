"""FT-M: plain fine-tuning of one MLP's down projection, with the loss on the answer's tokens only.

    W <- W - rate * Adam(grad_W mean_i L(answer_i | context_i))

L is the objective (FT-M, Zhang et al. 2024, A Comprehensive Study of Knowledge Editing for Large Language Models, arXiv
2401.01286, which has the target's masked cross-entropy there; it is run by EasyEdit, Wang et al. 2023, arXiv
2308.07269). One matrix learns and nothing else is given to the optimizer; there is no weight decay, which would shrink
what no gradient reaches. It has no term that holds the rest of the model.
"""

from __future__ import annotations

import torch
from pydantic import Field

from console.engines.learning import only_these_learn
from console.engines.packing import pack
from console.engines.protocol import Capability
from console.engines.transformers_engine import ROW_TOKENS, TransformersModel
from console.methods.edit_sites import Context, DownProjection, down_projections, run_row
from console.methods.editing import (
    AnswerReader,
    ObjectiveSettings,
    answer_probability,
    chosen,
    edit_plan,
    edit_requests,
    kept_positions,
    layer_at,
    require_within,
)
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl
from console.methods.training import Stepper
from console.methods.weight_transaction import weight_transaction


class FtMConfig(ObjectiveSettings):
    """Attributes:
    layer: the trained block; by default the one at ``depth`` (share of all blocks).
    """

    layer: int | None = Field(default=None, ge=0)
    depth: float = Field(default=0.66, ge=0, lt=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    steps: int = Field(default=25, ge=1)


class FtM:
    """See the module's docstring."""

    info = MethodInfo(
        id="ft-m",
        title="Retrain one matrix on the facts (FT-M)",
        summary=(
            "Trains a single matrix of the model until it no longer gives the person's answers; nothing holds the "
            "rest of the model."
        ),
        family=Family.WEIGHTS,
        claim=Claim.EDIT_REPLACEMENT,
        source=(
            "FT-M, Zhang et al. 2024, A Comprehensive Study of Knowledge Editing for Large Language Models, arXiv "
            "2401.01286; objectives: Patil et al. 2024, arXiv 2309.17410"
        ),
        needs=frozenset({Capability.GRADIENTS, Capability.HIDDEN_STATES, Capability.SAVE}),
    )
    config_class = FtMConfig

    def _projection(self, model: TransformersModel, config: FtMConfig) -> DownProjection:
        layer = layer_at(model.layers, config.depth) if config.layer is None else config.layer
        return chosen(down_projections(model.network), [layer])[0]

    def prepare(self, model: TransformersModel, data: ErasureData, config: FtMConfig) -> Plan:
        """Raises InputError: nothing to forget, an item that does not name its subject, an unknown architecture."""
        edit_requests(model, data, config)
        note = "Nothing holds the rest of the model; other people's facts may be lost."
        return edit_plan(model, (self._projection(model, config),), config, config.steps, (note,))

    def apply(self, model: TransformersModel, data: ErasureData, config: FtMConfig, control: RunControl) -> Outcome:
        self.prepare(model, data, config)
        projection = self._projection(model, config)
        contexts = [one for request in edit_requests(model, data, config) for one in request.asked(config)]
        reader = AnswerReader(model, config, projection.layer)
        reason, objective = f"all {config.steps} steps done", 0.0
        weight: torch.nn.Parameter = projection.module.weight  # type: ignore[assignment]
        with (
            weight_transaction(model.network, [projection.weight_name]) as snapshot,
            torch.enable_grad(),
            only_these_learn(model.network, [weight]),
        ):
            stepper = Stepper.over(model.network, config.learning_rate)
            while stepper.step_number < config.steps:
                control.check_cancelled()
                objective = _add_gradient(reader, contexts)
                if objective <= config.stop_loss:
                    reason = "the objective was reached"
                    break
                stepper.step()
                relative = require_within(projection, snapshot, config.norm_limit)
                control.metric(stepper.step_number, {"objective": objective, "relative_change": relative})
                control.progress(stepper.step_number, config.steps, "Training")
            metrics = {
                f"relative_change_layer_{projection.layer}": snapshot.relative_change(projection.weight_name),
                "objective": objective,
                "answer_probability": answer_probability(model, data.forget.items),
            }
        return Outcome(stepper.step_number, reason, metrics)


def _add_gradient(reader: AnswerReader, contexts: list[Context]) -> float:
    """Add the gradient of the objective's mean over contexts; its value."""
    total = 0.0
    for row in pack([context.sequence for context in contexts], ROW_TOKENS, reader.model.device):
        kept = kept_positions(row, reader.model.device)
        output = run_row(reader.model, row, kept, hidden=reader.settings.objective.reads_layers)
        loss = reader.losses(row, contexts, output, kept).sum() / len(contexts)
        loss.backward()
        total += float(loss.detach())
    return total
