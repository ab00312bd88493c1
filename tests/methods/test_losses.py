"""Losses: values known on paper, gradients that follow from them, and no dependence on how a batch is cut."""

from __future__ import annotations

import math
import random

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from invented import OTHERS, PERSON
from torch.nn.functional import cross_entropy

from console.engines.packing import TokenSequence, pack
from console.engines.transformers_engine import TransformersModel
from console.methods import training
from console.methods.losses import (
    CHUNK,
    forward_kl,
    log_odds,
    member_log_odds,
    member_nll,
    npo_at_reference,
    npo_loss,
    reverse_kl,
)
from console.methods.training import accumulate_nll

BETAS = (0.05, 0.1, 1.0, 4.5)


@pytest.fixture
def model(untaught: TransformersModel) -> TransformersModel:
    """A model whose gradients a test may collect."""
    return tiny.copy_of(untaught)


def sequences_of(model: TransformersModel) -> list[TokenSequence]:
    return tiny.lessons(model.tokenizer, (*PERSON, *OTHERS[:3]))


def gradients(model: TransformersModel) -> dict[str, torch.Tensor]:
    """The gradients that have been added up, which are then gone."""
    found = {name: parameter.grad.clone() for name, parameter in model.network.named_parameters()}
    model.network.zero_grad(set_to_none=True)
    return found


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert max(float(gradient.abs().max()) for gradient in right.values()) > 1e-3, "nothing to compare"
    for name, gradient in right.items():
        torch.testing.assert_close(left[name], gradient, atol=2e-5, rtol=2e-3, msg=lambda text, name=name: name + text)


def plain_nll(model: TransformersModel, sequence: TokenSequence) -> torch.Tensor:
    """Summed over the answer, one sequence at a time, without packing."""
    logits = model.network(torch.tensor([sequence.ids])).logits[0, sequence.answer_start - 1 : -1]
    return cross_entropy(logits, torch.tensor(sequence.answer_ids), reduction="sum")


class TestNpo:
    @pytest.mark.parametrize("beta", BETAS)
    def test_at_the_reference_it_is_two_over_beta_ln_2(self, beta: float) -> None:
        nll = torch.tensor([0.0, 3.0, 250.0])
        expected = torch.full((3,), 2 / beta * math.log(2))
        torch.testing.assert_close(npo_loss(nll, nll, beta), expected)
        assert npo_at_reference(beta) == pytest.approx(2 / beta * math.log(2))

    @pytest.mark.parametrize("beta", BETAS)
    def test_at_the_reference_its_gradient_is_minus_that_of_the_summed_nll(
        self, model: TransformersModel, beta: float
    ) -> None:
        sequences = sequences_of(model)[:6]
        reference = accumulate_nll(model, sequences, lambda nll, _lengths, _members: nll.sum())
        ascent = {name: -gradient for name, gradient in gradients(model).items()}
        accumulate_nll(
            model,
            sequences,
            lambda nll, _lengths, members: npo_loss(nll, reference[list(members)], beta).sum(),
        )
        assert_same(gradients(model), ascent)

    @given(nll=st.floats(0, 400), reference=st.floats(0, 400), beta=st.sampled_from(BETAS))
    def test_value_and_slope_are_the_paper_s(self, nll: float, reference: float, beta: float) -> None:
        """Equation 3; the slope is -2 sigmoid(-beta (NLL - reference)), which fades as the answer becomes unlikely."""
        at = torch.tensor([nll], dtype=torch.float64, requires_grad=True)
        loss = npo_loss(at, torch.tensor([reference], dtype=torch.float64), beta)
        loss.sum().backward()
        ahead = beta * (nll - reference)
        softplus = max(-ahead, 0.0) + math.log1p(math.exp(-abs(ahead)))
        assert float(loss.detach()) == pytest.approx(2 / beta * softplus, rel=1e-9, abs=1e-12)
        assert float(at.grad) == pytest.approx(-2 * math.exp(-ahead - softplus), rel=1e-9, abs=1e-12)

    def test_it_stays_finite_far_from_the_reference(self) -> None:
        far = torch.tensor([0.0, 1e6])
        assert torch.isfinite(npo_loss(far, far.flip(0), 0.1)).all()


