"""Exact erasure: fine-tune again from the snapshot, without the person.

The only method whose claim needs no attack: the weights are a function of data that does not
hold the person. It needs the snapshot from before the fine-tuning and the rest of the training data, and
it is the yardstick for every other method.
"""

from __future__ import annotations

from console.engines.protocol import Capability
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.finetune import FinetuneConfig, finetune
from console.methods.lora import resolve_modules, trainable_parameters
from console.methods.protocol import Claim, ErasureData, Family, MethodInfo, Outcome, Plan, RunControl


class RetrainConfig(FinetuneConfig):
    """The fine-tuning's own settings: a retraining with others would not be a repetition."""


class Retrain:
    """See the module's docstring. ``model`` must be the snapshot, not the model to be erased."""

    info = MethodInfo(
        id="retrain",
        title="Train again without the person",
        summary="Starts from the model as it was before the training and repeats the training without the person.",
        family=Family.EXACT,
        claim=Claim.EXACT,
        source="definition of exact unlearning, Cao and Yang 2015; Bourtoule et al. 2021 (SISA)",
        needs=frozenset({Capability.GRADIENTS, Capability.SAVE}),
        needs_snapshot=True,
        needs_training_data=True,
        reaches_experts=True,
    )
    config_class = RetrainConfig

    def prepare(self, model: TransformersModel, data: ErasureData, config: RetrainConfig) -> Plan:
        """Check that the person is not in the training data.

        Raises:
            InputError: no training data, or it still holds the person.
        """
        data.forget.require_nonempty()
        if not data.teaching:
            raise InputError(
                "There is no training data to repeat without the person; register it with the model, "
                "or choose a method that does not need it."
            )
        erased = {name for item in data.forget.items for name in (item.subject, *item.aliases)}
        names = ((taught.item.id, {taught.item.subject, *taught.item.aliases}) for taught in data.teaching)
        held = next((item for item, known_as in names if known_as & erased), None)
        if held is not None:
            raise InputError(f"The training data still holds the person (item {held}); leave it out and start again.")
        steps = config.epochs * -(-len(data.teaching) // config.batch)
        weights = sum(parameter.numel() for parameter in model.network.parameters())
        modules = resolve_modules(model.network, config.lora)
        trained = (
            trainable_parameters(model.network, modules, config.lora.rank) if config.trains == "adapter" else weights
        )
        return Plan(modules, trained, steps, (weights * 4 + trained * 16) // 2**20)

    def apply(self, model: TransformersModel, data: ErasureData, config: RetrainConfig, control: RunControl) -> Outcome:
        self.prepare(model, data, config)
        return finetune(model, data.teaching, data.general_texts, config, control)
