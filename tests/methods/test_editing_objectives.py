"""The objectives on cases that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from console.methods.editing_objectives import (
    Objective,
    answer_loss,
    fact_erasure,
    head_projection,
    max_entropy,
    target_nll,
)

EVEN = torch.zeros(1, 4)
FIRST = torch.tensor([0])


def of(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities]).log()


def test_erasure_and_likelihood_of_a_single_token() -> None:
    logits = of(0.5, 0.25, 0.25)
    assert float(fact_erasure(logits, FIRST)) == pytest.approx(math.log(2))
    assert float(target_nll(logits, FIRST)) == pytest.approx(math.log(2))
    assert float(fact_erasure(logits, torch.tensor([1]))) == pytest.approx(-math.log(0.75))


def test_erasure_reads_an_answer_as_a_whole_or_token_by_token() -> None:
    logits, targets = torch.cat([of(0.5, 0.5), of(0.125, 0.875)]), torch.tensor([0, 0])
    assert float(fact_erasure(logits, targets)) == pytest.approx(-math.log(1 - 0.25))
    settings = {"tail": 1, "margin": 0.0}
    each = answer_loss(Objective.FACT_ERASURE, logits[None], targets, each_token=True, **settings)
    assert float(each) == pytest.approx((math.log(2) - math.log(0.875)) / 2)


def test_erasure_has_a_slope_where_a_fact_is_known_by_heart() -> None:
    logits = torch.tensor([[30.0, 0.0, 0.0]], requires_grad=True)
    fact_erasure(logits, FIRST).backward()
    assert float(logits.grad[0, 0]) == pytest.approx(1.0, rel=1e-3)


def test_entropy_is_measured_against_even_guessing() -> None:
    assert float(max_entropy(EVEN[None])) == pytest.approx(0.0, abs=1e-6)
    assert float(max_entropy(torch.tensor([[[100.0, 0.0, 0.0, 0.0]]]))) == pytest.approx(1.0)
    assert float(max_entropy(torch.tensor([[[0.0, 0.0, -100.0, -100.0]]]))) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("target", "expected"),
    [(9.0, 9.0 - 6.0), (7.0, 7.0 - 6.0), (5.0, 0.0), (3.0, 0.0), (1.5, 2.0 - 1.5), (-4.0, 6.0)],
)
def test_the_target_is_kept_out_of_both_tails(target: float, expected: float) -> None:
    # the others' second largest is 6, their second smallest is 2
    logits = torch.tensor([[[target, 8.0, 6.0, 4.0, 2.0, 1.0]]])
    assert float(head_projection(logits, FIRST, tail=2, margin=0.0)) == pytest.approx(expected)


def test_layers_are_averaged_and_only_the_first_token_is_read() -> None:
    layers = torch.tensor([[[9.0, 8.0, 6.0, 4.0, 2.0], [50.0, 0.0, 0.0, 0.0, 0.0]], [[5.0, 8.0, 6.0, 4.0, 2.0]] * 2])
    targets, settings = torch.tensor([0, 0]), {"tail": 1, "margin": 0.0}
    first = answer_loss(Objective.HEAD_PROJECTION, layers, targets, each_token=False, **settings)
    every = answer_loss(Objective.HEAD_PROJECTION, layers, targets, each_token=True, **settings)
    assert float(first) == pytest.approx((1.0 + 0.0) / 2)
    assert float(every) == pytest.approx((1.0 + 50.0 + 0.0 + 0.0) / 4)