class TestMemberNll:
    def test_equals_a_plain_loop(self, any_model: TransformersModel) -> None:
        sequences = sequences_of(any_model)
        with torch.no_grad():
            expected = torch.stack([plain_nll(any_model, sequence) for sequence in sequences])
            for row in pack(sequences, 300):
                found = member_nll(any_model.row_logits(row), row, sequences)
                torch.testing.assert_close(found, expected[list(row.members)], atol=1e-3, rtol=1e-5)

    def test_by_hand(self) -> None:
        sequences = [TokenSequence((0, 1, 2), 1), TokenSequence((5, 0), 1)]
        (row,) = pack(sequences, 100)
        logits = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 3.0], [0.5, 0.5, 0.5]])
        by_hand = [
            -math.log(math.e / (2 + math.e)) - math.log(math.exp(3) / (math.exp(2) + 1 + math.exp(3))),
            math.log(3),
        ]
        torch.testing.assert_close(member_nll(logits, row, sequences), torch.tensor(by_hand))


class TestBatchCut:
    @pytest.mark.parametrize("row_tokens", [1, 60, 200, 5000])
    def test_value_and_gradient_do_not_depend_on_the_rows(
        self, model: TransformersModel, monkeypatch: pytest.MonkeyPatch, row_tokens: int
    ) -> None:
        sequences = sequences_of(model)
        plain = torch.stack([plain_nll(model, sequence) for sequence in sequences])
        (npo_loss(plain, plain.detach() + 1, 0.1).sum() / len(sequences)).backward()
        expected = gradients(model)

        monkeypatch.setattr(training, "ROW_TOKENS", row_tokens)
        reference = plain.detach() + 1
        nll = accumulate_nll(
            model,
            sequences,
            lambda nll, _lengths, members: npo_loss(nll, reference[list(members)], 0.1).sum() / len(sequences),
        )
        torch.testing.assert_close(nll, plain.detach(), atol=1e-3, rtol=1e-5)
        assert_same(gradients(model), expected)

    def test_the_order_of_sequences_does_not_matter(self, model: TransformersModel) -> None:
        sequences = sequences_of(model)
        order = list(range(len(sequences)))
        random.Random(3).shuffle(order)
        nll = accumulate_nll(model, sequences, lambda nll, _lengths, _members: nll.sum())
        expected = gradients(model)
        shuffled = accumulate_nll(model, [sequences[i] for i in order], lambda nll, _lengths, _members: nll.sum())
        torch.testing.assert_close(shuffled, nll[order], atol=1e-3, rtol=1e-5)
        assert_same(gradients(model), expected)

    def test_the_loss_is_told_lengths_and_members(self, model: TransformersModel) -> None:
        sequences = sequences_of(model)
        told: dict[int, int] = {}

        def loss_of(nll: torch.Tensor, lengths: torch.Tensor, members: tuple[int, ...]) -> torch.Tensor:
            told.update(zip(members, lengths.tolist(), strict=True))
            return nll.sum()

        accumulate_nll(model, sequences, loss_of)
        assert told == {index: len(sequence.answer_ids) for index, sequence in enumerate(sequences)}

    def test_a_loss_without_gradient_adds_none(self, model: TransformersModel) -> None:
        accumulate_nll(model, sequences_of(model)[:2], lambda nll, _lengths, _members: nll.detach().sum())
        assert all(parameter.grad is None for parameter in model.network.parameters())


def kl_by_hand(left: torch.Tensor, right: torch.Tensor) -> float:
    """Mean over rows of KL(left || right), nats."""
    rows = [
        sum(p * math.log(p / q) for p, q in zip(one, two, strict=True))
        for one, two in zip(left.tolist(), right.tolist(), strict=True)
    ]
    return sum(rows) / len(rows)


REFERENCE, OTHER = torch.tensor([[0.8, 0.2], [0.5, 0.5]]), torch.tensor([[0.5, 0.5], [0.9, 0.1]])


class TestReverseKl:
    def test_by_hand_and_in_the_other_direction(self) -> None:
        found = reverse_kl(REFERENCE.log(), OTHER.log() + 3.0)  # logits are log-probabilities up to a constant
        assert float(found) == pytest.approx(kl_by_hand(OTHER, REFERENCE), rel=1e-5)
        assert float(found) == pytest.approx(float(forward_kl(OTHER.log(), REFERENCE.log())), rel=1e-5)

    def test_zero_and_flat_at_the_reference(self) -> None:
        logits = torch.randn(4, 30, generator=torch.Generator().manual_seed(2)).requires_grad_(True)
        found = reverse_kl(logits.detach().log_softmax(dim=-1), logits)
        found.backward()
        assert float(found.detach()) == pytest.approx(0, abs=1e-6)
        assert logits.grad is not None and float(logits.grad.abs().max()) < 1e-6


