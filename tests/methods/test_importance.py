"""The importance of weights: text by text, over answer tokens, and without a trace on the network."""

from __future__ import annotations

import pytest
import tiny
import torch
from invented import GENERAL, OTHERS, PERSON
from tiny import StoppedError

from console.engines.packing import TokenSequence
from console.engines.transformers_engine import TransformersModel
from console.errors import JobFailedError
from console.methods.examples import examples_of, text_sequences
from console.methods.importance import Weighting, importance, linear_weights, text_shares
from console.methods.lora import LoraSettings, resolve_modules


def nothing() -> None:
    """What is called before each text, where a test does not care."""


def weights_of(model: TransformersModel) -> dict[str, torch.nn.Parameter]:
    return linear_weights(model.network, resolve_modules(model.network, LoraSettings()))


def sequences_of(model: TransformersModel) -> list[TokenSequence]:
    return [example.sequence for example in examples_of(model, PERSON)]


def plain_gradient(model: TransformersModel, sequence: TokenSequence) -> dict[str, torch.Tensor]:
    """The gradient of one text's mean NLL, by the network's own forward pass."""
    weights = weights_of(model)
    logits = model.network(torch.tensor([sequence.ids])).logits[0, sequence.answer_start - 1 : -1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(sequence.answer_ids))
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


@pytest.mark.parametrize("weighting", list(Weighting))
def test_it_is_the_weighted_sum_of_each_text_s_squared_gradient(
    untaught: TransformersModel, weighting: Weighting
) -> None:
    sequences = sequences_of(untaught)
    tokens = [len(sequence.answer_ids) for sequence in sequences]
    found = importance(untaught, weights_of(untaught), sequences, nothing, weighting=weighting)
    wanted = {path: torch.zeros_like(values) for path, values in found.items()}
    for sequence, count in zip(sequences, tokens, strict=True):
        share = count / sum(tokens) if weighting is Weighting.TOKENS else 1 / len(tokens)
        for path, gradient in plain_gradient(untaught, sequence).items():
            wanted[path] += share * gradient.square()
    for path, values in found.items():
        torch.testing.assert_close(values, wanted[path], rtol=1e-3, atol=1e-9)


def test_the_square_of_a_batch_s_gradient_would_be_less(untaught: TransformersModel) -> None:
    """Gradients of opposite sign cancel before they are squared."""
    sequences = sequences_of(untaught)
    found = importance(untaught, weights_of(untaught), sequences, nothing)
    gradients = [plain_gradient(untaught, sequence) for sequence in sequences]
    for path, values in found.items():
        batch = torch.stack([gradient[path] for gradient in gradients]).mean(dim=0).square()
        assert float(batch.sum()) < 0.8 * float(values.sum())
        assert bool((batch <= values * 1.01 + 1e-9).all())  # the mean's square is never above the squares' mean


def test_shares_add_up(untaught: TransformersModel) -> None:
    sequences = text_sequences(untaught, (*GENERAL, "A lamp."))
    texts, tokens = (text_shares(sequences, weighting) for weighting in Weighting)
    assert sum(texts) == pytest.approx(1) and sum(tokens) == pytest.approx(1)
    assert len(set(texts)) == 1 < len(set(tokens))


def test_twice_the_same_texts_are_as_important(untaught: TransformersModel) -> None:
    sequences = sequences_of(untaught)
    once, twice = (importance(untaught, weights_of(untaught), texts, nothing) for texts in (sequences, sequences * 2))
    for path in once:
        torch.testing.assert_close(once[path], twice[path], rtol=1e-4, atol=1e-10)


def test_no_text_has_no_importance(untaught: TransformersModel) -> None:
    assert not any(bool(values.any()) for values in importance(untaught, weights_of(untaught), [], nothing).values())


def test_gradients_are_let_go_text_by_text(untaught: TransformersModel) -> None:
    """Their copy of the weights is never there beside the sum."""
    weights = weights_of(untaught)
    left: list[int] = []
    importance(
        untaught,
        weights,
        sequences_of(untaught),
        lambda: left.append(sum(weight.grad is not None for weight in weights.values())),
    )
    assert left == [0] * len(sequences_of(untaught))


def test_only_the_given_weights_take_part(untaught: TransformersModel) -> None:
    copy = tiny.copy_of(untaught)
    weights = weights_of(copy)
    seen: list[set[str]] = []

    def look() -> None:
        seen.append({name for name, parameter in copy.network.named_parameters() if parameter.requires_grad})

    importance(copy, weights, sequences_of(copy)[:1], look)
    assert seen == [{f"{path}.weight" for path in weights}]
    assert not any("embed" in name or "head" in name or "norm" in name for name in seen[0])


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_network_is_left_as_it_was(untaught: TransformersModel, interrupted: bool) -> None:
    copy = tiny.copy_of(untaught)
    weights = weights_of(copy)
    frozen = next(iter(weights.values()))
    frozen.requires_grad_(False)
    flags = {name: parameter.requires_grad for name, parameter in copy.network.named_parameters()}

    def stop() -> None:
        if interrupted:
            raise StoppedError

    try:
        importance(copy, weights, sequences_of(copy), stop)
    except StoppedError:
        assert interrupted
    assert tiny.fingerprints(copy.network) == tiny.fingerprints(untaught.network)
    assert {name: parameter.requires_grad for name, parameter in copy.network.named_parameters()} == flags
    assert all(parameter.grad is None for parameter in copy.network.parameters())
    last = next(reversed(weights.values()))
    (last.sum() * 2).backward()
    assert last.grad is not None, "a hook was left behind and took the gradient away"


def test_tied_embeddings_are_not_touched() -> None:
    model = tiny.model("qwen2")
    weights = weights_of(model)
    tied = model.network.get_input_embeddings().weight
    assert tied is model.network.get_output_embeddings().weight
    assert all(weight is not tied for weight in weights.values())


def test_numbers_gone_wrong_are_said(untaught: TransformersModel) -> None:
    copy = tiny.copy_of(untaught)
    with torch.no_grad():
        copy.network.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(JobFailedError, match="not finite"):
        importance(copy, weights_of(copy), sequences_of(copy)[:1], nothing)


def test_retained_facts_have_an_importance_of_their_own(untaught: TransformersModel) -> None:
    others = [example.sequence for example in examples_of(untaught, OTHERS)]
    person, rest = (
        importance(untaught, weights_of(untaught), texts, nothing) for texts in (sequences_of(untaught), others)
    )
    assert all(not torch.allclose(person[path], rest[path], rtol=0.1) for path in person)
