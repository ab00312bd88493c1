"""The loop: schedule, rates, clipping, numbers gone wrong, and batches that leave nobody out."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from console.errors import JobFailedError
from console.methods.training import Stepper, cycled


def give_gradient(network: nn.Module, gradient: float) -> None:
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, gradient) if parameter.requires_grad else None


def rates(stepper: Stepper, network: nn.Module, shares: list[float]) -> list[float]:
    """The rate in force at each step, the run being ``shares`` through."""
    found = []
    for share in shares:
        give_gradient(network, 0.1)
        stepper.step(share)
        found.append(stepper.optimizer.param_groups[0]["lr"])
    return found


class TestSchedule:
    def test_warm_up_and_then_the_full_rate(self) -> None:
        network = nn.Linear(2, 2)
        stepper = Stepper.over(network, 0.4, warmup_steps=4)
        assert rates(stepper, network, [0.0, 0.1, 0.2, 0.3, 0.9, 1.0]) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
        assert stepper.step_number == 6

    @pytest.mark.parametrize(
        ("done", "share"), [(0.0, 1.0), (0.5, 0.55), (1.0, 0.1), (1.7, 0.1), (0.25, 0.1 + 0.45 * (1 + math.sqrt(0.5)))]
    )
    def test_decay_is_a_cosine_down_to_a_tenth(self, done: float, share: float) -> None:
        network = nn.Linear(2, 2)
        stepper = Stepper.over(network, 2.0, warmup_steps=0, decay=True)
        assert rates(stepper, network, [done]) == pytest.approx([2.0 * share])

    def test_b_matrices_have_their_own_rate(self) -> None:
        network = nn.ModuleDict({"lora_A": nn.Linear(2, 2, bias=False), "lora_B": nn.Linear(2, 2, bias=False)})
        stepper = Stepper.over(network, 0.1, b_ratio=8.0, warmup_steps=0)
        give_gradient(network, 1.0)
        stepper.step()
        by_parameter = {id(group["params"][0]): group["lr"] for group in stepper.optimizer.param_groups}
        assert by_parameter[id(network["lora_A"].weight)] == pytest.approx(0.1)
        assert by_parameter[id(network["lora_B"].weight)] == pytest.approx(0.8)


class TestStep:
    def test_frozen_and_unconcerned_weights_keep_their_bits(self) -> None:
        """No decay: it would shrink what no gradient asked to change."""
        network = nn.ModuleList([nn.Linear(2, 2, bias=False) for _ in range(3)])
        frozen, unconcerned, trained = (layer.weight for layer in network)
        frozen.requires_grad_(False)
        before = [weight.detach().clone() for weight in (frozen, unconcerned, trained)]
        stepper = Stepper.over(network, 0.5)
        for _ in range(5):
            unconcerned.grad, trained.grad = torch.zeros_like(unconcerned), torch.ones_like(trained)
            stepper.step()
        assert torch.equal(frozen, before[0]) and torch.equal(unconcerned, before[1])
        assert not torch.equal(trained, before[2])
        assert not any(frozen is parameter for group in stepper.optimizer.param_groups for parameter in group["params"])

    def test_the_gradient_is_clipped_as_a_whole_and_then_gone(self) -> None:
        network = nn.Linear(3, 3)
        stepper = Stepper.over(network, 0.1)
        give_gradient(network, 100.0)
        seen: list[float] = []
        stepper.optimizer.register_step_pre_hook(
            lambda *_: seen.append(float(torch.stack([p.grad.norm() for p in network.parameters()]).norm()))
        )
        stepper.step()
        assert seen == pytest.approx([1.0], rel=1e-4)
        assert all(parameter.grad is None for parameter in network.parameters())

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_numbers_gone_wrong_end_the_run_before_they_reach_a_weight(self, number: float) -> None:
        network = nn.Linear(2, 2)
        stepper = Stepper.over(network, 0.1)
        give_gradient(network, 0.1)
        stepper.step()
        before = [parameter.detach().clone() for parameter in network.parameters()]
        give_gradient(network, 0.1)
        network.bias.grad[0] = number
        with pytest.raises(JobFailedError, match=r"unstable at step 2 .*smaller learning rate"):
            stepper.step()
        assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def flat(batches: Iterator[list[int]], count: int) -> list[int]:
    return [index for batch in islice(batches, count) for index in batch]


class TestCycled:
    @given(count=st.integers(1, 12), size=st.integers(1, 15), seed=st.integers(0, 50))
    def test_every_index_comes_once_before_any_comes_again(self, count: int, size: int, seed: int) -> None:
        shown = flat(cycled(count, size, random.Random(seed)), 30)
        rounds = [shown[start : start + count] for start in range(0, len(shown) - count + 1, count)]
        assert all(sorted(one) == list(range(count)) for one in rounds), rounds

    @given(count=st.integers(1, 12), size=st.integers(1, 15), seed=st.integers(0, 50))
    def test_no_batch_holds_an_index_twice(self, count: int, size: int, seed: int) -> None:
        for batch in islice(cycled(count, size, random.Random(seed)), 30):
            assert len(batch) == len(set(batch)) == min(size, count)

    def test_the_seed_fixes_the_order(self) -> None:
        orders = [flat(cycled(9, 4, random.Random(seed)), 9) for seed in (1, 1, 2)]
        assert orders[0] == orders[1] != orders[2]