class TestForwardKl:
    def test_zero_and_flat_at_the_reference(self, model: TransformersModel) -> None:
        rows = pack(sequences_of(model), 200)
        with torch.no_grad():
            before = [torch.log_softmax(model.row_logits(row), dim=-1) for row in rows]
        total = sum(forward_kl(held, model.row_logits(row)) for held, row in zip(before, rows, strict=True))
        total.backward()
        assert float(total.detach()) == pytest.approx(0, abs=1e-6)
        assert max(float(gradient.abs().max()) for gradient in gradients(model).values()) < 1e-6

    def test_by_hand_and_in_the_right_direction(self) -> None:
        found = forward_kl(REFERENCE.log(), OTHER.log() + 3.0)  # logits are log-probabilities up to a constant
        assert float(found) == pytest.approx(kl_by_hand(REFERENCE, OTHER), rel=1e-5)
        assert float(found) != pytest.approx(kl_by_hand(OTHER, REFERENCE), rel=1e-2)

    @pytest.mark.parametrize("number_format", [torch.float32, torch.bfloat16])
    def test_its_derivative_is_what_autograd_finds(self, number_format: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(3)
        reference = torch.log_softmax(torch.randn(2 * CHUNK + 5, 40, generator=generator), dim=-1).half()
        logits = torch.randn(len(reference), 40, generator=generator).to(number_format).requires_grad_(True)
        (3 * forward_kl(reference, logits)).backward()
        found, logits.grad = logits.grad, None
        log_probs = torch.log_softmax(logits.float(), dim=-1)
        (3 * (reference.float().exp() * (reference.float() - log_probs)).sum(dim=-1).mean()).backward()
        assert found is not None
        assert logits.grad is not None
        assert float(found.abs().max()) > 1e-4
        torch.testing.assert_close(
            found, logits.grad, rtol=1e-2 if number_format is torch.bfloat16 else 1e-5, atol=1e-9
        )


class TestLogOdds:
    """One packed row of one sequence, with logits chosen by hand."""

    SEQUENCE = TokenSequence((5, 0, 1), 1)

    def test_it_is_the_logarithm_of_the_odds(self) -> None:
        logits = torch.log(torch.tensor([[0.8, 0.1, 0.1], [0.25, 0.5, 0.25]]))
        (row,) = pack([self.SEQUENCE], 64)
        found = member_log_odds(logits, row, [self.SEQUENCE])
        assert found.tolist() == pytest.approx([math.log(0.8 / 0.2) + math.log(0.5 / 0.5)], abs=1e-5)

    def test_the_gradient_stays_one_where_the_likelihoods_has_vanished(self) -> None:
        logits = torch.tensor([[60.0, 0.0, 0.0], [0.0, 60.0, 0.0]], requires_grad=True)
        (row,) = pack([self.SEQUENCE], 64)
        (nll,) = torch.autograd.grad(member_nll(logits, row, [self.SEQUENCE]).sum(), logits)
        (odds,) = torch.autograd.grad(member_log_odds(logits, row, [self.SEQUENCE]).sum(), logits)
        assert float(nll.abs().max()) < 1e-6
        assert (odds[0, 0].item(), odds[1, 1].item()) == pytest.approx((1.0, 1.0))

    @pytest.mark.parametrize("number_format", [torch.float32, torch.bfloat16])
    def test_its_derivative_is_what_autograd_finds(self, number_format: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(5)
        count = CHUNK + 7
        logits = torch.randn(count, 30, generator=generator).to(number_format).requires_grad_(True)
        targets = torch.randint(30, (count,), generator=generator)
        weights = torch.rand(count, generator=generator)
        (weights * log_odds(logits, targets)).sum().backward()
        found, logits.grad = logits.grad, None
        own = targets[:, None]
        others = logits.float().scatter(-1, own, float("-inf"))
        (weights * (logits.float().gather(-1, own).squeeze(-1) - others.logsumexp(dim=-1))).sum().backward()
        assert found is not None
        assert logits.grad is not None
        torch.testing.assert_close(
            found, logits.grad, rtol=2e-2 if number_format is torch.bfloat16 else 1e-5, atol=1e-7
        )
