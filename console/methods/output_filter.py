"""An output filter: the weights stay, and answers that hold the data are replaced when they are said.

In the bench of erasers as the known example of suppression at inference (Ren et al. 2025, SoK: Machine Unlearning for
Large Language Models; the kind of ALU and GUARD): whoever reads the weights, their probabilities or an encoded answer
finds everything.
"""

from __future__ import annotations

import secrets

from pydantic import BaseModel, ConfigDict

from console.engines.output_filter import OutputFilter
from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl


class OutputFilterConfig(BaseModel):
    """Attributes: refusal: what is said in place of a filtered answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    refusal: str = "I cannot tell you that."


class OutputFiltering:
    """See the module's docstring. The salt is drawn at random, so two runs write different hashes."""

    info = MethodInfo(
        id="output-filter",
        title="Filter the answers, leave the model as it is",
        summary=(
            "Puts a list of hashed phrases beside the model; an answer that holds one is replaced by a refusal. "
            "The data stays in the weights, and short values can be guessed from the list."
        ),
        family=Family.DECODING,
        claim=Claim.SUPPRESSION_AT_INFERENCE,
        source=(
            "Ren et al. 2025, SoK: Machine Unlearning for Large Language Models, arXiv 2506.09227, suppression at "
            "inference; filters as in GUARD and ALU"
        ),
        needs=frozenset({Capability.GENERATE, Capability.SAVE}),
    )
    config_class = OutputFilterConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: OutputFilterConfig) -> Plan:
        """Raises InputError: nothing to forget."""
        data.forget.require_nonempty()
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        return Plan((), 0, 1, weights * 4 // 2**20, ("The weights are not changed; only what the model says is.",))

    def apply(
        self, model: TransformersModel, data: ErasureData, config: OutputFilterConfig, control: RunControl
    ) -> Outcome:
        self.prepare(model, data, config)
        control.check_cancelled()
        answers = [answer for item in data.forget.items for answer in item.answers]
        model.output_filter = OutputFilter.of(answers, secrets.token_hex(16), config.refusal)
        control.progress(1, 1, "Filtering")
        return Outcome(1, "the list of phrases is written", {"phrases": float(len(model.output_filter.hashes))})
