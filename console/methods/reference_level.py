"""How unlikely the answers are to a model that never knew them: where a method may stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from console.engines.transformers_engine import TransformersModel
from console.methods.examples import Example


def reference_levels(
    examples: Sequence[Example], reference_nll: Mapping[str, float], assumed: float, enough: float
) -> list[float]:
    """Mean NLL (nats per token) at which each example counts as forgotten.

    Args:
        reference_nll: measured on a model that never knew them, by example id.
        assumed: the level of an example that was not measured.
        enough: no level is higher than this.
    """
    return [min(enough, reference_nll.get(example.id, assumed)) for example in examples]


def example_nlls(model: TransformersModel, examples: Sequence[Example]) -> list[float]:
    """Mean NLL (nats per answer token) of each example, in order."""
    return [-scored.mean for scored in model.score_sequences([example.sequence for example in examples])]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
